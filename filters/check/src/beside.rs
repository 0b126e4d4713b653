//! Ours beside the filters that they replace, in one chain: what the trial shows depends on who stands in front.

use crate::attached::{Attached, Place, Which};
use crate::finding::{Finding, Severity};
use crate::yaml::Node;

/// What is wrong with the order. `ours` says which plugin an entry is.
pub fn check(
    entries: &[Node],
    place: &Place,
    ours: impl Fn(&Node) -> Option<Attached>,
    findings: &mut Vec<Finding>,
) {
    let plugins: Vec<Option<Attached>> = entries.iter().map(ours).collect();
    for (at, plugin) in plugins.iter().enumerate() {
        let Some(plugin) = plugin else { continue };
        let (theirs, called) = match plugin.which {
            Which::JwtAuth => (".JwtAuthentication", "jwt_authn"),
            Which::RateLimit { .. } => (".LocalRateLimit", "local_ratelimit"),
            _ => continue,
        };
        let is_old = |entry: &Node| {
            let kind = entry.text_at(&["typed_config", "@type"]);
            kind.is_some_and(|kind| kind.ends_with(theirs)) && !entry.is_true(&["disabled"])
        };
        let Some(old) = entries.iter().position(is_old) else { continue };
        let line = entries.get(old).map_or(place.line, |entry| entry.line);
        let node = &plugin.config.node;
        let mut warn = |path: &str, problem: String| {
            findings.push(plugin.place.finding(
                Severity::Warning,
                plugin.place.line,
                &plugin.name,
                path,
                problem,
            ));
        };
        if old < at && node.text_at(&["mode"]) == Some("shadow") {
            let token = if called == "jwt_authn" {
                ", and without forward: true there the token is gone"
            } else {
                ""
            };
            warn(
                "mode",
                format!(
                    "shadow behind {called} in line {line} never sees what that refuses{token}; put it in front while both stand"
                ),
            );
        }
        let providers = node.get("providers").map(Node::members).unwrap_or_default();
        if let Some(provider) = providers.iter().find(|p| at < old && !p.value.is_true(&["forward_token"])) {
            warn(
                &format!("providers.{}.forward_token", provider.name),
                format!(
                    "takes the token away from {called} in line {line}, which then refuses; write true while both stand"
                ),
            );
        }
    }
}
