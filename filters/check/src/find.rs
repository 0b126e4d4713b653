//! Which chains a file holds.

use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::around;
use crate::attached::{Attached, Chain, Config, EscapedSlashes, Manager, OnFailure, Place, Which};
use crate::beside;
use crate::finding::{Finding, Severity};
use crate::known;
use crate::load;
use crate::unseen;
use crate::yaml::{self, Dialect, Node, Unreadable};

/// What is said of a file without plugins.
pub const NOTHING: &str = "no plugin of Portcullis in it; give an Envoy configuration, a WasmPlugin, a TrafficExtension, an EnvoyExtensionPolicy or \
                       a plugin's configuration";

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name.
    pub name: Rc<str>,
    /// Its text.
    pub text: String,
}

/// What was found in some files.
#[derive(Debug, Default)]
pub struct Found {
    /// The chains.
    pub chains: Vec<Chain>,
    /// What could not be read.
    pub findings: Vec<Finding>,
}

/// All chains of `files`. `bare` says which filter a configuration is of that stands alone; else it is found by its own fields.
#[must_use]
pub fn find(files: &[File], bare: Option<Which>) -> Found {
    let mut found = Found::default();
    let mut objects = Vec::new();
    let mut others = Vec::new();
    for file in files {
        let json = file.name.ends_with(".json") || file.text.trim_start().starts_with('{');
        let place = Place { file: Rc::clone(&file.name), line: 1 };
        let documents = match documents(file) {
            Ok(documents) => documents,
            Err(bad) => {
                found.findings.push(place.finding(Severity::Error, bad.line, "", "", bad.problem));
                continue;
            }
        };
        let before = found.chains.len().saturating_add(objects.len());
        for document in &documents {
            let place = Place { line: document.line, ..place.clone() };
            if document.get("apiVersion").is_some() && document.get("kind").is_some() {
                kubernetes(document, &place, &mut objects, &mut found.findings);
                continue;
            }
            let dialect = if json { Dialect::Json } else { Dialect::Envoy };
            let chains = envoy(document, &place, dialect, &mut found.findings);
            if chains.is_empty() {
                found.chains.extend(alone(document, &place, json, bare));
            }
            found.chains.extend(chains);
        }
        if before == found.chains.len().saturating_add(objects.len()) {
            others.push(place.finding(Severity::Error, 1, "", "", NOTHING));
        }
    }
    // Beside files that hold plugins, one without any is what a folder has.
    if found.chains.is_empty() && objects.is_empty() {
        found.findings.extend(others);
    }
    found.chains.extend(by_target(objects));
    found
}

/// The documents of a file. What is called `.json` has to be that, for Envoy reads it as nothing else.
fn documents(file: &File) -> Result<Vec<Node>, Unreadable> {
    let text = file.text.trim_start_matches('\u{feff}');
    let read = yaml::documents(&file.text);
    match read {
        Ok(_) if file.name.ends_with(".json") => {
            let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
            match values.find_map(Result::err) {
                Some(e) => Err(Unreadable { line: e.line(), problem: format!("not JSON: {e}") }),
                None => read,
            }
        }
        Err(bad) if text.contains("{{") => {
            let problem = format!(
                "{}; if this is a template, check what it becomes: helm template ... | portcullis-check -",
                bad.problem
            );
            Err(Unreadable { problem, ..bad })
        }
        read => read,
    }
}

/// The configuration of a plugin, by itself.
fn alone(document: &Node, place: &Place, json: bool, bare: Option<Which>) -> Option<Chain> {
    let dialect = if json { Dialect::Json } else { Dialect::Kubernetes };
    let which = bare.or_else(|| load::guess(&document.json(dialect)))?;
    let plugin = Attached {
        place: place.clone(),
        which,
        name: which.filter().to_owned(),
        module: None,
        config: Config { node: Rc::new(document.clone()), dialect, text: None },
        on_failure: None,
        // Where the plugin will run is not known.
        environment: Vec::new(),
    };
    Some(Chain {
        name: which.filter().to_owned(),
        plugins: vec![plugin],
        manager: None,
        whole: false,
        clusters: None,
    })
}

// Envoy

