//! An engine outside the filter, in a real Envoy with one worker and with four: what becomes of requests when it answers, and when it
//! does what no engine should.

use std::time::Duration;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{Response, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::key_server::{Answer, KeyServer};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

const CHECK: &str = "/stores/01JF3ZK8W6X2Q9V5T7B4N1M0PC/check";
const BATCH: &str = "/stores/01JF3ZK8W6X2Q9V5T7B4N1M0PC/batch-check";

struct Gate {
    envoy: Envoy,
    engine: KeyServer,
    _upstream: Upstream,
}

impl Gate {
    async fn start(workers: u32, calls: Value) -> Gate {
        Gate::start_with(workers, calls, json!({"token": {"value": "hush"}})).await
    }

    async fn start_with(workers: u32, calls: Value, credentials: Value) -> Gate {
        let (engine, upstream) = (KeyServer::start().await, Upstream::start().await);
        let check = |relation: &str| {
            json!({
                "subject": "user:{header.x-user}", "from_client": true,
                "relation": relation, "object": "document:{path.id}"
            })
        };
        let mut config = json!({
            "engine": {"openfga": {
                "cluster": "keys",
                "store": "01JF3ZK8W6X2Q9V5T7B4N1M0PC",
                "model": "01JF3ZK8W6X2Q9V5T7B4N1M0PD",
                "calls": calls,
            }},
            "rules": [
                {"match": {"path": "/open/{id}"}, "on_error": "allow", "checks": {"all": [check("viewer")]}},
                {"match": {"path": "/documents/{id}"}, "checks": {"all": [check("viewer")]}},
                {"match": {"path": "/both/{id}"}, "checks": {"all": [check("viewer"), check("editor")]}},
            ],
            "unmatched": "deny",
        });
        let engine_of = config["engine"]["openfga"].as_object_mut().unwrap();
        engine_of.extend(credentials.as_object().unwrap().clone());
        let plugin = Plugin::new("rebac", config);
        let mut config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
        config["static_resources"]["clusters"].as_array_mut().unwrap().push(engine.cluster());
        let options = Options { workers, ..Options::default() };
        Gate { envoy: Envoy::start_with(&config, &options).await, engine, _upstream: upstream }
    }

    async fn knock(&self, path: &str) -> Response {
        ask(self.envoy.address(), "GET", path).header("x-user", "ann").send().await
    }

    fn says(&self, answer: Answer) {
        self.engine.set(CHECK, answer);
    }
}

fn allowed(yes: bool) -> Answer {
    Answer::Json(json!({"allowed": yes, "resolution": ""}), 0)
}

#[tokio::test]
async fn an_answer_decides_and_is_remembered_by_each_worker() {
    for workers in [1, 4] {
        let gate = Gate::start(workers, json!({"timeout": "5s"})).await;
        gate.says(allowed(true));
        gate.engine.set(
            BATCH,
            Answer::Json(json!({"result": {"0": {"allowed": true}, "1": {"allowed": false}}}), 0),
        );
        for _ in 0..24 {
            assert_eq!(gate.knock("/documents/1").await.status, 200);
        }
        let asked = gate.engine.fetches(CHECK);
        assert!(
            (1..=usize::try_from(workers).unwrap()).contains(&asked),
            "{asked} calls of {workers} workers"
        );
        let refused = gate.knock("/both/2").await;
        assert_eq!((refused.status, gate.engine.fetches(BATCH)), (403, 1), "{}", refused.text());
        let metrics = gate.envoy.prometheus().await;
        for series in [
            "portcullis_rebac_checks_total{plugin=\"rebac\",source=\"cache\"}",
            "portcullis_rebac_checks_total{plugin=\"rebac\",source=\"engine\"}",
            "portcullis_rebac_batched_checks_total{plugin=\"rebac\"}",
        ] {
            assert!(metrics.contains(series), "{series}\n{metrics}");
        }
        assert!(!gate.envoy.log().contains("hush"));
    }
}

#[tokio::test]
async fn whatever_the_engine_does_nobody_passes_who_was_not_meant_to() {
    for workers in [1, 4] {
        let calls = |timeout: &str| json!({"timeout": timeout, "retries": 0, "failures": 1000});
        // One is impatient, for an engine that says nothing; the other would wait for whatever is said.
        let (gate, hasty) =
            (Gate::start(workers, calls("10s")).await, Gate::start(workers, calls("300ms")).await);
        for (n, (answer, status)) in [
            (Answer::Status(500), 503),
            (Answer::Status(401), 503),
            (Answer::Status(403), 503),
            (Answer::Status(404), 500),
            (Answer::Text("<html>Sign in</html>".to_owned()), 503),
            (Answer::Text(r#"{"allowed":true"#.to_owned()), 503),
            (Answer::Json(json!({"allowed": "true"}), 0), 503),
            (Answer::Json(json!({}), 0), 503),
            (Answer::Long(4 << 20), 503),
            (Answer::BreaksOff, 503),
            (Answer::Hangs, 503),
        ]
        .into_iter()
        .enumerate()
        {
            let gate = if matches!(answer, Answer::Hangs) { &hasty } else { &gate };
            gate.says(answer.clone());
            let refused = gate.knock(&format!("/documents/{n}")).await;
            assert_eq!(refused.status, status, "{answer:?}: {}", refused.text());
            // What was written to pass while the engine is away passes then, and not when it says no to the gateway itself.
            let of_operator = matches!(answer, Answer::Status(401 | 403 | 404));
            let open = gate.knock(&format!("/open/{n}")).await.status;
            assert_eq!(open, if of_operator { status } else { 200 }, "{answer:?}");
        }
        gate.says(allowed(false));
        assert_eq!(gate.knock("/documents/1").await.status, 403);
        assert_eq!(gate.knock("/open/1").await.status, 403);
        gate.says(allowed(true));
        assert_eq!(gate.knock("/documents/other").await.status, 200);
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_and_comes_back_is_asked_again() {
    let gate =
        Gate::start(1, json!({"timeout": "500ms", "retries": 0, "failures": 2, "pause": "50ms"})).await;
    gate.says(Answer::Status(503));
    for n in 0..4 {
        let refused = gate.knock(&format!("/documents/{n}")).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1".to_owned()));
    }
    for cause in ["unreachable", "paused"] {
        let series = format!("portcullis_rebac_engine_errors_total{{plugin=\"rebac\",cause=\"{cause}\"}}");
        assert!(gate.envoy.metric(&series).await.is_some_and(|n| n > 0.0), "{series}");
    }
    gate.says(allowed(true));
    gate.envoy
        .wait_until("the engine is asked again", async || gate.knock("/documents/1").await.status == 200)
        .await;
}

#[tokio::test]
async fn ten_that_wait_survive_the_cancelling_of_the_first() {
    let gate = Gate::start(1, json!({"timeout": "10s", "retries": 0})).await;
    gate.says(Answer::Hangs);
    let knock = || {
        let request = ask(gate.envoy.address(), "GET", "/documents/1").header("x-user", "ann");
        tokio::spawn(async move { request.send().await.status })
    };
    let first = knock();
    gate.envoy.wait_until("the first asks", async || gate.engine.fetches(CHECK) == 1).await;
    let others: Vec<_> = (0..10).map(|_| knock()).collect();
    let active = "envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix=\"l\"}";
    gate.envoy.wait_until("all wait", async || gate.envoy.metric(active).await == Some(11.0)).await;
    assert_eq!(gate.engine.fetches(CHECK), 1, "one asks for all");
    gate.says(Answer::Slow(json!({"allowed": true}), Duration::from_millis(100)));
    first.abort();
    for other in others {
        assert_eq!(other.await.unwrap(), 200);
    }
    assert_eq!(gate.engine.fetches(CHECK), 2, "and then the plugin itself");
}

/// A lost answer would last as long as the timeout, and end in 503.
#[tokio::test]
async fn an_engine_that_fails_once_is_asked_again_and_its_answer_counts() {
    for workers in [1, 4] {
        let gate = Gate::start(workers, json!({"timeout": "10s", "retries": 1, "failures": 1000})).await;
        for n in 1..9 {
            gate.engine.set_once(CHECK, Answer::Status(503), allowed(true));
            let answer = gate.knock(&format!("/documents/{n}")).await;
            assert_eq!((answer.status, gate.engine.fetches(CHECK)), (200, 2 * n), "{}", answer.text());
        }
    }
}

/// Its check is asked for in the callback that brings the token.
#[tokio::test]
async fn the_request_before_the_first_token_is_answered() {
    for workers in [1, 4] {
        let token = json!({"client_credentials": {
            "cluster": "keys", "url": "http://id.test/token", "client_id": "gate", "client_secret": {"value": "hush"}
        }});
        let gate = Gate::start_with(workers, json!({"timeout": "10s", "retries": 0}), token).await;
        let token = json!({"access_token": "abc", "token_type": "Bearer", "expires_in": 3600});
        gate.engine.set("/token", Answer::Slow(token, Duration::from_millis(200)));
        gate.says(allowed(true));
        let answer = gate.knock("/documents/1").await;
        assert_eq!((answer.status, gate.engine.fetches(CHECK)), (200, 1), "{}", answer.text());
    }
}
