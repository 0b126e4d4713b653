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

/// What a rule asks about a request.
enum Ruling<'a> {
    /// It is decided without a question.
    Judged(Judged),
    /// These have to be asked.
    Asks { at: usize, group: Group, checks: &'a [Check], path: Option<NormalPath<'a>> },
}

/// What has to be asked about a request, filled in.
#[derive(Debug)]
pub struct Asks {
    /// The rule that asks.
    pub rule: usize,
    /// What the questions are to each other.
    pub group: Group,
    /// The questions, or why there is none.
    pub questions: Vec<Result<Question, Reason>>,
}

/// The rule that decides about a request, and what it decides.
pub fn judge(policy: &Policy, request: &Request, now: &Now, host: &dyn Host) -> Judged {
    match ruling(policy, request) {
        Ruling::Judged(judged) => judged,
        Ruling::Asks { at, group, checks, path } => {
            let context = Context { request, path: path.as_ref(), pattern: policy.matches.pattern(at), host };
            let filler = Filler { policy, context, now };
            let answers = checks.iter().map(|check| at_once(filler, check));
            Judged { rule: Some(at), judgement: combine::combine(group, answers) }
        }
    }
}

/// The questions about a request, for an engine that does not answer at once.
///
/// # Errors
/// The judgement, where nothing has to be asked.
pub fn questions(
    policy: &Policy,
    request: &Request,
    now: &Now,
    host: &dyn Host,
) -> Result<Asks, Box<Judged>> {
    match ruling(policy, request) {
        Ruling::Judged(judged) => Err(Box::new(judged)),
        Ruling::Asks { at, group, checks, path } => {
            let context = Context { request, path: path.as_ref(), pattern: policy.matches.pattern(at), host };
            let filler = Filler { policy, context, now };
            let questions = checks.iter().map(|check| filler.question(check)).collect();
            Ok(Asks { rule: at, group, questions })
        }
    }
}

fn ruling<'a>(policy: &'a Policy, request: &'a Request) -> Ruling<'a> {
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
        Checks::Any(checks) => Ruling::Asks { at, group: Group::Any, checks, path },
        Checks::All(checks) => Ruling::Asks { at, group: Group::All, checks, path },
    }
}

/// A check by the engine inside the filter.
fn at_once(filler: Filler<'_>, check: &Check) -> Answered {
    match filler.question(check) {
        Ok(question) => ask::embedded(filler.policy, question),
        Err(reason) => Answered { asked: None, holds: Err(reason) },
    }
}
