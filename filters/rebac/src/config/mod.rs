//! The configuration as it is written. What it means is in [`crate::policy`].
//!
//! | module | one idea |
//! |---|---|
//! | this one | the plugin, and its engine |
//! | [`batch`] | many questions at once |
//! | [`remote`] | engines outside the filter |
//! | [`rules`] | which requests are which questions |
//! | [`tuples`] | tuples, written or fetched |
//! | [`watch`] | watching what changes in them |

pub mod batch;
pub mod remote;
pub mod rules;
pub mod tuples;
pub mod watch;

use portcullis_common::config::{PluginName, Whole};
use portcullis_common::explain::RawExplain;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::path::EncodedSlash;
use portcullis_common::mode::{Mode, OnError, Percent};
use serde::Deserialize;

use self::batch::RawBatch;
use self::remote::{RawCache, RawFreshness, RawOpenfga, RawSpicedb};
use self::rules::RawRule;
use self::tuples::RawTuples;

/// rebac: may this subject do this to this object?
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Rebac"))]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The plugin's name in facts and metrics. Default `rebac`.
    pub name: Option<PluginName>,
    /// `false` switches the plugin off. Default `true`.
    pub enabled: Option<bool>,
    /// `shadow` records refusals and lets pass. Default `enforce`.
    pub mode: Option<Mode>,
    /// The share of refusals that is carried out, in percent; the others are recorded as in shadow. Each request draws anew.
    /// Default 100.
    pub percent: Option<Percent>,
    /// The plugin whose subject and claims are read. Default `jwt-auth`.
    pub identity: Option<PluginName>,
    /// Who answers.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub engine: Option<RawEngine>,
    /// Which requests are which questions. The first rule that matches decides.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub rules: Option<Vec<RawRule>>,
    /// What happens to requests that no rule matches.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub unmatched: Option<Unmatched>,
    /// What happens to requests about which nobody can be asked: the tuples could not be fetched, or the engine is away. Default
    /// `deny`.
    pub on_error: Option<OnError>,
    /// What is remembered of the answers of an engine outside the filter.
    pub cache: Option<RawCache>,
    /// When an engine outside the filter has to answer freshly.
    pub freshness: Option<RawFreshness>,
    /// `pass`: CORS preflights are not asked about. Default `check`.
    pub preflights: Option<Preflights>,
    /// `keep`: `%2F` in a path is three characters of a segment. Default `refuse`: such a path is ambiguous.
    pub encoded_slash: Option<EncodedSlash>,
    /// An endpoint that answers many questions of one subject at once. Without it there is none.
    pub batch: Option<RawBatch>,
    /// A line in the log for each decision. Without it there is none.
    pub decision_log: Option<RawLog>,
    /// Callers who are told how they were judged.
    pub explain: Option<RawExplain>,
}

/// Who answers: one of the three; the first may stand beside one of the others, for what `fallback` and `compare` say.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Engine", extend("minProperties" = 1)))]
#[serde(deny_unknown_fields, expecting = "an object with embedded, openfga or spicedb")]
pub struct RawEngine {
    /// The filter itself.
    pub embedded: Option<RawEmbedded>,
    /// An OpenFGA server.
    pub openfga: Option<RawOpenfga>,
    /// A SpiceDB server.
    pub spicedb: Option<RawSpicedb>,
    /// `true`: while the engine outside the filter is away, the one inside it answers, if its tuples are not too old. Default `false`.
    pub fallback: Option<bool>,
    /// `true`: what the engine outside the filter answers is compared with what the one inside it says, and differences are counted.
    /// The one outside counts. Default `false`.
    pub compare: Option<bool>,
}

/// A model and its tuples.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Embedded"))]
#[serde(deny_unknown_fields, expecting = "an object with model and tuples")]
pub struct RawEmbedded {
    /// The model, in OpenFGA's modelling language or as its JSON.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub model: Option<String>,
    /// The tuples, each as `document:1#viewer@user:ann` or with a condition; or where they are fetched.
    pub tuples: Option<RawTuples>,
    /// The most steps that the answer to one question may take: relations and tuples that are looked at. Default 10000, from 1 to 1000000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000000)))]
    pub max_steps: Option<Whole>,
}

/// A line in the log for each decision: plugin, rule, outcome, reason, and the question that decided.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "DecisionLog"))]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// Which decisions.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub decisions: Option<Logged>,
    /// The level of the lines. Default `info`.
    pub level: Option<Level>,
    /// `true`: the question names the subject. Default `false`: only its type.
    pub subjects: Option<bool>,
}

/// Which decisions are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Logged {
    /// Refusals, those in shadow among them, and what passed because nobody could be asked.
    Refused,
    /// All.
    All,
}

/// The level of a line in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// `debug`
    Debug,
    /// `info`
    #[default]
    Info,
    /// `warn`
    Warn,
}
