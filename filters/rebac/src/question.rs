//! Questions: filled in from a request, and owned, so that a question can wait for its answer.

use std::fmt;
use std::rc::Rc;

use portcullis_common::clock::Now;
use portcullis_common::reason::Reason;
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;
use serde_json::{Map, Value};

use crate::condition::time;
use crate::policy::Policy;
use crate::policy::rules::{Check, Filled, Relation};
use crate::tuples::Tuple;

/// A question. It prints as `document:1#viewer@user:ann`.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// `user:ann` or `group:1#member`
    pub subject: String,
    /// `viewer`
    pub relation: Rc<str>,
    /// `document:1`
    pub object: String,
    /// Tuples that hold for this question alone.
    pub tuples: Vec<Tuple>,
    /// Values for the parameters of conditions.
    pub context: Map<String, Value>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}@{}", self.object, self.relation, self.subject)
    }
}

/// What fills in the questions about one request.
#[derive(Clone, Copy)]
pub struct Filler<'a> {
    /// The plugin's configuration.
    pub policy: &'a Policy,
    /// Where values come from.
    pub context: Context<'a>,
    /// The present.
    pub now: &'a Now,
}

impl Filler<'_> {
    /// Fills in a check.
    ///
    /// # Errors
    /// Why there is no question.
    pub fn question(&self, check: &Check) -> Result<Question, Reason> {
        let subject = self.subject(check)?;
        let object = self.fill(&check.object).map_err(Failure::reason)?;
        let relation = self.relation(&check.relation)?;
        Ok(Question { subject, relation, object, tuples: Vec::new(), context: self.values(check)? })
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

    fn relation(&self, relation: &Relation) -> Result<Rc<str>, Reason> {
        let method = match self.context.request.method() {
            b"HEAD" => b"GET",
            other => other,
        };
        let name = match relation {
            Relation::One(name) => Some(name),
            Relation::ByMethod(methods) => {
                methods.iter().find(|(m, _)| m.as_bytes() == method).map(|(_, name)| name)
            }
        };
        name.map(Rc::clone).ok_or(Reason::RelationDenied)
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
