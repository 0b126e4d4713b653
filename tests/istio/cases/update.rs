use std::cell::Cell;
use std::rc::Rc;

use http::Version;
use portcullis_tests::client::Connection;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

use super::orders;
use crate::control_plane::ControlPlane;
use crate::manifests;
use crate::proxy::{GATEWAY, Proxy};

/// limit-address alone, with this rate.
fn limiter(rate: &str) -> Vec<Value> {
    let mut objects = manifests::read("rate-limit.yaml");
    objects.truncate(1);
    let config = &mut objects[0]["spec"]["pluginConfig"];
    config["headers"] = "draft".into();
    config["limits"][0]["rate"] = rate.into();
    config["limits"][0]["burst"] = 100_000.into();
    config["limits"].as_array_mut().expect("limits").truncate(1);
    objects
}

async fn serve(plane: &ControlPlane, upstream: &Upstream, rate: &str) -> Proxy {
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(upstream));
    objects.extend(limiter(rate));
    plane.apply(&objects).await;
    Proxy::start(plane, GATEWAY, Proxy::port(), &[]).await
}

pub(crate) async fn loses_no_request(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let proxy = Rc::new(serve(&plane, &upstream, "100000/minute").await);
    proxy.until_plugins(1).await;
    proxy.until("/health", 200).await;
    let (stop, sent, renewed) =
        (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(0_u32)));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (proxy, stop, sent, renewed) =
            (Rc::clone(&proxy), Rc::clone(&stop), Rc::clone(&sent), Rc::clone(&renewed));
        clients.push(tokio::task::spawn_local(async move {
            let open =
                async || Connection::open(proxy.address(), Version::HTTP_11).await.expect("a connection");
            let mut connection = open().await;
            let mut seen_new = false;
            while !stop.get() {
                let answer = connection.send(proxy.get("/orders/1")).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                sent.set(sent.get() + 1);
                if !seen_new && answer.header("ratelimit-policy").contains("q=200000") {
                    seen_new = true;
                    renewed.set(renewed.get() + 1);
                }
                if answer.header("connection") == "close" {
                    connection = open().await;
                }
            }
        }));
    }
    proxy.envoy.wait_until("load", async || sent.get() > 100).await;
    plane.apply(&limiter("200000/minute")).await;
    proxy
        .envoy
        .wait_until("every client is served by the new configuration", async || renewed.get() == 4)
        .await;
    let after = sent.get();
    proxy.envoy.wait_until("load afterwards", async || sent.get() > after + 100).await;
    stop.set(true);
    for client in clients {
        client.await.expect("no request was lost");
    }
    assert!(upstream.seen() >= u64::from(sent.get()));
}

/// Three of the four requests that an empty store would let pass are gone, and another rate does not bring them back.
pub(crate) async fn keeps_the_counts(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let with_rate = |rate: &str| {
        let mut objects = limiter(rate);
        let limit = &mut objects[0]["spec"]["pluginConfig"]["limits"][0];
        limit.as_object_mut().expect("a limit").remove("burst");
        limit["match"] = json!({"path": "/orders/**"});
        objects
    };
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(&upstream));
    objects.extend(with_rate("4/hour"));
    plane.apply(&objects).await;
    let proxy = Proxy::start(&plane, GATEWAY, Proxy::port(), &[]).await;
    proxy.until_plugins(1).await;
    proxy.until("/health", 200).await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/orders/1").send().await.status, 200);
    }
    let reloads = "extension_config_discovery.http_filter.*limit-address.*.config_reload";
    let before = proxy.stat(reloads).await;
    plane.apply(&with_rate("6/hour")).await;
    proxy.envoy.wait_until("the other rate", async || proxy.stat(reloads).await > before).await;
    let mut passed = 0;
    for _ in 0..6 {
        passed += u32::from(proxy.get("/orders/1").send().await.status == 200);
    }
    assert!((1..=3).contains(&passed), "{passed} of six passed");
}

pub(crate) async fn that_is_bad_keeps_the_last_good_one(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let proxy = serve(&plane, &upstream, "100000/minute").await;
    proxy.until_plugins(1).await;
    proxy.until("/health", 200).await;
    plane.apply(&limiter("fast")).await;
    proxy.envoy.wait_for_log("limits[0].rate: not a rate").await;
    // What the guide says of how it shows.
    let stat = async |name: &str| {
        proxy.stat(&format!("extension_config_discovery.http_filter.*limit-address.*.{name}")).await
    };
    proxy
        .envoy
        .wait_until("the update is counted as rejected", async || stat("update_rejected").await == 1)
        .await;
    assert_eq!(stat("config_fail").await, 1);
    plane
        .until("istiod counts it and knows why", async || {
            plane.metrics().await.contains("pilot_total_xds_rejects{type=\"ecds\"}")
                && plane
                    .debug("/debug/syncz")
                    .await
                    .text()
                    .contains("Unable to create Wasm plugin istio-ingress.limit-address")
        })
        .await;
    // Envoy's own dump shows what came, not what serves.
    assert!(proxy.plugins().await[0].to_string().contains("fast"));
    for _ in 0..20 {
        let answer = proxy.get("/orders/1").send().await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("ratelimit-policy").contains("q=100000"), "{:?}", answer.headers);
    }
    // The next good one is taken.
    plane.apply(&limiter("300000/minute")).await;
    proxy
        .envoy
        .wait_until("the next good one", async || {
            proxy.get("/orders/1").send().await.header("ratelimit-policy").contains("q=300000")
        })
        .await;
}

pub(crate) async fn that_is_bad_from_the_start_serves_nothing(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(&upstream));
    objects.extend(limiter("fast"));
    plane.apply(&objects).await;
    let proxy = Proxy::start(&plane, GATEWAY, Proxy::port(), &[]).await;
    proxy.until_plugins(1).await;
    proxy.envoy.wait_for_log("limits[0].rate: not a rate").await;
    // Ready, and open to nobody: there is no last good one.
    let refused = proxy.get("/orders/1").send().await;
    assert_eq!((refused.status, upstream.seen()), (500, 0));
    proxy.envoy.wait_for_log("500 NFCF").await;
    plane.apply(&limiter("300000/minute")).await;
    proxy.until("/orders/1", 200).await;
}
