//! What virtual hosts and routes say about jwt_authn, whatever its rules say.

use crate::yaml::{Member, Node};

/// One of them.
pub struct PerRoute<'n> {
    /// The line.
    pub line: usize,
    /// Where: a route, a virtual host or a route configuration.
    pub place: &'static str,
    /// The field.
    pub field: &'static str,
    /// The match of the route.
    pub route: Option<&'n Node>,
    /// The requirement that it names; without one, the filter is off.
    pub requirement: Option<&'n str>,
}

/// All of a document.
pub fn find<'n>(node: &'n Node, found: &mut Vec<PerRoute<'n>>) {
    let place = if node.get("match").is_some() {
        "a route"
    } else if node.get("domains").is_some() {
        "a virtual host"
    } else {
        "a route configuration"
    };
    for Member { value, name, .. } in
        node.get("typed_per_filter_config").map(Node::members).unwrap_or_default()
    {
        let of_jwt = name.contains("jwt_authn");
        for config in std::iter::once(value).chain(value.get("config")) {
            let kind = config.text_at(&["@type"]).unwrap_or_default();
            let own = kind.ends_with("jwt_authn.v3.PerRouteConfig");
            let off = config.text_at(&["disabled"]) == Some("true");
            let requirement = config.text_at(&["requirement_name"]);
            if (own && (off || requirement.is_some())) || (of_jwt && off) {
                let requirement = requirement.filter(|_| !off);
                let field = "typed_per_filter_config";
                found.push(PerRoute {
                    line: config.line,
                    place,
                    field,
                    route: node.get("match"),
                    requirement,
                });
            }
        }
    }
    node.items().iter().for_each(|item| find(item, found));
    node.members().iter().for_each(|member| find(&member.value, found));
}
