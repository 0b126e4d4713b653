//! What a connection manager has around our plugins: ways past them, and settings that make another host or client of a request
//! than the rules mean.

use std::collections::BTreeSet;

use crate::attached::{Attached, Place, Which};
use crate::find::typed;
use crate::finding::{Finding, Severity};
use crate::yaml::{Member, Node};

/// An entry of `http_filters`, and the plugin that it is.
type Entry<'a> = (&'a Node, Attached);

/// Everything around the plugins of `manager`. `ours` says which plugin an entry is.
pub fn check(
    manager: &Node,
    place: &Place,
    ours: impl Fn(&Node) -> Option<Attached>,
    findings: &mut Vec<Finding>,
) {
    let filters = manager.get("http_filters").map(Node::items).unwrap_or_default();
    let plugins: Vec<Entry<'_>> = filters.iter().filter_map(|f| Some((f, ours(f)?))).collect();
    let mut report = |severity, line, path: &str, problem: String| {
        findings.push(place.finding(severity, line, "http_connection_manager", path, problem));
    };
    for (line, path, problem) in upgrades(manager, &plugins, &ours) {
        report(Severity::Error, line, &path, problem);
    }
    let mut switched_off = Vec::new();
    for routes in ["route_config", "scoped_routes"].iter().filter_map(|name| manager.get(name)) {
        disabled(routes, &plugins, &mut switched_off);
    }
    let warnings = switched_off.into_iter().chain(hosts(manager, &plugins)).chain(internal(manager));
    for (line, path, problem) in warnings.chain(cors(filters, &plugins)) {
        report(Severity::Warning, line, path, problem);
    }
}

