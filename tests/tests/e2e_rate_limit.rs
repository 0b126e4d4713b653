//! rate-limit in a real Envoy.

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{Connection, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

#[tokio::test]
async fn a_burst_passes_once_however_many_workers_there_are() {
    for workers in [1, 4] {
        let upstream = Upstream::start().await;
        // A token comes back every ten minutes: what is admitted during the test is the burst, to the request.
        let plugin = Plugin::new(
            "rate-limit",
            json!({
                "limits": [{"name": "l", "key": ["{client.ip}"], "rate": "6/hour", "burst": 100}]
            }),
        );
        let options = Options { workers, ..Options::default() };
        let envoy = Envoy::start_with(
            &bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]),
            &options,
        )
        .await;
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let to = envoy.address();
                tokio::spawn(async move {
                    let mut connection = Connection::open(to, http::Version::HTTP_11).await.unwrap();
                    let mut limited = 0;
                    for _ in 0..30 {
                        let answer = connection.send(ask(to, "GET", "/quiet")).await.unwrap();
                        limited += usize::from(answer.status == 429);
                    }
                    limited
                })
            })
            .collect();
        let mut limited = 0;
        for task in tasks {
            limited += task.await.unwrap();
        }
        assert_eq!((upstream.seen(), limited), (100, 380), "{workers} workers");
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back_and_an_admission_how_much_is_left() {
    let upstream = Upstream::start().await;
    let plugin = Plugin::new(
        "rate-limit",
        json!({"limits": [{"name": "l", "key": ["{client.ip}"], "rate": "1/minute", "burst": 1}]}),
    );
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)])).await;
    let first = ask(envoy.address(), "GET", "/").send().await;
    assert_eq!((first.status, first.header("ratelimit-policy").as_str()), (200, "\"l\";q=1;w=60"));
    assert!(first.header("ratelimit").starts_with("\"l\";r=0;t="), "{}", first.header("ratelimit"));
    let second = ask(envoy.address(), "GET", "/").send().await;
    assert_eq!((second.status, second.reason().as_str()), (429, "rate_limited"));
    assert_eq!(second.headers.get_all("ratelimit").iter().count(), 1, "not added again on the way out");
    let wait: u64 = second.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let grpc = ask(envoy.address(), "POST", "/p.S/M").grpc(b"").send().await;
    assert_eq!(grpc.grpc_status(), Some(8));
}

#[tokio::test]
async fn a_forged_forwarded_address_is_another_bucket_only_behind_a_trusted_hop() {
    let upstream = Upstream::start().await;
    let plugin = |name: &str| {
        Plugin::new(
            "rate-limit",
            json!({
                "name": name, "limits": [{"name": "l", "key": ["{client.ip}"], "rate": "1/hour", "burst": 1}]
            }),
        )
    };
    let edge = Listener::new("edge").plugin(&plugin("edge"));
    let inner = Listener::new("inner").manager(json!({"xff_num_trusted_hops": 1})).plugin(&plugin("inner"));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[edge, inner])).await;
    let from = async |listener: &str, forwarded: &str| {
        ask(envoy.listener(listener), "GET", "/").header("x-forwarded-for", forwarded).send().await.status
    };
    assert_eq!(from("edge", "192.0.2.1").await, 200);
    assert_eq!(from("edge", "192.0.2.2").await, 429, "at the edge the peer is the client, whatever it says");
    assert_eq!(from("inner", "192.0.2.1").await, 200);
    assert_eq!(from("inner", "192.0.2.2").await, 200);
    assert_eq!(from("inner", "10.0.0.1, 192.0.2.2").await, 429, "the last hop's word counts");
}
