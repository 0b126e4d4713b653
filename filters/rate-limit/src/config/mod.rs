//! The configuration as it is written. What it means is in [`crate::policy`].
//!
//! | module | one idea |
//! |---|---|
//! | [`limit`] | one limit: whom, what, how many |
//! | [`cost`] | what a request costs, and what its answer makes of that |

pub mod cost;
pub mod limit;

use portcullis_common::config::{DurationText, PluginName, Size, Whole};
use portcullis_common::mode::{Mode, OnError};
use serde::Deserialize;

pub use cost::{RawCost, RawSettle};
pub use limit::{RawBudget, RawInstead, RawLimit, RawListed, RawMissing, RawOverrides, RawPlans, RawRate};

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
    /// The plugin whose subject, claims and verdict are read. Default `jwt-auth`.
    pub identity: Option<PluginName>,
    /// The limits. Every one that matches applies.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub limits: Option<Vec<RawLimit>>,
    /// Where the counts are kept: in memory that all worker threads share.
    pub store: Option<RawStore>,
    /// Headers that tell clients where they stand. Default `draft`.
    pub headers: Option<HeaderDialect>,
    /// What refusals look like.
    pub refusals: Option<RawRefusals>,
    /// An own rule for `client.ip`, from `x-forwarded-for`. Default: Envoy's address of the client.
    pub forwarded: Option<RawForwarded>,
    /// How much of an answer's body is searched for the numbers of `settle.json`; one behind it is absent. Default `16MiB`, from `1KiB`
    /// to `1GiB`.
    pub settle_window: Option<Size>,
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
    /// The most memory that requests in flight may ever take, if any limit has `in_flight`. Default `1MiB`, from `4KiB` to `1GiB`.
    pub in_flight: Option<Size>,
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

/// What refusals look like.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Refusals"))]
#[serde(deny_unknown_fields)]
pub struct RawRefusals {
    /// A random time of up to this long is added to `Retry-After`, so that clients do not all come back at once. Default: none; at
    /// most `1h`.
    pub retry_jitter: Option<DurationText>,
    /// `true` adds `x-envoy-ratelimited: true`, which keeps an Envoy in front of this one from trying again. Default `false`.
    pub envoy_ratelimited: Option<bool>,
    /// The gRPC status of a refusal. Default `resource_exhausted`.
    pub grpc_status: Option<GrpcStatus>,
}

/// The gRPC status of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GrpcStatus {
    /// 8: clients do not try again by themselves.
    #[default]
    ResourceExhausted,
    /// 14: clients may.
    Unavailable,
}

/// An own rule for `client.ip`: exactly one of the two.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Forwarded"))]
#[serde(deny_unknown_fields)]
pub struct RawForwarded {
    /// The client is the address at this place of `x-forwarded-for`, counted from the right; 1 is the last. What is further left is
    /// the client's own word. From 1 to 32.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 32)))]
    pub place: Option<Whole>,
    /// The client is the first address from the right that is in none of these networks.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub trusted: Option<Vec<crate::address::Network>>,
}
