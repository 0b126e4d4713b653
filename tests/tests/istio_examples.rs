//! The files of `envoy/istio/`, as far as no cluster is needed: every plugin's configuration loads, both kinds say the same, and the labels are
//! current. `tests/istio` attaches them for real.

use std::fs;

use portcullis_tests::wasm::{Vm, World};
use portcullis_tests::{examples, paths};
use serde_json::{Value, json};

/// Each file, and the plugins in it: the object, and the part of it that is about the module.
fn plugins() -> Vec<(String, Value, Value)> {
    let folder = fs::read_dir(paths::root().join("envoy/istio")).unwrap();
    let mut names: Vec<String> = folder.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
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

#[test]
fn the_labels_are_current() {
    let text = fs::read_to_string(paths::root().join(examples::MESH)).unwrap();
    assert!(text == examples::with_labels(&text), "{}: run `make generate`", examples::MESH);
}
