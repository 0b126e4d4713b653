//! Engines outside the filter, what is remembered of their answers, and when an answer has to be fresh.

use portcullis_common::config::{DurationText, HeaderName, Secret, Size, Whole};
use serde::Deserialize;

use super::watch::{RawOpenfgaWatch, RawSpicedbWatch};

/// An OpenFGA server, asked by HTTP.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Openfga"))]
#[serde(deny_unknown_fields, expecting = "an object with cluster, store and model")]
pub struct RawOpenfga {
    /// Envoy's cluster.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub cluster: Option<String>,
    /// The server's host, with its port if that is not the scheme's. Default: the cluster's name; of one that
    /// Istio made, the host in it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub authority: Option<String>,
    /// The store's id.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub store: Option<String>,
    /// The authorization model's id. It is written down, for a model that changes under a gateway changes decisions unseen.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub model: Option<String>,
    /// A bearer token.
    pub token: Option<Secret>,
    /// Or a token that is fetched, by OAuth 2.0 client credentials.
    pub client_credentials: Option<RawClientCredentials>,
    /// How fresh answers are, where a request asks for nothing. Default `minimize_latency`.
    pub consistency: Option<OpenfgaConsistency>,
    /// Watches for changes, so that answers can be remembered for longer. `{}` is all defaults; without it nothing is watched.
    pub watch: Option<RawOpenfgaWatch>,
    /// How the server is called.
    #[serde(default)]
    pub calls: RawCalls,
}

/// A SpiceDB server.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Spicedb"))]
#[serde(deny_unknown_fields, expecting = "an object with cluster and token")]
pub struct RawSpicedb {
    /// Envoy's cluster.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub cluster: Option<String>,
    /// The server's host, with its port if that is not the scheme's. Default: the cluster's name; of one that Istio made, the host
    /// in it. With `grpc`, cluster and authority have at most 117 bytes together.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub authority: Option<String>,
    /// `grpc`, or `http` for its HTTP gateway. Default `grpc`.
    pub protocol: Option<Protocol>,
    /// The preshared key.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub token: Option<Secret>,
    /// How fresh answers are, where a request asks for nothing. Default `minimize_latency`.
    pub consistency: Option<SpicedbConsistency>,
    /// Watches for changes, so that answers can be remembered for longer. `{}` is all defaults; without it nothing is watched.
    pub watch: Option<RawSpicedbWatch>,
    /// How the server is called.
    #[serde(default)]
    pub calls: RawCalls,
}

/// How an engine is called.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Calls"))]
#[serde(deny_unknown_fields)]
pub struct RawCalls {
    /// How long a request waits for its answer, every call for it together. Default `200ms`, at most `10s`.
    pub timeout: Option<DurationText>,
    /// How often a call is repeated that did not reach the engine, within `timeout`. Default 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 5)))]
    pub retries: Option<Whole>,
    /// After so many failures in a row the engine is left alone. Default 5.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
    pub failures: Option<Whole>,
    /// For how long it is left alone; then one question tries whether it answers again. Default `1s`, at most `1m`.
    pub pause: Option<DurationText>,
}

/// How a token is fetched (RFC 6749, section 4.4).
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ClientCredentials"))]
#[serde(deny_unknown_fields, expecting = "an object with cluster, url, client_id and client_secret")]
pub struct RawClientCredentials {
    /// Envoy's cluster for the token endpoint.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub cluster: Option<String>,
    /// The token endpoint.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub url: Option<String>,
    /// The client.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub client_id: Option<String>,
    /// Its secret.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub client_secret: Option<Secret>,
    /// The audience that is asked for.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub audience: Option<String>,
    /// The scopes that are asked for.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub scopes: Option<Vec<String>>,
}

/// How fresh OpenFGA's answers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OpenfgaConsistency {
    /// Its caches may answer.
    #[default]
    MinimizeLatency,
    /// They may not.
    HigherConsistency,
}

/// How fresh SpiceDB's answers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SpicedbConsistency {
    /// From a revision that it chose for speed, some seconds old.
    #[default]
    MinimizeLatency,
    /// From the newest.
    FullyConsistent,
}

/// How SpiceDB is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Its own API.
    #[default]
    Grpc,
    /// Its HTTP gateway.
    Http,
}

/// What is remembered of an engine's answers, in each worker thread.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Cache"))]
#[serde(deny_unknown_fields)]
pub struct RawCache {
    /// How long a yes holds. Default `10s`, at most `1h`; `0s` remembers none.
    pub allow: Option<DurationText>,
    /// How long a no holds. Default `2s`, at most `1h`; `0s` remembers none.
    pub deny: Option<DurationText>,
    /// By how much of it a time may be shorter, in percent, drawn for each answer: so that what was learnt together is not
    /// forgotten together. Default 10.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 50)))]
    pub jitter: Option<Whole>,
    /// The memory it may take in each worker thread. Default `8MiB`, at most `256MiB`; `0B` remembers nothing.
    pub size: Option<Size>,
    /// How long after its time an answer still serves while the engine is unavailable. Default `0s`: not at all; at most `1h`.
    pub stale: Option<DurationText>,
}

/// When an answer has to be fresh.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Freshness"))]
#[serde(deny_unknown_fields)]
pub struct RawFreshness {
    /// The request header in which a client presents what a write was answered with: the answer is then at least as new as that
    /// write. With SpiceDB it holds a ZedToken; with OpenFGA, which has none, any text asks for a fresh answer.
    pub header: Option<HeaderName>,
    /// The methods whose requests are always answered freshly. Default: POST, PUT, PATCH, DELETE.
    pub methods: Option<Vec<String>>,
    /// How many answers a second each worker thread fetches because a client asked for them by that header. What is above is
    /// refused: 429. Default 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100000)))]
    pub per_second: Option<Whole>,
}
