//! The configuration as it is meant: checked, resolved, ready to be asked.

use std::rc::Rc;

use portcullis_common::config::ConfigError;
use portcullis_common::facts::{self, PropertyKey};
use portcullis_common::filter::Plugin;
use portcullis_common::matching::conditions::RawMatch;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::matching::rules::Rules;

use crate::config::RawConfig;

const NAME: &str = "metrics";

/// The most routes: each is a handful of series for ever.
const MAX_ROUTES: usize = 10_000;

/// A checked configuration.
#[derive(Debug)]
pub struct Policy {
    /// Name, keys and headers of the plugin.
    pub plugin: Plugin,
    /// Whether it does anything.
    pub enabled: bool,
    /// The routes.
    pub routes: Rules,
    /// The key of the route's fact.
    pub route_key: PropertyKey,
}

impl Policy {
    /// Checks a configuration.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(raw: RawConfig) -> Result<Policy, ConfigError> {
        let error = |path: String, problem: String| ConfigError::new(NAME, path, problem);
        let name: Rc<str> = raw.name.map_or_else(|| NAME.into(), |n| n.0);
        let patterns = raw.routes.ok_or_else(|| {
            error(
                "routes".into(),
                "missing; list path templates such as /documents/{id}, or [] to tell none apart".into(),
            )
        })?;
        if patterns.len() > MAX_ROUTES {
            return Err(error(
                "routes".into(),
                format!("more than {MAX_ROUTES}; each is several series for ever"),
            ));
        }
        for (n, pattern) in patterns.iter().enumerate() {
            if patterns.iter().take(n).any(|p| p == pattern) {
                return Err(error(
                    format!("routes[{n}]"),
                    format!("{} stands twice; keep one", pattern.text()),
                ));
            }
        }
        let matches: Vec<RawMatch> =
            patterns.into_iter().map(|path| RawMatch { path: Some(path), ..RawMatch::default() }).collect();
        Ok(Policy {
            plugin: Plugin::new(&name, OwnedHeaders::default()),
            enabled: raw.enabled.unwrap_or(true),
            routes: Rules::new(&matches),
            route_key: facts::key(&name, "route"),
        })
    }

    /// The template of a route; `_unmatched` for none.
    #[must_use]
    pub fn route_name(&self, route: Option<usize>) -> &str {
        route.and_then(|n| self.routes.pattern(n)).map_or(facts::UNMATCHED, |p| p.text())
    }
}
