//! How the changes of an engine outside the filter are watched.

use portcullis_common::config::DurationText;
use serde::Deserialize;

/// Watching OpenFGA: it is asked for its changes again and again.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "OpenfgaWatch"))]
#[serde(deny_unknown_fields)]
pub struct RawOpenfgaWatch {
    /// How long an answer is remembered while the watch lives. Default `10m`, at most `24h`.
    pub remember: Option<DurationText>,
    /// How often one worker thread asks for all of them. Default `250ms`, from `50ms` to `1m`.
    pub interval: Option<DurationText>,
    /// How long the server's own caches may answer as before a change: the sum of the times of those that it was started with. For so
    /// long after a change it is asked not to use them. Default `10s`, at most `1h`; `0s` if it has none.
    pub server_cache: Option<DurationText>,
}

/// Watching SpiceDB: by its stream of changes, which there is by gRPC alone.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SpicedbWatch"))]
#[serde(deny_unknown_fields)]
pub struct RawSpicedbWatch {
    /// How long an answer is remembered while the watch lives. Relationships that expire say nothing when they do, so with them no
    /// longer than they may outlive themselves. Default `10m`, at most `24h`.
    pub remember: Option<DurationText>,
    /// Envoy's cluster for the stream; with `protocol: http` it has to be written. Default: the engine's.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub cluster: Option<String>,
    /// The host that is asked for there. Default: the engine's, or the name of the cluster beside it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub authority: Option<String>,
}
