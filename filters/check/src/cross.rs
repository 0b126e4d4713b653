//! What only the whole chain shows: order, facts that nobody writes, policies of failure, the connection manager, clusters, secrets.

use std::collections::BTreeSet;

use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use crate::attached::{Attached, Chain, EscapedSlashes, Manager, OnFailure, Which};
use crate::finding::{Finding, Severity};
use crate::load::{Loaded, variables};
use crate::ungiven;
use crate::yaml::{Member, Node};

/// A plugin, and what became of its configuration.
pub type Plugin<'a> = (&'a Attached, Option<&'a Loaded>);

/// Everything that only the whole chain shows.
#[must_use]
pub fn check(chain: &Chain, plugins: &[Plugin<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, (attached, loaded)) in plugins.iter().enumerate() {
        failure(attached, &mut findings);
        secrets(attached, &mut findings);
        names(at, plugins, &mut findings);
        identity(chain, at, plugins, &mut findings);
        siblings(chain, attached, plugins, &mut findings);
        clusters(chain, attached, &mut findings);
        ungiven::check(attached, *loaded, &mut findings);
    }
    order(chain, plugins, &mut findings);
    if let Some(manager) = &chain.manager {
        paths(manager, plugins, &mut findings);
        addresses(manager, plugins, &mut findings);
    }
    findings
}

/// The name that a plugin has in facts, also where its configuration is refused.
fn own_name(attached: &Attached, loaded: Option<&Loaded>) -> String {
    let written = || attached.config.node.text_at(&["name"]).map(str::to_owned);
    loaded.map(|l| l.name.clone()).or_else(written).unwrap_or_else(|| attached.which.filter().to_owned())
}

fn failure(attached: &Attached, findings: &mut Vec<Finding>) {
    let Some((on_failure, line)) = attached.on_failure else { return };
    let decides = matches!(attached.which, Which::JwtAuth | Which::Rebac);
    let (severity, problem) = match on_failure {
        OnFailure::Reload => return,
        OnFailure::Open if decides => {
            (Severity::Error, "FAIL_OPEN lets every request past when the module fails; write FAIL_RELOAD")
        }
        OnFailure::Open => {
            (Severity::Warning, "FAIL_OPEN lets requests past when the module fails; write FAIL_RELOAD")
        }
        OnFailure::Close => (
            Severity::Warning,
            "after one failure a worker answers 503 until Envoy is restarted; write FAIL_RELOAD",
        ),
    };
    findings.push(attached.place.finding(severity, line, &attached.name, "", problem));
}

fn secrets(attached: &Attached, findings: &mut Vec<Finding>) {
    // Of a configuration that stands alone nobody knows what its VM has.
    if attached.on_failure.is_none() {
        return;
    }
    let mut named = Vec::new();
    variables(&attached.config.node, &mut named);
    for (name, line) in named {
        if !attached.environment.contains(&name) {
            let problem = format!(
                "the VM has no environment variable {name}; add it to vm_config.environment_variables (Istio: vmConfig.env, Envoy Gateway: env.hostKeys)"
            );
            findings.push(attached.place.finding(Severity::Error, line, &attached.name, "env", problem));
        }
    }
}

