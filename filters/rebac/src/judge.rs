//! From a request to its judgement, or to the questions that are still open.

use portcullis_common::clock::Now;
use portcullis_common::host::Host;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::matching::strict;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::values::context::Context;

use crate::ask;
use crate::combine::{self, Answered, Group, Judgement};
use crate::policy::{Check, Checks, Policy};
use crate::question::Filler;

/// A request with its rule.
#[derive(Debug)]
pub struct Judged {
    /// The rule that decides.
    pub rule: Option<usize>,
    /// What it decides.
    pub judgement: Judgement,
}

/// The rule that decides about a request, and what it decides.
pub fn judge(policy: &Policy, request: &Request, now: &Now, host: &dyn Host) -> Judged {
    let matches = &policy.matches;
    let path = match strict::path(matches, request, policy.encoded_slash) {
        Ok(path) => path,
        Err(reason) => return Judged { rule: None, judgement: Judgement::Refused(reason, None) },
    };
    let part = path.as_ref().map_or(PathPart::Absent, PathPart::Known);
    let rule = matches.first(Subject::of(request, part));
    if policy.preflights == Preflights::Pass && request.is_preflight() {
        return Judged { rule, judgement: Judgement::Unasked };
    }
    let Some((at, found)) = rule.and_then(|n| Some((n, policy.rules.get(n)?))) else {
        let judgement = match policy.unmatched {
            Unmatched::Allow => Judgement::Unasked,
            Unmatched::Deny => Judgement::Refused(Reason::Unmatched, None),
        };
        return Judged { rule: None, judgement };
    };
    let (group, checks) = match &found.checks {
        Checks::Nothing => return Judged { rule, judgement: Judgement::Unasked },
        Checks::Any(checks) => (Group::Any, checks),
        Checks::All(checks) => (Group::All, checks),
    };
    let context = Context { request, path: path.as_ref(), pattern: matches.pattern(at), host };
    let filler = Filler { policy, context, now };
    let answers = checks.iter().map(|check| at_once(filler, check));
    Judged { rule, judgement: combine::combine(group, answers) }
}

/// A check by the engine inside the filter.
fn at_once(filler: Filler<'_>, check: &Check) -> Answered {
    match filler.question(check) {
        Ok(question) => ask::embedded(filler.policy, question),
        Err(reason) => Answered { asked: None, holds: Err(reason) },
    }
}
