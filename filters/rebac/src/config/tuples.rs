//! Tuples: written in the configuration, or fetched.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_common::config::{DurationText, Size};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// Tuples, or where they are.
#[derive(Debug)]
pub enum RawTuples {
    /// They are written here.
    Written(Vec<RawTuple>),
    /// They are fetched.
    Fetched(RawFetched),
}

/// Where tuples are fetched.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Fetched"))]
#[serde(deny_unknown_fields)]
pub struct RawFetched {
    /// Their URL: a document with a tuple on each line, or a JSON array of tuples.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub url: Option<String>,
    /// Envoy's cluster for the host of `url` (with its port, if the URL has one).
    #[cfg_attr(feature = "schema", schemars(required, extend("minProperties" = 1)))]
    pub clusters: Option<BTreeMap<String, String>>,
    /// How often they are fetched. Default `30s`, at least `1s`.
    pub refresh: Option<DurationText>,
    /// How long the last good ones serve on after that, if they cannot be fetched. Default `1h`.
    pub stale: Option<DurationText>,
    /// How long one call may take. Default `10s`, at most `1m`.
    pub timeout: Option<DurationText>,
    /// How long a request waits for tuples that are being fetched. Default `3s`, at most `1m`.
    pub wait: Option<DurationText>,
    /// The longest document. Default `16MiB`, at most `32MiB`.
    pub max_size: Option<Size>,
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

impl<'de> Deserialize<'de> for RawTuples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawTuples;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tuples, or {url, clusters}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawTuples, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(RawTuples::Written)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTuples, A::Error> {
                RawFetched::deserialize(MapAccessDeserializer::new(map)).map(RawTuples::Fetched)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawTuples {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tuples".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let tuple = generator.subschema_for::<RawTuple>();
        let fetched = generator.subschema_for::<RawFetched>();
        schemars::json_schema!({"anyOf": [{"type": "array", "items": tuple}, fetched]})
    }
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
