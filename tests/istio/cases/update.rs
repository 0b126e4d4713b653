use std::cell::Cell;
use std::rc::Rc;

use http::Version;
use portcullis_tests::client::Connection;
use portcullis_tests::upstream::Upstream;
use serde_json::Value;

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

pub(crate) async fn that_is_bad_keeps_the_last_good_one(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let proxy = serve(&plane, &upstream, "100000/minute").await;
    proxy.until("/health", 200).await;
    plane.apply(&limiter("fast")).await;
    proxy.envoy.wait_for_log("limits[0].rate: not a rate").await;
    println!("LOG {}", proxy.envoy.log());
    println!("DUMP {}", proxy.dump("EcdsConfigDump").await);
    println!(
        "STATS {}",
        portcullis_tests::client::get(proxy.envoy.admin(), "/stats?filter=extension_config|wasm|ecds")
            .await
            .expect("x")
            .text()
    );
    println!("ISTIOD {}", plane.istiod_log());
    println!("STATUS {:?}", plane.istioctl(&["proxy-status"]).await);
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
    let _ = upstream;
}
