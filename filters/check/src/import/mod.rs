//! Configurations of others, as ours: Envoy's jwt_authn and local_ratelimit, Istio's RequestAuthentication with AuthorizationPolicy.
//!
//! What cannot be carried over is named with its line, and never dropped in silence: every field that is not taken is reported.
//!
//! | file | one idea |
//! |---|---|
//! | this one | what a file holds |
//! | [`taken`] | a mapping that knows which of its fields were looked at |
//! | [`keys`] | key sets, and the algorithms that they are for |
//! | [`jwt_authn`], [`rules`], [`requests`] | Envoy's filter, its rules and their matches |
//! | [`per_route`] | what routes say about that filter |
//! | [`guard`] | what was protected, and must not be granted for less |
//! | [`istio`] | RequestAuthentication and AuthorizationPolicy |
//! | [`local_ratelimit`] | Envoy's local rate limits |
//! | [`write`](mod@write) | JSON as YAML |

pub mod guard;
pub mod istio;
pub mod jwt_authn;
pub mod keys;
pub mod local_ratelimit;
pub mod per_route;
pub mod requests;
pub mod rules;
pub mod taken;
pub mod write;

use per_route::PerRoute;
use portcullis_common::memory::MemoryHost;
use serde_json::Value;

use crate::attached::Which;
use crate::find::File;
use crate::load;
use crate::yaml::{self, Node};

/// What becomes of whoever relied on it. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something may pass that did not.
    Weaker,
    /// Something may be refused that was not.
    Stricter,
    /// Neither, or nobody here can tell.
    LookAt,
}

impl Kind {
    /// What reports call it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Weaker => "weaker",
            Kind::Stricter => "stricter",
            Kind::LookAt => "look at",
        }
    }
}

/// What could not be carried over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// What becomes of whoever relied on it.
    pub kind: Kind,
    /// The line.
    pub line: usize,
    /// The field.
    pub field: String,
    /// Why, and what to do.
    pub why: String,
}

/// Collects what could not be carried over.
pub type Lefts = Vec<Left>;

/// One of our configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Which filter it is for.
    pub which: Which,
    /// Where the original stands.
    pub line: usize,
    /// The configuration.
    pub config: Value,
}

/// The configurations that a file's own come to, and what they lack.
///
/// # Errors
/// If the file cannot be read, or holds nothing of this kind.
pub fn import(file: &File) -> Result<(Vec<Imported>, Lefts), String> {
    let documents =
        yaml::documents(&file.text).map_err(|bad| format!("{}:{}: {}", file.name, bad.line, bad.problem))?;
    let mut lefts = Lefts::new();
    let mut found = Vec::new();
    let mut per_route = Vec::new();
    documents.iter().for_each(|document| per_route::find(document, &mut per_route));
    for document in &documents {
        envoy(document, document, None, &per_route, &mut found, &mut lefts);
    }
    found.extend(istio::import(&documents, &mut lefts));
    if found.is_empty() {
        let wanted = "a jwt_authn or local_ratelimit filter of Envoy, or a RequestAuthentication of Istio";
        return Err(format!("{}: nothing to import in it; give {wanted}", file.name));
    }
    for imported in &mut found {
        settle(imported, &mut lefts);
    }
    lefts.sort();
    lefts.dedup();
    Ok((found, lefts))
}

/// Envoy's filters, wherever they stand; `route` is the match of the route around them.
fn envoy<'n>(
    node: &'n Node,
    document: &'n Node,
    route: Option<&'n Node>,
    per_route: &[PerRoute<'_>],
    found: &mut Vec<Imported>,
    lefts: &mut Lefts,
) {
    match node.text_at(&["@type"]).and_then(|url| url.rsplit('.').next()) {
        Some("JwtAuthentication") => {
            let config = jwt_authn::import(node, per_route, lefts);
            found.push(Imported { which: Which::JwtAuth, line: node.line, config });
            return;
        }
        Some("LocalRateLimit") => {
            if let Some(config) = local_ratelimit::import(node, document, route, lefts) {
                found.push(Imported { which: Which::RateLimit { body: false }, line: node.line, config });
            }
            return;
        }
        _ => {}
    }
    let route = node.get("match").filter(|_| node.get("typed_per_filter_config").is_some()).or(route);
    node.items().iter().for_each(|item| envoy(item, document, route, per_route, found, lefts));
    node.members().iter().for_each(|member| envoy(&member.value, document, route, per_route, found, lefts));
}

/// Takes out what the filter refuses: a rule that an earlier one covers never was asked. Whatever else is wrong is said.
fn settle(imported: &mut Imported, lefts: &mut Lefts) {
    for _ in 0..100 {
        let host = MemoryHost::default();
        let Err(error) = load::configure(imported.which, imported.config.to_string().as_bytes(), &host)
        else {
            return;
        };
        let why = |what: &str| Left {
            kind: Kind::LookAt,
            line: imported.line,
            field: format!("{} of the result", error.path()),
            why: what.to_owned(),
        };
        let covered = error
            .path()
            .strip_prefix("rules[")
            .and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
        let rules = imported.config.get_mut("rules").and_then(Value::as_array_mut);
        match (covered, rules) {
            (Some(at), Some(rules)) if at < rules.len() && at > 0 => {
                lefts.push(why(&format!("this rule is left out: {}", error.problem())));
                rules.remove(at);
            }
            _ => return lefts.push(why(&format!("has to be corrected by hand: {}", error.problem()))),
        }
    }
}
