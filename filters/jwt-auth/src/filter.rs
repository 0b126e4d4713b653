//! From request to step.

mod waiting;

use std::borrow::Cow;
use std::rc::Rc;

use portcullis_common::answer::Refusal;
use portcullis_common::cache::{Cache, KeyPart};
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::Edits;
use portcullis_common::explain;
use portcullis_common::facts::{Outcome, PropertyKey, Verdict};
use portcullis_common::filter::{Answer, Event, Filter, Plugin, RootStep, Step};
use portcullis_common::host::Host;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::matching::strict;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::values::context::{Context, Reader};
use portcullis_common::values::source::Source;

use crate::algorithm::Algorithm;
use crate::authenticate::{Check, Refused, authenticate, is_not_denied};
use crate::challenge::challenges;
use crate::claims::Cause;
use crate::config::RawConfig;
use crate::counters::Counters;
use crate::credentials::{Found, removals};
use crate::identity::{self, Identity, Unfit};
use crate::policy::keys::MAX_SIZE;
use crate::policy::{Policy, Require, Rule};
use crate::requirement::{Granted, Lack, Requirement};
use crate::servers::{Missing, Servers, What};
use crate::token::Headers;
use crate::verify::Verifier;

use self::waiting::Patience;
pub use self::waiting::{Stream, Waiting};

/// The filter.
#[derive(Debug)]
pub struct JwtAuth {
    policy: Rc<Policy>,
    verifier: Verifier,
    headers: Headers,
    cache: Cache<Rc<Identity>>,
    servers: Servers,
    /// Held by every request that waits, so that they can be counted.
    waiting: Rc<()>,
    counters: Counters,
}

/// What a request may do, judged by one rule.
type Judgement = Result<Pass, Rejection>;

/// A token that verified.
#[derive(Clone, Debug)]
struct Shown {
    identity: Rc<Identity>,
    /// The place where it was found.
    place: usize,
    /// Whether it had been checked for an earlier request.
    remembered: bool,
}

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
#[derive(Clone, Debug)]
struct Rejection {
    reason: Reason,
    /// Which check failed, for the operator.
    cause: Option<&'static str>,
    /// Whose valid token did not suffice.
    who: Option<Shown>,
    /// What the token could not be checked for.
    missing: Option<Missing>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Rejection { reason, cause: None, who: None, missing: None }
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(how) => Rejection {
                reason: Reason::TokenMalformed,
                cause: Some(how.word()),
                who: None,
                missing: None,
            },
            Refused::Missing(missing, cause) => {
                let reason = match missing.what {
                    What::Keys => Reason::KeysUnavailable,
                    What::Key(_) => Reason::TokenInvalid,
                    What::List => Reason::DenyListUnavailable,
                };
                let cause = matches!(missing.what, What::Key(_)).then(|| cause.word());
                Rejection { reason, cause, who: None, missing: Some(missing) }
            }
            Refused::Unfit(Unfit::Cause(cause)) => cause.into(),
            Refused::Unfit(Unfit::Value(failure)) => failure.reason().into(),
        }
    }
}

impl From<Cause> for Rejection {
    fn from(cause: Cause) -> Self {
        Rejection { reason: Reason::TokenInvalid, cause: Some(cause.word()), who: None, missing: None }
    }
}

