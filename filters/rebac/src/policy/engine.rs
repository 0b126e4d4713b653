//! The model and the tuples.

use portcullis_common::config::ConfigError;

use super::error;
use super::fetched::{self, Fetched};
use crate::config::RawEmbedded;
use crate::config::tuples::{RawTuple, RawTuples};
use crate::engine::{Engine, LoadError};
use crate::model::{Model, ModelError, json, parser};
use crate::tuples::{Conditioned, Tuple};

const MODEL: &str = "engine.embedded.model";

/// Loads the engine inside the filter.
///
/// # Errors
/// What is wrong with model or tuples.
pub(super) fn embedded(raw: RawEmbedded) -> Result<(Engine, Option<Fetched>), ConfigError> {
    let text = raw.model.ok_or_else(|| error(MODEL, "missing; write a model, beginning with `model`"))?;
    let model = model(&text).map_err(|errors| of_model(&errors))?;
    let (written, fetched) = match raw.tuples {
        None => (Vec::new(), None),
        Some(RawTuples::Written(written)) => (written, None),
        Some(RawTuples::Fetched(raw)) => (Vec::new(), Some(fetched::fetched(raw, &text)?)),
    };
    let mut tuples = Vec::new();
    for (n, raw) in written.into_iter().enumerate() {
        if matches!(&raw, RawTuple::Parts(parts) if parts.condition.as_ref().is_some_and(|c| c.name.is_empty()))
        {
            let problem = "empty; write the name of a condition of the model";
            return Err(error(format!("{}.condition.name", place(n)), problem));
        }
        tuples.push(tuple(raw).map_err(|problem| {
            let remedy = if problem.contains("; ") { "" } else { "; write it as document:1#viewer@user:ann" };
            error(place(n), format!("{problem}{remedy}"))
        })?);
    }
    let engine = Engine::new(&model, &tuples).map_err(|problem| match problem {
        LoadError::Model(errors) => of_model(&errors),
        LoadError::Tuple { at, problem } => {
            error(place(at), format!("{problem}; see the model for what fits"))
        }
    })?;
    engine.set_ready(fetched.is_none());
    Ok((engine, fetched))
}

fn place(at: usize) -> String {
    format!("engine.embedded.tuples[{at}]")
}

/// Reads a model, as text or as JSON.
///
/// # Errors
/// What is wrong with it.
pub fn model(text: &str) -> Result<Model, Vec<ModelError>> {
    if text.trim_start().starts_with('{') {
        return json::parse(text).map_err(|error| vec![error]);
    }
    parser::parse(text)
}

fn of_model(errors: &[ModelError]) -> ConfigError {
    let mut all: Vec<String> = errors.iter().take(5).map(ToString::to_string).collect();
    if errors.len() > 5 {
        all.push("and more".to_owned());
    }
    error(MODEL, all.join("; "))
}

/// Reads a tuple.
///
/// # Errors
/// What is wrong with it.
pub fn tuple(raw: RawTuple) -> Result<Tuple, String> {
    match raw {
        RawTuple::Text(text) => Tuple::parse(&text).map_err(str::to_owned),
        RawTuple::Parts(parts) => Ok(Tuple {
            object: parts.object.into(),
            relation: parts.relation.into(),
            subject: parts.user.into(),
            condition: parts.condition.map(|condition| Conditioned {
                name: condition.name.into(),
                context: condition.context.unwrap_or_default().into_iter().collect(),
            }),
        }),
    }
}