/// Upgrades with a chain of their own, which takes the place of this one.
fn upgrades(
    manager: &Node,
    plugins: &[Entry<'_>],
    ours: &impl Fn(&Node) -> Option<Attached>,
) -> Vec<(usize, String, String)> {
    let upgrades = manager.get("upgrade_configs").map(Node::items).unwrap_or_default();
    let bare = |(n, upgrade): (usize, &Node)| {
        let filters = upgrade.get("filters").filter(|f| !f.items().is_empty())?;
        let own: Vec<Attached> = filters.items().iter().filter_map(ours).collect();
        let here = |plugin: &Attached| own.iter().any(|o| o.which == plugin.which && o.name == plugin.name);
        let lacking: Vec<&str> =
            plugins.iter().filter(|(_, p)| !here(p)).map(|(_, p)| p.name.as_str()).collect();
        let kind = upgrade.text_at(&["upgrade_type"]).unwrap_or("this upgrade");
        let problem = format!(
            "the chain of {kind} has no {}, so an upgrade goes round it; leave `filters` out",
            lacking.join(", ")
        );
        (!lacking.is_empty()).then(|| (filters.line, format!("upgrade_configs[{n}].filters"), problem))
    };
    upgrades.iter().enumerate().filter_map(bare).collect()
}

/// A warning: its line, its path and what it says.
type Warning = (usize, &'static str, String);

/// Where routes switch one of ours off.
fn disabled(node: &Node, plugins: &[Entry<'_>], found: &mut Vec<Warning>) {
    node.items().iter().for_each(|item| disabled(item, plugins, found));
    for Member { name, value, .. } in node.members() {
        if name != "typed_per_filter_config" && name != "typedPerFilterConfig" {
            disabled(value, plugins, found);
            continue;
        }
        for Member { name, value, line, .. } in value.members() {
            let off = matches!(typed(value), Some((config, "FilterConfig")) if config.is_true(&["disabled"]));
            let plugin = plugins.iter().find(|(entry, _)| entry.text_at(&["name"]) == Some(name));
            if let Some((_, plugin)) = plugin.filter(|_| off) {
                found.push((*line, "typed_per_filter_config", without(plugin)));
            }
        }
    }
}

/// What a route without the plugin is open to.
fn without(plugin: &Attached) -> String {
    let name = &plugin.name;
    match plugin.which {
        Which::JwtAuth => {
            let headers = written(&plugin.config.node);
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let open = if headers.is_empty() {
                "nobody is asked for a token".to_owned()
            } else {
                format!("a client can send {} itself", headers.join(", "))
            };
            format!("without {name} {open}; write a rule with require: none instead")
        }
        Which::Rebac => {
            format!("without {name} everybody may do everything here; write a rule that allows it instead")
        }
        Which::RateLimit { .. } => {
            format!("without {name} nothing is limited here; leave the path out of its limits instead")
        }
        Which::Metrics => format!("without {name} nothing is counted here; leave it on"),
    }
}

/// The headers that a jwt-auth writes, and takes away from what clients send.
fn written(config: &Node) -> BTreeSet<String> {
    let providers = config.get("providers").map(Node::members).unwrap_or_default();
    let named = providers.iter().flat_map(|provider| {
        let claims = provider.value.get("claim_headers").map(Node::members).unwrap_or_default();
        let payload = provider.value.text_at(&["payload_header"]);
        claims.iter().map(|m| m.name.as_str()).chain(payload)
    });
    named.map(str::to_owned).collect()
}

/// Rules for hosts, where Envoy may take a host for another one than they do.
fn hosts(manager: &Node, plugins: &[Entry<'_>]) -> Vec<Warning> {
    let Some(routes) = manager.get("route_config") else { return Vec::new() };
    let virtual_hosts = routes.get("virtual_hosts").map(Node::items).unwrap_or_default();
    let mut domains = virtual_hosts.iter().filter_map(|v| v.get("domains")).flat_map(Node::items);
    let Some((_, plugin)) = plugins.iter().find(|(_, p)| has_hosts(&p.config.node)) else {
        return Vec::new();
    };
    if !domains.any(|d| d.text() != Some("*")) {
        return Vec::new();
    }
    let warn = |line, option: &'static str, what: &str, place: &str| {
        let problem = format!(
            "{} has rules with hosts, and Envoy compares its virtual hosts with {what}: a client that writes one reaches \
             another virtual host than the rule means; write {option}: true into the {place}",
            plugin.name
        );
        (line, option, problem)
    };
    let port = routes.is_true(&["ignore_port_in_host_matching"]) || manager.is_true(&["strip_any_host_port"]);
    let dot = manager.is_true(&["strip_trailing_host_dot"]);
    let port =
        (!port).then(|| warn(routes.line, "ignore_port_in_host_matching", "the port", "route configuration"));
    let dot = (!dot)
        .then(|| warn(manager.line, "strip_trailing_host_dot", "a dot at the end", "connection manager"));
    port.into_iter().chain(dot).collect()
}

/// Whether a rule, limit or route names hosts.
fn has_hosts(node: &Node) -> bool {
    let named = node.get("match").is_some_and(|m| m.get("hosts").is_some());
    named || node.items().iter().any(has_hosts) || node.members().iter().any(|m| has_hosts(&m.value))
}

/// Without ranges Envoy takes every private address for one of its own machines, which may set its timeouts and retries.
fn internal(manager: &Node) -> Option<Warning> {
    let config = manager.get("internal_address_config")?;
    let named = config.get("cidr_ranges").is_some_and(|ranges| !ranges.items().is_empty());
    let problem = "without cidr_ranges every private address is internal, and who is may set timeouts and retries; \
                   leave it out, or name the ranges";
    (!named).then(|| (config.line, "internal_address_config", problem.to_owned()))
}

/// Envoy's cors behind one of ours that refuses.
fn cors(filters: &[Node], plugins: &[Entry<'_>]) -> Option<Warning> {
    let is_cors = |entry: &&Node| {
        let kind = entry.text_at(&["typed_config", "@type"]);
        kind.is_some_and(|kind| kind.ends_with(".cors.v3.Cors")) && !entry.is_true(&["disabled"])
    };
    let at = filters.iter().position(|f| is_cors(&f))?;
    let cors = filters.get(at)?;
    // By place and not by line: an entry may be an alias.
    let in_front = |entry: &Node| filters.iter().take(at).any(|f| std::ptr::eq(f, entry));
    let front = plugins.iter().find(|(entry, p)| in_front(entry) && p.which != Which::Metrics);
    front.map(|(_, plugin)| {
        let problem = format!(
            "cors behind {}: what that refuses has no access-control-allow-origin, and a browser shows a network error; \
             put it in front of all",
            plugin.name
        );
        (cors.line, "http_filters", problem)
    })
}
