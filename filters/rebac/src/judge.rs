//! From a request to its judgement, or to the questions that are still open.

use portcullis_common::clock::Now;
use portcullis_common::host::Host;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::matching::strict;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::values::context::Context;

use crate::ask;
use crate::combine::{self, Answered, Group, Judgement};
use crate::policy::{Check, Checks, Policy};
use crate::question::{Filler, Question};

/// A request with its rule.
#[derive(Debug)]
pub struct Judged {
    /// The rule that decides.
    pub rule: Option<usize>,
    /// What it decides.
    pub judgement: Judgement,
}

/// What a rule says about a request.
#[derive(Debug)]
pub enum Ruling<'a> {
    /// It is decided without a question.
    Judged(Judged),
    /// These have to be asked.
    Asks(Asks<'a>),
}

/// What has to be asked about a request.
#[derive(Debug)]
pub struct Asks<'a> {
    /// The rule that asks.
    pub rule: usize,
    /// What its questions are to each other.
    pub group: Group,
    checks: &'a [Check],
    path: Option<NormalPath<'a>>,
}

impl Asks<'_> {
    /// The questions, or why there is none, each filled in when it is asked for.
    pub fn questions<'r>(
        &'r self,
        policy: &'r Policy,
        request: &'r Request,
        now: &'r Now,
        host: &'r dyn Host,
    ) -> impl ExactSizeIterator<Item = Result<Question, Reason>> + use<'r> {
        let pattern = policy.matches.pattern(self.rule);
        let context = Context { request, path: self.path.as_ref(), pattern, host };
        let filler = Filler { policy, context, now };
        self.checks.iter().map(move |check| filler.question(check))
    }
}

/// The rule that decides about a request, and what it decides.
pub fn judge(policy: &Policy, request: &Request, now: &Now, host: &dyn Host) -> Judged {
    match ruling(policy, request) {
        Ruling::Judged(judged) => judged,
        Ruling::Asks(asks) => {
            let answers =
                asks.questions(policy, request, now, host).map(|question| at_once(policy, question));
            Judged { rule: Some(asks.rule), judgement: combine::combine(asks.group, answers) }
        }
    }
}

/// What the rule that decides about a request says.
#[must_use]
pub fn ruling<'a>(policy: &'a Policy, request: &'a Request) -> Ruling<'a> {
    let decided = |rule, judgement| Ruling::Judged(Judged { rule, judgement });
    let matches = &policy.matches;
    let path = match strict::path(matches, request, policy.encoded_slash) {
        Ok(path) => path,
        Err(reason) => return decided(None, Judgement::Refused(reason, None)),
    };
    let part = path.as_ref().map_or(PathPart::Absent, PathPart::Known);
    let rule = matches.first(Subject::of(request, part));
    if policy.preflights == Preflights::Pass && request.is_preflight() {
        return decided(rule, Judgement::Unasked);
    }
    let Some((at, found)) = rule.and_then(|n| Some((n, policy.rules.get(n)?))) else {
        return match policy.unmatched {
            Unmatched::Allow => decided(None, Judgement::Unasked),
            Unmatched::Deny => decided(None, Judgement::Refused(Reason::Unmatched, None)),
        };
    };
    match &found.checks {
        Checks::Nothing => decided(rule, Judgement::Unasked),
        Checks::Any(checks) => Ruling::Asks(Asks { rule: at, group: Group::Any, checks, path }),
        Checks::All(checks) => Ruling::Asks(Asks { rule: at, group: Group::All, checks, path }),
    }
}

/// A check by the engine inside the filter.
fn at_once(policy: &Policy, question: Result<Question, Reason>) -> Answered {
    match question {
        Ok(question) => ask::embedded(policy, question),
        Err(reason) => Answered { asked: None, holds: Err(reason) },
    }
}
