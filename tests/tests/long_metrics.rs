//! A client that never asks for the same path twice, and very many subjects: what metrics keeps stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::flood::{self, Write};
use portcullis_tests::gate::secret_config;
use portcullis_tests::prometheus::{self, sum};
use portcullis_tests::tokens::{self, Signer};
use serde_json::{Value, json};

const PATHS: usize = 1_000_000;
const SUBJECTS: usize = 100_000;
/// What Envoy's memory may grow by after the first tenth: less than 20 bytes for each path that is new.
const GROWTH: u64 = 16 << 20;

/// Sends the requests of a range; all are answered with 204.
async fn send(to: SocketAddr, range: Range<usize>, write: &Write) {
    let count = range.len();
    assert_eq!(flood::send(to, range, write).await, BTreeMap::from([(204, count)]));
}

/// All series of ours, by name and labels.
async fn series(envoy: &Envoy) -> BTreeSet<String> {
    let text = envoy.prometheus().await;
    let ours = text.lines().filter(|l| l.starts_with("portcullis_"));
    ours.filter_map(|l| Some(l.rsplit_once(' ')?.0.to_owned())).collect()
}

/// Sends `count` requests through these plugins; after the first tenth neither series nor memory grow.
async fn stays_flat(plugins: &[Plugin], count: usize, write: Write) -> Envoy {
    let nothing = json!([{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]);
    let listener = plugins.iter().fold(Listener::new("l").routes(nothing), Listener::plugin);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let options = Options { workers: 2, ..Options::default() };
    let config = flood::pipelined(bootstrap(nowhere, &[listener]));
    let envoy = Envoy::start_with(&config, &options).await;
    let counted = async |want: usize| {
        envoy
            .wait_until("all are counted", async || {
                let samples = prometheus::parse(&envoy.prometheus().await);
                sum(&samples, "portcullis_requests_total", &[]) == want as f64
                    && sum(&samples, "portcullis_requests_in_flight", &[]) == 0.0
            })
            .await;
    };
    send(envoy.address(), 0..count / 10, &write).await;
    counted(count / 10).await;
    let (before, settled) = (series(&envoy).await, envoy.resident_bytes());
    assert!(before.len() > 20, "{before:?}");
    send(envoy.address(), count / 10..count, &write).await;
    counted(count).await;
    let (after, grown) = (series(&envoy).await, envoy.resident_bytes().saturating_sub(settled));
    println!("{count} requests: {} series, {grown} bytes more than after the first tenth", after.len());
    assert_eq!(before, after);
    assert!(grown < GROWTH, "{grown} bytes more");
    envoy
}

fn metrics(more: Value) -> Plugin {
    let mut config = json!({"routes": ["/documents/{id}", "/files/**"]});
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    Plugin::new("metrics", config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_paths_leave_series_and_memory_flat() {
    let write = |n: usize| {
        let folder = ["documents", "files/a", "made-up", "documents/x"][n % 4];
        format!("GET /{folder}/{n}?q={n} HTTP/1.1\r\nhost: h{n}.test\r\nx-request-id: {n}\r\n\r\n")
    };
    let envoy = stays_flat(&[metrics(json!({}))], PATHS, Arc::new(write)).await;
    let samples = prometheus::parse(&envoy.prometheus().await);
    for (route, share) in [("/documents/{id}", 0.25), ("/files/**", 0.25), ("_unmatched", 0.5)] {
        let counted = sum(&samples, "portcullis_requests_total", &[("route", route)]);
        assert_eq!(counted, PATHS as f64 * share, "{route}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_subjects_leave_series_and_memory_flat() {
    const SECRET: &[u8] = b"a secret of this test, and of nobody else";
    let mut jwt_auth = secret_config(SECRET);
    jwt_auth["cache"] = json!({"size": "256KiB"});
    let jwt_auth = Plugin::new("jwt-auth", jwt_auth);
    let metrics = metrics(json!({"consumers": {"from": "subject", "allow": ["user-7"], "top": 20}}));
    let signer = Signer::hmac("none", SECRET);
    let claims = tokens::claims();
    let write = move |n: usize| {
        let mut claims = claims.clone();
        claims["sub"] = format!("user-{n}").into();
        let token = signer.token("HS256", &claims);
        format!("GET /documents/1 HTTP/1.1\r\nhost: h.test\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let envoy = stays_flat(&[metrics, jwt_auth], SUBJECTS, Arc::new(write)).await;
    let samples = prometheus::parse(&envoy.prometheus().await);
    for (consumer, want) in [("user-7", 1.0), ("__other__", SUBJECTS as f64 - 1.0)] {
        let counted = sum(&samples, "portcullis_consumer_requests_total", &[("consumer", consumer)]);
        assert_eq!(counted, want, "{consumer}");
    }
}