impl Filter for JwtAuth {
    const NAME: &'static str = "jwt-auth";
    const CLOCK: Clock = Clock::Wall;
    const PAUSES: bool = true;
    const GRPC: bool = false;
    const MAX_ANSWER: usize = MAX_SIZE;
    type Pending = Waiting;
    type Stream = Stream;

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
        let signs = |a: &Algorithm| policy.providers.iter().any(|p| p.algorithms.contains(a));
        let wanted: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(signs).collect();
        let verifier = Verifier::probe(host, &wanted);
        for algorithm in wanted {
            let place = if verifier.is_host(algorithm) { "host" } else { "wasm" };
            log::info!("{name}: {algorithm} signatures are verified in {place}");
            counters.verifier(host, place);
        }
        // A token ends in its signature: nobody can make two that end alike.
        let cache = Cache::new(policy.cache, KeyPart::End);
        let servers = Servers::new(&policy, host);
        let headers = Headers::default();
        let waiting = Rc::new(());
        Ok(JwtAuth { policy: Rc::new(policy), verifier, headers, cache, servers, waiting, counters })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        now: &Now,
        host: &dyn Host,
    ) -> Step<Waiting> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        let policy = Rc::clone(&self.policy);
        if let Some(document) = policy.resource.as_ref().and_then(|resource| resource.answer(request)) {
            return Step::Reply(document);
        }
        self.decide(stream, Asked { policy: &policy, request, now, host }, Patience::Fresh)
    }

    fn on_answer(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        pending: Waiting,
        answers: Vec<Answer>,
        now: &Now,
        host: &dyn Host,
    ) -> Step<Waiting> {
        stream.waits = None;
        let is_woken = matches!(answers.as_slice(), [Answer::Woken]);
        let policy = Rc::clone(&self.policy);
        let patience = if is_woken { Patience::Left(pending) } else { Patience::Over(pending) };
        self.decide(stream, Asked { policy: &policy, request, now, host }, patience)
    }

    fn on_tick(&mut self, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        if self.servers.is_empty() {
            return Vec::new();
        }
        self.servers.tick(now.mono(), host, &mut self.counters)
    }

    fn on_event(&mut self, event: Event, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        match event {
            Event::Answered { tag, answer } => {
                self.servers.answered(tag, answer, now.mono(), host, &mut self.counters)
            }
            // Nothing here opens streams.
            Event::Opened { .. } | Event::Message { .. } | Event::Closed { .. } => Vec::new(),
        }
    }

    fn keeps_watch(&self) -> bool {
        !self.servers.is_empty()
    }
}

impl JwtAuth {
    fn decide(&mut self, stream: &mut Stream, asked: Asked<'_>, patience: Patience) -> Step<Waiting> {
        let known = patience.refusal(self.servers.epoch());
        let (mut rule, mut judgement) = match known {
            Some((rule, rejection)) => (rule, Err(rejection)),
            None => self.judge(asked),
        };
        if let Err(Rejection { missing: Some(missing), .. }) = &judgement
            && matches!(patience, Patience::Fresh)
            && self.servers.look(missing.provider, asked.now.mono(), asked.host)
        {
            // Another worker has it.
            (rule, judgement) = self.judge(asked);
        }
        let mut rejection = match judgement {
            Ok(pass) => {
                self.count_wait(asked.host, &patience, "woken");
                return Step::Allow(self.pass(asked, pass, rule));
            }
            Err(rejection) => rejection,
        };
        if let Some(missing) = &rejection.missing {
            if let Some(wait) = self.wait(stream, asked, (rule, &rejection), &patience) {
                return wait;
            }
            // Who cannot ask the server does not know that it has no such key.
            if matches!(missing.what, What::Key(_)) && self.servers.is_failing(missing.provider) {
                rejection = Rejection {
                    reason: Reason::KeysUnavailable,
                    cause: None,
                    who: None,
                    missing: rejection.missing,
                };
            }
        }
        let ended = if matches!(patience, Patience::Over(_)) { "timeout" } else { "woken" };
        self.count_wait(asked.host, &patience, ended);
        self.refuse(asked, rejection, rule)
    }

    /// Whether what a remembered token was checked with still holds: the key that made its signature, and the deny list.
    fn still_holds(&self, identity: &Identity) -> bool {
        let epoch = self.servers.epoch();
        if identity.epoch.get() == epoch {
            return true;
        }
        let has_key = identity.proof.as_ref().is_none_or(|proof| self.servers.has(proof.source, &proof.key));
        let position = identity.provider;
        let is_listed = self.policy.providers.get(position).is_none_or(|provider| {
            is_not_denied(&self.servers, position, provider, &identity.claims).is_err()
        });
        if !has_key || is_listed {
            return false;
        }
        identity.epoch.set(epoch);
        true
    }

