//! The YAML files of `envoy/`, with other ports: `make run` and the tests start copies of the very files that users read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
                let port = ports.iter().find(|(from, _)| name == "port_value" && value.as_u64() == Some(*from));
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
