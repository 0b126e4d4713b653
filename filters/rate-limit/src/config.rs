//! The configuration as it is written. What it means is in [`crate::policy`].

use std::fmt;

use portcullis_common::config::{PluginName, RuleName, Size, Whole};
use portcullis_common::matching::conditions::RawMatch;
use portcullis_common::mode::Mode;
use portcullis_common::values::template::Template;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::rate::Rate;

/// rate-limit: too much, too fast?
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "RateLimit"))]
#[serde(deny_unknown_fields, expecting = "an object with limits")]
pub struct RawConfig {
    /// The plugin's name in facts and metrics. Default `rate-limit`.
    pub name: Option<PluginName>,
    /// `false` switches the plugin off. Default `true`.
    pub enabled: Option<bool>,
    /// `shadow` records refusals and lets pass. Default `enforce`.
    pub mode: Option<Mode>,
    /// The plugin whose subject and claims the keys use. Default `jwt-auth`.
    pub identity: Option<PluginName>,
    /// The limits. Every one that matches applies.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub limits: Option<Vec<RawLimit>>,
    /// Where the counts are kept: in memory that all worker threads share.
    pub store: Option<RawStore>,
    /// Headers that tell clients where they stand. Default `draft`.
    pub headers: Option<HeaderDialect>,
    /// What happens when the store cannot answer. Default `deny`: 503 `store_unavailable`.
    pub on_error: Option<OnError>,
}

/// Where the counts are kept.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Store"))]
#[serde(deny_unknown_fields, expecting = "an object with size")]
pub struct RawStore {
    /// The most memory that the counts may ever take, for the process. Default `16MiB`, from `4KiB` to `1GiB`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub size: Option<Size>,
}

/// Headers that tell clients where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum HeaderDialect {
    /// `RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers has them.
    #[default]
    #[serde(rename = "draft")]
    Draft,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, in requests and seconds.
    #[serde(rename = "x-ratelimit")]
    XRateLimit,
    /// None.
    #[serde(rename = "none")]
    Nothing,
}

/// What happens when the store cannot answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The request is refused.
    #[default]
    Deny,
    /// The request passes, and is counted as an error.
    Allow,
}

/// One limit.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Limit"))]
#[serde(deny_unknown_fields, expecting = "an object with name, key and rate")]
pub struct RawLimit {
    /// Its name in answers, facts, metrics and in the store.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub name: Option<RuleName>,
    /// The requests that it is about. Default: all.
    #[serde(rename = "match")]
    pub matches: Option<RawMatch>,
    /// What is counted together: requests for which all these texts are the same. `["everyone"]` is one bucket for all.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub key: Option<Vec<Template>>,
    /// How many in how long.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub rate: Option<Rate>,
    /// How many at once, the bucket's capacity. Default: the rate's count.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub burst: Option<Whole>,
    /// What happens when a part of the key has no value. Default `deny`.
    pub missing: Option<RawMissing>,
    /// `enforce` or `shadow` for this limit. Default: the plugin's.
    pub mode: Option<Mode>,
}

/// `deny`, `skip`, `{value: TEXT}` or `{key: [TEMPLATE]}`.
#[derive(Debug)]
pub enum RawMissing {
    /// The request is refused.
    Deny,
    /// The limit does not apply where a value is absent; an empty, repeated or overlong one is refused all the same.
    Skip,
    /// This text instead, or another key.
    Instead(RawInstead),
}

/// What to use instead: exactly one of the two.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Instead"))]
#[serde(deny_unknown_fields, expecting = "an object with value or key")]
pub struct RawInstead {
    /// This text in place of the value.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub value: Option<String>,
    /// This key in place of the whole key.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub key: Option<Vec<Template>>,
}

impl<'de> Deserialize<'de> for RawMissing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawMissing;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("deny, skip, {value: TEXT} or {key: [TEMPLATE]}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawMissing, E> {
                match text {
                    "deny" => Ok(RawMissing::Deny),
                    "skip" => Ok(RawMissing::Skip),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawMissing, A::Error> {
                RawInstead::deserialize(MapAccessDeserializer::new(map)).map(RawMissing::Instead)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawMissing {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Missing".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let instead = generator.subschema_for::<RawInstead>();
        schemars::json_schema!({"anyOf": [{"enum": ["deny", "skip"]}, instead]})
    }
}
