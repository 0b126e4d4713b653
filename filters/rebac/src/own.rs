//! A question's own tuples and values, out of the request: groups and roles in a token, parameters of conditions.

use portcullis_common::clock::Now;
use portcullis_common::reason::Reason;
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;
use serde_json::{Map, Value};

use crate::condition::time;
use crate::policy::Policy;
use crate::policy::rules::{Filled, OwnTuple};
use crate::tuples::{Tuple, holds_blank_or};

/// The most tuples of one question, as in OpenFGA.
pub const MAX_TUPLES: usize = 100;

/// The tuples. A claim that is absent gives none, a list one for each item; what is too many is refused, for the question with some
/// of them would be another one.
///
/// # Errors
/// Why they cannot be used.
pub fn tuples(own: &[OwnTuple], context: &Context<'_>) -> Result<Vec<Tuple>, Reason> {
    let mut all: Vec<Tuple> = Vec::new();
    for one in own {
        let mut values = Vec::new();
        for reader in one.subject.readers.iter().chain(&one.object.readers) {
            match reader.list(context) {
                Ok(list) if list.iter().all(|value| is_plain(value)) => values.push((reader.source(), list)),
                Err(Failure::Absent) if reader.source().is_from_token() => {
                    values.push((reader.source(), Vec::new()))
                }
                Ok(_) => return Err(Reason::ValueInvalid),
                Err(failure) => return Err(failure.reason()),
            }
        }
        if values.iter().any(|(_, list)| list.is_empty()) {
            continue;
        }
        let mut lists = values.iter().filter(|(_, list)| list.len() > 1);
        let count = match (lists.next(), lists.next()) {
            (None, _) => 1,
            (Some((_, list)), None) => list.len(),
            // The same list on both sides is one; two would be each with each, which nobody means.
            (Some((source, list)), Some((other, _))) if source == other && lists.next().is_none() => {
                list.len()
            }
            _ => return Err(Reason::ValueInvalid),
        };
        if count > MAX_TUPLES {
            return Err(Reason::TooManyTuples);
        }
        for n in 0..count {
            let fill = |filled: &Filled| {
                filled.template.fill_apart(|source| {
                    let list = values.iter().find(|(s, _)| *s == source).map(|(_, list)| list);
                    let value = list.and_then(|list| if list.len() > 1 { list.get(n) } else { list.first() });
                    value.cloned().ok_or(Failure::Absent)
                })
            };
            let subject = fill(&one.subject).map_err(Failure::reason)?.into();
            let object = fill(&one.object).map_err(Failure::reason)?.into();
            let tuple = Tuple { object, relation: one.relation.clone(), subject, condition: None };
            // A list that names a group twice says it once.
            if !all.contains(&tuple) {
                all.push(tuple);
            }
            if all.len() > MAX_TUPLES {
                return Err(Reason::TooManyTuples);
            }
        }
    }
    Ok(all)
}

/// Whether a value stands for itself: not for everybody, for those with a relation, or for another type.
#[must_use]
pub fn is_plain(value: &str) -> bool {
    value != "*" && !holds_blank_or(value, |b| matches!(b, b'#' | b':'))
}

/// Values for conditions, and the time, if a parameter is the time. What is absent is left out: the condition that needs it then has
/// no answer. A claim alone keeps its type, anything else is text that the parameter's type reads.
///
/// # Errors
/// A value that cannot be used.
pub fn values(
    parameters: &[(Box<str>, Filled)],
    time_parameter: Option<&str>,
    policy: &Policy,
    context: &Context<'_>,
    now: &Now,
) -> Result<Map<String, Value>, Reason> {
    let mut values = Map::new();
    for (name, filled) in parameters {
        let lone = filled.template.lone_source().filter(|source| source.is_from_token());
        let value = match lone.and_then(|source| filled.reader(source)) {
            // What the token says is text stays text: a truth that is written as one is of another type.
            Some(reader) => reader.json(context),
            None => filled
                .template
                .fill(|source| filled.reader(source).ok_or(Failure::Absent)?.read(context))
                .map(|text| policy.engine.schema().as_parameter(name, text)),
        };
        match value {
            Ok(value) => {
                values.insert(name.to_string(), value);
            }
            Err(Failure::Absent) => {}
            Err(Failure::Unusable) => return Err(Reason::ValueInvalid),
        }
    }
    if let Some(name) = time_parameter {
        let now = time::print_instant(i128::from(now.wall().0)).unwrap_or_default();
        values.insert(name.to_owned(), Value::String(now));
    }
    Ok(values)
}
