//! The configuration as it is written. What it means is in [`crate::policy`].

use portcullis_common::config::{DurationText, PluginName, Whole};
use portcullis_common::matching::pattern::Pattern;
use portcullis_common::values::source::Source;
use serde::Deserialize;

use crate::percent::Percent;

/// metrics: what happened, how long, why refused?
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Metrics"))]
#[serde(deny_unknown_fields, expecting = "an object with routes")]
pub struct RawConfig {
    /// The plugin's name in facts and metrics. Default `metrics`.
    pub name: Option<PluginName>,
    /// `false` switches the plugin off. Default `true`.
    pub enabled: Option<bool>,
    /// The routes to tell apart, as path templates; the most specific one wins. What none matches counts as `_unmatched`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub routes: Option<Vec<Pattern>>,
    /// Whether Envoy's own route name stands in where no template matches. Default `false`.
    pub envoy_route: Option<bool>,
    /// Whether the matched template is written as a fact for the access log. Default `true`.
    pub route_fact: Option<bool>,
    /// The gRPC methods to tell apart, as `package.Service/Method`. Any other gRPC call counts as `_OTHER`. Default: gRPC calls are not counted by method.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub grpc_methods: Option<Vec<String>>,
    /// The other Portcullis plugins of the chain whose verdicts and times are counted, by name. Default: none.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub plugins: Option<Vec<PluginName>>,
    /// Requests by consumer. Default: not counted by consumer.
    pub consumers: Option<RawConsumers>,
    /// What is promised, by route. Default: nothing.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub slos: Option<Vec<RawSlo>>,
    /// The most series of one metric, for the whole process; the rest goes to one overflow series.
    pub series: Option<RawSeries>,
    /// Log lines about single requests. Default: none.
    pub log: Option<RawLog>,
}

/// Requests by consumer: a closed list, the busiest ones, or both.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Consumers"))]
#[serde(deny_unknown_fields, expecting = "an object with from, and allow or top")]
pub struct RawConsumers {
    /// The plugin that says who calls. Default `jwt-auth`.
    pub identity: Option<PluginName>,
    /// What names the consumer: `subject`, `issuer`, or a claim that `identity` publishes.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub from: Option<Source>,
    /// Consumers that have series of their own.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub allow: Option<Vec<String>>,
    /// How many more have one because they call most, 1 to 100. All others count as `__other__`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub top: Option<Whole>,
    /// The consumer's tier.
    pub tier: Option<RawTier>,
}

/// Tiers: a closed list.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Tier"))]
#[serde(deny_unknown_fields, expecting = "an object with from and allow")]
pub struct RawTier {
    /// What names the tier, as in `consumers.from`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub from: Option<Source>,
    /// The tiers that there are. Any other counts as `__other__`.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub allow: Option<Vec<String>>,
}

/// What is promised of one route.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Slo"))]
#[serde(deny_unknown_fields, expecting = "an object with route, and availability, latency or apdex")]
pub struct RawSlo {
    /// One of `routes`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub route: Option<Pattern>,
    /// The share of requests that are answered without a fault of the server.
    pub availability: Option<Percent>,
    /// The share of answers that come in time.
    pub latency: Option<RawLatency>,
    /// The time that satisfies, for Apdex: four times as much is tolerated.
    pub apdex: Option<DurationText>,
}

/// The share of answers that come in time.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Latency"))]
#[serde(deny_unknown_fields, expecting = "an object with under and objective")]
pub struct RawLatency {
    /// How long an answer may take.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub under: Option<DurationText>,
    /// The share of answers that take no longer.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub objective: Option<Percent>,
}

/// The most series of one metric.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Series"))]
#[serde(deny_unknown_fields, expecting = "an object with counters or histograms")]
pub struct RawSeries {
    /// Of each counter, 1 to 8000. Default 2000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 8_000)))]
    pub counters: Option<Whole>,
    /// Of each histogram, 1 to 8000. Default 500: one is as large as twenty counters.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 8_000)))]
    pub histograms: Option<Whole>,
}

/// Log lines about single requests.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Log"))]
#[serde(deny_unknown_fields, expecting = "an object with slow or failures")]
pub struct RawLog {
    /// Requests that took at least this long.
    pub slow: Option<DurationText>,
    /// Whether requests that failed by a fault of the server are logged. Default `false`.
    pub failures: Option<bool>,
    /// The share of those requests that is logged. Default `100%`.
    pub sample: Option<Percent>,
}
