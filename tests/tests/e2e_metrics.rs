//! metrics in a real Envoy: what Prometheus sees.

use portcullis_tests::bootstrap::{Listener, Plugin, WatchedListener, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::prometheus::{self, Sample, sum};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

fn metrics(more: Value) -> Plugin {
    let mut config = json!({"routes": ["/health", "/documents/{id}"]});
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    Plugin::new("metrics", config)
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
                {"name": "docs", "match": {"path": "/documents/{id}"}, "require": {"any": ["corp"]}}
            ],
            "unmatched": "allow",
            "publish": ["claim.azp", "claim.plan"]
        }),
    )
}

fn bearer(azp: &str, plan: &str) -> String {
    let mut claims = tokens::claims();
    claims["azp"] = azp.into();
    claims["plan"] = plan.into();
    Signer::p256("ec").token("ES256", &claims)
}

async fn samples(envoy: &Envoy) -> Vec<Sample> {
    prometheus::parse(&envoy.prometheus().await)
}

/// Waits until a metric with these labels adds up to `want`.
async fn is(envoy: &Envoy, metric: &str, labels: &[(&str, &str)], want: f64) {
    let what = format!("{metric} {labels:?} {want}");
    envoy.wait_until(&what, async || sum(&samples(envoy).await, metric, labels) == want).await;
}

#[tokio::test]
async fn every_request_is_counted_once_wherever_the_filter_stands() {
    for first in [true, false] {
        let upstream = Upstream::start().await;
        let (listener, log) = (Listener::new("l"), "%FILTER_STATE(wasm.portcullis.metrics.route:PLAIN)%");
        let listener = listener.access_log(&format!("route={log}"));
        let (metrics, jwt_auth) = (metrics(json!({})), jwt_auth());
        let order = if first { [&metrics, &jwt_auth] } else { [&jwt_auth, &metrics] };
        let listener = order.into_iter().fold(listener, Listener::plugin);
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        for (path, status) in [
            ("/health", "200"),
            ("/health", "503"),
            ("/documents/7", "200"),
            ("/documents/8", "200"),
            ("/other", "404"),
        ] {
            ask(envoy.address(), "POST", path).header("x-answer-status", status).body("12345").send().await;
        }
        for (route, code, source, reason, want) in [
            ("/health", "200", "upstream", "", 1.0),
            ("/health", "503", "upstream", "", 1.0),
            ("/documents/{id}", "401", "gateway", "token_missing", 2.0),
            ("_unmatched", "404", "upstream", "", 1.0),
        ] {
            let labels = [
                ("plugin", "metrics"),
                ("route", route),
                ("method", "POST"),
                ("code", code),
                ("grpc", ""),
                ("source", source),
                ("reason", reason),
            ];
            is(&envoy, "portcullis_requests_total", &labels, want).await;
        }
        let health = [("route", "/health")];
        is(&envoy, "portcullis_requests_total", &[], 5.0).await;
        is(&envoy, "portcullis_request_bytes_total", &health, 10.0).await;
        is(&envoy, "portcullis_request_duration_milliseconds_count", &health, 2.0).await;
        is(&envoy, "portcullis_upstream_duration_milliseconds_count", &health, 2.0).await;
        is(&envoy, "portcullis_upstream_duration_milliseconds_count", &[("route", "/documents/{id}")], 0.0)
            .await;
        is(&envoy, "portcullis_gateway_overhead_microseconds_count", &[], 5.0).await;
        let samples = samples(&envoy).await;
        assert!(sum(&samples, "portcullis_response_bytes_total", &health) > 100.0);
        for (metric, bounds) in [
            ("portcullis_request_duration_milliseconds", 15),
            ("portcullis_gateway_overhead_microseconds", 15),
        ] {
            let bucket = format!("{metric}_bucket");
            let found = samples.iter().filter(|s| s.is(&bucket, &health)).count();
            assert_eq!(found, bounds, "fourteen bounds, and infinity");
        }
        envoy.wait_for_log("route=/documents/{id}").await;
        assert!(!envoy.log().contains("one by one"), "the expression was not evaluated");
    }
}

