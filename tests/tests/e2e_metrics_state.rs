//! What metrics keeps beyond a request, in a real Envoy: counts that survive the VM, requests in flight that a VM took with it, names
//! of the busiest consumers.

use std::cell::Cell;
use std::net::SocketAddr;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::gate::secret_config;
use portcullis_tests::prometheus::{self, sum};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

const REQUESTS: &str = "portcullis_requests_total";
const IN_FLIGHT: &str = "portcullis_requests_in_flight";
const CONSUMERS: &str = "portcullis_consumer_requests_total";

async fn counted(envoy: &Envoy, metric: &str, labels: &[(&str, &str)]) -> f64 {
    sum(&prometheus::parse(&envoy.prometheus().await), metric, labels)
}

async fn is(envoy: &Envoy, metric: &str, labels: &[(&str, &str)], want: f64) {
    let what = format!("{metric} {labels:?} {want}");
    envoy.wait_until(&what, async || counted(envoy, metric, labels).await == want).await;
}

/// Sends so many requests, and gives how many were answered with 200.
async fn offer(to: SocketAddr, times: usize) -> f64 {
    let mut served = 0.0;
    for _ in 0..times {
        if ask(to, "GET", "/health").send().await.status == 200 {
            served += 1.0;
        }
    }
    served
}

#[tokio::test]
async fn a_vm_that_failed_takes_no_count_with_it_and_leaves_nothing_in_flight() {
    let upstream = Upstream::start().await;
    let metrics = Plugin::new("metrics-trap", json!({"routes": ["/health", "/held"]}));
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "120s"}}]);
    let listener = Listener::new("l").routes(routes).plugin(&metrics);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let mut served = offer(envoy.address(), 20).await;
    assert_eq!(served, 20.0);
    let hold = || tokio::spawn(ask(envoy.address(), "GET", "/held").header("x-answer-hold", "1").send());
    let held = [hold(), hold(), hold()];
    is(&envoy, IN_FLIGHT, &[], 3.0).await;
    is(&envoy, REQUESTS, &[], 20.0).await;
    let last = Cell::new(0.0_f64);
    let never_less = async || {
        let now = counted(&envoy, REQUESTS, &[]).await;
        assert!(now >= last.replace(now), "{now} after {}", last.get());
        now
    };

    // The VM fails over this request, when it is answered already, and nothing counts it; Envoy loads the VM anew for a later one.
    assert_eq!(ask(envoy.address(), "GET", "/health").header("x-test-trap", "1").send().await.status, 200);
    let passed = Cell::new(0.0);
    envoy
        .wait_until("a request is served again", async || {
            never_less().await;
            passed.set(offer(envoy.address(), 1).await);
            passed.get() > 0.0
        })
        .await;
    served += passed.get() + offer(envoy.address(), 20).await;
    envoy.wait_until("all are counted", async || never_less().await == served).await;
    assert!(envoy.log().contains("proxy_on_log failed"), "the VM was not lost");

    // Whoever notices that the old VM is silent takes out what it left.
    is(&envoy, IN_FLIGHT, &[], 0.0).await;
    upstream.release();
    for held in held {
        // Envoy gives up the streams of a VM that it lost.
        assert_eq!(held.await.unwrap().status, 503);
    }
    assert_eq!(offer(envoy.address(), 5).await, 5.0);
    is(&envoy, REQUESTS, &[], served + 5.0).await;
    is(&envoy, IN_FLIGHT, &[], 0.0).await;
}

#[tokio::test]
async fn who_calls_most_gets_a_name_and_nobody_is_counted_twice() {
    const SECRET: &[u8] = b"a secret of this test, and of nobody else";
    let upstream = Upstream::start().await;
    let jwt_auth = Plugin::new("jwt-auth", secret_config(SECRET));
    let metrics = Plugin::new(
        "metrics",
        json!({"routes": [], "consumers": {"from": "subject", "allow": ["listed"], "top": 2}}),
    );
    let listener = Listener::new("l").plugin(&metrics).plugin(&jwt_auth);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let send = async |subject: &str, times: usize| {
        let mut claims = tokens::claims();
        claims["sub"] = subject.into();
        let token = Signer::hmac("none", SECRET).token("HS256", &claims);
        for _ in 0..times {
            assert_eq!(ask(envoy.address(), "GET", "/a").bearer(&token).send().await.status, 200);
        }
    };
    send("listed", 3).await;
    for n in 0..30 {
        send(&format!("crowd-{n}"), 1).await;
    }
    // A name from the hundredth request on; there are two to give.
    send("first", 150).await;
    send("second", 150).await;
    send("third", 150).await;
    for (consumer, want) in [
        ("listed", 3.0),
        ("first", 51.0),
        ("second", 51.0),
        ("third", 0.0),
        ("__other__", 30.0 + 99.0 + 99.0 + 150.0),
    ] {
        is(&envoy, CONSUMERS, &[("consumer", consumer)], want).await;
    }
    is(&envoy, CONSUMERS, &[], 483.0).await;
    is(&envoy, "portcullis_series", &[("metric", CONSUMERS)], 4.0).await;
}