/// The chains of an Envoy configuration: of each connection manager, or of filters that stand without one.
fn envoy(document: &Node, place: &Place, dialect: Dialect, findings: &mut Vec<Finding>) -> Vec<Chain> {
    let clusters = clusters(document);
    let mut chains = Vec::new();
    managers(document, &mut |manager| {
        let filters = manager.get("http_filters").map(Node::items).unwrap_or_default();
        let plugins: Vec<Attached> = filters.iter().filter_map(|f| filter(f, place, dialect)).collect();
        if plugins.is_empty() {
            return;
        }
        beside::check(filters, place, |f| filter(f, place, dialect), findings);
        around::check(manager, place, |f| filter(f, place, dialect), findings);
        unseen::manager(manager, place, |f| filter(f, place, dialect), findings);
        fields(filters, place, dialect, findings);
        let name = manager.text_at(&["stat_prefix"]).unwrap_or("http").to_owned();
        let manager = self::manager(manager, place);
        chains.push(Chain { name, plugins, manager: Some(manager), whole: true, clusters: clusters.clone() });
    });
    if chains.is_empty() {
        let list = document.get("http_filters").unwrap_or(document);
        let entries = if list.items().is_empty() { std::slice::from_ref(list) } else { list.items() };
        let plugins: Vec<Attached> = entries.iter().filter_map(|f| filter(f, place, dialect)).collect();
        if !plugins.is_empty() {
            beside::check(entries, place, |f| filter(f, place, dialect), findings);
            fields(entries, place, dialect, findings);
            chains.push(Chain {
                name: "http_filters".into(),
                plugins,
                manager: None,
                whole: false,
                clusters: None,
            });
        }
    }
    if !chains.is_empty() {
        unseen::bootstrap(document, place, findings);
    }
    chains
}

/// The fields of our entries that Envoy does not know.
fn fields(entries: &[Node], place: &Place, dialect: Dialect, findings: &mut Vec<Finding>) {
    for entry in entries {
        let config = entry.get("typed_config").and_then(typed).and_then(|(wasm, _)| wasm.get("config"));
        if let (Some(plugin), Some(config)) = (filter(entry, place, dialect), config) {
            known::entry(entry, config, &plugin.name, place, findings);
        }
    }
}

/// All clusters, if no others can come from elsewhere.
fn clusters(document: &Node) -> Option<Rc<[String]>> {
    let resources = document.get("static_resources")?;
    let dynamic = document.get("dynamic_resources");
    if dynamic.is_some_and(|d| d.get("cds_config").is_some()) {
        return None;
    }
    let list = resources.get("clusters").map(Node::items).unwrap_or_default();
    Some(list.iter().filter_map(|c| c.text_at(&["name"]).map(str::to_owned)).collect())
}

/// The message in an `Any`, through a `TypedStruct` if it is in one; its type's last word.
pub(crate) fn typed(any: &Node) -> Option<(&Node, &str)> {
    let name = |url: &'_ str| url.rsplit(['.', '/']).next().map(str::len).unwrap_or_default();
    let url = any.text_at(&["@type"])?;
    let kind = url.get(url.len().saturating_sub(name(url))..)?;
    if kind != "TypedStruct" {
        return Some((any, kind));
    }
    let url = any.text_at(&["type_url"])?;
    Some((any.get("value")?, url.get(url.len().saturating_sub(name(url))..)?))
}

fn managers<'n>(node: &'n Node, found: &mut impl FnMut(&'n Node)) {
    if let Some((manager, "HttpConnectionManager")) = typed(node) {
        return found(manager);
    }
    node.items().iter().for_each(|item| managers(item, found));
    node.members().iter().for_each(|member| managers(&member.value, found));
}

fn manager(node: &Node, place: &Place) -> Manager {
    // 0 is the default, and trusts whatever the client writes.
    let hops =
        node.text_at(&["xff_num_trusted_hops"]).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 0);
    let detected = node.get("original_ip_detection_extensions").is_some();
    Manager {
        place: Place { line: node.line, ..place.clone() },
        knows_clients: node.is_true(&["use_remote_address"]) || hops || detected,
        normalize_path: node.is_true(&["normalize_path"]),
        merge_slashes: node.is_true(&["merge_slashes"]),
        escaped_slashes: match node.text_at(&["path_with_escaped_slashes_action"]) {
            Some("REJECT_REQUEST") => EscapedSlashes::Reject,
            Some("UNESCAPE_AND_REDIRECT") => EscapedSlashes::Redirect,
            Some("UNESCAPE_AND_FORWARD") => EscapedSlashes::Forward,
            _ => EscapedSlashes::Keep,
        },
    }
}

