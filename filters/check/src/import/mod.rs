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
//! | [`differs`] | what both say of tokens that pass there and not here |
//! | [`guard`] | what was protected, and must not be granted for less |
//! | [`head`], [`hosts`] | HEAD beside GET, and hosts in another spelling, which are one here |
//! | [`overlap`], [`origin`] | what two matches both match; where a rule comes from |
//! | [`istio`] | RequestAuthentication and AuthorizationPolicy |
//! | [`local_ratelimit`], [`scope`] | Envoy's local rate limits, and where they stand |
//! | [`subjects`] | whose tokens a provider takes |
//! | [`write`](mod@write), [`wrap`] | JSON as YAML, alone or as what an Envoy or a mesh reads |

pub mod differs;
pub mod guard;
pub mod head;
pub mod hosts;
pub mod istio;
pub mod jwt_authn;
pub mod keys;
pub mod local_ratelimit;
pub mod origin;
pub mod overlap;
pub mod per_route;
pub mod requests;
pub mod rules;
pub mod scope;
pub mod subjects;
pub mod taken;
pub mod wrap;
pub mod write;

use origin::Origin;
use per_route::PerRoute;
use portcullis_common::memory::MemoryHost;
use scope::Scope;
use serde_json::{Map, Value};

use crate::attached::Which;
use crate::find::File;
use crate::load;
use crate::yaml::{self, Node};

/// What becomes of whoever relied on it. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The result does not load.
    Broken,
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
            Kind::Broken => "broken",
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
    /// What a WasmPlugin for it says of its place: `namespace`, `selector`, `targetRefs`, as far as the original does.
    pub about: Map<String, Value>,
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
        envoy(document, document, Scope::default(), &per_route, &mut found, &mut lefts);
    }
    found.extend(istio::import(&documents, &mut lefts));
    if found.is_empty() {
        let wanted = "a jwt_authn or local_ratelimit filter of Envoy, or a RequestAuthentication of Istio";
        return Err(format!("{}: nothing to import in it; give {wanted}", file.name));
    }
    name(&mut found);
    for imported in &mut found {
        settle(imported, &mut lefts);
    }
    lefts.sort();
    lefts.dedup();
    Ok((found, lefts))
}

/// Envoy's filters, wherever they stand.
fn envoy<'n>(
    node: &'n Node,
    document: &'n Node,
    scope: Scope<'n>,
    per_route: &[PerRoute<'_>],
    found: &mut Vec<Imported>,
    lefts: &mut Lefts,
) {
    match node.text_at(&["@type"]).and_then(|url| url.rsplit('.').next()) {
        Some("JwtAuthentication") => {
            let config = jwt_authn::import(node, per_route, lefts);
            found.push(Imported { which: Which::JwtAuth, line: node.line, config, about: Map::new() });
            return;
        }
        Some("LocalRateLimit") => {
            if let Some(config) = local_ratelimit::import(node, document, scope, lefts) {
                let which = Which::RateLimit { body: false };
                found.push(Imported { which, line: node.line, config, about: Map::new() });
            }
            return;
        }
        _ => {}
    }
    switched_off(node, lefts);
    let scope = scope.within(node);
    node.items().iter().for_each(|item| envoy(item, document, scope, per_route, found, lefts));
    node.members().iter().for_each(|member| envoy(&member.value, document, scope, per_route, found, lefts));
}

/// Filters that are there and off: in a place, or everywhere.
fn switched_off(node: &Node, lefts: &mut Lefts) {
    let off = |node: &Node| node.text_at(&["disabled"]) == Some("true");
    let mut say = |line: usize, field: &str, why: &str| {
        lefts.push(Left { kind: Kind::Stricter, line, field: field.into(), why: why.into() });
    };
    for member in node.get("typed_per_filter_config").map(Node::members).unwrap_or_default() {
        if member.name.contains("local_ratelimit") && off(&member.value) {
            let why = "there local_ratelimit is off in this place; here the limits count its requests too: give them a match without it";
            say(member.line, "typed_per_filter_config", why);
        }
    }
    let kind = node.text_at(&["typed_config", "@type"]).unwrap_or_default();
    if off(node) && (kind.ends_with(".LocalRateLimit") || kind.ends_with(".JwtAuthentication")) {
        say(
            node.line,
            "disabled",
            "there this filter is off until a route switches it on; here it is written as if it were on",
        );
    }
}

