//! Where keys come from, and what is refused though it verifies.

use std::collections::BTreeMap;

use portcullis_common::config::{DurationText, Secret, Size, Whole};
use portcullis_common::mode::OnError;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Where keys come from: a secret, or any of the others together.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Keys"))]
#[serde(deny_unknown_fields)]
pub struct RawKeys {
    /// A key set, inline (RFC 7517).
    pub jwks: Option<RawJwks>,
    /// A secret for HS256, HS384 or HS512.
    pub secret: Option<Secret>,
    /// The URL of a key set.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub jwks_url: Option<String>,
    /// The URLs of several key sets, at most 8. Their keys count together.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub jwks_urls: Option<Vec<String>>,
    /// The URL of the issuer's metadata (OpenID Connect Discovery, RFC 8414), which names the URL of the keys.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub discovery: Option<String>,
    /// Envoy's cluster for each host (with its port, if the URL has one) that keys or metadata may come from. No other host is
    /// asked, whatever the metadata say.
    #[cfg_attr(feature = "schema", schemars(extend("minProperties" = 1)))]
    pub clusters: Option<BTreeMap<String, String>>,
    /// The least time for which fetched keys are fresh, whatever the server's `Cache-Control` says. Default `1m`, at least `1s`.
    pub min_fresh: Option<DurationText>,
    /// The longest. Default `1h`. Without `Cache-Control` keys are fresh for `10m`, within these two.
    pub max_fresh: Option<DurationText>,
    /// How long keys serve on after that, if they cannot be refreshed. Default `24h`.
    pub stale: Option<DurationText>,
    /// How long one call may take. Default `5s`, at most `1m`.
    pub timeout: Option<DurationText>,
    /// The least time between two fetches because a token names an unknown key. Default `5s`, at least `1s`.
    pub refetch_interval: Option<DurationText>,
    /// How long a request waits for keys that are being fetched. Default `6s`, at most `1m`.
    pub wait: Option<DurationText>,
    /// The longest answer of a key server. Default `512KiB`, at most `4MiB`.
    pub max_size: Option<Size>,
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

/// Tokens that are refused though they verify.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Deny"))]
#[serde(deny_unknown_fields)]
pub struct RawDeny {
    /// Single tokens, by their `jti`. A token without `jti` is then refused too, for it cannot be told apart.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub jti: Option<Vec<String>>,
    /// All tokens of these `sub`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub sub: Option<Vec<String>>,
    /// All tokens whose `iat` is earlier than this: seconds since 1970, as in the claim. A token without `iat` is then refused too.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 253_402_300_799_u64)))]
    pub issued_before: Option<Whole>,
    /// A list that is fetched, besides the one written here.
    pub list: Option<RawDenyList>,
}

/// A deny list that is fetched.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "DenyList"))]
#[serde(deny_unknown_fields)]
pub struct RawDenyList {
    /// Its URL: a JSON object with `jti`, `sub` and `issued_before`, each optional, as in `deny`.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub url: Option<String>,
    /// Envoy's cluster that leads there.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub cluster: Option<String>,
    /// How often it is fetched. Default `1m`, at least `1s`.
    pub interval: Option<DurationText>,
    /// How long the last list serves on if it cannot be fetched. Default `1h`.
    pub stale: Option<DurationText>,
    /// What becomes of tokens while there is no list that may be used.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub on_error: Option<OnError>,
    /// The longest list. Default `512KiB`, at most `4MiB`.
    pub max_size: Option<Size>,
}