/// An entry of `http_filters`, if it is one of ours and switched on.
fn filter(entry: &Node, place: &Place, dialect: Dialect) -> Option<Attached> {
    if entry.is_true(&["disabled"]) {
        return None;
    }
    let (wasm, "Wasm") = typed(entry.get("typed_config")?)? else { return None };
    let config = wasm.get("config")?;
    let code = config.at(&["vm_config", "code"])?;
    let local = code.at(&["local", "filename"]);
    let file = local.and_then(Node::text).or_else(|| code.text_at(&["remote", "http_uri", "uri"]));
    let called = config.text_at(&["name"]).or_else(|| entry.text_at(&["name"])).unwrap_or_default();
    let which = file.and_then(Which::of).or_else(|| Which::of(called))?;
    let policy = |name: &str| match name {
        "FAIL_RELOAD" => OnFailure::Reload,
        "FAIL_OPEN" => OnFailure::Open,
        _ => OnFailure::Close,
    };
    let written = config.get("failure_policy");
    let on_failure = match config.get("fail_open").filter(|_| config.is_true(&["fail_open"])) {
        Some(open) => (OnFailure::Open, open.line),
        None => written
            .map_or((OnFailure::Close, config.line), |w| (policy(w.text().unwrap_or_default()), w.line)),
    };
    let variables = config.at(&["vm_config", "environment_variables"]);
    let keys = variables.and_then(|v| v.get("host_env_keys")).map(Node::items).unwrap_or_default();
    let values = variables.and_then(|v| v.get("key_values")).map(Node::members).unwrap_or_default();
    let keys = keys.iter().filter_map(|k| k.text().map(str::to_owned));
    Some(Attached {
        place: Place { line: entry.line, ..place.clone() },
        which,
        name: called.to_owned(),
        module: local.and_then(|l| Some((l.text()?.to_owned(), l.line))),
        config: configuration(config, dialect),
        on_failure: Some(on_failure),
        environment: keys.chain(values.iter().map(|m| m.name.clone())).collect(),
    })
}

/// What `configuration` holds: a Struct, or text or bytes that are JSON.
fn configuration(config: &Node, dialect: Dialect) -> Config {
    let nothing = Node { line: config.line, kind: yaml::Kind::Map(Vec::new()) };
    let Some(any) = config.get("configuration") else {
        return Config { node: Rc::new(nothing), dialect, text: Some(Vec::new()) };
    };
    let value = any.get("value").unwrap_or(any);
    let text = match typed(any) {
        Some((_, "StringValue")) => value.text().map(|t| t.as_bytes().to_vec()),
        Some((_, "BytesValue")) => value.text().and_then(|t| STANDARD.decode(t).ok()),
        _ => None,
    };
    match text {
        Some(text) => {
            let node = within(&text, value).unwrap_or(Node { line: value.line, ..nothing });
            Config { node: Rc::new(node), dialect: Dialect::Json, text: Some(text) }
        }
        None => Config { node: Rc::new(value.clone()), dialect, text: None },
    }
}

/// The tree of a text that is itself JSON, with the lines of the file where the text keeps its own.
fn within(text: &[u8], value: &Node) -> Option<Node> {
    let mut node = yaml::documents(std::str::from_utf8(text).ok()?).ok()?.into_iter().next()?;
    let flat = !matches!(value.kind, yaml::Kind::Scalar { block: true, .. });
    shift(&mut node, value.line.saturating_sub(1), flat);
    Some(node)
}

/// Moves all lines down by `by`; to that one line alone if the text stands on one.
fn shift(node: &mut Node, by: usize, flat: bool) {
    let moved = |line: usize| if flat { by.saturating_add(1) } else { line.saturating_add(by) };
    node.line = moved(node.line);
    match &mut node.kind {
        yaml::Kind::Scalar { .. } => {}
        yaml::Kind::List(items) => items.iter_mut().for_each(|item| shift(item, by, flat)),
        yaml::Kind::Map(members) => members.iter_mut().for_each(|member| {
            member.line = moved(member.line);
            shift(&mut member.value, by, flat);
        }),
    }
}

// Kubernetes

/// A plugin with what decides its chain and its place there.
struct Object {
    target: String,
    rank: (u8, i64, String),
    plugin: Attached,
}

fn kubernetes(document: &Node, place: &Place, objects: &mut Vec<Object>, findings: &mut Vec<Finding>) {
    let kind = document.text_at(&["kind"]).unwrap_or_default();
    let before = objects.len();
    match kind {
        "List" => {
            for item in document.get("items").map(Node::items).unwrap_or_default() {
                kubernetes(item, &Place { line: item.line, ..place.clone() }, objects, findings);
            }
            return;
        }
        "WasmPlugin" => objects.extend(istio(document, None, place)),
        "TrafficExtension" => objects.extend(istio(document, Some("wasm"), place)),
        "EnvoyExtensionPolicy" => gateway(document, place, objects),
        _ => {}
    }
    if let (Some(spec), true) = (document.get("spec"), objects.len() > before) {
        let name = document.text_at(&["metadata", "name"]).unwrap_or_default();
        known::spec(kind, spec, name, place, findings);
    }
}

