//! From request to step.

use std::rc::Rc;

use portcullis_common::answer::Refusal;
use portcullis_common::cache::Cache;
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::Edits;
use portcullis_common::facts::{Outcome, Verdict};
use portcullis_common::filter::{Filter, Plugin, Step};
use portcullis_common::headers::Lookup;
use portcullis_common::host::Host;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::mode::Mode;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;

use crate::algorithm::Algorithm;
use crate::authenticate::{Refused, authenticate};
use crate::claims::Cause;
use crate::config::{RawConfig, Unmatched};
use crate::counters::Counters;
use crate::credentials::Found;
use crate::identity::{Identity, Unfit};
use crate::policy::{Policy, Require};
use crate::verify::Verifier;

/// The filter.
#[derive(Debug)]
pub struct JwtAuth {
    policy: Policy,
    verifier: Verifier,
    cache: Cache<Rc<Identity>>,
    counters: Counters,
}

/// What a request may do, judged by one rule.
type Judgement = Result<Pass, Rejection>;

/// A request may pass.
enum Pass {
    /// Nothing was asked of it.
    Unasked,
    /// With these tokens, each found at a place; the first speaks for the request. None if a token was optional.
    As(Vec<(Rc<Identity>, usize)>),
}

/// A request may not pass.
#[derive(Debug, Clone, Copy)]
struct Rejection {
    reason: Reason,
    /// Which check failed, for the operator.
    cause: Option<&'static str>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Rejection { reason, cause: None }
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(how) => Rejection { reason: Reason::TokenMalformed, cause: Some(how.word()) },
            Refused::Unfit(Unfit::Cause(cause)) => cause.into(),
            Refused::Unfit(Unfit::Value(failure)) => failure.reason().into(),
        }
    }
}

impl From<Cause> for Rejection {
    fn from(cause: Cause) -> Self {
        Rejection { reason: Reason::TokenInvalid, cause: Some(cause.word()) }
    }
}

impl Filter for JwtAuth {
    const NAME: &'static str = "jwt-auth";
    const CLOCK: Clock = Clock::Wall;
    const PAUSES: bool = false;
    type Pending = ();
    type Stream = ();

    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let (policy, notes) = Policy::new(raw)?;
        let name = Rc::clone(&policy.plugin.name);
        let mut counters = Counters::new(&name);
        for note in notes {
            log::warn!("{name}: {note}");
        }
        if policy.providers.iter().any(|p| p.keys.iter().any(|key| key.is_demo())) {
            log::warn!("{name}: the key demo-do-not-use is loaded; its private part is public, so anybody can sign tokens for this gateway");
            counters.demo_key(host);
        }
        let mut wanted: Vec<Algorithm> = policy.providers.iter().flat_map(|p| p.algorithms.iter().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let verifier = Verifier::probe(host, &wanted);
        for algorithm in wanted {
            let place = if verifier.is_host(algorithm) { "host" } else { "wasm" };
            log::info!("{name}: {algorithm} signatures are verified in {place}");
            counters.verifier(host, place);
        }
        let cache = Cache::new(policy.cache);
        Ok(JwtAuth { policy, verifier, cache, counters })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(&mut self, _: &mut (), request: &Request, now: &Now, host: &dyn Host) -> Step<()> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        let (rule, judgement) = self.judge(request, now, host);
        let name = self.policy.rule_name(rule);
        match judgement {
            Ok(pass) => {
                let edits = self.pass(pass, request, name, rule, host);
                Step::Allow(edits)
            }
            Err(rejection) => self.refuse(rejection, request, name, rule, host),
        }
    }
}

impl JwtAuth {
    fn judge(&mut self, request: &Request, now: &Now, host: &dyn Host) -> (Option<usize>, Judgement) {
        let rule = match self.find_rule(request) {
            Ok(rule) => rule,
            Err(reason) => return (None, Err(reason.into())),
        };
        let Some(require) = rule.and_then(|n| self.policy.rules.get(n)).map(|r| r.require.clone()) else {
            return match self.policy.unmatched {
                Unmatched::Allow => (None, Ok(Pass::Unasked)),
                Unmatched::Deny => (None, Err(Reason::Unmatched.into())),
            };
        };
        let judgement = match require {
            Require::None => Ok(Pass::Unasked),
            Require::Any(providers) => match self.any(&providers, request, now, host) {
                Ok(None) => Err(Reason::TokenMissing.into()),
                Ok(Some(found)) => Ok(Pass::As(vec![found])),
                Err(rejection) => Err(rejection),
            },
            Require::Optional(providers) => {
                self.any(&providers, request, now, host).map(|found| Pass::As(found.into_iter().collect()))
            }
            Require::All(providers) => self.all(&providers, request, now, host).map(Pass::As),
        };
        (rule, judgement)
    }

    fn find_rule(&self, request: &Request) -> Result<Option<usize>, Reason> {
        let matches = &self.policy.matches;
        if matches.ask_for_host() && request.authority().contains(&b'@') {
            return Err(Reason::AmbiguousHost);
        }
        if matches.headers().iter().any(|name| request.headers.get(name.as_str()) == Lookup::Many) {
            return Err(Reason::AmbiguousHeader);
        }
        let path = request.path().map(|path| NormalPath::new(path, self.policy.encoded_slash));
        let path = path.transpose().map_err(|_| Reason::AmbiguousPath)?;
        let path = path.as_ref().map_or(PathPart::Absent, PathPart::Known);
        let (authority, method, headers) = (request.authority(), request.method(), &request.headers);
        Ok(matches.first(Subject { authority, method, path, headers }))
    }

