//! The configuration as it is written. What it means is in [`crate::policy`].

use portcullis_common::config::PluginName;
use portcullis_common::matching::pattern::Pattern;
use serde::Deserialize;

/// metrics: what happened, how long, why refused?
#[derive(Debug, Deserialize)]
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
}
