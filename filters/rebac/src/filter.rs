//! From request to step.

mod remotely;
mod waiting;

use std::borrow::Cow;
use std::rc::Rc;

use portcullis_common::answer::{Refusal, Reply};
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::Edits;
use portcullis_common::explain;
use portcullis_common::facts::{Outcome, PropertyKey, Verdict};
use portcullis_common::filter::{Answer, Event, Filter, Plugin, RootStep, Step, WaitKey};
use portcullis_common::host::Host;
use portcullis_common::mode::OnError;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::values::context::{Context, Reader};

use crate::batch;
use crate::combine::{Asked, Judgement};
use crate::config::RawConfig;
use crate::counters::Counters;
use crate::feed::Feed;
use crate::judge::{self, Judged};
use crate::policy::Policy;
use crate::policy::fetched::MAX_SIZE;
use crate::policy::remote::Bearer;
use crate::remote::client::{self, Client};
use crate::remote::errand::Errand;
use crate::trace;
use crate::watching::Watching;

use self::waiting::Patience;
pub use self::waiting::{Stream, Waiting};

/// Why a request waits.
#[derive(Debug)]
pub enum Pending {
    /// For tuples.
    Tuples(Waiting),
    /// For an engine outside the filter.
    Engine(Box<Errand>),
}

/// The filter.
#[derive(Debug)]
pub struct Rebac {
    policy: Rc<Policy>,
    /// Tuples that are fetched.
    feed: Option<Feed>,
    /// What asks the engine outside the filter, if there is one.
    client: Option<Client>,
    /// What tells it of changes.
    watching: Option<Watching>,
    /// Held by every request that waits, so that they can be counted.
    waiting: Rc<()>,
    counters: Counters,
}

