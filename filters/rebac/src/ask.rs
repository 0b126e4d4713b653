//! From a rule's question to the engine's, and from its answer to a reason.

use portcullis_common::clock::Now;
use portcullis_common::reason::Reason;
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;
use serde_json::{Map, Value};

use crate::condition::time;
use crate::engine::{Fault, Hop, Question, Unaskable};
use crate::policy::Policy;
use crate::policy::rules::{Check, Filled, Relation};

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `document:1#viewer@user:ann`
    pub question: String,
    /// The tuples that grant it.
    pub path: Vec<String>,
}

/// Who asks the engine about one request.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The plugin's configuration.
    pub policy: &'a Policy,
    /// Where values come from.
    pub context: Context<'a>,
    /// The present.
    pub now: &'a Now,
}

impl Asker<'_> {
    /// Asks; `Ok` if it holds, and the question, if there was one.
    pub fn ask(&self, check: &Check) -> (Option<Asked>, Result<(), Reason>) {
        let filled = self.subject(check).and_then(|subject| {
            let object = self.fill(&check.object).map_err(Failure::reason)?;
            Ok((subject, self.relation(&check.relation)?, object))
        });
        let (subject, relation, object) = match filled {
            Ok(filled) => filled,
            Err(reason) => return (None, Err(reason)),
        };
        let context = match self.values(check) {
            Ok(context) => context,
            Err(reason) => return (None, Err(reason)),
        };
        let answer = self.policy.engine.check(Question {
            subject: &subject,
            relation,
            object: &object,
            tuples: &[],
            context: &context,
            steps: self.policy.max_steps,
            explain: self.policy.explain.is_some(),
        });
        let question = format!("{object}#{relation}@{subject}");
        let (path, result) = match answer {
            Ok(answer) => (answer.path, answer.holds.map_err(reason_of)),
            // The types and relations are the model's: what cannot be asked is what the request put into them.
            Err(Unaskable::Subject(_) | Unaskable::Object(_)) => (Vec::new(), Err(Reason::ValueInvalid)),
            Err(Unaskable::Relation(_) | Unaskable::Tuple(_)) => (Vec::new(), Err(Reason::RelationDenied)),
        };
        let result = result.and_then(|holds| if holds { Ok(()) } else { Err(Reason::RelationDenied) });
        let path = path.into_iter().map(|Hop(tuple)| tuple).collect();
        (Some(Asked { question, path }), result)
    }

    /// Who asks. Without a verified one there is nobody to be refused: 401.
    fn subject(&self, check: &Check) -> Result<String, Reason> {
        self.fill(&check.subject).map_err(|failure| {
            let of_token = check.subject.template.sources().any(|s| s.is_from_token());
            match failure {
                Failure::Absent if of_token => Reason::SubjectMissing,
                other => other.reason(),
            }
        })
    }

    fn relation<'a>(&self, relation: &'a Relation) -> Result<&'a str, Reason> {
        let method = match self.context.request.method() {
            b"HEAD" => b"GET",
            other => other,
        };
        match relation {
            Relation::One(name) => Ok(name),
            Relation::ByMethod(methods) => {
                let found = methods.iter().find(|(m, _)| m.as_bytes() == method);
                found.map(|(_, name)| &**name).ok_or(Reason::RelationDenied)
            }
        }
    }

    /// A template with its values. None may stand for everybody, for those with a relation, or for another type.
    fn fill(&self, filled: &Filled) -> Result<String, Failure> {
        filled.template.fill_apart(|source| {
            let value = filled.reader(source).ok_or(Failure::Absent)?.read(&self.context)?;
            let stands = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '#' | ':');
            if value == "*" || value.contains(stands) {
                return Err(Failure::Unusable);
            }
            Ok(value)
        })
    }

    /// Values for conditions. What is absent is left out: the condition that needs it then has no answer.
    fn values(&self, check: &Check) -> Result<Map<String, Value>, Reason> {
        let mut values = Map::new();
        for (name, filled) in &check.context {
            let text = filled.template.fill(|source| {
                filled.reader(source).ok_or(Failure::Absent).and_then(|reader| reader.read(&self.context))
            });
            match text {
                Ok(text) => {
                    values.insert(name.to_string(), self.policy.engine.schema().as_parameter(name, text))
                }
                Err(Failure::Absent) => continue,
                Err(Failure::Unusable) => return Err(Reason::ValueInvalid),
            };
        }
        if let Some(name) = &check.now {
            let now = time::print_instant(i128::from(self.now.wall().0)).unwrap_or_default();
            values.insert(name.to_string(), Value::String(now));
        }
        Ok(values)
    }
}

fn reason_of(fault: Fault) -> Reason {
    match fault {
        Fault::Condition(..) => Reason::ConditionUnresolved,
        Fault::Depth | Fault::Steps => Reason::CheckTooLong,
    }
}
