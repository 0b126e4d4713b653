//! Which requests need what.

use std::fmt;

use portcullis_common::config::RuleName;
use portcullis_common::matching::conditions::RawMatch;
use portcullis_common::mode::{Mode, Percent};
use portcullis_common::values::source::Source;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

/// Which requests need what.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Rule"))]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    /// The rule's name in facts and metrics. Default `rule-<position>`, counted from 0.
    pub name: Option<RuleName>,
    /// The requests that this rule is about.
    #[serde(rename = "match")]
    #[cfg_attr(feature = "schema", schemars(required))]
    pub matches: Option<RawMatch>,
    /// What they need.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub require: Option<RawRequire>,
    /// `enforce` or `shadow` for this rule. Default: the plugin's.
    pub mode: Option<Mode>,
    /// The share of this rule's refusals that is carried out, in percent. Default: the plugin's.
    pub percent: Option<Percent>,
}

/// `none`, or one of `any`, `all`, `optional`.
#[derive(Debug)]
pub enum RawRequire {
    /// No token is looked for.
    None,
    /// A token, and what is asked of it.
    Token(Box<RawToken>),
}

/// Whose token: exactly one of `any`, `all` and `optional`. And what the token has to grant: all that is written.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Token"))]
#[serde(deny_unknown_fields)]
pub struct RawToken {
    /// Exactly one token, of one of these providers.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub any: Option<Vec<String>>,
    /// One token of each of these providers, each in its own place; facts come from the first.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub all: Option<Vec<String>>,
    /// At most one token, of one of these providers; without one the request passes without facts, an invalid one is refused.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub optional: Option<Vec<String>>,
    /// Scopes that the token must have, in `scope` or `scp`: a list of which it needs all, or `{any: [...]}`.
    pub scopes: Option<RawNames>,
    /// Roles that the token must have, in the claims that its provider names: a list of which it needs all, or `{any: [...]}`.
    pub roles: Option<RawNames>,
    /// What must hold of its claims: conditions, all of them.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub claims: Option<Vec<RawCondition>>,
}

/// A list of names of which all are needed, or `{any: [...]}` of which one will do.
#[derive(Debug)]
pub enum RawNames {
    /// All of them.
    All(Vec<String>),
    /// One of them.
    Any(Vec<String>),
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "AnyName"))]
#[serde(deny_unknown_fields)]
struct RawAnyName {
    /// Names of which one will do.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    any: Vec<String>,
}

/// One condition on the claims: exactly one group (`any`, `all`), or `value` with exactly one test.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ClaimCondition"))]
#[serde(deny_unknown_fields)]
pub struct RawCondition {
    /// One of these holds.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub any: Option<Vec<RawCondition>>,
    /// All of these hold.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub all: Option<Vec<RawCondition>>,
    /// What is looked at: `claim.NAME`, `subject` or `issuer`.
    pub value: Option<Source>,
    /// It is this text, whole number or boolean; types are told apart.
    pub equals: Option<Scalar>,
    /// It is one of these.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub one_of: Option<Vec<Scalar>>,
    /// It is a list, and this is in it.
    pub contains: Option<Scalar>,
    /// It is text, and starts with this.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub prefix: Option<String>,
    /// `true`: it is there, and not null.
    pub exists: Option<bool>,
    /// `true`: it is not there, or null.
    pub forbidden: Option<bool>,
}

/// A value that a claim is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    Text(Box<str>),
    /// A whole number.
    Whole(i64),
    /// A boolean.
    Bool(bool),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl Visitor<'_> for Seen {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a whole number, true or false")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.into()))
            }
            fn visit_bool<E: de::Error>(self, b: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(b))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Scalar, E> {
                Ok(Scalar::Whole(n))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Scalar, E> {
                i64::try_from(n)
                    .map(Scalar::Whole)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Scalar, E> {
                // 2^53: beyond it a double no longer tells neighbours apart.
                if n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0 {
                    Ok(Scalar::Whole(n as i64))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(n), &self))
                }
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

impl<'de> Deserialize<'de> for RawNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawNames;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names, or {any: [NAME]}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawNames, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(RawNames::All(names))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawNames, A::Error> {
                let names = RawAnyName::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawNames::Any(names.any))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

impl<'de> Deserialize<'de> for RawRequire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawRequire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"none\", or one of {any: [PROVIDER]}, {all: [PROVIDER]}, {optional: [PROVIDER]}",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawRequire, E> {
                if text == "none" {
                    Ok(RawRequire::None)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRequire, A::Error> {
                let token = RawToken::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawRequire::Token(Box::new(token)))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::{RawAnyName, RawNames, RawRequire, RawToken, Scalar};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    impl JsonSchema for RawNames {
        fn schema_name() -> Cow<'static, str> {
            "Names".into()
        }
        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let any = generator.subschema_for::<RawAnyName>();
            json_schema!({"anyOf": [
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                any
            ]})
        }
    }

    impl JsonSchema for RawRequire {
        fn schema_name() -> Cow<'static, str> {
            "Require".into()
        }
        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let token = generator.subschema_for::<RawToken>();
            json_schema!({"anyOf": [{"const": "none"}, token]})
        }
    }

    impl JsonSchema for Scalar {
        fn inline_schema() -> bool {
            true
        }
        fn schema_name() -> Cow<'static, str> {
            "Scalar".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": ["string", "integer", "boolean"]})
        }
    }
}
