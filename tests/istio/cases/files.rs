use std::fs;
use std::rc::Rc;

use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::manifests;

/// `istioctl validate` reads each file alone; `istioctl analyze` sees each in a cluster that has what the files attach to.
pub(crate) async fn are_accepted_by_istioctl(plane: Rc<ControlPlane>) {
    let folder = fs::read_dir(manifests::path("")).expect("envoy/istio");
    let mut names: Vec<String> =
        folder.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
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
        let analyzed =
            plane.istioctl(&["analyze", "--all-namespaces", "--failure-threshold", "Warning", &file]).await;
        assert!(analyzed.is_ok(), "istioctl analyze {name}: {}", analyzed.unwrap_or_else(|e| e));
    }
    // A check that accepts everything would prove nothing.
    let wrong = std::env::temp_dir().join(format!("portcullis-{}.yaml", std::process::id()));
    let text =
        fs::read_to_string(manifests::path("jwt-auth.yaml")).expect("a file").replace("AUTHN", "LATER");
    fs::write(&wrong, text).expect("a file");
    let refused = plane.istioctl(&["validate", "-f", &wrong.to_string_lossy()]).await;
    fs::remove_file(&wrong).expect("the file");
    assert!(refused.is_err(), "istioctl validate accepts a phase that there is not: {refused:?}");
}
