//! An endpoint that answers many questions at once.

use std::collections::BTreeMap;

use portcullis_common::config::Whole;
use portcullis_common::values::template::Template;
use serde::Deserialize;

use super::rules::RawOwn;

/// An endpoint of the filter itself: which of these relations to these objects does the caller have?
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Batch"))]
#[serde(deny_unknown_fields)]
pub struct RawBatch {
    /// Its path, compared to the byte. No request for it reaches the upstream.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub path: Option<String>,
    /// Who asks: a template of what was verified, such as `user:{subject}`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub subject: Option<Template>,
    /// Tuples that hold for these questions alone, as in a check.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub tuples: Option<Vec<RawOwn>>,
    /// Values for the parameters of conditions, as in a check.
    #[cfg_attr(feature = "schema", schemars(extend("minProperties" = 1)))]
    pub context: Option<BTreeMap<String, Template>>,
    /// The parameter that is the time of the request, if the conditions have one.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub now: Option<String>,
    /// The most questions of one request. Default 50, at most 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub max_checks: Option<Whole>,
}
