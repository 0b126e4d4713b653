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
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::values::context::{Context, Reader};

use crate::combine::{Asked, Judgement};
use crate::config::RawConfig;
use crate::counters::Counters;
use crate::judge;
use crate::policy::Policy;

/// The filter.
#[derive(Debug)]
pub struct Rebac {
    policy: Rc<Policy>,
    counters: Counters,
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
        let store = policy.engine.store();
        let (tuples, bytes) = (store.len(), store.bytes());
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
        let judged = judge::judge(&policy, request, now, host);
        let scene = Scene { policy: &policy, rule: judged.rule, request, now, host };
        match judged.judgement {
            Judgement::Unasked => Step::Allow(self.pass(scene, None)),
            Judgement::Granted(asked) => Step::Allow(self.pass(scene, Some(&asked))),
            Judgement::Refused(reason, asked) => self.refuse(scene, reason, asked.as_ref()),
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
    /// A request passes: nothing was asked about it, or this grants it.
    fn pass(&mut self, scene: Scene<'_>, asked: Option<&Asked>) -> Edits {
        let Scene { policy, rule, host, .. } = scene;
        let name = policy.rule_name(rule);
        let verdict = if asked.is_some() { Verdict::allow(name) } else { Verdict::skip(name) };
        self.counters.decisions.count(host, rule, &verdict.rule, verdict.outcome, None);
        let mut edits = Edits::default();
        if let Some(text) = explained(scene, &verdict, asked) {
            edits.facts.push((PropertyKey::clone(&policy.explain_key), text.into_bytes().into()));
        }
        edits.verdict = Some(verdict);
        edits
    }

    /// A request does not pass: why, and the question that decided.
    fn refuse(&mut self, scene: Scene<'_>, reason: Reason, asked: Option<&Asked>) -> Step<()> {
        let Scene { policy, rule, request, host, .. } = scene;
        let name = policy.rule_name(rule);
        let of_rule = rule.and_then(|n| policy.rules.get(n));
        let enforced = of_rule.map_or(policy.enforcement, |r| r.enforcement).applies(host);
        let outcome = if enforced { Outcome::Deny } else { Outcome::ShadowDeny };
        self.counters.decisions.count(host, rule, &name, outcome, Some(reason));
        log::debug!("{}: {name}: {} {}", policy.plugin.name, outcome.word(), reason.word());
        let verdict = Verdict { outcome, reason: Some(reason), rule: Rc::clone(&name) };
        if !enforced {
            return Step::Allow(Edits::verdict(verdict));
        }
        // Both say something about the object: that it is there, or that there are tuples of it.
        let tells = matches!(reason, Reason::RelationDenied | Reason::ConditionUnresolved);
        let hidden = tells && of_rule.is_some_and(|r| r.hide);
        let mut refusal = Refusal::new(if hidden { Reason::NotFound } else { reason });
        if reason == Reason::SubjectMissing {
            refusal = refusal.header("www-authenticate", "Bearer");
        }
        if let Some(text) = explained(scene, &verdict, asked) {
            refusal = refusal.header(explain::HEADER, &text);
        }
        Step::Reply(refusal.reply(request.protocol(), Some(name)))
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
        text.push_str(&plain(&asked.question.to_string()));
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
