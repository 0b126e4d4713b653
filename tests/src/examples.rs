//! The YAML files of `envoy/`, with other ports: `make run` and the tests start copies of the very files that users read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_common::metrics::Label;
use serde::Deserialize;
use serde_json::Value;

use crate::paths;

/// All Envoy configurations of `envoy/`.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn all() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(paths::root().join("envoy"))
        .expect("envoy/")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

/// Reads a YAML file as JSON.
///
/// # Panics
/// If it is no YAML.
#[must_use]
pub fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Reads YAML as JSON.
///
/// # Errors
/// If it is no YAML.
pub fn parse(text: &str) -> Result<Value, serde_yaml_ng::Error> {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
    yaml.apply_merge()?;
    serde_yaml_ng::from_value(yaml)
}

/// A file for production after somebody did what it says above its engines: one block is no comment any more, and the engine inside the filter
/// is gone.
///
/// # Panics
/// If the file has no such block.
#[must_use]
pub fn with_engine(text: &str, name: &str) -> String {
    let head = format!("# {name}:");
    let found = text.lines().find(|line| line.trim_start() == head).unwrap_or_else(|| panic!("no {head}"));
    let depth = found.len() - head.len();
    let (more, embedded) = (format!("{}#   ", " ".repeat(depth)), format!("{}embedded:", " ".repeat(depth)));
    let deeper = " ".repeat(depth + 1);
    let (mut lines, mut inside, mut on) = (String::new(), false, false);
    for line in text.lines() {
        inside = line == embedded || inside && line.starts_with(&deeper);
        on = line == found || on && line.starts_with(&more);
        if !inside {
            lines.push_str(&if on { line.replacen("# ", "", 1) } else { line.to_owned() });
            lines.push('\n');
        }
    }
    lines
}

/// The files of `envoy/istio/` and of its folder `production/`, by their paths in it.
///
/// # Panics
/// If a folder cannot be read.
#[must_use]
pub fn istio_files() -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["", "production/"] {
        let entries = fs::read_dir(paths::root().join("envoy/istio").join(folder)).expect("envoy/istio");
        let files = entries.filter_map(Result::ok).filter(|entry| entry.path().is_file());
        names.extend(files.map(|entry| format!("{folder}{}", entry.file_name().to_string_lossy())));
    }
    names.sort();
    names
}

/// The Kubernetes objects of a file of `envoy/istio/`.
///
/// # Panics
/// If it is no YAML.
#[must_use]
pub fn objects(name: &str) -> Vec<Value> {
    documents(&paths::root().join("envoy/istio").join(name))
}

/// All documents of a YAML file.
///
/// # Panics
/// If it is no YAML.
#[must_use]
pub fn documents(path: &Path) -> Vec<Value> {
    let name = path.display();
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
    parse_all(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All documents of a YAML text.
///
/// # Errors
/// If it is no YAML.
pub fn parse_all(text: &str) -> Result<Vec<Value>, serde_yaml_ng::Error> {
    serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize).collect()
}

/// The filter whose module a plugin's `url` names: the image's name without its version.
#[must_use]
pub fn module_of(url: &Value) -> String {
    let image = url.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    image.split(':').next().unwrap_or_default().to_owned()
}

/// Where a copy of an example listens and sends.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// In place of 127.0.0.1:10000.
    pub listener: u16,
    /// In place of 127.0.0.1:9901.
    pub admin: u16,
    /// In place of 127.0.0.1:8080.
    pub upstream: u16,
}

impl Ports {
    /// Free ports, and this upstream.
    #[must_use]
    pub fn free(upstream: SocketAddr) -> Ports {
        Ports { listener: 0, admin: 0, upstream: upstream.port() }
    }
}

/// The example with other ports.
#[must_use]
pub fn with_ports(mut example: Value, ports: Ports) -> Value {
    rewrite(&mut example, &[(10_000, ports.listener), (9_901, ports.admin), (8_080, ports.upstream)]);
    example
}

fn rewrite(value: &mut Value, ports: &[(u64, u16)]) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let port =
                    ports.iter().find(|(from, _)| name == "port_value" && value.as_u64() == Some(*from));
                match port {
                    Some((_, to)) => *value = (*to).into(),
                    None => rewrite(value, ports),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, ports)),
        _ => {}
    }
}

const BEGIN: &str = "# generated: stats_config\n";
const END: &str = "# end\n";

/// Istio's list of labels, in the file of the mesh settings.
pub const MESH: &str = "envoy/istio/mesh.yaml";
const LABELS: &str = "      # generated: labels\n";
const LABELS_END: &str = "      # end\n";

/// The text of the mesh settings with its generated list made anew.
///
/// # Panics
/// If the list is not there.
#[must_use]
pub fn with_labels(text: &str) -> String {
    let (before, rest) = text.split_once(LABELS).expect("the mesh settings have a generated list");
    let (_, after) = rest.split_once(LABELS_END).expect("a generated list has an end");
    let names: Vec<&str> = Label::ALL.iter().map(|l| l.name()).collect();
    format!("{before}{LABELS}      extraStatTags: [{}]\n{LABELS_END}{after}", names.join(", "))
}

/// The file of Envoy Gateway's settings, whose generated block is a part of a bootstrap.
pub const GATEWAY: &str = "envoy/gateway/gateway.yaml";

/// The text of an example with its generated block made anew, as deep as it stands there.
///
/// # Panics
/// If the block is not there.
#[must_use]
pub fn with_generated(text: &str) -> String {
    let (before, rest) = text.split_once(BEGIN).expect("an example has a generated block");
    let depth = before.len() - before.trim_end_matches(' ').len();
    let indent = " ".repeat(depth);
    let end = format!("{indent}{END}");
    let (_, after) = rest.split_once(&end).expect("a generated block has an end");
    let block: String = stats_config().lines().map(|line| format!("{indent}{line}\n")).collect();
    format!("{before}{BEGIN}{block}{end}{after}")
}

fn stats_config() -> String {
    let config = crate::bootstrap::stats_config();
    let mut out = String::from("stats_config:\n  stats_tags:\n");
    for tag in config["stats_tags"].as_array().into_iter().flatten() {
        let (name, regex) =
            (tag["tag_name"].as_str().unwrap_or_default(), tag["regex"].as_str().unwrap_or_default());
        out.push_str(&format!("  - {{tag_name: {name}, regex: '{regex}'}}\n"));
    }
    out.push_str("  histogram_bucket_settings:\n");
    for setting in config["histogram_bucket_settings"].as_array().into_iter().flatten() {
        let prefix = setting["match"]["prefix"].as_str().unwrap_or_default();
        let buckets: Vec<String> = setting["buckets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|b| b.as_f64().unwrap_or_default().to_string())
            .collect();
        out.push_str(&format!("  - match: {{prefix: {prefix}}}\n    buckets: [{}]\n", buckets.join(", ")));
    }
    out
}
