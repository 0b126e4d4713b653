//! From request to step.

use std::rc::Rc;

use portcullis_common::answer::Refusal;
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::Edits;
use portcullis_common::explain;
use portcullis_common::facts::{Outcome, PropertyKey, Verdict};
use portcullis_common::filter::{Filter, Plugin, Step};
use portcullis_common::host::Host;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::matching::strict;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::values::context::{Context, Reader};

use crate::ask::{self, Asked};
use crate::config::RawConfig;
use crate::counters::Counters;
use crate::policy::{Checks, Policy};

/// The filter.
#[derive(Debug)]
pub struct Rebac {
    policy: Rc<Policy>,
    counters: Counters,
}

/// A request may pass, and why.
enum Pass {
    /// Nothing was asked about it.
    Unasked,
    /// The answers grant it.
    Granted(Asked),
}

/// A request may not pass.
struct Rejection {
    reason: Reason,
    /// The question that decided.
    asked: Option<Asked>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Rejection { reason, asked: None }
    }
}

impl Filter for Rebac {
    const NAME: &'static str = "rebac";
    const CLOCK: Clock = Clock::Wall;
    const PAUSES: bool = false;
    type Pending = ();
    type Stream = ();

    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let policy = Policy::new(raw)?;
        let mut counters = Counters::new(&policy.plugin.name);
        let (tuples, bytes) = (policy.engine.tuples(), policy.engine.bytes());
        log::info!("{}: {tuples} tuples, in {bytes} bytes", policy.plugin.name);
        counters.tuples(host, tuples);
        Ok(Rebac { policy: Rc::new(policy), counters })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(&mut self, _: &mut (), request: &Request, now: &Now, host: &dyn Host) -> Step<()> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        let policy = Rc::clone(&self.policy);
        let (rule, judgement) = judge(&policy, request, now, host);
        let scene = Scene { policy: &policy, rule, request, now, host };
        match judgement {
            Ok(pass) => Step::Allow(self.pass(scene, &pass)),
            Err(rejection) => self.refuse(scene, &rejection),
        }
    }
}

/// What a request is judged in.
#[derive(Clone, Copy)]
struct Scene<'a> {
    policy: &'a Policy,
    rule: Option<usize>,
    request: &'a Request,
    now: &'a Now,
    host: &'a dyn Host,
}

impl Rebac {
    fn pass(&mut self, scene: Scene<'_>, pass: &Pass) -> Edits {
        let Scene { policy, rule, host, .. } = scene;
        let name = policy.rule_name(rule);
        let (verdict, asked) = match pass {
            Pass::Unasked => (Verdict::skip(name), None),
            Pass::Granted(asked) => (Verdict::allow(name), Some(asked)),
        };
        self.counters.decisions.count(host, rule, &verdict.rule, verdict.outcome, None);
        let mut edits = Edits::default();
        if let Some(text) = explained(scene, &verdict, asked) {
            edits.facts.push((PropertyKey::clone(&policy.explain_key), text.into_bytes().into()));
        }
        edits.verdict = Some(verdict);
        edits
    }

    fn refuse(&mut self, scene: Scene<'_>, rejection: &Rejection) -> Step<()> {
        let Scene { policy, rule, request, host, .. } = scene;
        let Rejection { reason, asked } = rejection;
        let name = policy.rule_name(rule);
        let of_rule = rule.and_then(|n| policy.rules.get(n));
        let enforced = of_rule.map_or(policy.enforcement, |r| r.enforcement).applies(host);
        let outcome = if enforced { Outcome::Deny } else { Outcome::ShadowDeny };
        self.counters.decisions.count(host, rule, &name, outcome, Some(*reason));
        log::debug!("{}: {name}: {} {}", policy.plugin.name, outcome.word(), reason.word());
        let verdict = Verdict { outcome, reason: Some(*reason), rule: Rc::clone(&name) };
        if !enforced {
            return Step::Allow(Edits::verdict(verdict));
        }
        // Both say something about the object: that it is there, or that there are tuples of it.
        let tells = matches!(reason, Reason::RelationDenied | Reason::ConditionUnresolved);
        let hidden = tells && of_rule.is_some_and(|r| r.hide);
        let mut refusal = Refusal::new(if hidden { Reason::NotFound } else { *reason });
        if *reason == Reason::SubjectMissing {
            refusal = refusal.header("www-authenticate", "Bearer");
        }
        if let Some(text) = explained(scene, &verdict, asked.as_ref()) {
            refusal = refusal.header(explain::HEADER, &text);
        }
        Step::Reply(refusal.reply(request.protocol(), Some(name)))
    }
}