#[tokio::test]
async fn verdicts_consumers_and_promises_are_counted() {
    let upstream = Upstream::start().await;
    let limit = Plugin::new(
        "rate-limit",
        json!({"name": "limit", "limits": [{"name": "l", "key": ["{subject}"], "rate": "3/hour", "missing": "skip"}]}),
    );
    let metrics = metrics(json!({
        "plugins": ["jwt-auth", "limit"],
        "consumers": {"from": "claim.azp", "allow": ["web"], "tier": {"from": "claim.plan", "allow": ["gold"]}},
        "slos": [{"route": "/documents/{id}", "availability": "99.9%", "latency": {"under": "10s", "objective": "99%"}, "apdex": "10s"}]
    }));
    let listener = Listener::new("l").plugin(&metrics).plugin(&jwt_auth()).plugin(&limit);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    // The promise is known before the first request, and nothing is counted yet.
    is(&envoy, "portcullis_slo_objective_ppm", &[("objective", "availability")], 999_000.0).await;
    is(&envoy, "portcullis_slo_threshold_milliseconds", &[], 10_000.0).await;
    assert_eq!(samples(&envoy).await.iter().filter(|s| s.name == "portcullis_slo_events_total").count(), 4);

    let get = async |token: &str, status: &str| {
        let request =
            ask(envoy.address(), "GET", "/documents/1").bearer(token).header("x-answer-status", status);
        request.send().await.status
    };
    let (web, mobile) = (bearer("web", "gold"), bearer("mobile", "free"));
    assert_eq!(get(&web, "200").await, 200);
    assert_eq!(get(&web, "500").await, 500);
    assert_eq!(get(&mobile, "200").await, 200);
    assert_eq!(get(&mobile, "200").await, 429);
    assert_eq!(get("nonsense", "200").await, 401);

    for (metric, labels, want) in [
        (
            "portcullis_plugin_decisions_total",
            &[("sibling", "jwt-auth"), ("outcome", "allow"), ("reason", "")][..],
            4.0,
        ),
        ("portcullis_plugin_decisions_total", &[("sibling", "jwt-auth"), ("reason", "token_malformed")], 1.0),
        ("portcullis_plugin_decisions_total", &[("sibling", "limit"), ("outcome", "allow")], 3.0),
        (
            "portcullis_plugin_decisions_total",
            &[("sibling", "limit"), ("outcome", "deny"), ("reason", "rate_limited")],
            1.0,
        ),
        ("portcullis_plugin_duration_microseconds_count", &[("sibling", "jwt-auth")], 5.0),
        ("portcullis_plugin_duration_microseconds_count", &[("sibling", "limit")], 4.0),
        (
            "portcullis_consumer_requests_total",
            &[("consumer", "web"), ("tier", "gold"), ("code", "200")],
            1.0,
        ),
        (
            "portcullis_consumer_requests_total",
            &[("consumer", "web"), ("tier", "gold"), ("code", "500")],
            1.0,
        ),
        (
            "portcullis_consumer_requests_total",
            &[("consumer", "__other__"), ("tier", "__other__"), ("code", "429")],
            1.0,
        ),
        ("portcullis_consumer_requests_total", &[("consumer", "_anonymous"), ("tier", "_anonymous")], 1.0),
        ("portcullis_consumer_duration_milliseconds_count", &[("consumer", "web")], 2.0),
        ("portcullis_slo_events_total", &[("objective", "availability"), ("result", "good")], 4.0),
        ("portcullis_slo_events_total", &[("objective", "availability"), ("result", "bad")], 1.0),
        ("portcullis_slo_events_total", &[("objective", "latency"), ("result", "good")], 4.0),
        ("portcullis_slo_events_total", &[("objective", "latency"), ("result", "bad")], 0.0),
        ("portcullis_apdex_total", &[("zone", "satisfied")], 4.0),
        ("portcullis_apdex_total", &[("zone", "frustrated")], 1.0),
    ] {
        is(&envoy, metric, labels, want).await;
    }
}

#[tokio::test]
async fn grpc_calls_have_a_method_and_a_status() {
    let upstream = Upstream::start().await;
    let metrics = metrics(json!({"grpc_methods": ["orders.v1.Orders/Get"]}));
    let everything = json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream-h2"}}]);
    let listener = Listener::new("l").routes(everything).plugin(&metrics);
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    for path in ["/orders.v1.Orders/Get", "/orders.v1.Orders/Get", "/orders.v1.Orders/Made-up"] {
        assert_eq!(ask(envoy.address(), "POST", path).grpc(b"hi").send().await.grpc_status(), Some(0));
    }
    ask(envoy.address(), "POST", "/orders.v1.Orders/Get").body("no gRPC").send().await;
    let known = [("procedure", "orders.v1.Orders/Get"), ("grpc", "0")];
    is(&envoy, "portcullis_grpc_calls_total", &known, 2.0).await;
    is(&envoy, "portcullis_grpc_calls_total", &[("procedure", "_OTHER")], 1.0).await;
    is(&envoy, "portcullis_grpc_call_duration_milliseconds_count", &[], 3.0).await;
    is(&envoy, "portcullis_requests_total", &[("grpc", "0")], 3.0).await;
    is(&envoy, "portcullis_requests_total", &[("grpc", "")], 1.0).await;
}

