//! The configuration as it is written. What it means is in [`crate::policy`].
//!
//! | module | one idea |
//! |---|---|
//! | this one | the plugin, and its engine |
//! | [`rules`] | which requests are which questions |

pub mod rules;

use std::collections::BTreeMap;
use std::fmt;

use portcullis_common::config::{PluginName, Whole};
use portcullis_common::explain::RawExplain;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::path::EncodedSlash;
use portcullis_common::mode::{Mode, Percent};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use self::rules::RawRule;

/// rebac: may this subject do this to this object?
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Rebac"))]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The plugin's name in facts and metrics. Default `rebac`.
    pub name: Option<PluginName>,
    /// `false` switches the plugin off. Default `true`.
    pub enabled: Option<bool>,
    /// `shadow` records refusals and lets pass. Default `enforce`.
    pub mode: Option<Mode>,
    /// The share of refusals that is carried out, in percent; the others are recorded as in shadow. Each request draws anew.
    /// Default 100.
    pub percent: Option<Percent>,
    /// The plugin whose subject and claims are read. Default `jwt-auth`.
    pub identity: Option<PluginName>,
    /// Who answers.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub engine: Option<RawEngine>,
    /// Which requests are which questions. The first rule that matches decides.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub rules: Option<Vec<RawRule>>,
    /// What happens to requests that no rule matches.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub unmatched: Option<Unmatched>,
    /// `pass`: CORS preflights are not asked about. Default `check`.
    pub preflights: Option<Preflights>,
    /// `keep`: `%2F` in a path is three characters of a segment. Default `refuse`: such a path is ambiguous.
    pub encoded_slash: Option<EncodedSlash>,
    /// Callers who are told how they were judged.
    pub explain: Option<RawExplain>,
}

/// Who answers.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Engine"))]
#[serde(deny_unknown_fields, expecting = "an object with embedded")]
pub struct RawEngine {
    /// The filter itself.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub embedded: Option<RawEmbedded>,
}

/// A model and its tuples.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Embedded"))]
#[serde(deny_unknown_fields, expecting = "an object with model and tuples")]
pub struct RawEmbedded {
    /// The model, in OpenFGA's modelling language or as its JSON.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub model: Option<String>,
    /// The tuples, each as `document:1#viewer@user:ann` or with a condition.
    pub tuples: Option<Vec<RawTuple>>,
    /// The most steps that the answer to one question may take: relations and tuples that are looked at. Default 10000, from 1 to 1000000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000000)))]
    pub max_steps: Option<Whole>,
}

/// A tuple: text, or its parts.
#[derive(Debug)]
pub enum RawTuple {
    /// `document:1#viewer@user:ann`
    Text(String),
    /// Its parts.
    Parts(RawParts),
}

/// The parts of a tuple, as OpenFGA's API has them.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Tuple"))]
#[serde(deny_unknown_fields)]
pub struct RawParts {
    /// The subject: `user:ann`, `user:*` or `group:1#member`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub user: String,
    /// The relation.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub relation: String,
    /// The object.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub object: String,
    /// The condition under which it holds.
    pub condition: Option<RawCondition>,
}

/// A tuple's condition.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Condition"))]
#[serde(deny_unknown_fields)]
pub struct RawCondition {
    /// Its name in the model.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub name: String,
    /// Values for its parameters. They count before those of the request.
    pub context: Option<BTreeMap<String, serde_json::Value>>,
}

impl<'de> Deserialize<'de> for RawTuple {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawTuple;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a tuple such as document:1#viewer@user:ann, or {user, relation, object, condition}",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawTuple, E> {
                Ok(RawTuple::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTuple, A::Error> {
                RawParts::deserialize(MapAccessDeserializer::new(map)).map(RawTuple::Parts)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawTuple {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyTuple".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let parts = generator.subschema_for::<RawParts>();
        schemars::json_schema!({"anyOf": [{"type": "string", "minLength": 1}, parts]})
    }
}
