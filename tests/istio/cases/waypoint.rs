use std::rc::Rc;

use portcullis_tests::client::ask;
use portcullis_tests::demo;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::manifests;
use crate::proxy::{WAYPOINT, connect, filters_of, with_extension};

/// The stock Envoy refuses a waypoint's listener, which has an extension of Istio's own build. What istiod generates is looked at in its own dump.
pub(crate) async fn has_the_plugin_in_its_listener(plane: Rc<ControlPlane>) {
    let mut objects = manifests::read("waypoint.yaml");
    let gateway = manifests::named(&mut objects, "Gateway", "waypoint");
    let labels = json!({"istio.io/use-waypoint": "waypoint"});
    assert_eq!(gateway["spec"]["gatewayClassName"], "istio-waypoint");
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "orders", "labels": labels},
        "spec": {"ports": [{"name": "http", "port": 8080}]}
    }));
    plane.apply(&objects).await;
    let connected = connect(&plane, WAYPOINT).await;
    let generated = async || {
        let dump = plane.debug(&format!("/debug/config_dump?proxyID={}-pod.orders", WAYPOINT.kind)).await;
        serde_json::from_slice::<Value>(&dump.body).unwrap_or_default()
    };
    plane
        .until("istiod generates a listener with the plugin", async || {
            generated().await.to_string().contains("waypoint-jwt-auth")
        })
        .await;
    let dump = generated().await;
    let chain = |listener: &str| chain_of(&dump, listener);
    // Traffic ends its tunnel in one listener and is looked at in another.
    assert!(chain("connect_terminate").iter().all(|name| !name.contains("jwt-auth")));
    let inner = chain("main_internal");
    let plugin = inner.iter().find(|name| name.contains("/orders.waypoint-jwt-auth")).expect("the plugin");
    assert_eq!(inner.last().map(String::as_str), Some("envoy.filters.http.router"), "{inner:?}");
    drop(connected);

    // The plugin that istiod gives a waypoint, in a listener that this Envoy can have.
    let upstream = Upstream::start().await;
    let envoy = with_extension(&plane, WAYPOINT, plugin, &upstream).await;
    let get = |path: &str| ask(envoy.address(), "GET", path);
    assert_eq!(get("/health").send().await.status, 200);
    let refused = get("/orders/1").send().await;
    assert_eq!((refused.status, refused.reason().as_str()), (401, "token_missing"));
    let ann = get("/orders/1").bearer(&demo::token("ann", 600)).send().await;
    assert_eq!(ann.json()["headers"]["x-user"], json!(["ann"]));
    println!("SKIPPED waypoint-traffic: the stock Envoy lacks an extension that a waypoint's listener has");
}

/// The names of the HTTP filters of a listener in istiod's dump, in order; those of all its filter chains, if they have any.
fn chain_of(dump: &Value, name: &str) -> Vec<String> {
    let listeners = dump["configs"].as_array().into_iter().flatten();
    let listeners = listeners.flat_map(|c| c["dynamicListeners"].as_array().into_iter().flatten());
    let listener = listeners.filter(|l| l["name"] == name).map(|l| &l["activeState"]["listener"]).next();
    filters_of(listener.unwrap_or_else(|| panic!("no listener {name} in {dump}")), "httpFilters")
}