    fn judge(&mut self, asked: Asked<'_>) -> (Option<usize>, Judgement) {
        let Asked { policy, request, .. } = asked;
        let rule = match find_rule(policy, request) {
            Ok(rule) => rule,
            Err(reason) => return (None, Err(reason.into())),
        };
        if policy.preflights == Preflights::Pass && request.is_preflight() {
            return (rule, Ok(Pass::Unasked));
        }
        let Some(Rule { require, requirement, .. }) = rule.and_then(|n| policy.rules.get(n)) else {
            return match policy.unmatched {
                Unmatched::Allow => (None, Ok(Pass::Unasked)),
                Unmatched::Deny => (None, Err(Reason::Unmatched.into())),
            };
        };
        let granted = |shown: Shown| grants(policy, requirement, shown);
        let missing = || Rejection::from(Reason::TokenMissing);
        let judgement = match require {
            Require::None => Ok(Pass::Unasked),
            Require::Any(providers) => {
                self.any(asked, providers).and_then(|s| s.ok_or_else(missing)).and_then(granted).map(Pass::As)
            }
            Require::Optional(providers) => match self.any(asked, providers) {
                Ok(None) => Ok(Pass::Anonymous),
                Ok(Some(shown)) => granted(shown).map(Pass::As),
                Err(rejection) => Err(rejection),
            },
            Require::All(providers) => self.all(asked, providers).and_then(|all| {
                // The first one speaks for the request, in what it grants as in its facts.
                all.first().cloned().map(granted).transpose()?;
                Ok(Pass::AsAll(all))
            }),
        };
        (rule, judgement)
    }

    /// The one token of any of these providers, if there is one.
    fn any(&mut self, asked: Asked<'_>, providers: &[usize]) -> Result<Option<Shown>, Rejection> {
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
            .filter(|known| speaks_for(asked.policy, providers, known, |p| takes(p, place)));
        let known = known.map(Rc::clone).filter(|known| self.still_holds(known));
        if let Some(identity) = known {
            return match identity.window.check(asked.now.wall()) {
                Ok(()) => Ok(Some(Shown { identity, place, remembered: true })),
                Err(cause) => {
                    self.cache.remove(&token);
                    Err(cause.into())
                }
            };
        }
        // Envoy joins repeated headers with commas, which no token contains; JSON does, and is refused for that.
        if token.first() != Some(&b'{') && token.contains(&b',') {
            return Err(Reason::TokenAmbiguous.into());
        }
        let here: Vec<usize> = providers.iter().filter(|p| takes(p, place)).copied().collect();
        let identity = self.check(asked, &here, &token)?;
        Ok(Some(Shown { identity, place, remembered: false }))
    }

    /// One token of each of these providers.
    fn all(&mut self, asked: Asked<'_>, providers: &[usize]) -> Result<Vec<Shown>, Rejection> {
        let one =
            |provider| self.any(asked, std::slice::from_ref(provider))?.ok_or(Reason::TokenMissing.into());
        providers.iter().map(one).collect()
    }

    /// The identity behind a token that is not remembered.
    fn check(
        &mut self,
        asked: Asked<'_>,
        providers: &[usize],
        token: &[u8],
    ) -> Result<Rc<Identity>, Rejection> {
        let Asked { policy, now, host, .. } = asked;
        self.counters.verified(host);
        let check = Check {
            policy,
            servers: &self.servers,
            verifier: &self.verifier,
            headers: &mut self.headers,
            now: now.wall(),
            host,
        };
        let identity = Rc::new(authenticate(check, providers, token)?);
        self.cache.insert(token, Rc::clone(&identity), identity.bytes());
        Ok(identity)
    }

    fn pass(&mut self, asked: Asked<'_>, pass: Pass, rule: Option<usize>) -> Edits {
        let Asked { policy, request, now, host } = asked;
        let name = policy.rule_name(rule);
        let verdict = if matches!(pass, Pass::Unasked) { Verdict::skip(name) } else { Verdict::allow(name) };
        self.counters.decisions.count(host, rule, &verdict.rule, verdict.outcome, None);
        let shown = match &pass {
            Pass::Unasked | Pass::Anonymous => [].as_slice(),
            Pass::As(shown) => std::slice::from_ref(shown),
            Pass::AsAll(all) => all.as_slice(),
        };
        let mut edits = Edits::default();
        if let Some(first) = shown.first() {
            edits.facts.clone_from(&first.identity.facts);
            if let Some(text) = explained(policy, &verdict, Some(first), now, host) {
                edits.facts.push((PropertyKey::clone(&policy.explain_key), text.into_bytes().into()));
            }
        }
        hand_on(policy, shown, request, &mut edits);
        edits.verdict = Some(verdict);
        edits
    }

