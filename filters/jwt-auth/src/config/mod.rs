//! The configuration as it is written. What it means is in [`crate::policy`].
//!
//! | module | one idea |
//! |---|---|
//! | this one | the plugin |
//! | [`keys`] | where keys come from, and deny lists |
//! | [`provider`] | who issues tokens, and what is asked of them |
//! | [`rules`] | which requests need what |

pub mod keys;
pub mod provider;
pub mod rules;

use std::collections::BTreeMap;

use portcullis_common::config::{PluginName, Size};
use portcullis_common::explain::RawExplain;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::path::EncodedSlash;
use portcullis_common::mode::{Mode, Percent};
use portcullis_common::values::source::Source;
use serde::Deserialize;

use self::provider::RawProvider;
use self::rules::RawRule;

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
    /// The share of refusals that is carried out, in percent; the others are recorded as in shadow. Each request draws anew.
    /// Default 100.
    pub percent: Option<Percent>,
    /// Who issues tokens, by a name that the rules use.
    #[cfg_attr(feature = "schema", schemars(required, extend("minProperties" = 1)))]
    pub providers: Option<BTreeMap<String, RawProvider>>,
    /// Which requests need what. The first rule that matches decides.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub rules: Option<Vec<RawRule>>,
    /// What happens to requests that no rule matches.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub unmatched: Option<Unmatched>,
    /// `pass`: CORS preflights need no token. They carry none, and get neither facts nor headers. Default `check`.
    pub preflights: Option<Preflights>,
    /// What is published as facts besides the subject: `issuer`, and claims, each under its source's name.
    pub publish: Option<Vec<Source>>,
    /// `true`: the whole payload is published too, as the fact `payload`, if it has at most 8 KiB. Default `false`.
    pub publish_payload: Option<bool>,
    /// `keep`: `%2F` in a path is three characters of a segment. Default `refuse`: such a path is ambiguous.
    pub encoded_slash: Option<EncodedSlash>,
    /// The `realm` of challenges. Default `api`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128)))]
    pub realm: Option<String>,
    /// The metadata of the protected resource (RFC 9728): challenges point to it, and it is served.
    pub resource_metadata: Option<RawResource>,
    /// Callers who are told how they were judged.
    pub explain: Option<RawExplain>,
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

/// The metadata of a protected resource: RFC 9728, section 2.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ResourceMetadata"))]
#[serde(deny_unknown_fields)]
pub struct RawResource {
    /// The resource's identifier: the `https` URL that clients use, without query and fragment.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub resource: Option<String>,
    /// The issuers of its tokens. Default: those of the providers.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub authorization_servers: Option<Vec<String>>,
    /// Scopes that clients may ask for. Default: left out.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub scopes_supported: Option<Vec<String>>,
    /// A name for people. Default: left out.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub resource_name: Option<String>,
    /// A page for developers. Default: left out.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub resource_documentation: Option<String>,
    /// `false`: somebody else serves the document. Default `true`: this filter answers GET at its well-known path.
    pub serve: Option<bool>,
}
