//! What an Envoy configuration leaves to somewhere else, and what it lacks as a whole.

use crate::attached::{Attached, Place};
use crate::find::typed;
use crate::finding::{Finding, Severity};
use crate::yaml::Node;

/// Says what of a connection manager is fetched by Envoy and not looked at, and what stands behind its router.
pub fn manager(
    manager: &Node,
    place: &Place,
    ours: impl Fn(&Node) -> Option<Attached>,
    findings: &mut Vec<Finding>,
) {
    let mut report = |severity, line, path: &str, problem: &str| {
        findings.push(place.finding(severity, line, "http_connection_manager", path, problem));
    };
    let routes = [
        ("rds", manager.get("rds")),
        ("scoped_routes.scoped_rds", manager.at(&["scoped_routes", "scoped_rds"])),
        ("route_config.vhds", manager.at(&["route_config", "vhds"])),
    ];
    for (path, node) in routes {
        if let Some(node) = node {
            let problem = "Envoy fetches these routes, and they are not looked at here: whether they switch a plugin off, and their hosts";
            report(Severity::Note, node.line, path, problem);
        }
    }
    let filters = manager.get("http_filters").map(Node::items).unwrap_or_default();
    for (n, filter) in filters.iter().enumerate() {
        if filter.get("config_discovery").is_some() {
            let problem = "Envoy fetches this filter, and it is not looked at here; give its configuration as a file of its own";
            report(Severity::Note, filter.line, &format!("http_filters[{n}].config_discovery"), problem);
        }
    }
    let is_router =
        |f: &Node| f.get("typed_config").and_then(typed).is_some_and(|(_, kind)| kind == "Router");
    let Some(router) = filters.iter().position(is_router) else { return };
    for filter in filters.iter().skip(router) {
        if let Some(plugin) = ours(filter) {
            let problem =
                "behind the router, which has to be the last: Envoy does not start; put it in front";
            findings.push(place.finding(Severity::Error, filter.line, &plugin.name, "", problem));
        }
    }
}

/// Warns of a bootstrap that has our plugins and no tags for their metrics.
pub fn bootstrap(document: &Node, place: &Place, findings: &mut Vec<Finding>) {
    if document.get("static_resources").is_none() {
        return;
    }
    let tags = document.at(&["stats_config", "stats_tags"]).map(Node::items).unwrap_or_default();
    let of_ours = |tag: &Node| tag.text_at(&["regex"]).is_some_and(|regex| regex.contains("portcullis"));
    if !tags.iter().any(of_ours) {
        let problem = "no stats_tags for portcullis_*: each metric's name holds its labels, and nothing can be summed by outcome or reason; \
                       copy the block stats_config from the examples in envoy/";
        findings.push(place.finding(Severity::Warning, document.line, "bootstrap", "stats_config", problem));
    }
}
