//! metrics in a real Envoy: what Prometheus sees.

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::tokens::Signer;
use portcullis_tests::upstream::Upstream;
use serde_json::json;

fn metrics() -> Plugin {
    Plugin::new("metrics", json!({"routes": ["/health", "/documents/{id}"]}))
}

fn jwt_auth() -> Plugin {
    Plugin::new(
        "jwt-auth",
        json!({
            "providers": {"corp": {
                "issuer": "https://id.test", "audiences": "any", "algorithms": ["ES256"],
                "keys": {"jwks": {"keys": [Signer::p256("ec").jwk()]}}
            }},
            "rules": [
                {"match": {"path": "/health"}, "require": "none"},
                {"match": {"path": "/documents/{id}"}, "require": {"any": ["corp"]}}
            ],
            "unmatched": "allow"
        }),
    )
}

fn series(route: &str, code: u16, reason: &str) -> String {
    format!(
        "portcullis_requests_total{{plugin=\"metrics\",route=\"{route}\",code=\"{code}\",reason=\"{reason}\"}}"
    )
}

#[tokio::test]
async fn every_request_is_counted_once_wherever_the_filter_stands() {
    for first in [true, false] {
        let upstream = Upstream::start().await;
        let (listener, log) = (Listener::new("l"), "%FILTER_STATE(wasm.portcullis.metrics.route:PLAIN)%");
        let listener = listener.access_log(&format!("route={log}"));
        let listener = if first {
            listener.plugin(&metrics()).plugin(&jwt_auth())
        } else {
            listener.plugin(&jwt_auth()).plugin(&metrics())
        };
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        for (path, status) in [
            ("/health", "200"),
            ("/health", "503"),
            ("/documents/7", "200"),
            ("/documents/8", "200"),
            ("/other", "404"),
        ] {
            ask(envoy.address(), "GET", path).header("x-answer-status", status).send().await;
        }
        for (series, want) in [
            (series("/health", 200, ""), 1.0),
            (series("/health", 503, ""), 1.0),
            (series("/documents/{id}", 401, "token_missing"), 2.0),
            (series("_unmatched", 404, ""), 1.0),
            (
                "portcullis_request_duration_milliseconds_count{plugin=\"metrics\",route=\"/health\"}".into(),
                2.0,
            ),
        ] {
            envoy
                .wait_until(&format!("{series} {want}, first in the chain: {first}"), async || {
                    envoy.metric(&series).await == Some(want)
                })
                .await;
        }
        let text = envoy.prometheus().await;
        let bounds = text
            .lines()
            .filter(|l| {
                l.starts_with(
                    "portcullis_request_duration_milliseconds_bucket{plugin=\"metrics\",route=\"/health\"",
                )
            })
            .count();
        assert_eq!(bounds, 15, "OpenTelemetry's fourteen bounds, and infinity");
        envoy.wait_for_log("route=/documents/{id}").await;
    }
}

#[tokio::test]
async fn no_name_of_ours_is_left_with_its_labels_in_it() {
    let upstream = Upstream::start().await;
    let limit =
        Plugin::new("rate-limit", json!({"limits": [{"name": "l", "key": ["everyone"], "rate": "1/hour"}]}));
    let listener = Listener::new("l").plugin(&metrics()).plugin(&limit).plugin(&jwt_auth());
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    for _ in 0..2 {
        ask(envoy.address(), "GET", "/documents/1").send().await;
    }
    let text = envoy.prometheus().await;
    let ours: Vec<&str> = text.lines().filter(|l| l.starts_with("portcullis_")).collect();
    assert!(ours.len() > 10, "{text}");
    for line in ours {
        let name = line.split('{').next().unwrap();
        assert!(!name.contains("___"), "a label in the name: {line}");
    }
}