impl Filter for Rebac {
    const NAME: &'static str = "rebac";
    // What is remembered and how long requests wait goes by this one; the other is read where a condition asks for the time.
    const CLOCK: Clock = Clock::Mono;
    const PAUSES: bool = true;
    const MAX_ANSWER: usize = MAX_SIZE;
    type Pending = Pending;
    type Stream = Stream;

    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let policy = Policy::new(raw)?;
        let mut counters = Counters::new(&policy.plugin.name);
        counters.model(host, policy.engine.schema().counts());
        if policy.fetched.is_none() && policy.remote.is_none() {
            let store = policy.engine.store();
            let (tuples, bytes) = (store.len(), store.bytes());
            log::info!("{}: {tuples} tuples, in {bytes} bytes", policy.plugin.name);
            counters.tuples(host, tuples);
        }
        let policy = Rc::new(policy);
        let (mut feed, mut client, mut watching) = (None, None, None);
        // A plugin that is switched off asks nobody.
        if policy.enabled {
            feed = Feed::new(&policy, host);
            client = policy.remote.as_ref().map(|remote| Client::new(remote, &policy.plugin.name));
            watching = Watching::new(&policy, host);
        }
        Ok(Rebac { policy, feed, client, watching, waiting: Rc::new(()), counters })
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
    ) -> Step<Pending> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        if self.client.is_some() {
            return self.ask(request, now, host);
        }
        self.decide(stream, request, now, host, Patience::Fresh)
    }

    fn on_answer(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        pending: Pending,
        answers: Vec<Answer>,
        now: &Now,
        host: &dyn Host,
    ) -> Step<Pending> {
        stream.waits = None;
        let waiting = match pending {
            Pending::Tuples(waiting) => waiting,
            Pending::Engine(errand) => return self.go_on(request, *errand, &answers, now, host),
        };
        let is_woken = matches!(answers.as_slice(), [Answer::Woken]);
        let patience = if is_woken { Patience::Left(waiting) } else { Patience::Over };
        self.decide(stream, request, now, host, patience)
    }

    fn wakes(&mut self) -> Vec<WaitKey> {
        self.client.as_mut().map(Client::wakes).unwrap_or_default()
    }

    fn on_tick(&mut self, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        let mut steps = Vec::new();
        if let (Some(remote), Some(client)) = (&self.policy.remote, &mut self.client) {
            steps = client.tick(remote, now.mono(), host);
            if let Some(watching) = &mut self.watching {
                let bearer = client.bearer(remote, now.mono());
                let authorization = bearer.as_ref().map(|bearer| bearer.as_ref().map(Bearer::expose));
                let epoch = &mut client.memory.epoch;
                steps.extend(watching.tick(now, host, authorization.map_err(|none| *none), epoch));
            }
        }
        if let Some(feed) = &mut self.feed {
            steps.extend(feed.tick(now.mono(), host, &mut self.counters));
        }
        steps
    }

    fn on_event(&mut self, event: Event, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        if let (Some(client), Some(watching)) = (&mut self.client, &mut self.watching)
            && let Some(steps) = watching.event(&event, now, host, &mut client.memory.epoch)
        {
            return steps;
        }
        let Event::Answered { tag, answer } = event else { return Vec::new() };
        if let (Some(remote), Some(client)) = (&self.policy.remote, &mut self.client)
            && let Some(steps) = client.answered(remote, tag, &answer, now.mono(), host)
        {
            return steps;
        }
        let feed = self.feed.as_mut();
        let steps = feed.and_then(|feed| feed.answered(tag, answer, now.mono(), host, &mut self.counters));
        steps.unwrap_or_default()
    }

    fn keeps_watch(&self) -> bool {
        let asks = || self.client.is_some() && self.policy.remote.as_ref().is_some_and(client::keeps_watch);
        self.feed.is_some() || asks()
    }

    fn hurries(&self) -> bool {
        self.feed.as_ref().is_some_and(Feed::is_making)
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
    fn decide(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        now: &Now,
        host: &dyn Host,
        patience: Patience,
    ) -> Step<Pending> {
        let policy = Rc::clone(&self.policy);
        if let Some(batch) = policy.batch.as_ref().filter(|batch| batch::is_for(batch, request)) {
            let answer = || batch::answer(&policy, batch, request, now, host);
            let lacks =
                |answer: &Result<_, (Reason, _)>| matches!(answer, Err((Reason::TuplesUnavailable, _)));
            return match self.with_tuples(stream, now, host, patience, answer, lacks) {
                Ok(answer) => self.batched(answer, request, now, host),
                Err(wait) => wait,
            };
        }
        let judge = || judge::judge(&policy, request, now, host);
        let lacks =
            |judged: &Judged| matches!(judged.judgement, Judgement::Refused(Reason::TuplesUnavailable, _));
        let judged = match self.with_tuples(stream, now, host, patience, judge, lacks) {
            Ok(judged) => judged,
            Err(wait) => return wait,
        };
        let scene = Scene { policy: &policy, rule: judged.rule, request, now, host };
        self.conclude(scene, judged.judgement)
    }

    /// From a judgement to a step.
    fn conclude(&mut self, scene: Scene<'_>, judgement: Judgement) -> Step<Pending> {
        match judgement {
            Judgement::Unasked => Step::Allow(self.pass(scene, None)),
            Judgement::Granted(asked) => Step::Allow(self.pass(scene, Some(&asked))),
            Judgement::Refused(reason, asked) => self.refuse(scene, reason, asked.as_ref()),
        }
    }

    /// What `ask` gives; if that `lacks` tuples, what it gives once another worker has some, or a wait for them.
    fn with_tuples<T>(
        &mut self,
        stream: &mut Stream,
        now: &Now,
        host: &dyn Host,
        patience: Patience,
        ask: impl Fn() -> T,
        lacks: impl Fn(&T) -> bool,
    ) -> Result<T, Step<Pending>> {
        let mut answer = ask();
        if lacks(&answer) {
            if matches!(patience, Patience::Fresh) && self.look(now, host) {
                answer = ask();
            }
            if lacks(&answer)
                && let Some(wait) = self.wait(stream, now, host, patience)
            {
                return Err(wait);
            }
        }
        self.waited(host, patience);
        Ok(answer)
    }

    /// Many questions were answered, or refused. The endpoint is the filter's own: there is no upstream to let them pass to, in shadow
    /// neither.
    fn batched(
        &mut self,
        answer: Result<Reply, (Reason, Refusal)>,
        request: &Request,
        now: &Now,
        host: &dyn Host,
    ) -> Step<Pending> {
        let (outcome, reason) = match &answer {
            Ok(_) => (Outcome::Allow, None),
            Err((reason, _)) => (Outcome::Deny, Some(*reason)),
        };
        // No rule has this number.
        self.counters.decisions.count(host, Some(usize::MAX), batch::RULE, outcome, reason);
        self.trace(&Verdict { outcome, reason, rule: batch::RULE.into() }, None);
        Step::Reply(match answer {
            Ok(reply) => reply,
            Err((reason, refusal)) => {
                self.error(host, reason);
                self.helped(refusal, reason, now).reply(request.protocol(), Some(batch::RULE.into()))
            }
        })
    }

    /// A refusal, and what helps the client to do better.
    fn helped(&self, refusal: Refusal, reason: Reason, now: &Now) -> Refusal {
        match reason {
            Reason::SubjectMissing => refusal.header("www-authenticate", "Bearer"),
            Reason::TuplesUnavailable => {
                let next = self.feed.as_ref().map(Feed::next_try).unwrap_or_default();
                // A whole second at least, and no part of one less than it takes.
                let seconds = next.since(now.mono()).as_secs().saturating_add(1);
                refusal.header("retry-after", &seconds.to_string())
            }
            Reason::EngineUnavailable | Reason::CredentialsRefused | Reason::FreshnessLimited => {
                refusal.header("retry-after", "1")
            }
            _ => refusal,
        }
    }

    /// Counts a question that could not be asked, or has no answer.
    fn error(&mut self, host: &dyn Host, reason: Reason) {
        let cause = match reason {
            Reason::ValueMissing | Reason::ValueInvalid => "value",
            Reason::TooManyTuples => "tuples",
            Reason::ConditionUnresolved => "condition",
            Reason::CheckTooLong => "too_long",
            Reason::TuplesUnavailable | Reason::EngineUnavailable => "unavailable",
            _ => return,
        };
        self.counters.error(host, cause);
    }

    /// The line in the log, if this decision has one.
    fn trace(&self, verdict: &Verdict, asked: Option<&Asked>) {
        let Some(log) = self.policy.decision_log.filter(|log| log::log_enabled!(log.level)) else { return };
        let name = &self.policy.plugin.name;
        if let Some(line) = trace::line(log, name, verdict, asked.map(|asked| &asked.question)) {
            log::log!(log.level, "{line}");
        }
    }

    /// A request passes: nothing was asked about it, or this grants it.
    fn pass(&mut self, scene: Scene<'_>, asked: Option<&Asked>) -> Edits {
        let Scene { policy, rule, host, .. } = scene;
        let name = policy.rule_name(rule);
        let verdict = if asked.is_some() { Verdict::allow(name) } else { Verdict::skip(name) };
        self.counters.decisions.count(host, rule, &verdict.rule, verdict.outcome, None);
        self.trace(&verdict, asked);
        let mut edits = Edits::default();
        if let Some(text) = explained(scene, &verdict, asked) {
            edits.facts.push((PropertyKey::clone(&policy.explain_key), text.into_bytes().into()));
        }
        edits.verdict = Some(verdict);
        edits
    }

    /// A request does not pass: why, and the question that decided.
    fn refuse(&mut self, scene: Scene<'_>, reason: Reason, asked: Option<&Asked>) -> Step<Pending> {
        let Scene { policy, rule, request, now, host } = scene;
        let name = policy.rule_name(rule);
        let of_rule = rule.and_then(|n| policy.rules.get(n));
        let passes = reason.is_dependency() && of_rule.is_some_and(|r| r.on_error == OnError::Allow);
        let outcome = if passes {
            Outcome::Error
        } else if of_rule.map_or(policy.enforcement, |r| r.enforcement).applies(host) {
            Outcome::Deny
        } else {
            Outcome::ShadowDeny
        };
        self.counters.decisions.count(host, rule, &name, outcome, Some(reason));
        self.error(host, reason);
        log::debug!("{}: {name}: {} {}", policy.plugin.name, outcome.word(), reason.word());
        let verdict = Verdict { outcome, reason: Some(reason), rule: Rc::clone(&name) };
        self.trace(&verdict, asked);
        if outcome != Outcome::Deny {
            return Step::Allow(Edits::verdict(verdict));
        }
        // Each says something about the object: that it is there, or that there are tuples of it.
        let tells = match reason {
            Reason::RelationDenied | Reason::ConditionUnresolved | Reason::CheckTooLong => true,
            // An engine may refuse a value only where there is a tuple whose condition looks at it.
            Reason::ValueInvalid => asked.is_some(),
            _ => false,
        };
        let hidden = tells && of_rule.is_some_and(|r| r.hide);
        let refusal = Refusal::new(if hidden { Reason::NotFound } else { reason });
        let mut refusal = self.helped(refusal, reason, now);
        if hidden {
            // Caches may keep a 404 that says nothing about it (RFC 9110, section 15.1), and others would get it too.
            refusal = refusal.header("cache-control", "no-store");
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
    let value = |source: &_| {
        Reader::new(Clone::clone(source), &policy.identity).read(&context).ok().map(Cow::into_owned)
    };
    if !explain.is_for(value) {
        return None;
    }
    let otherwise = if policy.remote.is_some() { "engine" } else { "embedded" };
    let source = asked.map_or(otherwise, |asked| asked.source);
    let mut text = explain::text(&policy.plugin.name, verdict, source, now.elapsed_micros(Rebac::CLOCK));
    if let Some(asked) = asked {
        // A Structured Field string takes visible ASCII without quotes and backslashes as it stands.
        let plain = |text: &str| -> String { text.chars().map(trace::plain).collect() };
        let mut add = |name: &str, value: &str| text.push_str(&format!(";{name}=\"{}\"", plain(value)));
        add("asked", &asked.question.to_string());
        if !asked.path.is_empty() {
            add("by", &asked.path.join(" "));
        }
        if let Some(lacks) = &asked.lacks {
            add("lacks", lacks);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_fetched;
#[cfg(test)]
mod tests_own;
#[cfg(test)]
mod tests_remote;
