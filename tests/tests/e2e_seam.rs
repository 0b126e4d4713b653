//! The seam, by the probe filter in a real Envoy: what the in-process host claims has to hold there.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap, cluster};
use portcullis_tests::client::{self, Response, ask};
use portcullis_tests::envoy::Envoy;
use portcullis_tests::upstream::Upstream;
use serde_json::json;

async fn start(upstream: &Upstream) -> Envoy {
    let plugin = Plugin::new("probe", json!("")).called("probe");
    let mut config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
    clusters.push(cluster("dead", nobody, false));
    clusters.push(cluster("dead-h2", nobody, true));
    Envoy::start(&config).await
}

async fn order(envoy: &Envoy, order: &str) -> Response {
    ask(envoy.address(), "GET", "/").header("x-do", order).send().await
}

#[tokio::test]
async fn calls_end_in_one_of_the_ways_that_the_seam_knows() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    let answer = order(&envoy, "call upstream /called").await;
    assert!(answer.text().starts_with("http 200") && answer.text().contains("/called"), "{}", answer.text());
    let twice = order(&envoy, "twice upstream /called").await.text();
    assert_eq!(twice.matches("http 200").count(), 2, "{twice}");
    assert_eq!(order(&envoy, "call unknown /x").await.text(), "refused");
    let dead = order(&envoy, "call dead /x").await.text();
    assert!(dead.starts_with("http 503"), "{dead}");
}

#[tokio::test]
async fn grpc_goes_by_a_serialized_target_and_fails_without_a_trap() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    let answer = order(&envoy, "grpc upstream-h2 s m").await.text();
    assert!(answer.starts_with("grpc 0 ") && answer.contains("hi"), "{answer}");
    // `users` parses as protobuf: as a bare name it would abort the process. Nobody is called that here.
    for nobody in ["users", "unknown", "dead-h2", "upstream", "dead"] {
        let answer = order(&envoy, &format!("grpc {nobody} s m")).await.text();
        let failed = answer == "refused" || (answer.starts_with("grpc ") && !answer.starts_with("grpc 0"));
        assert!(failed, "{nobody}: {answer}");
    }
    assert_eq!(order(&envoy, "echo").await.status, 200, "the VM lives");
}

#[tokio::test]
async fn a_grpc_stream_of_the_plugin_itself_brings_messages() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    assert_eq!(order(&envoy, "stream upstream-h2").await.text(), "opening");
    envoy
        .wait_until("three messages", async || {
            order(&envoy, "events").await.text().matches("message").count() == 3
        })
        .await;
    assert_eq!(order(&envoy, "stream dead-h2").await.text(), "opening");
    envoy
        .wait_until("a closed stream", async || order(&envoy, "events").await.text().contains("closed 14"))
        .await;
}

#[tokio::test]
async fn one_stream_wakes_others_and_survives_those_that_left() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    let waiting: Vec<_> = (0..10)
        .map(|_| tokio::spawn(ask(envoy.address(), "GET", "/w").header("x-do", "wait 7 30000").send()))
        .collect();
    // The first one leaves: its connection closes with the task.
    let requests =
        async || envoy.metric("envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix=\"l\"}").await;
    envoy.wait_until("ten streams", async || requests().await == Some(10.0)).await;
    waiting[0].abort();
    envoy.wait_until("nine streams", async || requests().await == Some(9.0)).await;
    assert_eq!(order(&envoy, "wake 7").await.text(), "waking");
    for answer in waiting.into_iter().skip(1) {
        let answer = answer.await.unwrap();
        assert_eq!(answer.json()["headers"]["x-woken"], json!(["yes"]));
    }
}

#[tokio::test]
async fn a_wait_is_over_within_a_tick_of_its_deadline() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    let answer = tokio::time::timeout(Duration::from_secs(30), order(&envoy, "wait 9 200")).await.unwrap();
    assert_eq!(answer.text(), "timeout");
    assert_eq!(order(&envoy, "rootcall upstream /x 11").await.text(), "woken", "by the plugin's own call");
}

#[tokio::test]
async fn a_trapped_vm_is_reloaded() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    let trapped = client::ask(envoy.address(), "GET", "/").header("x-do", "panic").send().await;
    assert_eq!(trapped.status, 503);
    envoy.wait_for_log("tests/probe/src/lib.rs").await;
    envoy.wait_until("a new VM", async || order(&envoy, "echo").await.status == 200).await;
}
