//! The whole chain, as `make run` starts it: the printed curls answer as printed, and one filter's facts reach the next.

use std::net::SocketAddr;

use portcullis_tests::client::{Response, ask};
use portcullis_tests::demo::{self, curls::curls};
use portcullis_tests::envoy::Envoy;
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::paths;
use portcullis_tests::upstream::Upstream;

async fn start(upstream: &Upstream) -> Envoy {
    let example = examples::read(&paths::root().join("envoy/envoy.yaml"));
    Envoy::start(&examples::with_ports(example, Ports::free(upstream.address()))).await
}

/// Runs a printed curl, by a client of ours.
async fn run(command: &str) -> Response {
    let mut words = command.split('\'');
    assert_eq!(words.next(), Some("curl -i "), "{command}");
    let url = words.next().unwrap().strip_prefix("http://").unwrap();
    let (host, path) = url.split_once('/').unwrap();
    let to: SocketAddr = host.parse().unwrap();
    let mut request = ask(to, "GET", &format!("/{path}"));
    while words.next() == Some(" -H ") {
        let (name, value) = words.next().unwrap().split_once(": ").unwrap();
        request = request.header(&name.to_lowercase(), value);
    }
    request.send().await
}

#[tokio::test]
async fn the_printed_curls_answer_as_printed() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    for curl in curls(&format!("http://{}", envoy.address())) {
        let answer = run(&curl.command).await;
        assert_eq!(answer.status, curl.status, "{}: {}", curl.what, answer.text());
        assert!(answer.text().contains(curl.holds), "{}: {}", curl.what, answer.text());
    }
}

#[tokio::test]
async fn the_limit_is_the_subjects_not_the_addresses() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    let get = async |subject: &str| {
        ask(envoy.address(), "GET", "/orders/1").bearer(&demo::token(subject, 600)).send().await
    };
    for _ in 0..10 {
        assert_eq!(get("bob").await.status, 200);
    }
    // One comes back in a second, and a busy machine may take that long.
    let mut limited = get("bob").await;
    for _ in 0..100 {
        if limited.status == 200 {
            limited = get("bob").await;
        }
    }
    assert_eq!((limited.status, limited.reason().as_str()), (429, "rate_limited"));
    let other = get("ann").await;
    assert_eq!(other.status, 200);
    assert!(other.header("ratelimit").starts_with("\"per-user\";r=9"), "{:?}", other.headers);
    envoy.wait_for_log("subject=bob").await;
    envoy.wait_for_log("jwt-auth=allow;;orders;").await;
}

/// Refused by rebac: the upstream never sees it, the second limiter does not count it, metrics and the log say why.
#[tokio::test]
async fn who_may_not_see_a_document_is_refused_between_the_token_and_the_limit() {
    let upstream = Upstream::start().await;
    let envoy = start(&upstream).await;
    let get = async |subject: &str, path: &str| {
        ask(envoy.address(), "GET", path).bearer(&demo::token(subject, 600)).send().await
    };
    assert_eq!(get("ann", "/documents/roadmap").await.status, 200);
    assert_eq!(get("carol", "/documents/roadmap").await.status, 200);
    let refused = get("bob", "/documents/roadmap").await;
    assert_eq!((refused.status, refused.reason().as_str()), (403, "relation_denied"));
    assert_eq!(get("ann", "/documents/other").await.status, 403);
    let nobody = ask(envoy.address(), "GET", "/documents/roadmap").send().await;
    assert_eq!((nobody.status, nobody.reason().as_str()), (401, "token_missing"), "jwt-auth asks first");
    assert_eq!(get("bob", "/orders/1").await.status, 200, "what is no document is not rebac's");
    envoy
        .wait_until("the refusals counted by route and by rule", async || {
            let text = envoy.prometheus().await;
            let counted = |name: &str, labels: &[&str]| {
                text.lines().any(|l| l.starts_with(name) && labels.iter().all(|label| l.contains(label)))
            };
            counted(
                "portcullis_requests_total{",
                &["route=\"/documents/{id}\"", "reason=\"relation_denied\""],
            ) && counted(
                "portcullis_decisions_total{",
                &["plugin=\"rebac\"", "rule=\"documents\"", "outcome=\"deny\""],
            )
        })
        .await;
}
