//! Conditions: expressions in CEL over the typed parameters of a request and a tuple.
//!
//! | module | one idea |
//! |---|---|
//! | [`value`] | values, and what JSON means as a parameter's type |
//! | [`time`] | instants and durations as text |
//! | [`types`] | which types an expression may have |
//! | [`compile`] | from text to a checked expression |
//! | [`eval`] | from a checked expression to a value |
//! | [`functions`] | what operators and functions make of values |
//! | `convert` | one type from another |
//! | `network` | networks of addresses |
//! | `pattern` | regular expressions |

pub mod compile;
mod convert;
pub mod eval;
pub mod functions;
mod network;
mod pattern;
pub mod time;
mod types;
pub mod value;

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use crate::model::{self, ParameterType};
use eval::Expression;
use value::{Unfit, Value};

/// Why a condition has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Parameters that neither the request nor the tuple gave; sorted.
    Missing(Vec<Rc<str>>),
    /// A parameter whose value is not of its type.
    Unfit(Rc<str>),
    /// A value was given, and the condition has no parameter.
    NoParameters,
    /// The expression has no value for these: it divides by zero, say.
    Evaluation,
    /// The expression took more steps than a condition may.
    Cost,
}

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    /// Its name.
    pub name: Rc<str>,
    parameters: Vec<(Rc<str>, ParameterType)>,
    expression: Expression,
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// What is wrong with its expression.
    pub fn new(condition: &model::Condition) -> Result<Condition, String> {
        let parameters: Vec<(Rc<str>, ParameterType)> =
            condition.parameters.iter().map(|(name, kind)| (Rc::from(&*name.text), kind.clone())).collect();
        let expression = compile::compile(&condition.expression, &parameters)?;
        Ok(Condition { name: Rc::from(&*condition.name.text), parameters, expression })
    }

    /// Whether the condition holds. What the tuple says counts before what the request says.
    ///
    /// # Errors
    /// Why it has no answer. A parameter that is missing is a failure also where the expression would not ask for it.
    pub fn holds(&self, request: &Map<String, Json>, tuple: &Map<String, Json>) -> Result<bool, Failure> {
        self.evaluate(request, tuple).0
    }

    /// As [`Condition::holds`], with the steps that it took.
    pub fn evaluate(
        &self,
        request: &Map<String, Json>,
        tuple: &Map<String, Json>,
    ) -> (Result<bool, Failure>, u32) {
        match self.values(request, tuple) {
            Err(failure) => (Err(failure), 1),
            Ok(values) => {
                let (value, steps) = eval::value(&self.expression, &values);
                let holds = match value {
                    Ok(Value::Bool(holds)) => Ok(holds),
                    Err(eval::Fault::Cost) => Err(Failure::Cost),
                    Ok(_) | Err(_) => Err(Failure::Evaluation),
                };
                (holds, steps)
            }
        }
    }

    /// The values of the parameters.
    fn values(&self, request: &Map<String, Json>, tuple: &Map<String, Json>) -> Result<Vec<Value>, Failure> {
        if self.parameters.is_empty() && !(request.is_empty() && tuple.is_empty()) {
            return Err(Failure::NoParameters);
        }
        let mut values = Vec::with_capacity(self.parameters.len());
        let mut missing: Vec<Rc<str>> = Vec::new();
        for (name, kind) in &self.parameters {
            match tuple.get(&**name).or_else(|| request.get(&**name)) {
                Some(json) => {
                    values.push(Value::read(json, kind).map_err(|Unfit| Failure::Unfit(Rc::clone(name)))?)
                }
                None => missing.push(Rc::clone(name)),
            }
        }
        if !missing.is_empty() {
            missing.sort_unstable();
            return Err(Failure::Missing(missing));
        }
        Ok(values)
    }

    /// The type of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&ParameterType> {
        self.parameters.iter().find(|(parameter, _)| **parameter == *name).map(|(_, kind)| kind)
    }

    /// Whether a tuple may carry this context: only parameters of the condition, each of its type.
    #[must_use]
    pub fn takes(&self, context: &Map<String, Json>) -> bool {
        context.iter().all(|(key, json)| {
            let kind = self.parameters.iter().find(|(name, _)| **name == **key);
            kind.is_some_and(|(_, kind)| Value::read(json, kind).is_ok())
        })
    }
}

#[cfg(test)]
mod tests;
