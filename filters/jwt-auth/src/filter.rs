//! From request to step.

use std::rc::Rc;

use portcullis_common::answer::Refusal;
use portcullis_common::cache::{Cache, KeyPart};
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
use crate::authenticate::{Check, Refused, authenticate};
use crate::claims::Cause;
use crate::config::{RawConfig, Unmatched};
use crate::counters::Counters;
use crate::credentials::Found;
use crate::identity::{Identity, Unfit};
use crate::policy::{Policy, Require, Rule};
use crate::token::Headers;
use crate::verify::Verifier;

/// The filter.
#[derive(Debug)]
pub struct JwtAuth {
    policy: Rc<Policy>,
    verifier: Verifier,
    headers: Headers,
    cache: Cache<Rc<Identity>>,
    counters: Counters,
}

/// What a request may do, judged by one rule.
type Judgement = Result<Pass, Rejection>;

/// A token that verified, and the place where it was found.
type Shown = (Rc<Identity>, usize);

/// A request may pass.
enum Pass {
    /// Nothing was asked of it.
    Unasked,
    /// Without a token, where one was optional.
    Anonymous,
    /// With this token.
    As(Shown),
    /// With these tokens; the first speaks for the request.
    AsAll(Vec<Shown>),
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
            log::warn!(
                "{name}: the key demo-do-not-use is loaded; its private part is public, so anybody can sign tokens for this gateway"
            );
            counters.demo_key(host);
        }
        let mut wanted: Vec<Algorithm> =
            policy.providers.iter().flat_map(|p| p.algorithms.iter().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let verifier = Verifier::probe(host, &wanted);
        for algorithm in wanted {
            let place = if verifier.is_host(algorithm) { "host" } else { "wasm" };
            log::info!("{name}: {algorithm} signatures are verified in {place}");
            counters.verifier(host, place);
        }
        // A token ends in its signature: nobody can make two that end alike.
        let cache = Cache::new(policy.cache, KeyPart::End);
        Ok(JwtAuth { policy: Rc::new(policy), verifier, headers: Headers::default(), cache, counters })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(&mut self, _: &mut (), request: &Request, now: &Now, host: &dyn Host) -> Step<()> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        let policy = Rc::clone(&self.policy);
        let (rule, judgement) = self.judge(&policy, request, now, host);
        match judgement {
            Ok(pass) => Step::Allow(self.pass(&policy, pass, request, rule, host)),
            Err(rejection) => self.refuse(&policy, rejection, request, rule, host),
        }
    }
}

impl JwtAuth {
    fn judge(
        &mut self,
        policy: &Policy,
        request: &Request,
        now: &Now,
        host: &dyn Host,
    ) -> (Option<usize>, Judgement) {
        let rule = match find_rule(policy, request) {
            Ok(rule) => rule,
            Err(reason) => return (None, Err(reason.into())),
        };
        let Some(Rule { require, .. }) = rule.and_then(|n| policy.rules.get(n)) else {
            return match policy.unmatched {
                Unmatched::Allow => (None, Ok(Pass::Unasked)),
                Unmatched::Deny => (None, Err(Reason::Unmatched.into())),
            };
        };
        let mut asked = Asked { policy, request, now, host };
        let judgement = match require {
            Require::None => Ok(Pass::Unasked),
            Require::Any(providers) => self
                .any(&mut asked, providers)
                .and_then(|shown| shown.map(Pass::As).ok_or(Reason::TokenMissing.into())),
            Require::Optional(providers) => {
                self.any(&mut asked, providers).map(|shown| shown.map_or(Pass::Anonymous, Pass::As))
            }
            Require::All(providers) => self.all(&mut asked, providers).map(Pass::AsAll),
        };
        (rule, judgement)
    }

    /// The one token of any of these providers, if there is one.
    fn any(&mut self, asked: &mut Asked<'_>, providers: &[usize]) -> Result<Option<Shown>, Rejection> {
        let takes = |provider: &usize, place: usize| {
            asked.policy.providers.get(*provider).is_some_and(|p| p.locations.contains(&place))
        };
        let mut found = None;
        for (place, location) in asked.policy.locations.iter().enumerate() {
            if !providers.iter().any(|p| takes(p, place)) {
                continue;
            }
            match location.find(asked.request) {
                Found::Nothing => {}
                Found::Token(token) if found.is_none() => found = Some((token, place)),
                Found::Token(_) | Found::Several => return Err(Reason::TokenAmbiguous.into()),
            }
        }
        let Some((token, place)) = found else { return Ok(None) };
        let known = self
            .cache
            .get(&token)
            .filter(|known| providers.contains(&known.provider) && takes(&known.provider, place));
        if let Some(known) = known.map(Rc::clone) {
            return match known.window.check(asked.now.wall()) {
                Ok(()) => Ok(Some((known, place))),
                Err(cause) => {
                    self.cache.remove(&token);
                    Err(cause.into())
                }
            };
        }
        let here: Vec<usize> = providers.iter().filter(|p| takes(p, place)).copied().collect();
        Ok(Some((self.check(asked, &here, &token)?, place)))
    }

    /// One token of each of these providers.
    fn all(&mut self, asked: &mut Asked<'_>, providers: &[usize]) -> Result<Vec<Shown>, Rejection> {
        let one =
            |provider| self.any(asked, std::slice::from_ref(provider))?.ok_or(Reason::TokenMissing.into());
        providers.iter().map(one).collect()
    }

