//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;

/// Refuses a configuration: `jwt-auth: providers.corp.audiences: empty; list at least one audience, or write "any"`.
///
/// It never holds a value of the configuration that could be a secret: only names, positions and small choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    filter: &'static str,
    path: String,
    problem: String,
}

impl ConfigError {
    /// The field at `path` (dots and `[n]`; empty for the whole) has `problem`: what is wrong, `; `, the remedy.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(filter: &'static str, path: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError(Box::new(Inner { filter, path: path.into(), problem: problem.into() }))
    }

    /// The path to the field.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// What is wrong and what to write instead.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.0.problem
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { filter, path, problem } = &*self.0;
        if path.is_empty() {
            write!(f, "{filter}: {problem}")
        } else {
            write!(f, "{filter}: {path}: {problem}")
        }
    }
}

impl std::error::Error for ConfigError {}
