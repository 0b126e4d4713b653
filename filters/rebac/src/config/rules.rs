//! Which requests are which questions.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_common::config::RuleName;
use portcullis_common::matching::conditions::RawMatch;
use portcullis_common::mode::{Mode, OnError, Percent};
use portcullis_common::values::template::Template;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

/// Which requests are which questions.
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
    /// What is asked about them.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub checks: Option<RawChecks>,
    /// `true`: what may not be seen is answered with 404 `not_found`, so that nobody learns whether it exists. Default `false`: 403.
    pub hide: Option<bool>,
    /// What happens to requests about which nobody can be asked. Default: the plugin's.
    pub on_error: Option<OnError>,
    /// `enforce` or `shadow` for this rule. Default: the plugin's.
    pub mode: Option<Mode>,
    /// The share of this rule's refusals that is carried out, in percent. Default: the plugin's.
    pub percent: Option<Percent>,
}

/// `none`, or one of `any`, `all`.
#[derive(Debug)]
pub enum RawChecks {
    /// Nothing is asked.
    None,
    /// Questions.
    Some(RawGroup),
}

/// Questions: exactly one of `any` and `all`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Checks"))]
#[serde(deny_unknown_fields)]
pub struct RawGroup {
    /// One of these has to hold.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub any: Option<Vec<RawCheck>>,
    /// All of these have to hold.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub all: Option<Vec<RawCheck>>,
}

/// One question.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Check"))]
#[serde(deny_unknown_fields)]
pub struct RawCheck {
    /// Who: a template such as `user:{subject}`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub subject: Option<Template>,
    /// Which relation, or one for each method: `{GET: viewer, PUT: editor}`. GET covers HEAD; other methods are refused.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub relation: Option<RawRelation>,
    /// To what: a template such as `document:{path.id}`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub object: Option<Template>,
    /// Tuples that hold for this question alone: groups and roles in the token, say. At most 100 are made of them.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub tuples: Option<Vec<RawOwn>>,
    /// Values for the parameters of conditions, each a template. A source that has no value leaves its parameter out. A claim alone
    /// (`{claim.roles}`) is handed on as it stands in the token: a list, a map, a number, a truth.
    #[cfg_attr(feature = "schema", schemars(extend("minProperties" = 1)))]
    pub context: Option<BTreeMap<String, Template>>,
    /// The parameter that is the time of the request, if the conditions have one.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub now: Option<String>,
    /// `true`: the subject and the question's own tuples may come from a header, a query parameter or a cookie, which the client
    /// chooses. Default `false`.
    pub from_client: Option<bool>,
}

/// A tuple that holds for one question.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "OwnTuple"))]
#[serde(deny_unknown_fields)]
pub struct RawOwn {
    /// The subject: a template such as `user:{subject}`. In `user` or `object` one claim may be a list, and gives a tuple for each
    /// of its items; a claim that is absent gives none.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub user: Option<Template>,
    /// The relation.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub relation: Option<String>,
    /// The object: a template such as `group:{claim.groups}`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub object: Option<Template>,
}

/// A relation, or one for each method.
#[derive(Debug)]
pub enum RawRelation {
    /// For every method.
    One(String),
    /// By method.
    ByMethod(BTreeMap<String, String>),
}

impl<'de> Deserialize<'de> for RawChecks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawChecks;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", or one of {any: [CHECK]}, {all: [CHECK]}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawChecks, E> {
                if text == "none" {
                    Ok(RawChecks::None)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawChecks, A::Error> {
                RawGroup::deserialize(MapAccessDeserializer::new(map)).map(RawChecks::Some)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

impl<'de> Deserialize<'de> for RawRelation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawRelation;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a relation, or relations by method such as {GET: viewer, PUT: editor}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawRelation, E> {
                Ok(RawRelation::One(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRelation, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(RawRelation::ByMethod)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawRelation {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Relation".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = schemars::json_schema!({"type": "string", "minLength": 1});
        schemars::json_schema!({"anyOf": [
            name,
            {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}, "minProperties": 1}
        ]})
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawChecks {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyChecks".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let group = generator.subschema_for::<RawGroup>();
        schemars::json_schema!({"anyOf": [{"const": "none"}, group]})
    }
}
