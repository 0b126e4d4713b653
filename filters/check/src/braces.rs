//! Sources whose braces were forgotten in jwt-auth: every user would have one subject, or one header. The module lets them pass, for
//! it has no bytes to spare; the other filters refuse theirs.

use portcullis_common::values::template::Template;

use crate::attached::{Attached, Which};
use crate::finding::{Finding, Severity};
use crate::yaml::Node;

/// Finds them in the templates of a plugin.
pub fn check(attached: &Attached, findings: &mut Vec<Finding>) {
    if attached.which != Which::JwtAuth {
        return;
    }
    let providers = attached.config.node.get("providers").map(Node::members).unwrap_or_default();
    for provider in providers {
        let mut look = |path: String, line: usize, node: &Node| {
            let template = node.text().and_then(|text| Template::parse(text).ok());
            if let Some(text) = template.as_ref().and_then(Template::without_braces) {
                let problem =
                    format!("a source without its braces, so one text for all; write \"{{{text}}}\"");
                findings.push(attached.place.finding(Severity::Error, line, &attached.name, &path, problem));
            }
        };
        let at = |field: &str| format!("providers.{}.{field}", provider.name);
        if let Some(subject) = provider.value.get("subject") {
            look(at("subject"), subject.line, subject);
        }
        let headers = provider.value.get("claim_headers").map(Node::members).unwrap_or_default();
        for header in headers {
            look(at(&format!("claim_headers.{}", header.name)), header.line, &header.value);
        }
    }
}
