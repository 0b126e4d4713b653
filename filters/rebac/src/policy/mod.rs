//! The configuration as it is meant: checked, resolved, ready to be asked.
//!
//! | module | one idea |
//! |---|---|
//! | this one | the plugin |
//! | [`batch`] | the endpoint for many questions |
//! | `bounds` | numbers and spans of time within bounds |
//! | `captures` | captures of paths, held to the paths |
//! | [`engine`] | the model and the tuples |
//! | [`fetched`] | where tuples are fetched |
//! | [`remote`] | engines outside the filter |
//! | [`rules`] | which requests are which questions |
//! | `watch` | how changes are watched |

pub mod batch;
mod bounds;
mod captures;
pub mod engine;
pub mod fetched;
pub mod remote;
pub mod rules;
mod watch;

use std::rc::Rc;

use portcullis_common::config::ConfigError;
use portcullis_common::explain::Explain;
use portcullis_common::facts::{self, PropertyKey};
use portcullis_common::filter::Plugin;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::matching::path::EncodedSlash;
use portcullis_common::matching::rules::Rules;
use portcullis_common::mode::Enforcement;

use crate::config::{Level, Logged, RawConfig, RawLog};
use crate::engine::Engine;

use self::bounds::whole;

pub use self::batch::Batch;
pub use self::fetched::Fetched;
pub use self::remote::Remote;
pub use self::rules::{Check, Checks, Rule};

const NAME: &str = "rebac";

/// The steps of an answer where nothing else is written.
const STEPS: u32 = 10_000;

/// A checked configuration.
#[derive(Debug)]
pub struct Policy {
    /// Name and keys of the plugin.
    pub plugin: Plugin,
    /// Whether it does anything.
    pub enabled: bool,
    /// The plugin whose subject and claims are read.
    pub identity: Rc<str>,
    /// The engine inside the filter; it knows nothing where another one is asked.
    pub engine: Engine,
    /// The engine outside the filter that is asked, if one is.
    pub remote: Option<Remote>,
    /// What the engine inside is for beside it.
    pub beside: Beside,
    /// Where its tuples are fetched, if they are.
    pub fetched: Option<Fetched>,
    /// The most steps of an answer.
    pub max_steps: u32,
    /// What the rules are about.
    pub matches: Rules,
    /// What they ask, in the same order.
    pub rules: Vec<Rule>,
    /// What no rule matches.
    pub unmatched: Unmatched,
    /// Which refusals outside any rule are carried out.
    pub enforcement: Enforcement,
    /// What happens to CORS preflights.
    pub preflights: Preflights,
    /// What `%2F` is.
    pub encoded_slash: EncodedSlash,
    /// The endpoint for many questions.
    pub batch: Option<Batch>,
    /// Which decisions are logged, and how.
    pub decision_log: Option<DecisionLog>,
    /// Who is told how they were judged.
    pub explain: Option<Explain>,
    /// The key of the explanation of a request that passes.
    pub explain_key: PropertyKey,
}

/// Which decisions are logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct DecisionLog {
    /// Which.
    pub decisions: Logged,
    /// At which level.
    pub level: log::Level,
    /// Whether the subject is named.
    pub subjects: bool,
}

impl DecisionLog {
    fn new(raw: RawLog) -> Result<DecisionLog, ConfigError> {
        let missing = "missing; write refused, or all for those that let pass too";
        let decisions = raw.decisions.ok_or_else(|| error("decision_log.decisions", missing))?;
        let level = match raw.level.unwrap_or_default() {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
        };
        Ok(DecisionLog { decisions, level, subjects: raw.subjects == Some(true) })
    }
}

/// What the engine inside the filter is for, where another one is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// It answers while the other is away.
    pub fallback: bool,
    /// It is compared with the other.
    pub compare: bool,
}

