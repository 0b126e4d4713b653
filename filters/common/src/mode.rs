//! Enforce or shadow: whether a refusal is carried out.

use serde::Deserialize;

/// Whether a refusal is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refuse.
    #[default]
    Enforce,
    /// Record the verdict and let pass, without facts or headers from anything that did not verify.
    Shadow,
}
