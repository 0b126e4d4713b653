//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;

/// Refuses a configuration: `jwt-auth: providers.corp.audiences: empty; list at least one audience, or write "any"`.
///
/// It never holds a value of the configuration that could be a secret: only names, positions and small choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    filter: &'static str,
    path: String,
    problem: String,
}

impl ConfigError {
    /// The field at `path` (dots and `[n]`; empty for the whole) has `problem`: what is wrong, `; `, the remedy.
    #[must_use]
    pub fn new(filter: &'static str, path: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError { filter, path: path.into(), problem: problem.into() }
    }

    /// The path to the field.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong and what to write instead.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.filter, self.problem)
        } else {
            write!(f, "{}: {}: {}", self.filter, self.path, self.problem)
        }
    }
}

impl std::error::Error for ConfigError {}
