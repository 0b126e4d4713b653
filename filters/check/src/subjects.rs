//! Subjects that rebac cannot read: a user holds no `#`, no blank and one colon, behind its type.

use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use crate::attached::{Attached, Which};
use crate::cross::{Plugin, own_name};
use crate::finding::{Finding, Severity};
use crate::yaml::Node;

/// Whether the jwt-auth that a rebac listens to gives subjects that fit behind a type, where rebac puts them there.
pub fn check(attached: &Attached, plugins: &[Plugin<'_>], findings: &mut Vec<Finding>) {
    if attached.which != Which::Rebac {
        return;
    }
    let node = &attached.config.node;
    let mut typed = Vec::new();
    behind_a_type(node, &mut typed);
    let Some((text, line)) = typed.first() else { return };
    let identity = node.text_at(&["identity"]).unwrap_or("jwt-auth");
    let is_it = |(a, l): &&Plugin<'_>| a.which == Which::JwtAuth && own_name(a, *l) == identity;
    let Some((publisher, _)) = plugins.iter().find(is_it) else { return };
    let providers = publisher.config.node.get("providers").map(Node::members).unwrap_or_default();
    for provider in providers {
        let Some(subject) = provider.value.get("subject") else { continue };
        let Some(what) = subject.text().and_then(|template| unfit(template, &provider.value)) else {
            continue;
        };
        let problem = format!(
            "rebac in {}:{line} reads {text}, and a user holds no #, no blank and no second colon: {what} makes every request 403 \
             value_invalid; start it with a text of its own, such as \"{}/{{claim.sub}}\"",
            attached.place.file, provider.name
        );
        let path = format!("providers.{}.subject", provider.name);
        findings.push(publisher.place.finding(
            Severity::Error,
            subject.line,
            &publisher.name,
            &path,
            problem,
        ));
    }
}

/// Templates with the subject somewhere behind a colon, and their lines.
fn behind_a_type(node: &Node, found: &mut Vec<(String, usize)>) {
    node.items().iter().for_each(|item| behind_a_type(item, found));
    for member in node.members().iter().filter(|member| member.name != "model") {
        behind_a_type(&member.value, found);
    }
    let front = node.text().and_then(|text| text.split_once("{subject}"));
    if let Some(text) = node.text().filter(|_| front.is_some_and(|(front, _)| front.contains(':'))) {
        found.push((text.to_owned(), node.line));
    }
}

/// What of a subject's template no user may hold.
fn unfit(template: &str, provider: &Node) -> Option<String> {
    let sources = Template::parse(template).ok()?;
    let bad = |c: char| c == '#' || c == ':' || c.is_whitespace();
    // What stands between the braces.
    let mut literal = String::new();
    let mut depth = 0_usize;
    for c in template.chars() {
        match c {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => literal.push(c),
            _ => {}
        }
    }
    if let Some(c) = literal.chars().find(|c| bad(*c)) {
        return Some(format!("\"{c}\" in {template}"));
    }
    let listed = provider.get("issuers").map(Node::items).unwrap_or_default();
    let mut issuers = listed.iter().chain(provider.get("issuer")).chain(provider.get("issuer_template"));
    let issuer = issuers.find(|issuer| issuer.text().is_some_and(|text| text.contains(bad)))?.text()?;
    let named = sources.sources().any(|source| *source == Source::Issuer);
    named.then(|| format!("{{issuer}}, which is {issuer},"))
}
