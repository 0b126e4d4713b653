//! The configuration as it is written. What it means is in [`crate::policy`].

use std::collections::BTreeMap;
use std::fmt;

use portcullis_common::config::{DurationText, HeaderName, PluginName, RuleName, Secret, Size};
use portcullis_common::matching::conditions::RawMatch;
use portcullis_common::matching::path::EncodedSlash;
use portcullis_common::mode::Mode;
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;

/// jwt-auth: validates JSON Web Tokens and hands the verified identity on.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "JwtAuth"))]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The plugin's name in facts and metrics. Default `jwt-auth`.
    pub name: Option<PluginName>,
    /// `false` switches the plugin off: client copies of its headers are still removed, nothing else happens. Default `true`.
    pub enabled: Option<bool>,
    /// `shadow` records refusals and lets pass. Default `enforce`.
    pub mode: Option<Mode>,
    /// Who issues tokens, by a name that the rules use.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub providers: Option<BTreeMap<String, RawProvider>>,
    /// Which requests need what. The first rule that matches decides.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub rules: Option<Vec<RawRule>>,
    /// What happens to requests that no rule matches.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub unmatched: Option<Unmatched>,
    /// What is published as facts besides the subject: `issuer`, and claims, each under its source's name.
    pub publish: Option<Vec<Source>>,
    /// `keep`: `%2F` in a path is three characters of a segment. Default `refuse`: such a path is ambiguous.
    pub encoded_slash: Option<EncodedSlash>,
    /// The `realm` of challenges. Default `api`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128)))]
    pub realm: Option<String>,
    /// The longest token that is looked at. Default `16KiB`, at most `64KiB`.
    pub max_token: Option<Size>,
    /// Verified tokens that are remembered, per worker.
    pub cache: Option<RawCache>,
    /// `true`: the subjects of all providers are one namespace. Else, with several providers, each needs a `subject` that
    /// tells issuers apart. Default `false`.
    pub shared_namespace: Option<bool>,
}

/// Verified tokens that are remembered.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Cache"))]
#[serde(deny_unknown_fields)]
pub struct RawCache {
    /// How much memory they may take, per worker. `0B` remembers none. Default `4MiB`, at most `256MiB`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub size: Option<Size>,
}

/// What happens to requests that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// They are refused: 403 `unmatched`.
    Deny,
    /// They pass, without facts.
    Allow,
}

/// One issuer of tokens, and what is asked of its tokens.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Provider"))]
#[serde(deny_unknown_fields)]
pub struct RawProvider {
    /// The `iss` of its tokens, compared exactly. This or `issuers`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub issuer: Option<String>,
    /// Several issuers with the same keys.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub issuers: Option<Vec<String>>,
    /// The audiences of which a token must name at least one, or `any`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub audiences: Option<RawAudiences>,
    /// The signature algorithms that this issuer uses.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Where the keys come from.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub keys: Option<RawKeys>,
    /// Where clients put the token. Default: `[{header: authorization, scheme: Bearer}]`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub tokens: Option<Vec<RawLocation>>,
    /// How far the issuer's clock and ours may differ. Default `30s`, at most `10m`.
    pub clock_skew: Option<DurationText>,
    /// The longest time from `iat`, and from now, to `exp`. Default: any.
    pub max_lifetime: Option<DurationText>,
    /// `optional`: tokens without `exp` are valid for ever. Default `required`.
    pub expiration: Option<Expiration>,
    /// The subject that is handed on. Default `{claim.sub}`.
    pub subject: Option<Template>,
    /// `true`: the token stays in the request. Default `false`: it is removed.
    pub forward_token: Option<bool>,
    /// A header for the payload, base64url, as it stands in the token.
    pub payload_header: Option<HeaderName>,
    /// Headers for the upstream, by name: templates of `subject`, `issuer` and claims. An absent claim leaves its header out.
    pub claim_headers: Option<BTreeMap<HeaderName, Template>>,
}

/// Whether a token needs `exp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Expiration {
    /// It does.
    Required,
    /// It does not.
    Optional,
}

/// A list of audiences, or `any`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawAudiences {
    /// `any`
    Any,
    /// The list.
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for RawAudiences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawAudiences;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of audiences, or \"any\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawAudiences, E> {
                if text == "any" {
                    Ok(RawAudiences::Any)
                } else {
                    Err(E::custom(format!("`{text}` is no list; write [{text}], or \"any\"")))
                }
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<RawAudiences, A::Error> {
                let mut list = Vec::new();
                while let Some(audience) = seq.next_element()? {
                    list.push(audience);
                }
                Ok(RawAudiences::List(list))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

/// Where keys come from: exactly one of the fields.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Keys"))]
#[serde(deny_unknown_fields)]
pub struct RawKeys {
    /// A key set, inline (RFC 7517).
    pub jwks: Option<RawJwks>,
    /// A secret for HS256, HS384 or HS512.
    pub secret: Option<Secret>,
}

/// A JSON Web Key Set.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "JWKS"))]
#[serde(deny_unknown_fields)]
pub struct RawJwks {
    /// The keys.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub keys: Vec<Map<String, Value>>,
}

/// A place for a token: exactly one of `header`, `query` and `cookie`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "TokenLocation"))]
#[serde(deny_unknown_fields)]
pub struct RawLocation {
    /// A header.
    pub header: Option<HeaderName>,
    /// The authentication scheme in front of the token, compared without case. With `header`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub scheme: Option<String>,
    /// Text in front of the token, compared exactly. With `header`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub prefix: Option<String>,
    /// A query parameter. URLs end up in logs: RFC 6750, section 2.3, discourages this.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub query: Option<String>,
    /// A cookie.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub cookie: Option<String>,
}

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
}

/// `none`, or one of `any`, `all`, `optional`.
#[derive(Debug)]
pub enum RawRequire {
    /// No token is looked for.
    None,
    /// A token, and what is asked of it.
    Token(RawToken),
}

/// Whose token: exactly one of the three.
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
                RawToken::deserialize(MapAccessDeserializer::new(map)).map(RawRequire::Token)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::{RawAudiences, RawRequire, RawToken};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    impl JsonSchema for RawAudiences {
        fn schema_name() -> Cow<'static, str> {
            "Audiences".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"anyOf": [
                {"const": "any"},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
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
}
