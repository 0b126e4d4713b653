use std::fs;
use std::rc::Rc;

use portcullis_tests::examples;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::manifests;

/// `istioctl validate` reads each file alone; `istioctl analyze` sees each in a cluster that has what the files attach to.
pub(crate) async fn are_accepted_by_istioctl(plane: Rc<ControlPlane>) {
    let mut names = examples::istio_files();
    names.push("../observability/access-log.istio.yaml".into());
    assert!(names.len() >= 7, "files are missing: {names:?}");
    // What every cluster with Istio has, and the workloads that the examples select.
    let mut objects = manifests::read("gateway.yaml");
    for (namespace, name, label) in [
        ("istio-ingress", "gateway", json!({"istio": "ingress"})),
        ("orders", "orders", json!({"app": "orders"})),
    ] {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": label},
            "spec": {"containers": [{"name": "istio-proxy", "image": "stock"}]}
        }));
        objects.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": label, "ports": [{"name": "http", "port": if name == "orders" { 8080 } else { 80 }}]}
        }));
    }
    plane.apply(&objects).await;
    for name in &names {
        let file = manifests::path(name).to_string_lossy().into_owned();
        let validated = plane.istioctl(&["validate", "-f", &file]).await;
        assert!(validated.is_ok(), "istioctl validate -f {name}: {validated:?}");
        let analyze =
            ["analyze", "--all-namespaces", "--failure-threshold", "Error", "--output", "json", &file];
        let analyzed =
            plane.istioctl(&analyze).await.unwrap_or_else(|e| panic!("istioctl analyze {name}: {e}"));
        let found: Value =
            serde_json::from_str(&analyzed).unwrap_or_else(|e| panic!("{name}: {e}: {analyzed}"));
        // IST0133 warns of every EnvoyFilter, and there is no other way to these bounds.
        let counts = |m: &&Value| m["level"] != "Info" && m["code"] != "IST0133";
        let warnings: Vec<&Value> = found.as_array().into_iter().flatten().filter(counts).collect();
        let known = found.as_array().is_some_and(|all| all.iter().any(|m| m["code"] == "IST0133"));
        assert_eq!(known, name.ends_with("bounds.yaml"), "istioctl analyze {name}: {found}");
        assert!(warnings.is_empty(), "istioctl analyze {name}: {warnings:?}");
    }
    // kubectl takes `y` for a boolean where it is not quoted, and then the key has no such coordinate.
    plane.must(&["apply", "-f", &manifests::path("jwt-auth.yaml").to_string_lossy()], None).await;
    let get = ["get", "wasmplugin", "jwt-auth", "--namespace", "istio-ingress", "--output", "json"];
    let applied: Value = serde_json::from_str(&plane.must(&get, None).await).expect("JSON");
    let key = applied.pointer("/spec/pluginConfig/providers/demo/keys/jwks/keys/0").expect("a key");
    assert!(key["y"].is_string(), "{key}");
    // A check that accepts everything would prove nothing.
    let wrong = std::env::temp_dir().join(format!("portcullis-{}.yaml", std::process::id()));
    let text =
        fs::read_to_string(manifests::path("jwt-auth.yaml")).expect("a file").replace("AUTHN", "LATER");
    fs::write(&wrong, text).expect("a file");
    let refused = plane.istioctl(&["validate", "-f", &wrong.to_string_lossy()]).await;
    fs::remove_file(&wrong).expect("the file");
    assert!(refused.is_err(), "istioctl validate accepts a phase that there is not: {refused:?}");
}