    fn refuse(&mut self, asked: Asked<'_>, rejection: Rejection, rule: Option<usize>) -> Step<Waiting> {
        let Asked { policy, request, now, host } = asked;
        let Rejection { reason, cause, who, missing } = rejection;
        let name = policy.rule_name(rule);
        let rule_asked = rule.and_then(|n| policy.rules.get(n));
        let enforced = rule_asked.map_or(policy.enforcement, |r| r.enforcement).applies(host);
        let outcome = if enforced { Outcome::Deny } else { Outcome::ShadowDeny };
        if let Some(cause) = cause {
            self.counters.failure(host, cause);
        }
        self.counters.decisions.count(host, rule, &name, outcome, Some(reason));
        log::debug!(
            "{}: {name}: {} {} {}",
            policy.plugin.name,
            outcome.word(),
            reason.word(),
            cause.unwrap_or("")
        );
        let verdict = Verdict { outcome, reason: Some(reason), rule: Rc::clone(&name) };
        if !enforced {
            return Step::Allow(Edits::verdict(verdict));
        }
        let mut refusal = Refusal::new(reason);
        for challenge in challenges(policy, reason, rule_asked) {
            refusal = refusal.header("www-authenticate", &challenge);
        }
        if let Some(missing) = missing.filter(|_| reason.spec().status == 503) {
            let left = self.servers.next_try(missing.provider).since(now.mono());
            // A whole second at least, and no part of one less than it takes.
            let seconds = left.as_secs().saturating_add(1);
            refusal = refusal.header("retry-after", &seconds.to_string());
        }
        if let Some(text) = explained(policy, &verdict, who.as_ref(), now, host) {
            refusal = refusal.header(explain::HEADER, &text);
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
    let path = strict::path(&policy.matches, request, policy.encoded_slash)?;
    let path = path.as_ref().map_or(PathPart::Absent, PathPart::Known);
    Ok(policy.matches.first(Subject::of(request, path)))
}

/// Whether a remembered identity is the one that a check by these providers would give: no provider in front of its own could own
/// the token. Else it would depend on what was asked earlier whose the token is.
fn speaks_for(
    policy: &Policy,
    providers: &[usize],
    known: &Identity,
    takes: impl Fn(&usize) -> bool,
) -> bool {
    let owns = |p: &usize| policy.providers.get(*p).is_some_and(|p| p.issuers.own(&known.claims));
    let mut able = providers.iter().filter(|p| takes(p)).skip_while(|p| **p != known.provider && !owns(p));
    able.next() == Some(&known.provider)
}

/// Whether the token grants what the rule asks of it.
fn grants(policy: &Policy, requirement: &Requirement, shown: Shown) -> Result<Shown, Rejection> {
    let identity = &shown.identity;
    let roles = policy.providers.get(identity.provider).map(|p| p.roles.as_slice()).unwrap_or_default();
    let granted = Granted { claims: &identity.claims, subject: &identity.subject, roles };
    let reason = match requirement.check(granted) {
        Ok(()) => return Ok(shown),
        Err(Lack::Scope) => Reason::ScopeInsufficient,
        Err(Lack::Claim) => Reason::ClaimsInsufficient,
    };
    Err(Rejection { reason, cause: None, who: Some(shown), missing: None })
}

/// The explanation of a verdict, if the caller is one of those who are told.
fn explained(
    policy: &Policy,
    verdict: &Verdict,
    who: Option<&Shown>,
    now: &Now,
    host: &dyn Host,
) -> Option<String> {
    let explain = policy.explain.as_ref()?;
    let nothing = Request::default();
    let value = |source: &Source| match source {
        Source::PeerSpiffe | Source::PeerSha256 => {
            let context = Context { request: &nothing, path: None, pattern: None, host };
            Reader::new(source.clone(), "").read(&context).ok().map(Cow::into_owned)
        }
        _ => {
            let identity = &who?.identity;
            identity::value(&identity.claims, source, Some(&identity.subject)).ok()
        }
    };
    if !explain.is_for(value) {
        return None;
    }
    let source = match who {
        None => "none",
        Some(Shown { remembered: true, .. }) => "remembered",
        Some(_) => "checked",
    };
    Some(explain::text(&policy.plugin.name, verdict, source, now.elapsed_micros(JwtAuth::CLOCK)))
}

/// The headers of the identities, and their tokens' removal.
fn hand_on(policy: &Policy, shown: &[Shown], request: &Request, edits: &mut Edits) {
    let mut places = Vec::new();
    for Shown { identity, place, .. } in shown {
        edits.headers.extend_from_slice(&identity.headers);
        let forwarded = policy.providers.get(identity.provider).is_some_and(|p| p.forward_token);
        if !forwarded {
            places.extend(policy.locations.get(*place));
        }
    }
    edits.headers.extend(removals(&places, request));
}
