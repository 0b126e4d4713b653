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
    let (chain, tuples) = chain();
    let mut copies = vec![
        // JSON is YAML too.
        ("envoy.yaml", chain.to_string()),
        ("tuples/tuples.txt", tuples),
        ("keycloak.yaml", keycloak().to_string()),
        ("rebac-openfga.yaml", envoy("envoy/rebac-openfga.yaml").to_string()),
        ("rebac-spicedb.yaml", envoy("envoy/rebac-spicedb.yaml").to_string()),
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

/// An example as it runs in a container: open to the other containers, its upstream by name, modules where they are mounted.
fn envoy(name: &str) -> Value {
    let mut example = examples::read(&paths::root().join(name));
    place(&mut example);
    example
}

/// The whole chain, and rebac's tuples in a file of their own, one a line.
fn chain() -> (Value, String) {
    let mut example = envoy("envoy/envoy.yaml");
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

/// The example behind Keycloak. Under which address this machine reaches Keycloak is known when it starts: the service puts it in.
fn keycloak() -> Value {
    let mut example = envoy("envoy/keycloak.yaml");
    replace(&mut example, "127.0.0.1:8180", "KEYCLOAK_ADDRESS");
    example
}

fn replace(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) => *text = text.replace(from, to),
        Value::Object(map) => {
            let old = std::mem::take(map);
            map.extend(old.into_iter().map(|(name, mut value)| {
                replace(&mut value, from, to);
                (name.replace(from, to), value)
            }));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, from, to)),
        _ => {}
    }
}

fn place(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("port_value") && map.get("address") == Some(&json!("127.0.0.1")) {
                let service = match map.get("port_value").and_then(Value::as_u64) {
                    Some(8_080) => "upstream",
                    Some(8_090) => "openfga",
                    Some(8_180) => "keycloak",
                    Some(50_051) => "spicedb",
                    _ => "0.0.0.0",
                };
                map.insert("address".into(), service.into());
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
        let (config, tuples) = chain();
        assert!(tuples.contains("document:roadmap#folder@folder:plans\n"), "{tuples}");
        let module = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config/vm_config/code/local/filename";
        assert_eq!(config.pointer(module), Some(&json!("/portcullis/metrics.wasm")));
        let endpoint = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
        assert_eq!(config.pointer(endpoint), Some(&json!("upstream")));
    }

    #[test]
    fn keycloak_is_asked_in_its_container_by_the_name_that_its_tokens_have() {
        let text = keycloak().to_string();
        assert!(text.contains("\"issuer\":\"http://KEYCLOAK_ADDRESS/realms/demo\""), "{text}");
        assert!(text.contains("{\"KEYCLOAK_ADDRESS\":\"keycloak\"}"), "{text}");
        assert!(text.contains("{\"address\":\"keycloak\",\"port_value\":8180}"), "{text}");
    }

    #[test]
    fn engines_are_asked_in_their_containers() {
        for (name, place) in [
            ("envoy/rebac-openfga.yaml", "{\"address\":\"openfga\",\"port_value\":8090}"),
            ("envoy/rebac-spicedb.yaml", "{\"address\":\"spicedb\",\"port_value\":50051}"),
        ] {
            let text = envoy(name).to_string();
            assert!(text.contains(place), "{text}");
        }
    }

    #[test]
    fn prometheus_asks_envoy_by_name() {
        let (_, text) = files().into_iter().find(|(name, _)| *name == "prometheus/prometheus.yaml").unwrap();
        assert!(text.contains("[envoy:9901]") && text.contains("scrape_interval: 1s"), "{text}");
    }
}