    /// The one token of any of these providers, if there is one.
    fn any(
        &mut self,
        providers: &[usize],
        request: &Request,
        now: &Now,
        host: &dyn Host,
    ) -> Result<Option<(Rc<Identity>, usize)>, Rejection> {
        let mut found = None;
        for (place, location) in self.policy.locations.iter().enumerate() {
            let used = |p: &usize| self.policy.providers.get(*p).is_some_and(|p| p.locations.contains(&place));
            if !providers.iter().any(used) {
                continue;
            }
            match location.find(request) {
                Found::Nothing => {}
                Found::Token(token) if found.is_none() => found = Some((token, place)),
                Found::Token(_) | Found::Several => return Err(Reason::TokenAmbiguous.into()),
            }
        }
        let Some((token, place)) = found else { return Ok(None) };
        let here = |p: &&usize| self.policy.providers.get(**p).is_some_and(|p| p.locations.contains(&place));
        let providers: Vec<usize> = providers.iter().filter(here).copied().collect();
        Ok(Some((self.identify(&providers, &token, now, host)?, place)))
    }

    /// One token of each of these providers.
    fn all(
        &mut self,
        providers: &[usize],
        request: &Request,
        now: &Now,
        host: &dyn Host,
    ) -> Result<Vec<(Rc<Identity>, usize)>, Rejection> {
        let mut identities = Vec::new();
        for provider in providers {
            let found = self.any(&[*provider], request, now, host)?;
            identities.push(found.ok_or(Reason::TokenMissing)?);
        }
        Ok(identities)
    }

    /// The identity behind a token, remembered or found out.
    fn identify(
        &mut self,
        providers: &[usize],
        token: &[u8],
        now: &Now,
        host: &dyn Host,
    ) -> Result<Rc<Identity>, Rejection> {
        if let Some(known) = self.cache.get(token)
            && providers.contains(&known.provider)
        {
            let known = Rc::clone(known);
            return match known.window.check(now.wall()) {
                Ok(()) => Ok(known),
                Err(cause) => {
                    self.cache.remove(token);
                    Err(cause.into())
                }
            };
        }
        self.counters.verified(host);
        let identity = authenticate(&self.policy, &self.verifier, providers, token, now.wall(), host)?;
        let identity = Rc::new(identity);
        self.cache.insert(token, Rc::clone(&identity), identity.bytes());
        Ok(identity)
    }

    fn pass(&mut self, pass: Pass, request: &Request, name: Rc<str>, rule: Option<usize>, host: &dyn Host) -> Edits {
        let (verdict, identities) = match pass {
            Pass::Unasked => (Verdict::skip(name), Vec::new()),
            Pass::As(identities) => (Verdict::allow(name), identities),
        };
        self.counters.decision(host, rule, &verdict.rule, verdict.outcome, None);
        let mut edits = Edits::verdict(verdict);
        for (n, (identity, place)) in identities.into_iter().enumerate() {
            if n == 0 {
                edits.facts.clone_from(&identity.facts);
            }
            edits.headers.extend(identity.headers.iter().cloned());
            let forwarded = self.policy.providers.get(identity.provider).is_some_and(|p| p.forward_token);
            if !forwarded && let Some(location) = self.policy.locations.get(place) {
                edits.headers.push(location.removal(request));
            }
        }
        edits
    }

    fn refuse(
        &mut self,
        Rejection { reason, cause }: Rejection,
        request: &Request,
        name: Rc<str>,
        rule: Option<usize>,
        host: &dyn Host,
    ) -> Step<()> {
        let mode = rule.and_then(|n| self.policy.rules.get(n)).map_or(self.policy.mode, |r| r.mode);
        let outcome = if mode == Mode::Shadow { Outcome::ShadowDeny } else { Outcome::Deny };
        if let Some(cause) = cause {
            self.counters.failure(host, cause);
        }
        self.counters.decision(host, rule, &name, outcome, Some(reason));
        log::debug!("{}: {name}: {} {} {}", self.policy.plugin.name, outcome.word(), reason.word(), cause.unwrap_or(""));
        if mode == Mode::Shadow {
            return Step::Allow(Edits::verdict(Verdict { outcome, reason: Some(reason), rule: name }));
        }
        let mut refusal = Refusal::new(reason);
        for challenge in self.challenges(reason, rule) {
            refusal = refusal.header("www-authenticate", &challenge);
        }
        Step::Reply(refusal.reply(request.protocol(), Some(name)))
    }

    /// The challenges of RFC 6750, section 3: one for each scheme that the rule's providers take. Without a credential there
    /// is no error code (section 3.1).
    fn challenges(&self, reason: Reason, rule: Option<usize>) -> Vec<String> {
        let error = match reason {
            Reason::TokenMissing => None,
            Reason::TokenAmbiguous => Some("invalid_request"),
            Reason::TokenMalformed | Reason::TokenInvalid => Some("invalid_token"),
            Reason::ScopeInsufficient | Reason::ClaimsInsufficient => Some("insufficient_scope"),
            _ => return Vec::new(),
        };
        let providers = match rule.and_then(|n| self.policy.rules.get(n)).map(|r| &r.require) {
            Some(Require::Any(p) | Require::All(p) | Require::Optional(p)) => p.as_slice(),
            Some(Require::None) | None => &[],
        };
        let mut schemes: Vec<&str> = Vec::new();
        let locations = providers.iter().filter_map(|p| self.policy.providers.get(*p)).flat_map(|p| &p.locations);
        for location in locations.filter_map(|l| self.policy.locations.get(*l)) {
            if !schemes.contains(&location.scheme()) {
                schemes.push(location.scheme());
            }
        }
        let error = error.map_or_else(String::new, |code| format!(", error=\"{code}\""));
        schemes.into_iter().map(|scheme| format!("{scheme} realm=\"{}\"{error}", self.policy.realm)).collect()
    }
}
