//! A plugin's own configuration, with every error in it.
//!
//! The filters stop at their first error. Here what is wrong is taken out and the rest is read again, until nothing is left to
//! complain about; what is only wrong because something else was taken out is not reported.

use std::collections::HashSet;

use portcullis_common::config::{self, ConfigError};
use portcullis_common::filter::Filter;
use portcullis_common::memory::MemoryHost;
use portcullis_jwt_auth::filter::JwtAuth;
use portcullis_metrics::filter::Metrics;
use portcullis_rate_limit::filter::RateLimit;
use portcullis_rate_limit::policy::Policy;
use portcullis_rebac::filter::Rebac;
use serde_json::{Map, Value};

use crate::attached::{Attached, Which};
use crate::finding::{Finding, Severity};
use crate::heard;
use crate::run::{Run, Running};
use crate::yaml::{Dialect, Kind, Node};

/// The most errors that are looked for in one configuration.
const MAX_ROUNDS: usize = 100;
/// Stands for a secret that is not here. As long as the longest that an algorithm wants.
const NO_SECRET: &str = "portcullis-check-has-no-secret-portcullis-check-has-no-secret-64";

/// A plugin that can be asked.
pub struct Loaded {
    /// Its configuration as its filter read it.
    pub json: Value,
    /// Its name in facts and metrics.
    pub name: String,
    /// The filter.
    pub running: Box<dyn Running>,
}

/// The filter whose fields these are.
#[must_use]
pub fn guess(config: &Value) -> Option<Which> {
    let fields = [
        ("providers", Which::JwtAuth),
        ("limits", Which::RateLimit { body: true }),
        ("engine", Which::Rebac),
        ("routes", Which::Metrics),
    ];
    fields.into_iter().find(|(field, _)| config.get(field).is_some()).map(|(_, which)| which)
}

/// A filter with this configuration.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub fn configure(which: Which, config: &[u8], host: &MemoryHost) -> Result<Box<dyn Running>, ConfigError> {
    Ok(match which {
        Which::JwtAuth => Box::new(Run::new(JwtAuth::configure(config, host)?)),
        Which::Rebac => Box::new(Run::new(Rebac::configure(config, host)?)),
        Which::Metrics => Box::new(Run::new(Metrics::configure(config, host)?)),
        Which::RateLimit { body } => {
            let filter = RateLimit::configure(config, host)?;
            let policy = Policy::new(config::parse(RateLimit::NAME, config)?)?;
            if let Some(limit) = policy.limits.iter().position(|l| l.reads_body()).filter(|_| !body) {
                let problem = "this module sees no bodies; use rate-limit-body.wasm, or settle by header, per or statuses";
                return Err(ConfigError::new(
                    RateLimit::NAME,
                    format!("limits[{limit}].settle.json"),
                    problem,
                ));
            }
            Box::new(Run::new(filter))
        }
    })
}

/// Loads a plugin; what is wrong with it is added to `findings`.
pub fn load(attached: &Attached, findings: &mut Vec<Finding>) -> Option<Loaded> {
    let report = |severity, line, path: &str, problem: &str| {
        attached.place.finding(severity, line, &attached.name, path, problem)
    };
    let config = &attached.config;
    if config.dialect == Dialect::Kubernetes && attached.on_failure.is_some() {
        booleans(&config.node, "", &mut |line, path, name| {
            let problem = format!(
                "Kubernetes takes the name {name} for a boolean and hands on another one; write \"{name}\""
            );
            findings.push(report(Severity::Error, line, path, &problem));
        });
    }
    if let Some(text) = &config.text {
        // Text is what the filter is given; the tree is only for its lines.
        if let Err(error) = configure(attached.which, text, &MemoryHost::default())
            && (error.path().is_empty() || config.node.members().is_empty())
        {
            findings.push(report(Severity::Error, config.node.line, error.path(), error.problem()));
            return None;
        }
    }
    let mut gone = Gone::default();
    let mut complete = true;
    for _ in 0..MAX_ROUNDS {
        let mut json = without(&config.node, config.dialect, &mut Vec::new(), &gone.places);
        hide(&mut json);
        for field in &gone.missing {
            if let Some(members) = json.as_object_mut() {
                members.insert((*field).to_owned(), "deny".into());
            }
        }
        let host = MemoryHost::default();
        let (configured, lines) =
            heard::during(|| configure(attached.which, json.to_string().as_bytes(), &host));
        match configured {
            Ok(running) if complete => {
                for (_, line) in lines.iter().filter(|(level, _)| *level <= log::Level::Warn) {
                    let named = format!("{}: ", running.name());
                    let line = line.strip_prefix(&named).unwrap_or(line);
                    findings.push(report(Severity::Warning, config.node.line, "", line));
                }
                let name = running.name().to_string();
                return Some(Loaded { json, name, running });
            }
            Ok(_) => return None,
            Err(error) => {
                complete = false;
                let (place, whole) = resolve(&config.node, error.path(), &gone.places);
                let path = written(&config.node, &place, error.path(), whole);
                if !gone.explains(&place, error.problem())
                    && !covers(&config.node, &gone, &place, error.problem())
                {
                    findings.push(report(
                        Severity::Error,
                        line(&config.node, &place),
                        &path,
                        error.problem(),
                    ));
                }
                if !gone.fill(error.path()) && !gone.take(&config.node, place) {
                    return None;
                }
            }
        }
    }
    None
}

