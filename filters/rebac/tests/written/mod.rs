//! Tuples as OpenFGA's files write them.

use portcullis_rebac::tuples::{Conditioned, Tuple};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Clone, Deserialize)]
pub(crate) struct Key {
    pub(crate) user: String,
    pub(crate) relation: String,
    pub(crate) object: String,
    condition: Option<Condition>,
}

#[derive(Clone, Deserialize)]
struct Condition {
    name: String,
    #[serde(default)]
    context: Map<String, Value>,
}

impl Key {
    pub(crate) fn tuple(&self) -> Tuple {
        let condition = self
            .condition
            .as_ref()
            .map(|c| Conditioned { name: c.name.as_str().into(), context: c.context.clone() });
        Tuple {
            object: self.object.as_str().into(),
            relation: self.relation.as_str().into(),
            subject: self.user.as_str().into(),
            condition,
        }
    }
}
