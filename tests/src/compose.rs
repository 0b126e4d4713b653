//! What docker-compose mounts: copies of the files of `envoy/`, with the addresses and paths that they have in containers.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{examples, observability, paths};

/// Where the copies lie; cargo's folder is the one that nobody keeps.
#[must_use]
pub fn folder() -> PathBuf {
    paths::root().join("target/compose")
}

/// Writes the copies.
///
/// # Errors
/// If a file cannot be written.
pub fn write() -> Result<(), String> {
    for (name, text) in files() {
        let path = folder().join(name);
        let parent = path.parent().unwrap_or(&path).to_path_buf();
        fs::create_dir_all(&parent).map_err(|e| format!("{}: {e}", parent.display()))?;
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// Each copy, by its name in the folder.
fn files() -> Vec<(&'static str, String)> {
    let (envoy, tuples) = envoy(examples::read(&paths::root().join("envoy/envoy.yaml")));
    let mut copies = vec![
        // JSON is YAML too.
        ("envoy.yaml", envoy.to_string()),
        ("tuples/tuples.txt", tuples),
        ("grafana/datasources/prometheus.yaml", datasource().to_string()),
        ("grafana/dashboards/portcullis.yaml", dashboards().to_string()),
    ];
    for (name, text) in observability::files() {
        match name.rsplit('/').next() {
            Some("prometheus.yaml") => copies.push(("prometheus/prometheus.yaml", prometheus(&text))),
            Some("rules.yaml") => copies.push(("prometheus/rules.yaml", text)),
            Some("dashboard.json") => copies.push(("grafana/dashboards/portcullis.json", text)),
            _ => {}
        }
    }
    copies
}

/// The example as it runs in a container: open to the other containers, its upstream by name, modules where they are mounted, and
/// rebac's tuples in a file of their own, one a line.
fn envoy(mut example: Value) -> (Value, String) {
    place(&mut example);
    let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
    let filters = example.pointer_mut(filters).and_then(Value::as_array_mut).into_iter().flatten();
    let rebac = filters.into_iter().find(|filter| filter["name"] == "rebac");
    let tuples = rebac
        .and_then(|f| f.pointer_mut("/typed_config/config/configuration/value/engine/embedded/tuples"))
        .expect("the example has rebac, with tuples");
    let lines = tuples.as_array().into_iter().flatten().filter_map(Value::as_str);
    let text = lines.map(|line| format!("{line}\n")).collect();
    *tuples = json!({"url": "http://tuples:8081/", "clusters": {"tuples:8081": "tuples"}, "refresh": "1s"});
    let clusters = example.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
    clusters.expect("the example has clusters").push(json!({
        "name": "tuples",
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "tuples",
            "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": "tuples", "port_value": 8081}}
            }}]}]
        }
    }));
    (example, text)
}

fn place(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("port_value") && map.get("address") == Some(&json!("127.0.0.1")) {
                let upstream = map.get("port_value") == Some(&json!(8_080));
                map.insert("address".into(), if upstream { "upstream" } else { "0.0.0.0" }.into());
            }
            if map.contains_key("load_assignment") {
                map.insert("type".into(), "STRICT_DNS".into());
            }
            if let Some(Value::String(file)) = map.get_mut("filename")
                && let Some(module) = file.strip_prefix("dist/")
            {
                *file = format!("/portcullis/{module}");
            }
            map.values_mut().for_each(place);
        }
        Value::Array(items) => items.iter_mut().for_each(place),
        _ => {}
    }
}

/// Prometheus' configuration: Envoy by name, and asked often, for somebody is waiting.
fn prometheus(text: &str) -> String {
    text.replace("127.0.0.1:9901", "envoy:9901").replace("_interval: 15s", "_interval: 1s")
}

fn datasource() -> Value {
    json!({"apiVersion": 1, "datasources": [
        {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "access": "proxy", "url": "http://prometheus:9090", "isDefault": true}
    ]})
}

fn dashboards() -> Value {
    json!({"apiVersion": 1, "providers": [
        {"name": "portcullis", "type": "file", "options": {"path": "/etc/grafana/provisioning/dashboards"}}
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_points_at_the_machine_that_the_containers_run_on() {
        for (name, text) in files() {
            assert!(!text.contains("127.0.0.1"), "{name}");
            assert!(!text.contains("\"dist/"), "{name}");
        }
        let (config, tuples) = envoy(examples::read(&paths::root().join("envoy/envoy.yaml")));
        assert!(tuples.contains("document:roadmap#folder@folder:plans\n"), "{tuples}");
        let module = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config/vm_config/code/local/filename";
        assert_eq!(config.pointer(module), Some(&json!("/portcullis/metrics.wasm")));
        let endpoint = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
        assert_eq!(config.pointer(endpoint), Some(&json!("upstream")));
    }

    #[test]
    fn prometheus_asks_envoy_by_name() {
        let (_, text) = files().into_iter().find(|(name, _)| *name == "prometheus/prometheus.yaml").unwrap();
        assert!(text.contains("[envoy:9901]") && text.contains("scrape_interval: 1s"), "{text}");
    }
}