/// The rule that decides, and what it decides.
fn judge(
    policy: &Policy,
    request: &Request,
    now: &Now,
    host: &dyn Host,
) -> (Option<usize>, Result<Pass, Rejection>) {
    let matches = &policy.matches;
    let path = match strict::path(matches, request, policy.encoded_slash) {
        Ok(path) => path,
        Err(reason) => return (None, Err(reason.into())),
    };
    let part = path.as_ref().map_or(PathPart::Absent, PathPart::Known);
    let rule = matches.first(Subject::of(request, part));
    if policy.preflights == Preflights::Pass && request.is_preflight() {
        return (rule, Ok(Pass::Unasked));
    }
    let Some((at, found)) = rule.and_then(|n| Some((n, policy.rules.get(n)?))) else {
        return match policy.unmatched {
            Unmatched::Allow => (None, Ok(Pass::Unasked)),
            Unmatched::Deny => (None, Err(Reason::Unmatched.into())),
        };
    };
    let context = Context { request, path: path.as_ref(), pattern: matches.pattern(at), host };
    let asker = ask::Asker { policy, context, now };
    let judgement = match &found.checks {
        Checks::Nothing => Ok(Pass::Unasked),
        Checks::Any(checks) => any(asker, checks),
        Checks::All(checks) => all(asker, checks),
    };
    (rule, judgement)
}

/// One question has to hold. If none does, what could not be asked or answered is the reason.
fn any(asker: ask::Asker<'_>, checks: &[crate::policy::Check]) -> Result<Pass, Rejection> {
    let mut rejection = None;
    for check in checks {
        match asker.ask(check) {
            (Some(asked), Ok(())) => return Ok(Pass::Granted(asked)),
            (asked, Err(reason)) => {
                let worse = |r: &Rejection| r.reason == Reason::RelationDenied;
                if rejection.as_ref().is_none_or(worse) {
                    rejection = Some(Rejection { reason, asked });
                }
            }
            (None, Ok(())) => {}
        }
    }
    Err(rejection.unwrap_or_else(|| Reason::RelationDenied.into()))
}

/// All questions have to hold. A plain no is the reason before what could not be answered.
fn all(asker: ask::Asker<'_>, checks: &[crate::policy::Check]) -> Result<Pass, Rejection> {
    let (mut last, mut rejection) = (None, None);
    for check in checks {
        match asker.ask(check) {
            (asked, Ok(())) => last = asked,
            (asked, Err(reason)) => {
                let plain = reason == Reason::RelationDenied;
                if plain || rejection.is_none() {
                    rejection = Some(Rejection { reason, asked });
                }
                if plain {
                    break;
                }
            }
        }
    }
    match (rejection, last) {
        (None, Some(asked)) => Ok(Pass::Granted(asked)),
        (rejection, _) => Err(rejection.unwrap_or_else(|| Reason::RelationDenied.into())),
    }
}

/// The explanation of a verdict, if the caller is one of those who are told: with the question that decided, and the tuples that
/// grant it.
fn explained(scene: Scene<'_>, verdict: &Verdict, asked: Option<&Asked>) -> Option<String> {
    let Scene { policy, request, now, host, .. } = scene;
    let explain = policy.explain.as_ref()?;
    let context = Context { request, path: None, pattern: None, host };
    let value = |source: &_| Reader::new(Clone::clone(source), &policy.identity).read(&context).ok();
    if !explain.is_for(value) {
        return None;
    }
    let mut text = explain::text(&policy.plugin.name, verdict, "embedded", now.elapsed_micros(Rebac::CLOCK));
    if let Some(asked) = asked {
        // A Structured Field string takes visible ASCII without quotes and backslashes as it stands.
        let plain = |text: &str| -> String {
            text.chars()
                .map(|c| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '?' })
                .collect()
        };
        text.push_str(";asked=\"");
        text.push_str(&plain(&asked.question));
        text.push('"');
        if !asked.path.is_empty() {
            text.push_str(";by=\"");
            text.push_str(&plain(&asked.path.join(" ")));
            text.push('"');
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests;
