//! From a question to the engine inside the filter, and from its answer to a reason.

use portcullis_common::reason::Reason;

use crate::combine::{Answered, Asked};
use crate::engine::{self, Fault, Hop, Unaskable};
use crate::policy::Policy;
use crate::question::Question;

const SOURCE: &str = "embedded";

/// Asks the engine inside the filter.
#[must_use]
pub fn embedded(policy: &Policy, question: Question) -> Answered {
    if !policy.engine.is_ready() {
        let asked = Asked { question, path: Vec::new(), source: SOURCE, lacks: None };
        return Answered { asked: Some(asked), holds: Err(Reason::TuplesUnavailable) };
    }
    let answer = policy.engine.check(engine::Question {
        subject: &question.subject,
        relation: &question.relation,
        object: &question.object,
        tuples: &question.tuples,
        context: &question.context,
        steps: policy.max_steps,
        explain: policy.explain.is_some(),
    });
    let (path, holds) = match answer {
        Ok(answer) => (answer.path, answer.holds.map_err(reason_of)),
        // The types and relations are the model's: what cannot be asked is what the request put into them.
        Err(Unaskable::Relation(_)) => (Vec::new(), Err(Reason::RelationDenied)),
        Err(_) => (Vec::new(), Err(Reason::ValueInvalid)),
    };
    let holds = holds.and_then(|holds| if holds { Ok(()) } else { Err(Reason::RelationDenied) });
    let path = path.into_iter().map(|Hop(tuple)| tuple).collect();
    Answered { asked: Some(Asked { question, path, source: SOURCE, lacks: None }), holds }
}

fn reason_of(fault: Fault) -> Reason {
    match fault {
        Fault::Condition(..) => Reason::ConditionUnresolved,
        Fault::Depth | Fault::Steps => Reason::CheckTooLong,
    }
}