/// Limiters that stand side by side need names of their own; one alone keeps the filter's.
fn name(found: &mut [Imported]) {
    let several = found.iter().filter(|i| i.config.get("limits").is_some()).count() > 1;
    let mut taken: Vec<String> = Vec::new();
    for config in
        found.iter_mut().filter_map(|i| i.config.as_object_mut()).filter(|c| c.contains_key("limits"))
    {
        let Some(name) = config.remove("name").filter(|_| several) else { continue };
        let stat = name.as_str().unwrap_or_default().replace('_', "-");
        let names = std::iter::once(stat.clone()).chain((2_usize..).map(|n| format!("{stat}-{n}")));
        if let Some(free) = names.into_iter().find(|name| !taken.contains(name)) {
            taken.push(free.clone());
            config.insert("name".into(), free.into());
        }
    }
}

/// Takes out what the filter refuses: a rule that an earlier one covers never was asked. Whatever else is wrong is said.
fn settle(imported: &mut Imported, lefts: &mut Lefts) {
    let rules = imported.config.get_mut("rules").and_then(Value::as_array_mut);
    let mut origins: Vec<Option<Origin>> = rules.into_iter().flatten().map(origin::take).collect();
    for _ in 0..100 {
        let host = MemoryHost::default();
        let Err(error) = load::configure(imported.which, imported.config.to_string().as_bytes(), &host)
        else {
            return;
        };
        let number = |text: &str| text.split_once("rules[")?.1.split(']').next()?.parse::<usize>().ok();
        let covered = number(error.path()).filter(|_| error.problem().starts_with("can never decide"));
        let rules = imported.config.get_mut("rules").and_then(Value::as_array_mut);
        match (covered, rules) {
            (Some(at), Some(rules)) if at < rules.len() && at > 0 => {
                let by = number(error.problem()).unwrap_or_default();
                lefts.extend(lost(imported.line, rules, &origins, at, by));
                rules.remove(at);
                origins.remove(at);
            }
            _ => {
                return lefts.push(Left {
                    kind: Kind::Broken,
                    line: imported.line,
                    field: format!("{} of the result", error.path()),
                    why: format!("has to be corrected by hand: {}", error.problem()),
                });
            }
        }
    }
}

/// A rule that is left out because another one in front of it covers it. What one rule became needs no word about itself.
fn lost(line: usize, rules: &[Value], origins: &[Option<Origin>], at: usize, by: usize) -> Option<Left> {
    let origin = |at: usize| origins.get(at).cloned().flatten();
    let own = origin(at).unwrap_or_else(|| Origin {
        line,
        field: format!("rules[{at}] of the result"),
        any: false,
    });
    if own.any && origin(by).is_some_and(|by| (by.line, &by.field) == (own.line, &own.field)) {
        return None;
    }
    let other = origin(by)
        .map_or_else(|| format!("rules[{by}] of the result"), |o| format!("{} in line {}", o.field, o.line));
    let require = |at: usize| rules.get(at).and_then(|rule| rule.get("require"));
    let (kind, then) = if own.any && require(by) != require(at) {
        (
            Kind::Stricter,
            "there a request passes that meets either; write it in front, or what it asks for as well",
        )
    } else {
        (Kind::LookAt, "it decides nothing there either")
    };
    let why = format!(
        "this rule is left out: {other} stands in front and matches every request that it matches; {then}"
    );
    Some(Left { kind, line: own.line, field: own.field, why })
}
