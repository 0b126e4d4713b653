//! Questions: filled in from a request, and owned, so that a question can wait for its answer.

use std::fmt;
use std::rc::Rc;

use portcullis_common::clock::Now;
use portcullis_common::reason::Reason;
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;
use serde_json::{Map, Value};

use crate::own;
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

impl Question {
    /// About how many bytes of text it has.
    #[must_use]
    pub fn size(&self) -> usize {
        let tuple = |tuple: &Tuple| {
            let context = tuple.condition.as_ref().map_or(0, |condition| of_map(&condition.context));
            [tuple.subject.len(), tuple.relation.len(), tuple.object.len(), context].iter().sum::<usize>()
        };
        let tuples: usize = self.tuples.iter().map(tuple).sum();
        let triple = self.subject.len().saturating_add(self.relation.len()).saturating_add(self.object.len());
        triple.saturating_add(tuples).saturating_add(of_map(&self.context))
    }
}

fn of_map(map: &Map<String, Value>) -> usize {
    map.iter().map(|(name, value)| name.len().saturating_add(of_value(value))).sum()
}

fn of_value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(of_value).sum(),
        Value::Object(map) => of_map(map),
        _ => size_of::<u64>(),
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
        let subject = self.subject(&check.subject)?;
        let object = self.fill(&check.object).map_err(Failure::reason)?;
        let relation = self.relation(&check.relation)?;
        let tuples = own::tuples(&check.tuples, &self.context)?;
        let context =
            own::values(&check.context, check.now.as_deref(), self.policy, &self.context, self.now)?;
        Ok(Question { subject, relation, object, tuples, context })
    }

    /// Who asks. Without a verified one there is nobody to be refused: 401.
    ///
    /// # Errors
    /// Why there is nobody.
    pub fn subject(&self, subject: &Filled) -> Result<String, Reason> {
        self.fill(subject).map_err(|failure| {
            let of_token = subject.template.sources().any(|s| s.is_from_token());
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
        let mut readers = filled.readers.iter();
        filled.template.fill_apart(|_| {
            let value = readers.next().ok_or(Failure::Absent)?.read(&self.context)?;
            if own::is_plain(&value) { Ok(value) } else { Err(Failure::Unusable) }
        })
    }
}
