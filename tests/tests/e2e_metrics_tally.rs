//! A mix of everything that can become of a request, counted by the client and by the filter: the two tallies are equal,
//! with any number of workers, and wherever in the chain the filter stands.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap, cluster};
use portcullis_tests::client::{self, Ask, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::prometheus::{self, sum};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How often each case is sent.
const TIMES: usize = 6;

/// route, method, code, grpc, source, reason
type Labels = [&'static str; 6];

/// What a client sees of an answer, and what the filter says of the same request.
struct Case {
    ask: fn(Ask) -> Ask,
    method: &'static str,
    path: &'static str,
    token: bool,
    status: u16,
    labels: Labels,
}

fn plain(ask: Ask) -> Ask {
    ask
}

const CASES: [Case; 14] = [
    case(plain, "GET", "/documents/1", true, 200, ["/documents/{id}", "GET", "200", "", "upstream", ""]),
    case(
        plain,
        "GET",
        "/documents/2",
        false,
        401,
        ["/documents/{id}", "GET", "401", "", "gateway", "token_missing"],
    ),
    case(plain, "PUT", "/admin/users", true, 403, ["_unmatched", "PUT", "403", "", "gateway", "unmatched"]),
    case(
        |ask| ask.header("x-answer-status", "404"),
        "GET",
        "/documents/3",
        true,
        404,
        ["/documents/{id}", "GET", "404", "", "upstream", ""],
    ),
    case(plain, "GET", "/nowhere", false, 404, ["_unmatched", "GET", "404", "", "gateway", "no_route"]),
    case(plain, "GET", "/limited", false, 429, ["/limited", "GET", "429", "", "gateway", "rate_limited"]),
    case(
        |ask| ask.header("x-answer-status", "503"),
        "DELETE",
        "/documents/4",
        true,
        503,
        ["/documents/{id}", "DELETE", "503", "", "upstream", ""],
    ),
    case(
        |ask| ask.header("x-answer-reset", "1"),
        "GET",
        "/documents/5",
        true,
        503,
        ["/documents/{id}", "GET", "503", "", "gateway", "upstream_reset"],
    ),
    case(plain, "GET", "/dead", false, 503, ["/dead", "GET", "503", "", "gateway", "upstream_unreachable"]),
    case(
        |ask| ask.header("x-answer-hold", "1"),
        "GET",
        "/slow",
        false,
        504,
        ["/slow", "GET", "504", "", "gateway", "upstream_timeout"],
    ),
    case(
        |ask| ask.grpc(b"hi").header("x-answer-grpc", "5"),
        "POST",
        "/orders.v1.Orders/Get",
        true,
        200,
        ["/orders.v1.Orders/Get", "POST", "200", "5", "upstream", ""],
    ),
    case(
        |ask| ask.grpc(b"hi"),
        "POST",
        "/orders.v1.Orders/Get",
        false,
        200,
        ["/orders.v1.Orders/Get", "POST", "200", "16", "gateway", "token_missing"],
    ),
    case(
        plain,
        "PROPFIND",
        "/documents/6",
        true,
        200,
        ["/documents/{id}", "_OTHER", "200", "", "upstream", ""],
    ),
    case(plain, "HEAD", "/documents/7", true, 200, ["/documents/{id}", "HEAD", "200", "", "upstream", ""]),
];

const fn case(
    ask: fn(Ask) -> Ask,
    method: &'static str,
    path: &'static str,
    token: bool,
    status: u16,
    labels: Labels,
) -> Case {
    Case { ask, method, path, token, status, labels }
}

async fn start(upstream: &Upstream, workers: u32, first: bool) -> Envoy {
    let metrics = Plugin::new(
        "metrics",
        json!({"routes": ["/documents/{id}", "/limited", "/dead", "/slow", "/held", "/tunnel", "/orders.v1.Orders/Get"]}),
    );
    let jwt_auth = Plugin::new(
        "jwt-auth",
        json!({
            "providers": {"corp": {
                "issuer": "https://id.test", "audiences": "any", "algorithms": ["ES256"],
                "keys": {"jwks": {"keys": [Signer::p256("ec").jwk()]}}
            }},
            "rules": [
                {"match": {"path": "/documents/{id}"}, "require": {"any": ["corp"]}},
                {"match": {"path": "/orders.v1.Orders/Get"}, "require": {"any": ["corp"]}},
                {"match": {"path": "/{open}"}, "require": "none"}
            ],
            "unmatched": "deny"
        }),
    );
    let limit = Plugin::new(
        "rate-limit",
        json!({"limits": [{"name": "l", "match": {"path": "/limited"}, "key": ["everyone"], "rate": "1/day"}]}),
    );
    let to = |path: &str, cluster: &str, timeout: &str| json!({"match": {"prefix": path}, "route": {"cluster": cluster, "timeout": timeout}});
    let routes = json!([
        to("/documents", "upstream", "60s"),
        to("/limited", "upstream", "60s"),
        to("/dead", "dead", "60s"),
        to("/slow", "upstream", "0.1s"),
        to("/held", "upstream", "60s"),
        to("/tunnel", "upstream", "60s"),
        to("/orders.v1.Orders", "upstream-h2", "60s")
    ]);
    let chain = if first { [&metrics, &limit, &jwt_auth] } else { [&limit, &jwt_auth, &metrics] };
    let listener = chain.into_iter().fold(Listener::new("l").routes(routes), Listener::plugin);
    let listener = listener.manager(json!({"upgrade_configs": [{"upgrade_type": "websocket"}]}));
    let mut config = bootstrap(upstream.address(), &[listener]);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    config["static_resources"]["clusters"].as_array_mut().unwrap().push(cluster("dead", nobody, false));
    Envoy::start_with(&config, &Options { workers, ..Options::default() }).await
}

/// Asks and leaves before there is an answer; `true` once the upstream has the request.
async fn leave(to: SocketAddr, upstream: &Upstream) {
    let before = upstream.seen();
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(b"GET /held HTTP/1.1\r\nhost: a\r\nx-answer-hold: 1\r\n\r\n").await.unwrap();
    while upstream.seen() == before {
        tokio::task::yield_now().await;
    }
}

/// What the filter counted, by its labels.
async fn counted(envoy: &Envoy) -> BTreeMap<Vec<String>, f64> {
    let samples = prometheus::parse(&envoy.prometheus().await);
    let ours = samples.iter().filter(|s| s.name == "portcullis_requests_total");
    let labels = ["route", "method", "code", "grpc", "source", "reason"];
    ours.map(|s| (labels.map(|l| s.label(l).to_owned()).to_vec(), s.value)).collect()
}

async fn tallies_are_equal(workers: u32, first: bool) {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream, workers, first).await;
    let mut tally: BTreeMap<Vec<String>, f64> = BTreeMap::new();
    let mut note = |labels: Labels| {
        *tally.entry(labels.map(str::to_owned).to_vec()).or_default() += 1.0;
    };
    // The one that the limit lets pass.
    assert_eq!(ask(envoy.address(), "GET", "/limited").send().await.status, 200);
    note(["/limited", "GET", "200", "", "upstream", ""]);
    let bearer = Signer::p256("ec").token("ES256", &tokens::claims());
    for _ in 0..TIMES {
        let answers = CASES.iter().map(|case| {
            let request = ask(envoy.address(), case.method, case.path);
            let request = if case.token { request.bearer(&bearer) } else { request };
            tokio::spawn((case.ask)(request).send())
        });
        let answers: Vec<_> = answers.collect();
        for (case, answer) in CASES.iter().zip(answers) {
            let answer = answer.await.unwrap();
            assert_eq!(answer.status, case.status, "{} {}: {}", case.method, case.path, answer.text());
            note(case.labels);
        }
        leave(envoy.address(), &upstream).await;
        note(["/held", "GET", "0", "", "client", "client_gone"]);
        let upgrade = b"GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let answer = client::raw(envoy.address(), upgrade).await;
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        note(["/tunnel", "GET", "101", "", "upstream", ""]);
    }
    let all: f64 = tally.values().sum();
    let what = format!("{all} requests, {workers} workers, first: {first}");
    envoy.wait_until(&what, async || counted(&envoy).await.values().sum::<f64>() >= all).await;
    // Whether the client's end or the upstream's was first is not the client's to say.
    let mut counted = counted(&envoy).await;
    let tunnels: Vec<_> = counted.keys().filter(|l| l[0] == "/tunnel").cloned().collect();
    let open: f64 = tunnels.iter().filter_map(|l| counted.remove(l)).sum();
    *counted.entry(["/tunnel", "GET", "101", "", "upstream", ""].map(str::to_owned).to_vec()).or_default() +=
        open;
    assert_eq!(counted, tally, "{what}");
    let samples = prometheus::parse(&envoy.prometheus().await);
    // Tunnels have no duration; everything else has one.
    envoy
        .wait_until("all durations", async || {
            let samples = prometheus::parse(&envoy.prometheus().await);
            sum(&samples, "portcullis_request_duration_milliseconds_count", &[]) == all - TIMES as f64
        })
        .await;
    assert_eq!(sum(&samples, "portcullis_series_overflow_total", &[]), 0.0);
}

#[tokio::test]
async fn one_worker_metrics_first() {
    tallies_are_equal(1, true).await;
}

#[tokio::test]
async fn one_worker_metrics_last() {
    tallies_are_equal(1, false).await;
}

#[tokio::test]
async fn four_workers_metrics_first() {
    tallies_are_equal(4, true).await;
}

#[tokio::test]
async fn four_workers_metrics_last() {
    tallies_are_equal(4, false).await;
}