fn names(at: usize, plugins: &[Plugin<'_>], findings: &mut Vec<Finding>) {
    let Some((attached, loaded)) = plugins.get(at) else { return };
    let name = own_name(attached, *loaded);
    let earlier = plugins.iter().take(at).find(|(a, l)| own_name(a, *l) == name);
    if let Some((other, _)) = earlier {
        let problem = format!(
            "the plugin in {}:{} is called {name} too, and both write its facts; give one another `name`",
            other.place.file, other.place.line
        );
        findings.push(attached.place.finding(
            Severity::Error,
            attached.place.line,
            &attached.name,
            "name",
            problem,
        ));
    }
}

/// What a plugin reads of a verified token: the source, its path and its line.
struct Read {
    source: Source,
    path: String,
    line: usize,
}

fn reads(attached: &Attached) -> Vec<Read> {
    let mut found = Vec::new();
    if attached.which != Which::JwtAuth {
        walk(&attached.config.node, "", &mut found);
    }
    found.retain(|read| read.source.is_from_token());
    found
}

fn walk(node: &Node, path: &str, found: &mut Vec<Read>) {
    for (n, item) in node.items().iter().enumerate() {
        let path = format!("{path}[{n}]");
        templates(item, &path, found);
        walk(item, &path, found);
    }
    for Member { name, value, line, .. } in node.members() {
        // A model's braces are its own.
        if name == "model" {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if name == "when" {
            let sources = value.members().iter().filter_map(|m| Some((Source::parse(&m.name).ok()?, m.line)));
            found.extend(sources.map(|(source, line)| Read { source, path: path.clone(), line }));
            continue;
        }
        if name == "from" {
            let source = value.text().and_then(|text| Source::parse(text).ok());
            found.extend(source.map(|source| Read { source, path: path.clone(), line: *line }));
        }
        templates(value, &path, found);
        walk(value, &path, found);
    }
}

fn templates(node: &Node, path: &str, found: &mut Vec<Read>) {
    let Some(template) = node.text().filter(|t| t.contains('{')).and_then(|t| Template::parse(t).ok()) else {
        return;
    };
    let read = |source: &Source| Read { source: source.clone(), path: path.to_owned(), line: node.line };
    found.extend(template.sources().map(read));
}

/// Whether somebody in front of a plugin publishes what it reads.
fn identity(chain: &Chain, at: usize, plugins: &[Plugin<'_>], findings: &mut Vec<Finding>) {
    let Some((attached, _)) = plugins.get(at) else { return };
    let reads = reads(attached);
    let Some(first) = reads.first() else { return };
    let node = &attached.config.node;
    let written = node.get("identity").or_else(|| node.at(&["consumers", "identity"]));
    let name = written.and_then(Node::text).unwrap_or("jwt-auth");
    let mut report = |severity, line, path: &str, problem: String| {
        findings.push(attached.place.finding(severity, line, &attached.name, path, problem));
    };
    let line = written.map_or(first.line, |w| w.line);
    let is_it = |(a, l): &Plugin<'_>| a.which == Which::JwtAuth && own_name(a, *l) == name;
    let Some((position, (publisher, _))) = plugins.iter().enumerate().find(|(_, plugin)| is_it(plugin))
    else {
        let (severity, where_to) = if chain.whole {
            (Severity::Error, "put it in front, or correct `identity`")
        } else {
            (Severity::Warning, "if it is in another file, give both")
        };
        let problem =
            format!("no jwt-auth plugin is called {name}, so {} never has a value; {where_to}", first.source);
        return report(severity, line, &first.path, problem);
    };
    // metrics reads in the log phase, wherever it stands.
    if position > at && attached.which != Which::Metrics {
        let problem = format!(
            "{name} stands behind this plugin, so {} has no value yet; put {name} in front",
            first.source
        );
        report(Severity::Error, line, &first.path, problem);
    }
    let published = publisher.config.node.get("publish").map(Node::items).unwrap_or_default();
    let published: Vec<Source> = published.iter().filter_map(|p| Source::parse(p.text()?).ok()).collect();
    let mut seen = BTreeSet::new();
    for Read { source, path, line } in &reads {
        if *source != Source::Subject && !published.contains(source) && seen.insert(source.to_string()) {
            let problem = format!("{name} does not publish {source}; write publish: [{source}] there");
            report(Severity::Error, *line, path, problem);
        }
    }
}

/// The plugins whose verdicts metrics reads.
fn siblings(chain: &Chain, attached: &Attached, plugins: &[Plugin<'_>], findings: &mut Vec<Finding>) {
    if attached.which != Which::Metrics {
        return;
    }
    let listed = attached.config.node.get("plugins").map(Node::items).unwrap_or_default();
    for (n, node) in listed.iter().enumerate() {
        let Some(name) = node.text() else { continue };
        if plugins.iter().any(|(a, l)| own_name(a, *l) == name) {
            continue;
        }
        let severity = if chain.whole { Severity::Error } else { Severity::Warning };
        let problem = format!("no plugin is called {name}; list the names of plugins in this chain");
        findings.push(attached.place.finding(
            severity,
            node.line,
            &attached.name,
            &format!("plugins[{n}]"),
            problem,
        ));
    }
}

/// Envoy's clusters that a plugin calls.
fn clusters(chain: &Chain, attached: &Attached, findings: &mut Vec<Finding>) {
    let Some(known) = &chain.clusters else { return };
    let mut named = Vec::new();
    cluster_names(&attached.config.node, "", &mut named);
    for (name, path, line) in named {
        if !known.contains(&name) {
            let problem = format!("no cluster is called {name}; add it to static_resources.clusters");
            findings.push(attached.place.finding(Severity::Error, line, &attached.name, &path, problem));
        }
    }
}

fn cluster_names(node: &Node, path: &str, found: &mut Vec<(String, String, usize)>) {
    for (n, item) in node.items().iter().enumerate() {
        cluster_names(item, &format!("{path}[{n}]"), found);
    }
    for Member { name, value, line, .. } in node.members() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (name.as_str(), value.text()) {
            ("cluster", Some(text)) => found.push((text.to_owned(), path.clone(), *line)),
            ("clusters", None) => {
                let named = value.members().iter().filter_map(|m| Some((m.value.text()?, &m.name, m.line)));
                found.extend(
                    named.map(|(text, host, line)| (text.to_owned(), format!("{path}.{host}"), line)),
                );
            }
            _ => cluster_names(value, &path, found),
        }
    }
}

/// The order of the chain: metrics first, and rebac behind jwt-auth even if it reads no fact.
fn order(chain: &Chain, plugins: &[Plugin<'_>], findings: &mut Vec<Finding>) {
    let position = |which: Which| plugins.iter().position(|(a, _)| a.which == which);
    if let (Some(rebac), Some(jwt_auth)) = (position(Which::Rebac), position(Which::JwtAuth))
        && rebac < jwt_auth
        && let Some((attached, _)) = plugins.get(rebac)
    {
        let problem =
            "in front of jwt-auth: it decides about whoever was not asked for a token yet; put it behind";
        findings.push(attached.place.finding(
            Severity::Error,
            attached.place.line,
            &attached.name,
            "",
            problem,
        ));
    }
    // In Istio the phase STATS comes last, and there metrics counts what others refuse all the same.
    if let Some(at) = position(Which::Metrics).filter(|at| *at > 0 && chain.manager.is_some())
        && let Some((attached, _)) = plugins.get(at)
    {
        let problem = "not the first plugin: it does not see requests that others refuse until they are logged; put it in front";
        findings.push(attached.place.finding(
            Severity::Warning,
            attached.place.line,
            &attached.name,
            "",
            problem,
        ));
    }
}

fn paths(manager: &Manager, plugins: &[Plugin<'_>], findings: &mut Vec<Finding>) {
    if plugins.iter().all(|(a, _)| a.which == Which::Metrics) {
        return;
    }
    let mut warn = |path: &str, problem: &str| {
        findings.push(manager.place.finding(
            Severity::Warning,
            manager.place.line,
            "http_connection_manager",
            path,
            problem,
        ));
    };
    if !manager.normalize_path {
        warn(
            "normalize_path",
            "not true, so Envoy, the filters and the upstream may read different paths; write true",
        );
    }
    if !manager.merge_slashes {
        warn(
            "merge_slashes",
            "not true, so Envoy, the filters and the upstream may read different paths; write true",
        );
    }
    if !matches!(manager.escaped_slashes, EscapedSlashes::Reject | EscapedSlashes::Redirect) {
        warn(
            "path_with_escaped_slashes_action",
            "%2F may be a slash to the upstream and none here; write REJECT_REQUEST",
        );
    }
}

fn addresses(manager: &Manager, plugins: &[Plugin<'_>], findings: &mut Vec<Finding>) {
    if manager.knows_clients {
        return;
    }
    for (attached, _) in plugins {
        let node = &attached.config.node;
        if node.get("forwarded").is_some() {
            continue;
        }
        let mut found = Vec::new();
        walk(node, "", &mut found);
        if let Some(Read { source, path, line }) =
            found.into_iter().find(|r| matches!(r.source, Source::ClientIp(_)))
        {
            let problem = format!(
                "{source} is what the client says it is: the connection manager in line {} has neither use_remote_address: true nor xff_num_trusted_hops; write the one that is so",
                manager.place.line
            );
            findings.push(attached.place.finding(Severity::Error, line, &attached.name, &path, problem));
        }
    }
}