#[tokio::test]
async fn envoys_route_name_stands_in_where_no_template_matches() {
    let upstream = Upstream::start().await;
    let routes = json!([
        {"name": "reports", "match": {"prefix": "/reports"}, "route": {"cluster": "upstream"}},
        {"name": "cache.of.old", "match": {"prefix": "/old"}, "route": {"cluster": "upstream"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    ]);
    let listener = Listener::new("l").routes(routes).plugin(&metrics(json!({"envoy_route": true})));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    for path in ["/reports/1", "/reports/2", "/old", "/health", "/none"] {
        ask(envoy.address(), "GET", path).send().await;
    }
    for (route, want) in [("reports", 2.0), ("cache_of_old", 1.0), ("/health", 1.0), ("_unmatched", 1.0)] {
        is(&envoy, "portcullis_requests_total", &[("route", route)], want).await;
    }
}

#[tokio::test]
async fn requests_in_flight_are_counted_and_taken_back() {
    let upstream = Upstream::start().await;
    let envoy =
        Envoy::start(&bootstrap(upstream.address(), &[Listener::new("l").plugin(&metrics(json!({})))])).await;
    let ask = || ask(envoy.address(), "GET", "/health").header("x-answer-hold", "1").send();
    let held = [tokio::spawn(ask()), tokio::spawn(ask()), tokio::spawn(ask())];
    is(&envoy, "portcullis_requests_in_flight", &[], 3.0).await;
    // A client that leaves takes its request with it.
    let [left, ..] = &held;
    left.abort();
    is(&envoy, "portcullis_requests_in_flight", &[], 2.0).await;
    upstream.release();
    is(&envoy, "portcullis_requests_in_flight", &[], 0.0).await;
    is(&envoy, "portcullis_requests_total", &[("source", "client"), ("reason", "client_gone")], 1.0).await;
}

#[tokio::test]
async fn an_update_of_the_configuration_loses_no_count_and_leaves_nothing_in_flight() {
    let upstream = Upstream::start().await;
    let with = |config: &Value| {
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "60s"}}]);
        bootstrap(upstream.address(), &[Listener::new("l").routes(routes).plugin(&metrics(config.clone()))])
    };
    let first = json!({});
    let (watched, config) = WatchedListener::new(with(&first));
    let options = Options { workers: 4, ..Options::default() };
    let envoy = Envoy::start_with(&config, &options).await;
    let offer = async |times: usize| {
        let to = envoy.address();
        let ask = |_| tokio::spawn(async move { ask(to, "GET", "/health").send().await.status });
        for task in (0..times).map(ask).collect::<Vec<_>>() {
            assert_eq!(task.await.unwrap(), 200);
        }
    };
    let hold = || tokio::spawn(ask(envoy.address(), "GET", "/health").header("x-answer-hold", "1").send());
    offer(50).await;
    let held = [hold(), hold(), hold()];
    is(&envoy, "portcullis_requests_in_flight", &[], 3.0).await;
    is(&envoy, "portcullis_requests_total", &[], 50.0).await;
    // No scrape may ever show less than one before it, whichever configuration counted.
    let last = std::cell::Cell::new(0.0_f64);
    let never_less = async || {
        let now = sum(&samples(&envoy).await, "portcullis_requests_total", &[]);
        assert!(now >= last.replace(now), "{now} after {}", last.get());
        now
    };
    never_less().await;
    for (n, config) in
        [json!({"slos": [{"route": "/health", "availability": "99%"}]}), json!({"log": {"failures": true}})]
            .iter()
            .enumerate()
    {
        watched.put(&with(config));
        let ((), ()) = tokio::join!(
            offer(50),
            envoy.wait_until("the listener is updated", async || {
                never_less().await;
                let updated = format!("envoy_listener_manager_listener_in_place_updated{{}} {}", n + 1);
                envoy.prometheus().await.lines().any(|l| l == updated)
            })
        );
        offer(50).await;
    }
    envoy.wait_until("all are counted", async || never_less().await == 250.0).await;
    is(&envoy, "portcullis_requests_in_flight", &[], 3.0).await;
    upstream.release();
    for held in held {
        assert_eq!(held.await.unwrap().status, 200);
    }
    is(&envoy, "portcullis_requests_total", &[], 253.0).await;
    is(&envoy, "portcullis_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn slow_and_failed_requests_leave_a_line() {
    let upstream = Upstream::start().await;
    let metrics = metrics(json!({"log": {"slow": "1ms", "failures": true}}));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[Listener::new("l").plugin(&metrics)])).await;
    ask(envoy.address(), "GET", "/health?secret=1")
        .header("x-answer-status", "503")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .send()
        .await;
    envoy
        .wait_for_log("metrics: failed: route=/health method=GET code=503 source=upstream reason= total_ms=")
        .await;
    let log = envoy.log();
    assert!(log.contains("trace=4bf92f3577b34da6a3ce929d0e0e4736") && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn no_name_of_ours_is_left_with_its_labels_in_it() {
    let upstream = Upstream::start().await;
    let limit =
        Plugin::new("rate-limit", json!({"limits": [{"name": "l", "key": ["everyone"], "rate": "1/hour"}]}));
    let all = metrics(json!({
        "plugins": ["jwt-auth"], "grpc_methods": ["a.B/C"], "consumers": {"from": "subject", "top": 3},
        "slos": [{"route": "/health", "availability": "99%", "apdex": "1s"}]
    }));
    let listener = Listener::new("l").plugin(&all).plugin(&limit).plugin(&jwt_auth());
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