    /// The identity behind a token that is not remembered.
    fn check(
        &mut self,
        asked: &Asked<'_>,
        providers: &[usize],
        token: &[u8],
    ) -> Result<Rc<Identity>, Rejection> {
        let Asked { policy, now, host, .. } = *asked;
        self.counters.verified(host);
        let check =
            Check { policy, verifier: &self.verifier, headers: &mut self.headers, now: now.wall(), host };
        let identity = Rc::new(authenticate(check, providers, token)?);
        self.cache.insert(token, Rc::clone(&identity), identity.bytes());
        Ok(identity)
    }

    fn pass(
        &mut self,
        policy: &Policy,
        pass: Pass,
        request: &Request,
        rule: Option<usize>,
        host: &dyn Host,
    ) -> Edits {
        let name = policy.rule_name(rule);
        let verdict = if matches!(pass, Pass::Unasked) { Verdict::skip(name) } else { Verdict::allow(name) };
        self.counters.decision(host, rule, &verdict.rule, verdict.outcome, None);
        let mut edits = Edits::verdict(verdict);
        match pass {
            Pass::Unasked | Pass::Anonymous => {}
            Pass::As(shown) => {
                edits.facts.clone_from(&shown.0.facts);
                hand_on(policy, &shown, request, &mut edits);
            }
            Pass::AsAll(all) => {
                if let Some((first, _)) = all.first() {
                    edits.facts.clone_from(&first.facts);
                }
                all.iter().for_each(|shown| hand_on(policy, shown, request, &mut edits));
            }
        }
        edits
    }

    fn refuse(
        &mut self,
        policy: &Policy,
        Rejection { reason, cause }: Rejection,
        request: &Request,
        rule: Option<usize>,
        host: &dyn Host,
    ) -> Step<()> {
        let name = policy.rule_name(rule);
        let mode = rule.and_then(|n| policy.rules.get(n)).map_or(policy.mode, |r| r.mode);
        let outcome = if mode == Mode::Shadow { Outcome::ShadowDeny } else { Outcome::Deny };
        if let Some(cause) = cause {
            self.counters.failure(host, cause);
        }
        self.counters.decision(host, rule, &name, outcome, Some(reason));
        log::debug!(
            "{}: {name}: {} {} {}",
            policy.plugin.name,
            outcome.word(),
            reason.word(),
            cause.unwrap_or("")
        );
        if mode == Mode::Shadow {
            return Step::Allow(Edits::verdict(Verdict { outcome, reason: Some(reason), rule: name }));
        }
        let mut refusal = Refusal::new(reason);
        for challenge in challenges(policy, reason, rule) {
            refusal = refusal.header("www-authenticate", &challenge);
        }
        Step::Reply(refusal.reply(request.protocol(), Some(name)))
    }
}

/// What is asked about one request.
#[derive(Clone, Copy)]
struct Asked<'a> {
    policy: &'a Policy,
    request: &'a Request,
    now: &'a Now,
    host: &'a dyn Host,
}

fn find_rule(policy: &Policy, request: &Request) -> Result<Option<usize>, Reason> {
    let matches = &policy.matches;
    if matches.ask_for_host() && request.authority().contains(&b'@') {
        return Err(Reason::AmbiguousHost);
    }
    if matches.headers().iter().any(|name| request.headers.get(name.as_str()) == Lookup::Many) {
        return Err(Reason::AmbiguousHeader);
    }
    let path = request.path().map(|path| NormalPath::new(path, policy.encoded_slash));
    let path = path.transpose().map_err(|_| Reason::AmbiguousPath)?;
    let path = path.as_ref().map_or(PathPart::Absent, PathPart::Known);
    let (authority, method, headers) = (request.authority(), request.method(), &request.headers);
    Ok(matches.first(Subject { authority, method, path, headers }))
}

/// The headers of an identity, and its token's removal.
fn hand_on(policy: &Policy, (identity, place): &Shown, request: &Request, edits: &mut Edits) {
    edits.headers.extend_from_slice(&identity.headers);
    let forwarded = policy.providers.get(identity.provider).is_some_and(|p| p.forward_token);
    if !forwarded && let Some(location) = policy.locations.get(*place) {
        edits.headers.push(location.removal(request));
    }
}

/// The challenges of RFC 6750, section 3: one for each scheme that the rule's providers take. Without a credential there is no
/// error code (section 3.1).
fn challenges(policy: &Policy, reason: Reason, rule: Option<usize>) -> Vec<String> {
    let error = match reason {
        Reason::TokenMissing => None,
        Reason::TokenAmbiguous => Some("invalid_request"),
        Reason::TokenMalformed | Reason::TokenInvalid => Some("invalid_token"),
        Reason::ScopeInsufficient | Reason::ClaimsInsufficient => Some("insufficient_scope"),
        _ => return Vec::new(),
    };
    let providers = match rule.and_then(|n| policy.rules.get(n)).map(|r| &r.require) {
        Some(Require::Any(p) | Require::All(p) | Require::Optional(p)) => p.as_slice(),
        Some(Require::None) | None => &[],
    };
    let mut schemes: Vec<&str> = Vec::new();
    let locations = providers.iter().filter_map(|p| policy.providers.get(*p)).flat_map(|p| &p.locations);
    for location in locations.filter_map(|l| policy.locations.get(*l)) {
        if !schemes.contains(&location.scheme()) {
            schemes.push(location.scheme());
        }
    }
    let error = error.map_or_else(String::new, |code| format!(", error=\"{code}\""));
    schemes.into_iter().map(|scheme| format!("{scheme} realm=\"{}\"{error}", policy.realm)).collect()
}
