//! A plugin in a file, and the chain that it stands in.

use std::rc::Rc;

use crate::finding::{Finding, Severity};
use crate::yaml::{Dialect, Node};

/// Which filter a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// jwt-auth.
    JwtAuth,
    /// rate-limit; whether it is the build that sees bodies.
    RateLimit {
        /// Whether it sees bodies.
        body: bool,
    },
    /// rebac.
    Rebac,
    /// metrics.
    Metrics,
}

impl Which {
    /// All modules.
    pub const ALL: [Which; 5] = [
        Which::JwtAuth,
        Which::RateLimit { body: false },
        Which::RateLimit { body: true },
        Which::Rebac,
        Which::Metrics,
    ];

    /// The module's name.
    #[must_use]
    pub const fn module(self) -> &'static str {
        match self {
            Which::RateLimit { body: true } => "rate-limit-body",
            _ => self.filter(),
        }
    }

    /// The filter's name.
    #[must_use]
    pub const fn filter(self) -> &'static str {
        match self {
            Which::JwtAuth => "jwt-auth",
            Which::RateLimit { .. } => "rate-limit",
            Which::Rebac => "rebac",
            Which::Metrics => "metrics",
        }
    }

    /// The filter that a module's name, file or address speaks of: `oci://host/portcullis/jwt-auth:0.1.0`, `dist/jwt-auth.wasm`.
    #[must_use]
    pub fn of(place: &str) -> Option<Which> {
        let file = place.rsplit('/').next().unwrap_or_default();
        let names = |which: &Which| {
            let rest = file.strip_prefix("portcullis-").unwrap_or(file).strip_prefix(which.module());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':', '@', '-', '_']))
        };
        // The longest name that fits: rate-limit-body is no rate-limit.
        Which::ALL.into_iter().filter(names).max_by_key(|which| which.module().len())
    }
}

/// What a host makes of a plugin that fails at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is loaded anew.
    Reload,
    /// Requests go past it.
    Open,
    /// A worker answers 503 until the end.
    Close,
}

/// A plugin as a file has it.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Where it stands.
    pub place: Place,
    /// Which filter.
    pub which: Which,
    /// The name that the host knows it by.
    pub name: String,
    /// Its module, if that is a file, and the line that names it.
    pub module: Option<(String, usize)>,
    /// Its configuration: the tree, and the dialect that it is read in.
    pub config: Config,
    /// What happens when it fails, and the line that says so.
    pub on_failure: Option<(OnFailure, usize)>,
    /// The environment variables that its VM has.
    pub environment: Vec<String>,
}

/// A configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tree.
    pub node: Rc<Node>,
    /// How scalars are read.
    pub dialect: Dialect,
    /// The bytes, where the file has the configuration as text.
    pub text: Option<Vec<u8>>,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Rc<str>,
    /// The line.
    pub line: usize,
}

impl Place {
    /// A finding at `line` of the same file.
    #[must_use]
    pub fn finding(
        &self,
        severity: Severity,
        line: usize,
        of: &str,
        path: &str,
        problem: impl Into<String>,
    ) -> Finding {
        Finding {
            file: self.file.to_string(),
            line,
            severity,
            of: of.to_owned(),
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Plugins that a request passes one after the other.
#[derive(Clone, Debug)]
pub struct Chain {
    /// What it is the chain of, for people.
    pub name: String,
    /// Its plugins, in the order of the request.
    pub plugins: Vec<Attached>,
    /// The connection manager, where there is one.
    pub manager: Option<Manager>,
    /// Whether all plugins of the chain are known: of an object that somebody attaches, the neighbours may be elsewhere.
    pub whole: bool,
    /// Envoy's clusters, where the file says them all.
    pub clusters: Option<Rc<[String]>>,
}

/// What a connection manager says about paths and addresses.
#[derive(Clone, Debug)]
pub struct Manager {
    /// Where it stands.
    pub place: Place,
    /// Whether the client's address is the peer's, or a number of hops is trusted.
    pub knows_clients: bool,
    /// `normalize_path`
    pub normalize_path: bool,
    /// `merge_slashes`
    pub merge_slashes: bool,
    /// What becomes of `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

/// `path_with_escaped_slashes_action`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay.
    Keep,
    /// 400.
    Reject,
    /// They are decoded, and the client is sent there.
    Redirect,
    /// They are decoded.
    Forward,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_known_by_its_name_wherever_it_lies() {
        for (place, want) in [
            ("dist/jwt-auth.wasm", Some("jwt-auth")),
            ("oci://registry.example.com/portcullis/rate-limit:0.1.0", Some("rate-limit")),
            ("/etc/envoy/portcullis-rate-limit-body.wasm", Some("rate-limit-body")),
            ("registry.example.com/rebac@sha256:00", Some("rebac")),
            ("metrics", Some("metrics")),
            ("metricsd.wasm", None),
            ("other.wasm", None),
        ] {
            assert_eq!(Which::of(place).map(Which::module), want, "{place}");
        }
    }
}
