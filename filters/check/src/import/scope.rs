//! Where in a configuration a limit stands, and for which requests that is.

use serde_json::{Map, Value};

use super::requests::matching;
use super::{Kind, Left, Lefts};
use crate::yaml::Node;

/// The place: the innermost route and virtual host around it.
#[derive(Clone, Copy, Default)]
pub struct Scope<'n> {
    /// The match of the route.
    route: Option<&'n Node>,
    /// The domains of the virtual host.
    domains: Option<&'n Node>,
    /// Whether there are other virtual hosts.
    others: bool,
    /// Whether it stands in `typed_per_filter_config`.
    pub below: bool,
}

impl<'n> Scope<'n> {
    /// The scope of what `node` holds.
    #[must_use]
    pub fn within(self, node: &'n Node) -> Scope<'n> {
        let own = node.get("typed_per_filter_config").is_some();
        let hosts = node.get("virtual_hosts").map(|hosts| hosts.items().len() > 1);
        Scope {
            route: node.get("match").filter(|_| own).or(self.route),
            domains: node.get("domains").or(self.domains),
            others: hosts.unwrap_or(self.others),
            below: own || self.below,
        }
    }

    /// The `match` of its requests.
    pub fn matching(self, lefts: &mut Lefts) -> Map<String, Value> {
        let mut out = self.route.map(|route| self::route(route, lefts)).unwrap_or_default();
        if let Some(domains) = self.domains.filter(|_| self.below && !out.contains_key("hosts"))
            && let Some(hosts) = hosts(domains, self.others, lefts)
        {
            out.insert("hosts".into(), hosts);
        }
        out
    }
}

fn route(node: &Node, lefts: &mut Lefts) -> Map<String, Value> {
    let mut say = |kind, why: String| lefts.push(Left { kind, line: node.line, field: "match".into(), why });
    match matching(node, "match", &mut Lefts::new()) {
        Some(matched) => {
            if let Some(prefix) = matched.beside {
                let why = format!(
                    "{prefix} also begins {prefix}x there; here the limit is for {prefix} and what is below it"
                );
                say(Kind::Weaker, why);
            }
            if matched.is_below {
                let why = "the path without a slash behind it is not meant there; here the limit counts it too, for one with two paths would be two";
                say(Kind::Stricter, why.into());
            }
            matched.value.as_object().cloned().unwrap_or_default()
        }
        None => {
            let why = "the route's match cannot be said here, so the limit counts more requests: write match by hand";
            say(Kind::Stricter, why.into());
            Map::new()
        }
    }
}

/// The hosts of these domains; `None` for all, or if they cannot be said.
fn hosts(node: &Node, others: bool, lefts: &mut Lefts) -> Option<Value> {
    let mut say =
        |kind, why: String| lefts.push(Left { kind, line: node.line, field: "domains".into(), why });
    let mut hosts: Vec<Value> = Vec::new();
    for domain in node.items().iter().filter_map(Node::text).map(str::to_ascii_lowercase) {
        if domain == "*" {
            if others {
                let why = "* is what no other virtual host takes there; here the limit counts their requests too: write match.hosts";
                say(Kind::Stricter, why.into());
            }
            return None;
        }
        let bare =
            domain.split_once(':').filter(|_| !domain.starts_with('[')).map_or(&*domain, |(host, _)| host);
        if bare != domain {
            say(Kind::Stricter, format!("{domain} is {bare} with any port here"));
        }
        if bare.trim_start_matches("*.").contains('*') {
            let why = format!(
                "{domain} cannot be said here, so the limit counts the requests of all hosts: write match.hosts"
            );
            say(Kind::Stricter, why);
            return None;
        }
        if !hosts.iter().any(|host| host == bare) {
            hosts.push(bare.into());
        }
    }
    (!hosts.is_empty()).then_some(Value::Array(hosts))
}