/// A WasmPlugin; or a TrafficExtension, which has the module's fields one level deeper.
fn istio(document: &Node, inner: Option<&str>, place: &Place) -> Option<Object> {
    let spec = document.get("spec")?;
    let wasm = inner.map_or(Some(spec), |name| spec.get(name))?;
    let called = document.text_at(&["metadata", "name"]).unwrap_or_default();
    let which = wasm.text_at(&["url"]).and_then(Which::of).or_else(|| Which::of(called))?;
    let on_failure = match wasm.get("failStrategy") {
        None => (OnFailure::Close, wasm.line),
        Some(node) => (
            match node.text() {
                Some("FAIL_RELOAD") => OnFailure::Reload,
                Some("FAIL_OPEN") => OnFailure::Open,
                _ => OnFailure::Close,
            },
            node.line,
        ),
    };
    let variables = wasm.at(&["vmConfig", "env"]).map(Node::items).unwrap_or_default();
    let config = wasm.get("pluginConfig").cloned();
    let phase = match spec.text_at(&["phase"]) {
        Some("AUTHN") => 0,
        Some("AUTHZ") => 1,
        Some("STATS") => 2,
        // Right in front of the router.
        _ => 3,
    };
    let priority: i64 = spec.text_at(&["priority"]).and_then(|p| p.parse().ok()).unwrap_or_default();
    Some(Object {
        target: target(document, spec),
        rank: (phase, priority.saturating_neg(), called.to_owned()),
        plugin: Attached {
            place: place.clone(),
            which,
            name: called.to_owned(),
            module: None,
            config: plain(config, wasm.line),
            on_failure: Some(on_failure),
            environment: variables.iter().filter_map(|v| v.text_at(&["name"]).map(str::to_owned)).collect(),
        },
    })
}

/// An EnvoyExtensionPolicy: its list is a chain.
fn gateway(document: &Node, place: &Place, objects: &mut Vec<Object>) {
    let Some(spec) = document.get("spec") else { return };
    let called = document.text_at(&["metadata", "name"]).unwrap_or_default();
    for (n, wasm) in spec.get("wasm").map(Node::items).unwrap_or_default().iter().enumerate() {
        let name = wasm.text_at(&["name"]).unwrap_or_default();
        let code = wasm.get("code");
        let url = code.and_then(|c| c.text_at(&["image", "url"]).or_else(|| c.text_at(&["http", "url"])));
        let Some(which) = url.and_then(Which::of).or_else(|| Which::of(name)) else { continue };
        // What it does when it is not told to fail open has no other choice.
        let open = wasm.get("failOpen").filter(|_| wasm.is_true(&["failOpen"]));
        let on_failure = open.map_or((OnFailure::Reload, wasm.line), |open| (OnFailure::Open, open.line));
        let keys = wasm.at(&["env", "hostKeys"]).map(Node::items).unwrap_or_default();
        objects.push(Object {
            target: format!("{} {called}", target(document, spec)),
            rank: (0, i64::try_from(n).unwrap_or(i64::MAX), String::new()),
            plugin: Attached {
                place: Place { line: wasm.line, ..place.clone() },
                which,
                name: name.to_owned(),
                module: None,
                config: plain(wasm.get("config").cloned(), wasm.line),
                on_failure: Some(on_failure),
                environment: keys.iter().filter_map(|k| k.text().map(str::to_owned)).collect(),
            },
        });
    }
}

fn plain(config: Option<Node>, line: usize) -> Config {
    let text = config.is_none().then(Vec::new);
    let node = config.unwrap_or(Node { line, kind: yaml::Kind::Map(Vec::new()) });
    Config { node: Rc::new(node), dialect: Dialect::Kubernetes, text }
}

/// What an object is attached to, as text that is the same for the same.
fn target(document: &Node, spec: &Node) -> String {
    let namespace = document.text_at(&["metadata", "namespace"]).unwrap_or("default");
    let labels = spec.at(&["selector", "matchLabels"]).map(|labels| labels.json(Dialect::Kubernetes));
    let one =
        spec.get("targetRef").or_else(|| spec.get("targetRefs")).map(|refs| refs.json(Dialect::Kubernetes));
    let both: Vec<String> = labels.into_iter().chain(one).map(|v| v.to_string()).collect();
    format!("{namespace} {}", both.join(" ")).trim_end().to_owned()
}

fn by_target(objects: Vec<Object>) -> Vec<Chain> {
    let mut targets: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for object in objects {
        targets.entry(object.target.clone()).or_default().push(object);
    }
    let chain = |(name, mut objects): (String, Vec<Object>)| {
        objects.sort_by(|a, b| a.rank.cmp(&b.rank));
        let plugins = objects.into_iter().map(|o| o.plugin).collect();
        Chain { name, plugins, manager: None, whole: false, clusters: None }
    };
    targets.into_iter().map(chain).collect()
}
