use std::rc::Rc;

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::manifests;
use crate::proxy::{Proxy, WAYPOINT, filters_of};

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
    let proxy = Proxy::start(&plane, WAYPOINT, Proxy::port(), &[]).await;
    let generated = async || {
        let dump = plane.debug(&format!("/debug/config_dump?proxyID={}", WAYPOINT.node())).await;
        serde_json::from_slice::<Value>(&dump.body).unwrap_or_default()
    };
    plane
        .until("istiod generates the plugin", async || {
            generated().await.to_string().contains("waypoint-jwt-auth")
        })
        .await;
    println!("{}", generated().await);
    let _ = (filters_of(&Value::Null), proxy.stat("x").await);
    println!("SKIPPED waypoint-traffic: the stock Envoy lacks an extension that a waypoint's listener has");
}
