use std::rc::Rc;

use portcullis_tests::registry::{Registry, pack};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, examples, paths};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control_plane::ControlPlane;
use crate::envoy_gateway::{EnvoyGateway, Fleet, UPSTREAM};
use crate::manifests;
use portcullis_tests::engines::start::free_port;

fn file(name: &str) -> Vec<Value> {
    examples::documents(&paths::root().join("envoy/gateway").join(name))
}

/// `gateway.yaml`, with a free port, and with a server of this machine as what Envoy Gateway calls a Backend. Neither the API server nor Envoy
/// Gateway takes a loopback address for one, so it has a name.
fn gateway(port: u16, upstream: &Upstream) -> Vec<Value> {
    let mut objects = file("gateway.yaml");
    manifests::named(&mut objects, "Gateway", "edge")["spec"]["listeners"][0]["port"] = port.into();
    manifests::named(&mut objects, "HTTPRoute", "orders")["spec"]["rules"][0]["backendRefs"] =
        json!([{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "orders"}]);
    objects.push(json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "Backend",
        "metadata": {"name": "orders", "namespace": "default"},
        "spec": {"endpoints": [{"fqdn": {"hostname": UPSTREAM, "port": upstream.address().port()}}]}
    }));
    objects
}

/// `chain.yaml`, with the registry on this machine, and rebac as the other kind of image.
fn chain(registry: &Registry) -> Vec<Value> {
    let mut objects = file("chain.yaml");
    let plugins = objects[0]["spec"]["wasm"].as_array_mut().expect("plugins");
    for plugin in plugins {
        let url = &plugin["code"]["image"]["url"];
        let here =
            url.as_str().expect("a url").replace("registry.example.com", &registry.address().to_string());
        assert!(here.starts_with("127.0.0.1"), "{here}");
        let kind = if plugin["name"] == "rebac" { "-artifact" } else { "" };
        plugin["code"]["image"]["url"] = format!("{here}{kind}").into();
    }
    objects
}

/// The files as a cluster has them: kubectl applies them, the API server's rules for their kinds accept them, Envoy Gateway reads them there,
/// says in their status what it made of them, and gives the Envoy that it asked for listeners, plugins and modules, by mutual TLS.
pub(crate) async fn attaches_the_chain(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let images = TempDir::new().expect("a folder");
    let registry = Registry::start().await;
    for image in pack(images.path()) {
        registry.push(images.path(), &image);
    }
    let controller = EnvoyGateway::start(&plane).await;
    let port = free_port();
    plane.apply(&gateway(port, &upstream)).await;
    plane.apply(&chain(&registry)).await;
    let fleet = Fleet::start(&plane, &controller, "edge", port).await;
    fleet
        .until(&controller, "/health", async || {
            fleet.get("/health").try_send().await.is_some_and(|r| r.status == 200)
        })
        .await;
    let get = async |subject: &str| fleet.get("/orders/1").bearer(&demo::token(subject, 600)).send().await;
    let (ann, bob) = (get("ann").await, get("bob").await);
    assert_eq!((ann.status, &ann.json()["headers"]["x-user"]), (200, &json!(["ann"])));
    assert!(ann.header("ratelimit").starts_with("\"per-user\";r=9"), "{:?}", ann.headers);
    assert_eq!((bob.status, bob.reason().as_str()), (403, "relation_denied"));
    let request = fleet.get("/orders/1").bearer(&demo::token("ann", 600));
    let overridden = request.header("x-http-method-override", "DELETE").send().await;
    assert_eq!(
        (overridden.status, &overridden.json()["headers"]["x-http-method-override"]),
        (200, &Value::Null)
    );
    let nobody = fleet.get("/orders/1").send().await;
    assert_eq!((nobody.status, nobody.reason().as_str()), (401, "token_missing"));
    assert!(fleet.admin("/config_dump").await.contains(r#""failure_policy": "FAIL_RELOAD""#));
    // What Envoy Gateway thinks of the policy stands in its status.
    let policy = plane.must(&["get", "envoyextensionpolicy", "portcullis", "-o", "json"], None).await;
    let policy: Value = serde_json::from_str(&policy).expect("a policy");
    let condition = &policy["status"]["ancestors"][0]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("Accepted"), &json!("True")), "{policy}");
    // The kind's own rules are the API server's: a field that is not known is refused.
    let mut wrong = file("jwt-auth.yaml").remove(0);
    wrong["spec"]["wasm"][0]["failOpenn"] = true.into();
    let refused = plane.kubectl(&["create", "--validate=strict", "-f", "-"], Some(&wrong)).await;
    assert!(refused.is_err_and(|e| e.contains("failOpenn")), "a wrong field was taken");
}
