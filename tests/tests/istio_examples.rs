//! The files of `envoy/istio/`, as far as no cluster is needed: every plugin's configuration loads, both kinds say the same, and the labels are
//! current. `tests/istio` attaches them for real.

use std::fs;

use portcullis_tests::wasm::{Vm, World};
use portcullis_tests::{examples, paths};
use serde_json::{Value, json};

/// Each file, and the plugins in it: the object, and the part of it that is about the module.
fn plugins() -> Vec<(String, Value, Value)> {
    let names = examples::istio_files();
    let mut found = Vec::new();
    for name in names {
        for object in examples::objects(&name) {
            let module = match object["kind"].as_str().unwrap() {
                "WasmPlugin" => object["spec"].clone(),
                "TrafficExtension" => object["spec"]["wasm"].clone(),
                _ => continue,
            };
            found.push((name.clone(), object, module));
        }
    }
    assert!(found.len() >= 10, "the plugins were not found");
    found
}

#[test]
fn every_plugin_loads_and_is_loaded_anew_after_a_failure() {
    for (file, object, module) in plugins() {
        let place = format!("{file}: {}", object["metadata"]["name"]);
        assert_eq!(module["failStrategy"], "FAIL_RELOAD", "{place}");
        assert_eq!(module["type"], "HTTP", "{place}");
        // The host in this process has no environment.
        let secret = r#"{"value":"a secret of at least thirty-two bytes"}"#;
        let config = module["pluginConfig"].to_string().replace(r#"{"env":"TOKEN_SECRET"}"#, secret);
        let vm = Vm::new(&World::default(), &examples::module_of(&module["url"]));
        vm.configure(config).map(drop).unwrap_or_else(|e| panic!("{place}: {e}"));
    }
}

#[test]
fn a_traffic_extension_says_what_the_wasm_plugin_says() {
    let (mut extensions, mut converted) = (Vec::new(), Vec::new());
    for (file, mut object, mut module) in plugins() {
        if object["kind"] == "TrafficExtension" {
            extensions.push(object);
        } else if ["jwt-auth.yaml", "metrics.yaml", "rate-limit.yaml", "rebac.yaml"].contains(&&*file) {
            let mut spec = json!({});
            for field in ["selector", "phase", "priority", "match"] {
                spec[field] = module.as_object_mut().unwrap().remove(field).unwrap();
            }
            spec["wasm"] = module;
            object["kind"] = "TrafficExtension".into();
            object["spec"] = spec;
            converted.push(object);
        }
    }
    let sorted = |mut objects: Vec<Value>| {
        objects.sort_by_key(|o| o["metadata"]["name"].to_string());
        objects
    };
    assert_eq!(sorted(extensions), sorted(converted));
}

/// What stands in both is the same, but for the name of the cluster that has the keys.
#[test]
fn the_chain_for_production_is_the_one_for_envoy() {
    let envoys = examples::read(&paths::root().join("envoy/production.yaml"));
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = envoys.pointer(place).unwrap();
    let filters = manager["http_filters"].as_array().unwrap();
    let mut seen = 0;
    for (file, object, module) in plugins() {
        if file != "production/plugins.yaml" {
            continue;
        }
        let name = &object["metadata"]["name"];
        let filter = filters.iter().find(|f| f["name"] == *name).unwrap();
        let config = filter["typed_config"]["config"]["configuration"]["value"].to_string();
        let ours = module["pluginConfig"].to_string().replace("outbound|80||id.example.com", "identity");
        assert_eq!(ours, config, "{name}");
        seen += 1;
    }
    assert_eq!(seen + 1, filters.len(), "and the router");
    let bounds = examples::objects("production/bounds.yaml");
    let merged = bounds[0].pointer("/spec/configPatches/1/patch/value/typed_config").unwrap();
    for (field, value) in merged.as_object().unwrap() {
        assert_eq!(value, &manager[field], "{field}");
    }
    let removed = "/request_headers_to_remove";
    let routes = bounds[0].pointer("/spec/configPatches/2/patch/value").unwrap();
    assert!(routes.pointer(removed).is_some());
    assert_eq!(routes.pointer(removed), manager["route_config"].pointer(removed));
}

/// With an engine outside the filter too, and what leads to that has the bounds of Envoy's file.
#[test]
fn the_engines_for_production_are_those_for_envoy() {
    let read = |name: &str| fs::read_to_string(paths::root().join("envoy").join(name)).unwrap();
    let (envoys, ours) = (read("production.yaml"), read("istio/production/plugins.yaml"));
    let rules = examples::objects("production/engines.yaml");
    for name in ["openfga", "spicedb"] {
        let envoys = examples::parse(&examples::with_engine(&envoys, name)).unwrap();
        let filters = envoys
            .pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters");
        let filter = filters.unwrap().as_array().unwrap().iter().find(|f| f["name"] == "rebac").unwrap();
        let theirs = &filter["typed_config"]["config"]["configuration"]["value"];
        let plugins = examples::parse_all(&examples::with_engine(&ours, name)).unwrap();
        let plugin = plugins.iter().find(|o| o["metadata"]["name"] == "rebac").unwrap();
        let config = plugin["spec"]["pluginConfig"].to_string();
        let host = format!("{name}.example.com");
        assert_eq!(config.replace(&format!("outbound|80||{host}"), name), theirs.to_string(), "{name}");
        let variable = if name == "openfga" { "OPENFGA_TOKEN" } else { "SPICEDB_KEY" };
        assert_eq!(theirs.pointer(&format!("/engine/{name}/token")), Some(&json!({"env": variable})));
        let variables = plugin.pointer("/spec/vmConfig/env").unwrap().as_array().unwrap();
        assert!(variables.contains(&json!({"name": variable, "valueFrom": "HOST"})), "{variables:?}");

        let clusters = envoys["static_resources"]["clusters"].as_array().unwrap();
        let cluster = clusters.iter().find(|c| c["name"] == *name).unwrap();
        let threshold = cluster.pointer("/circuit_breakers/thresholds/0").unwrap();
        let rule =
            rules.iter().find(|o| o["kind"] == "DestinationRule" && o["spec"]["host"] == host).unwrap();
        let port = rule.pointer("/spec/trafficPolicy/portLevelSettings/0").unwrap();
        for (ours, theirs) in [
            (port.pointer("/connectionPool/tcp/maxConnections"), threshold.get("max_connections")),
            (port.pointer("/connectionPool/tcp/connectTimeout"), cluster.get("connect_timeout")),
            (
                port.pointer("/connectionPool/http/http1MaxPendingRequests"),
                threshold.get("max_pending_requests"),
            ),
            (port.pointer("/connectionPool/http/http2MaxRequests"), threshold.get("max_requests")),
            (
                port.pointer("/outlierDetection/consecutive5xxErrors"),
                cluster.pointer("/outlier_detection/consecutive_5xx"),
            ),
            (
                port.pointer("/outlierDetection/baseEjectionTime"),
                cluster.pointer("/outlier_detection/base_ejection_time"),
            ),
            (
                port.pointer("/outlierDetection/maxEjectionPercent"),
                cluster.pointer("/outlier_detection/max_ejection_percent"),
            ),
        ] {
            assert!(ours.is_some() && ours == theirs, "{name}: {ours:?} {theirs:?}");
        }
    }
}

/// What reads files for Kubernetes takes such a key for a boolean (YAML 1.1), and then a JWK has no `n` or `y`.
#[test]
fn no_key_is_a_boolean_in_yaml_1_1() {
    let mut paths: Vec<_> =
        examples::istio_files().iter().map(|name| paths::root().join("envoy/istio").join(name)).collect();
    let folder = fs::read_dir(paths::root().join("envoy/gateway")).unwrap();
    paths.extend(folder.map(|entry| entry.unwrap().path()));
    assert!(paths.len() > 15);
    for path in paths {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let keys = line.split(['{', ',', ' ']).filter_map(|word| word.trim().strip_suffix(':'));
            for key in keys {
                let boolean =
                    ["y", "n", "yes", "no", "on", "off"].contains(&key.to_ascii_lowercase().as_str());
                assert!(!boolean, "{}: quote the key in {line:?}", path.display());
            }
        }
    }
}

#[test]
fn the_labels_are_current() {
    let text = fs::read_to_string(paths::root().join(examples::MESH)).unwrap();
    assert!(text == examples::with_labels(&text), "{}: run `make generate`", examples::MESH);
}
