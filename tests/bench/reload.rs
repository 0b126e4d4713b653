//! What requests behind rate-limit and rebac wait for while rebac takes over a hundred thousand other tuples.
//!
//! One worker, which serves and loads in turns. Rounds with a new document and rounds with the old one alternate; of each round the
//! 99th percentile and the longest counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::Version;
use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{Connection, ask};
use portcullis_tests::envoy::Envoy;
use portcullis_tests::key_server::{Answer, KeyServer};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

const ROUNDS: usize = 6;
const CONNECTIONS: usize = 8;
/// How many requests a round without a reload has on each connection.
const REQUESTS: usize = 600;

/// Measures, and prints.
pub(crate) async fn measure() {
    let (upstream, server) = (Upstream::start().await, KeyServer::start().await);
    server.set("/tuples", document(0));
    let limits = json!({"limits": [{"name": "all", "key": ["{client.ip}"], "rate": "1000000/second"}]});
    let rebac = json!({
        "engine": {"embedded": {
            "model": "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]\n",
            "tuples": {"url": server.url("/tuples"), "clusters": server.clusters(), "refresh": "1s", "wait": "30s", "timeout": "30s"}
        }},
        "rules": [{"match": {"path": "/documents/{id}"}, "checks": {"all": [
            {"subject": "user:{header.x-user}", "from_client": true, "relation": "viewer", "object": "document:{path.id}"}
        ]}}],
        "unmatched": "deny",
    });
    let listener =
        Listener::new("l").plugin(&Plugin::new("rate-limit", limits)).plugin(&Plugin::new("rebac", rebac));
    let mut config = bootstrap(upstream.address(), &[listener]);
    config["static_resources"]["clusters"].as_array_mut().expect("clusters").push(server.cluster());
    let envoy = Arc::new(Envoy::start(&config).await);
    let (mut quiet, mut loading) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=ROUNDS {
        let before = round_of(&envoy, None).await;
        server.set("/tuples", document(round + 1));
        let during = round_of(&envoy, Some(format!("round-{}", round + 1))).await;
        if round != 0 {
            quiet.push(before);
            loading.push(during);
        }
    }
    let median = |of: &[Times], value: fn(&Times) -> f64| {
        let mut all: Vec<f64> = of.iter().map(value).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "\n{ROUNDS} reloads of 100,000 tuples behind rate-limit, one worker, medians of rounds in milliseconds"
    );
    for (name, value) in [("p50", (|t| t.0) as fn(&Times) -> f64), ("p99", |t| t.1), ("longest", |t| t.2)] {
        let (without, with) = (median(&quiet, value), median(&loading, value));
        println!("{name:<8} without {without:>7.2}  during {with:>7.2}  ratio {:.2}", with / without);
    }
}

/// Median, 99th percentile and longest, in milliseconds.
struct Times(f64, f64, f64);

/// Sends until somebody new may do it, or some requests.
#[allow(clippy::disallowed_methods, reason = "it measures time")]
async fn round_of(envoy: &Arc<Envoy>, newcomer: Option<String>) -> Times {
    let over = Arc::new(AtomicBool::new(false));
    let address = envoy.address();
    let endless = newcomer.is_some();
    let tasks = (0..CONNECTIONS).map(|_| {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let mut connection = Connection::open(address, Version::HTTP_11).await.expect("a connection");
            let mut took = Vec::new();
            while if endless { !over.load(Ordering::SeqCst) } else { took.len() < REQUESTS } {
                let request = ask(address, "GET", "/documents/x").header("x-user", "ann");
                let begun = Instant::now();
                let response = connection.send(request).await.expect("an answer");
                took.push(begun.elapsed().as_secs_f64() * 1000.0);
                assert_eq!(response.status, 200, "{}", response.text());
            }
            took
        })
    });
    let tasks: Vec<_> = tasks.collect();
    if let Some(newcomer) = newcomer {
        let may = async || {
            ask(address, "GET", "/documents/x").header("x-user", &newcomer).send().await.status == 200
        };
        envoy.wait_until("the new tuples", may).await;
        over.store(true, Ordering::SeqCst);
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("the load is sent"));
    }
    all.sort_by(f64::total_cmp);
    Times(all[all.len() / 2], all[all.len() * 99 / 100], all[all.len() - 1])
}

fn document(round: usize) -> Answer {
    let mut text = String::with_capacity(4 << 20);
    for n in 0..100_000 {
        text.push_str(&format!("document:{n:07}#viewer@user:{:06}\n", n % 5000));
    }
    text.push_str(&format!("document:x#viewer@user:round-{round}\ndocument:x#viewer@user:ann\n"));
    Answer::Text(text)
}