impl Policy {
    /// Checks a configuration.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(mut raw: RawConfig) -> Result<Policy, ConfigError> {
        let remote = remote::remote(&mut raw)?;
        let beside = raw.engine.as_ref().map_or_else(Beside::default, |engine| Beside {
            fallback: engine.fallback == Some(true),
            compare: engine.compare == Some(true),
        });
        let name = raw.name.map_or_else(|| NAME.into(), |n| n.0);
        let identity = raw.identity.map_or_else(|| "jwt-auth".into(), |n| n.0);
        let mode = raw.mode.unwrap_or_default();
        let inside = raw.engine.and_then(|engine| engine.embedded);
        let (engine, fetched, max_steps) = match (inside, &remote) {
            (Some(_), Some(_)) if beside == Beside::default() => {
                let problem = "two engines, and nothing for the one inside to do; write fallback: true or compare: true beside it, or remove it";
                return Err(error("engine.embedded", problem));
            }
            (inside, _) if beside != Beside::default() && (inside.is_none() || remote.is_none()) => {
                let field = if beside.fallback { "engine.fallback" } else { "engine.compare" };
                return Err(error(
                    field,
                    "for an engine inside the filter beside one outside; remove it, or write both",
                ));
            }
            (Some(embedded), _) => {
                let max_steps =
                    whole("engine.embedded.max_steps".to_owned(), embedded.max_steps, STEPS, 1, 1_000_000)?;
                let (engine, fetched) = engine::embedded(embedded)?;
                (engine, fetched, max_steps)
            }
            (None, Some(_)) => (Engine::default(), None, STEPS),
            (None, None) => {
                let problem = "missing; write {embedded: {model, tuples}}, {openfga: {cluster, store, model}} or {spicedb: {cluster, token}}";
                return Err(error("engine", problem));
            }
        };
        let unmatched = raw.unmatched.ok_or_else(|| {
            error("unmatched", "missing; write deny to refuse what no rule matches, or allow to let it pass")
        })?;
        let on_error = raw.on_error.unwrap_or_default();
        let defaults = rules::Defaults { mode, percent: raw.percent, on_error };
        let raw_rules = raw.rules.ok_or_else(|| error("rules", rules::NO_RULES))?;
        let (matches, rules) = rules::rules(raw_rules, &engine, &identity, defaults)?;
        if let Some(remote) = &remote {
            rules::fit_for(remote, &rules)?;
        }
        if remote.is_some() && raw.batch.is_some() {
            let problem =
                "answered by the engine inside the filter alone; remove it, or write engine.embedded";
            return Err(error("batch", problem));
        }
        let batch = raw.batch.map(|raw| batch::batch(raw, &engine, &identity)).transpose()?;
        let decision_log = raw.decision_log.map(DecisionLog::new).transpose()?;
        let explain = raw.explain.map(|raw| {
            Explain::new(raw).map_err(|(field, problem)| error(format!("explain.{field}"), problem))
        });
        Ok(Policy {
            plugin: Plugin::new(&name, OwnedHeaders::new([])),
            enabled: raw.enabled.unwrap_or(true),
            identity,
            engine,
            remote,
            beside,
            fetched,
            max_steps,
            matches,
            rules,
            unmatched,
            enforcement: Enforcement::new(mode, raw.percent),
            preflights: raw.preflights.unwrap_or_default(),
            encoded_slash: raw.encoded_slash.unwrap_or_default(),
            batch,
            decision_log,
            explain: explain.transpose()?,
            explain_key: facts::key(&name, "explain"),
        })
    }

    /// The name of a rule; `None` stands for requests that no rule matches.
    #[must_use]
    pub fn rule_name(&self, rule: Option<usize>) -> Rc<str> {
        let rule = rule.and_then(|n| self.rules.get(n));
        rule.map_or_else(|| facts::UNMATCHED.into(), |rule| Rc::clone(&rule.name))
    }
}

// Out of line: none of the calls is on a way that is taken twice.
#[cold]
#[inline(never)]
fn error(path: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(NAME, path, problem)
}
