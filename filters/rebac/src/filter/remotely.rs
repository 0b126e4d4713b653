//! Requests that an engine outside the filter decides about.

use std::rc::Rc;

use portcullis_common::clock::Now;
use portcullis_common::filter::{Answer, Step};
use portcullis_common::host::Host;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;

use super::{Pending, Rebac, Scene};
use crate::ask;
use crate::combine::{self, Answered, Group, Judgement};
use crate::judge::{self, Asks, Judged, Ruling};
use crate::policy::remote::Server;
use crate::policy::{Beside, Policy};
use crate::remote::breaker::Pass;
use crate::remote::client::{Next, carried};
use crate::remote::errand::{Errand, Slot, Stage};
use crate::remote::freshness::{self, Wanted};

/// How far a request got at once. What waits is boxed, for most do not.
enum Begun {
    /// It is judged.
    Judged(Judgement),
    /// It waits.
    Waits(Box<Next>),
}

impl Rebac {
    /// Decides by what is remembered, or asks.
    pub(super) fn ask(&mut self, request: &Request, now: &Now, host: &dyn Host) -> Step<Pending> {
        let policy = Rc::clone(&self.policy);
        let (rule, begun) = match judge::ruling(&policy, request) {
            Ruling::Asks(asks) => (Some(asks.rule), self.begin(&policy, &asks, request, now, host)),
            Ruling::Judged(Judged { rule, judgement }) => (rule, Begun::Judged(judgement)),
        };
        let scene = Scene { policy: &policy, rule, request, now, host };
        match begun {
            Begun::Judged(judgement) => self.conclude(scene, judgement),
            Begun::Waits(next) => self.next(scene, *next),
        }
    }

    /// Goes on with a request whose wait is over.
    pub(super) fn go_on(
        &mut self,
        request: &Request,
        errand: Errand,
        answers: &[Answer],
        now: &Now,
        host: &dyn Host,
    ) -> Step<Pending> {
        let policy = Rc::clone(&self.policy);
        let scene = Scene { policy: &policy, rule: Some(errand.rule), request, now, host };
        let (Some(remote), Some(client)) = (&policy.remote, &mut self.client) else {
            return self.refuse(scene, Reason::HostError, None);
        };
        let (group, wanted) = (errand.group, errand.wanted.clone());
        match client.go_on(remote, errand, answers, now.mono(), host) {
            Next::Done(answers) => {
                let answers = self.beside(&policy, answers, &wanted, host);
                self.conclude(scene, combine::combine(group, answers))
            }
            next => self.next(scene, next),
        }
    }

    /// Answers, as the engine inside the filter completes or compares them, if it is there for that. Its tuples may be old: what has
    /// to be fresh it does not complete.
    fn beside(
        &mut self,
        policy: &Policy,
        answers: Vec<Answered>,
        needed: &Wanted,
        host: &dyn Host,
    ) -> Vec<Answered> {
        if policy.beside == Beside::default() {
            return answers;
        }
        let beside = policy.beside;
        let one = |answer: Answered| {
            let Some(asked) = &answer.asked else { return answer };
            let away = answer.holds == Err(Reason::EngineUnavailable);
            let wanted = if away {
                beside.fallback && *needed == Wanted::Any
            } else {
                beside.compare && asked.source == "engine"
            };
            if !wanted {
                return answer;
            }
            let mut inside = ask::embedded(policy, asked.question.clone());
            if inside.holds == Err(Reason::TuplesUnavailable) {
                return answer;
            }
            if !away {
                let same = answer.holds == inside.holds;
                self.counters.compared(host, if same { "same" } else { "different" });
                if !same {
                    let word = |holds: Result<(), Reason>| holds.map_or_else(Reason::word, |()| "yes");
                    let (theirs, ours) = (word(answer.holds), word(inside.holds));
                    log::info!("{}: the engine says {theirs}, the one inside {ours}", policy.plugin.name);
                    log::debug!("{}: {}", policy.plugin.name, asked.question);
                }
                return answer;
            }
            if let Some(asked) = &mut inside.asked {
                asked.source = "fallback";
            }
            inside
        };
        answers.into_iter().map(one).collect()
    }

    /// What has to be waited for, or the judgement where nothing has.
    fn begin(
        &mut self,
        policy: &Policy,
        asks: &Asks<'_>,
        request: &Request,
        present: &Now,
        host: &dyn Host,
    ) -> Begun {
        let refused = |reason| Begun::Judged(Judgement::Refused(reason, None));
        let (Some(remote), Some(client)) = (&policy.remote, &mut self.client) else {
            return refused(Reason::HostError);
        };
        let has_tokens = matches!(remote.server, Server::Spicedb(_));
        let (wanted, by_header) = match freshness::wanted(&remote.freshness, request, has_tokens) {
            Ok(wanted) => wanted,
            Err(reason) => return refused(reason),
        };
        let (now, group) = (present.mono(), asks.group);
        let questions = asks.questions(policy, request, present, host);
        let mut slots = Vec::with_capacity(questions.len());
        let mut decided = false;
        for question in questions {
            slots.push(match question {
                Ok(question) => client.look(remote, question, &wanted, now, host),
                Err(reason) => Slot::Answered(Answered { asked: None, holds: Err(reason) }),
            });
            decided = slots.last().is_some_and(|slot| slot.decides(group));
            if decided {
                break;
            }
        }
        if decided || needs_nothing(group, &slots) {
            let answers = slots.into_iter().filter_map(|slot| match slot {
                Slot::Answered(answered) => Some(answered),
                _ => None,
            });
            return Begun::Judged(combine::combine(group, answers));
        }
        if by_header && !client.may_be_fresh(now) {
            return refused(Reason::FreshnessLimited);
        }
        let errand = Errand {
            rule: asks.rule,
            group,
            slots,
            wanted: wanted.clone(),
            until: now.after(remote.calls.timeout),
            spare: Some(remote.calls.timeout),
            headers: carried(request),
            stage: Stage::Called,
            attempt: 0,
            sent: now,
            batches: Vec::new(),
            pass: Pass::default(),
        };
        match client.begin(remote, errand, now, host) {
            Next::Done(answers) => {
                let answers = self.beside(policy, answers, &wanted, host);
                Begun::Judged(combine::combine(group, answers))
            }
            next => Begun::Waits(Box::new(next)),
        }
    }

    fn next(&mut self, scene: Scene<'_>, next: Next) -> Step<Pending> {
        match next {
            Next::Done(_) => self.refuse(scene, Reason::HostError, None),
            Next::Call(callouts, errand) => Step::Call(callouts, Pending::Engine(Box::new(errand))),
            Next::Wait(key, time, errand) => Step::Wait(key, time, Pending::Engine(Box::new(errand))),
        }
    }
}

/// Whether the judgement is known without asking: nothing is open, or all have to hold and one cannot be asked.
fn needs_nothing(group: Group, slots: &[Slot]) -> bool {
    let open = |slot: &Slot| matches!(slot, Slot::Open { .. });
    let unaskable = |slot: &Slot| matches!(slot, Slot::Answered(Answered { holds: Err(_), .. }));
    !slots.iter().any(open) || (group == Group::All && slots.iter().any(unaskable))
}