/// Whether a rule only seems to cover another one, because of what was taken out of either.
fn covers(root: &Node, gone: &Gone, place: &[usize], problem: &str) -> bool {
    let Some(rest) = problem.strip_prefix("can never decide: ") else { return false };
    let by = rest.split_once(']').map(|(front, _)| format!("{front}]")).unwrap_or_default();
    let (by, _) = resolve(root, &by, &gone.places);
    let own = place.get(..2).unwrap_or(place);
    gone.places.iter().any(|gone| gone.starts_with(&by) || gone.starts_with(own))
}

/// The way to a value: the position of each child.
type Way = Vec<usize>;

/// What was taken out.
#[derive(Default)]
struct Gone {
    places: HashSet<Way>,
    /// The names of members that were taken out: others may speak of them.
    names: Vec<String>,
    /// What was missing and was put in, so that the rest can be read.
    missing: Vec<&'static str>,
}

/// Required fields of a whole plugin that can be put in: nothing else depends on them.
const FILLED: [&str; 2] = ["unmatched", "on_error"];

impl Gone {
    /// Whether what was taken out is the reason of an error: it stands around it, or the error speaks of it.
    fn explains(&self, place: &[usize], problem: &str) -> bool {
        // What stands behind it is the remedy, which names fields.
        let said = problem.split(';').next().unwrap_or_default();
        let around = |gone: &Way| gone.len() == place.len().saturating_add(1) && gone.starts_with(place);
        let speaks = |name: &String| {
            said.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c))).any(|word| word == name)
        };
        self.places.iter().any(around) || self.names.iter().any(speaks)
    }

    /// Puts in what is missing, if that is possible and was not done yet.
    fn fill(&mut self, path: &str) -> bool {
        let Some(field) = FILLED.into_iter().find(|field| *field == path) else { return false };
        let fresh = !self.missing.contains(&field);
        if fresh {
            self.missing.push(field);
        }
        fresh
    }

    /// Takes out the value at `place`, or what holds it if it is gone already; whether there was anything.
    fn take(&mut self, root: &Node, mut place: Way) -> bool {
        loop {
            if place.is_empty() {
                return false;
            }
            if self.places.insert(place.clone()) {
                if let Some(name) = member_name(root, &place) {
                    self.names.push(name);
                }
                return true;
            }
            place.pop();
        }
    }
}

fn child(node: &Node, at: usize) -> Option<&Node> {
    match &node.kind {
        Kind::Map(members) => members.get(at).map(|m| &m.value),
        Kind::List(items) => items.get(at),
        Kind::Scalar { .. } => None,
    }
}

fn member_name(root: &Node, place: &[usize]) -> Option<String> {
    let (last, front) = place.split_last()?;
    let holder = front.iter().try_fold(root, |node, at| child(node, *at))?;
    holder.members().get(*last).map(|m| m.name.clone())
}

/// The line of a value: that of its name, where it has one.
fn line(root: &Node, place: &[usize]) -> usize {
    let Some((last, front)) = place.split_last() else { return root.line };
    let Some(holder) = front.iter().try_fold(root, |node, at| child(node, *at)) else { return root.line };
    let named = holder.members().get(*last).map(|m| m.line);
    named.or_else(|| child(holder, *last).map(|n| n.line)).unwrap_or(holder.line)
}

