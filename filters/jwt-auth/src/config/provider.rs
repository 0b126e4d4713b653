//! Who issues tokens, and what is asked of them.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_common::config::{DurationText, HeaderName};
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use super::keys::{RawDeny, RawKeys};
use crate::algorithm::Algorithm;
use crate::profile::Profile;

/// One issuer of tokens, and what is asked of its tokens.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Provider"))]
#[serde(deny_unknown_fields)]
pub struct RawProvider {
    /// The `iss` of its tokens, compared exactly. This, `issuers`, `issuer_template`, or with the profile `spiffe` `trust_domain`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub issuer: Option<String>,
    /// Several issuers with the same keys.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub issuers: Option<Vec<String>>,
    /// An issuer with claims in it, such as `https://login.example/{claim.tid}/v2.0`; `issuer_values` says which values they
    /// may have.
    pub issuer_template: Option<Template>,
    /// For each claim in `issuer_template`, the values that it may have.
    #[cfg_attr(feature = "schema", schemars(extend("minProperties" = 1)))]
    pub issuer_values: Option<BTreeMap<String, Vec<String>>>,
    /// The SPIFFE trust domain whose identities these are: `sub` starts with `spiffe://<trust_domain>/`. With the profile
    /// `spiffe`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub trust_domain: Option<String>,
    /// The audiences of which a token must name at least one, or `any`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub audiences: Option<RawAudiences>,
    /// The signature algorithms that this issuer uses.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Where the keys come from.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub keys: Option<RawKeys>,
    /// Which kind of token this is: `rfc9068` (OAuth access tokens), `oidc` (ID tokens), `spiffe` (JWT-SVIDs), or `custom`.
    /// A profile fixes `typ` and the claims that have to be there. Default `custom`.
    pub profile: Option<Profile>,
    /// Which `typ` a token may have. With the profile `custom`.
    pub types: Option<RawTypes>,
    /// Claims without which a token is refused.
    pub required_claims: Option<Vec<Source>>,
    /// Claims with which a token is refused.
    pub forbidden_claims: Option<Vec<Source>>,
    /// Where clients put the token. Default: `[{header: authorization, scheme: Bearer}]`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub tokens: Option<Vec<RawLocation>>,
    /// How far the issuer's clock and ours may differ. Default `30s`, at most `10m`.
    pub clock_skew: Option<DurationText>,
    /// The longest time from `iat`, and from now, to `exp`. Default: any.
    pub max_lifetime: Option<DurationText>,
    /// `optional`: tokens without `exp` are valid for ever. Default `required`.
    pub expiration: Option<Expiration>,
    /// Tokens that are refused though they verify.
    pub deny: Option<RawDeny>,
    /// The claims that hold roles, as lists of texts or as one text. Default `[claim.roles]`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub roles: Option<Vec<Source>>,
    /// The subject that is handed on. Default `{claim.sub}`.
    pub subject: Option<Template>,
    /// `true`: the token stays in the request. Default `false`: it is removed.
    pub forward_token: Option<bool>,
    /// A header for the payload, base64url, as it stands in the token.
    pub payload_header: Option<HeaderName>,
    /// Headers for the upstream, by name: templates of `subject`, `issuer` and claims, or a list. An absent claim leaves its
    /// header out.
    pub claim_headers: Option<BTreeMap<HeaderName, RawClaimHeader>>,
}

/// What a header for the upstream holds.
#[derive(Debug)]
pub enum RawClaimHeader {
    /// Text with claims in it.
    Text(Template),
    /// A claim that may be a list.
    List(RawList),
}

/// A claim as a header: exactly one of `join` and `json`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ClaimList"))]
#[serde(deny_unknown_fields)]
pub struct RawList {
    /// The claim.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub from: Option<Source>,
    /// The text between the items of a list. An item that contains it refuses the token's use: it would be two.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub join: Option<String>,
    /// `true`: the claim as JSON text, whatever it is.
    pub json: Option<bool>,
}

impl<'de> Deserialize<'de> for RawClaimHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawClaimHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text with sources in braces, {from: claim.NAME, join: \",\"} or {from: claim.NAME, json: true}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawClaimHeader, E> {
                let remedy = "write text with sources in braces, such as \"{subject}\"";
                let template =
                    Template::parse(text).map_err(|problem| E::custom(format!("{problem}; {remedy}")))?;
                Ok(RawClaimHeader::Text(template))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawClaimHeader, A::Error> {
                RawList::deserialize(MapAccessDeserializer::new(map)).map(RawClaimHeader::List)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

/// Which `typ` a token may have: RFC 8725, section 3.11.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Types"))]
#[serde(deny_unknown_fields)]
pub struct RawTypes {
    /// The types, compared without case and without `application/`. Default `[JWT, at+jwt]`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub accept: Option<Vec<String>>,
    /// `refuse`: a token has to say its type. Default `accept`.
    pub absent: Option<AbsentType>,
}

/// What becomes of a token without `typ`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AbsentType {
    /// It is taken for one of those that are accepted.
    #[default]
    Accept,
    /// It is refused.
    Refuse,
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

/// A place for a token: exactly one of `header`, `query` and `cookie`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "TokenLocation"))]
#[serde(deny_unknown_fields)]
pub struct RawLocation {
    /// A header.
    pub header: Option<HeaderName>,
    /// The authentication scheme in front of the token, compared without case. With `header`. `DPoP` is refused: its proofs are not
    /// checked here.
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

#[cfg(feature = "schema")]
mod schema {
    use super::{RawAudiences, RawClaimHeader, RawList};
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

    impl JsonSchema for RawClaimHeader {
        fn schema_name() -> Cow<'static, str> {
            "ClaimHeader".into()
        }
        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let list = generator.subschema_for::<RawList>();
            json_schema!({"anyOf": [{"type": "string", "minLength": 1}, list]})
        }
    }
}