fn without(node: &Node, dialect: Dialect, way: &mut Way, gone: &HashSet<Way>) -> Value {
    let mut kept = |at: usize, node: &Node| {
        way.push(at);
        let value = (!gone.contains(way)).then(|| without(node, dialect, way, gone));
        way.pop();
        value
    };
    match &node.kind {
        Kind::Scalar { .. } => node.json(dialect),
        Kind::List(items) => items.iter().enumerate().filter_map(|(at, item)| kept(at, item)).collect(),
        Kind::Map(members) => {
            let members = members.iter().enumerate();
            let named = members.filter_map(|(at, m)| Some((m.name.clone(), kept(at, &m.value)?)));
            Value::Object(named.collect::<Map<_, _>>())
        }
    }
}

/// The value that an error's path names, as far as there is one, and whether that is all of the path.
fn resolve(root: &Node, path: &str, gone: &HashSet<Way>) -> (Way, bool) {
    let (mut node, mut way, mut rest) = (root, Way::new(), path);
    while !rest.is_empty() {
        let step = match &node.kind {
            Kind::Scalar { .. } => None,
            Kind::List(items) => index(rest).and_then(|(n, after)| {
                let mut there = (0..items.len()).filter(|at| !gone.contains(&with(&way, *at)));
                Some((there.nth(n)?, after))
            }),
            Kind::Map(members) => {
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                let named = members.iter().enumerate().filter_map(|(at, m)| {
                    let after = rest.strip_prefix(m.name.as_str())?;
                    (after.is_empty() || after.starts_with(['.', '['])).then_some((at, after))
                });
                // A name may have dots: the longest that fits.
                named.filter(|(at, _)| !gone.contains(&with(&way, *at))).min_by_key(|(_, after)| after.len())
            }
        };
        let Some((at, after)) = step else { return (way, false) };
        let Some(next) = child(node, at) else { return (way, false) };
        way.push(at);
        (node, rest) = (next, after);
    }
    (way, true)
}

fn with(way: &[usize], at: usize) -> Way {
    way.iter().copied().chain(std::iter::once(at)).collect()
}

fn index(path: &str) -> Option<(usize, &str)> {
    let (digits, after) = path.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, after))
}

/// The path as the file has it: the filter counted without what was taken out.
fn written(root: &Node, place: &[usize], said: &str, whole: bool) -> String {
    let (mut node, mut path) = (root, String::new());
    for at in place {
        match &node.kind {
            Kind::Map(members) => {
                let dot = if path.is_empty() { "" } else { "." };
                let name = members.get(*at).map(|m| m.name.as_str()).unwrap_or_default();
                path.push_str(&format!("{dot}{name}"));
            }
            _ => path.push_str(&format!("[{at}]")),
        }
        let Some(next) = child(node, *at) else { return said.to_owned() };
        node = next;
    }
    if whole {
        return path;
    }
    // What is missing has no place; its name is the end of what the filter said.
    let depth = |text: &str| text.matches(['.', '[']).count();
    let missing = said.rsplit(['.', ']']).next().unwrap_or(said);
    if depth(said) == 0 || missing.is_empty() { said.to_owned() } else { format!("{path}.{missing}") }
}

/// Names that Kubernetes takes for booleans.
fn booleans(node: &Node, path: &str, report: &mut dyn FnMut(usize, &str, &str)) {
    for (n, item) in node.items().iter().enumerate() {
        booleans(item, &format!("{path}[{n}]"), report);
    }
    for member in node.members() {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{}", member.name);
        if member.is_boolean() {
            report(member.line, &path, &member.name);
        }
        booleans(&member.value, &path, report);
    }
}

/// The variables of `{env: NAME}`, each with the line that names it.
pub fn variables(node: &Node, found: &mut Vec<(String, usize)>) {
    if let [member] = node.members()
        && member.name == "env"
        && let Some(name) = member.value.text()
    {
        found.push((name.to_owned(), member.line));
    }
    node.items().iter().for_each(|item| variables(item, found));
    node.members().iter().for_each(|member| variables(&member.value, found));
}

/// Secrets from the environment are not here: something stands in for them, unless the variable is set.
fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let name = members.get("env").and_then(Value::as_str).filter(|_| members.len() == 1);
            if let Some(name) = name {
                if !is_set(name) {
                    *value = serde_json::json!({"value": NO_SECRET});
                }
                return;
            }
            members.values_mut().for_each(hide);
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

#[allow(clippy::disallowed_methods, reason = "asks whether it is there; config::Secret reads it")]
fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.is_empty())
}
