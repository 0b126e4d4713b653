//! Tuples that rebac fetches, in a real Envoy with one worker and with four; and what it makes of a token's claims.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{Response, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::gate::config_with;
use portcullis_tests::key_server::{Answer, KeyServer};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user]
type document
  relations
    define viewer: [user, group#member]
    define owner: [user]
";

/// An Envoy whose rebac fetches its tuples from a server.
struct Fetching {
    envoy: Envoy,
    server: KeyServer,
    _upstream: Upstream,
}

impl Fetching {
    async fn start(server: KeyServer, workers: u32, more: Value) -> Fetching {
        Fetching::of("rebac", server, workers, more).await
    }

    async fn of(module: &str, server: KeyServer, workers: u32, more: Value) -> Fetching {
        let upstream = Upstream::start().await;
        let mut tuples = json!({
            "url": server.url("/tuples"),
            "clusters": server.clusters(),
            "refresh": "1s",
            "timeout": "10s",
            "wait": "40s",
        });
        for (name, value) in more.as_object().unwrap() {
            tuples[name] = value.clone();
        }
        let check = json!({"all": [{
            "subject": "user:{header.x-user}", "from_client": true, "relation": "viewer", "object": "document:{path.id}"
        }]});
        let config = json!({
            "engine": {"embedded": {"model": MODEL, "tuples": tuples}},
            "rules": [
                {"match": {"path": "/open/{id}"}, "on_error": "allow", "checks": check},
                {"match": {"path": "/documents/{id}"}, "checks": check},
            ],
            "unmatched": "deny",
        });
        let plugin = Plugin::new(module, config);
        let mut config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
        config["static_resources"]["clusters"].as_array_mut().unwrap().push(server.cluster());
        let options = Options { workers, ..Options::default() };
        Fetching { envoy: Envoy::start_with(&config, &options).await, server, _upstream: upstream }
    }

    async fn knock(&self, user: &str, path: &str) -> Response {
        ask(self.envoy.address(), "GET", path).header("x-user", user).send().await
    }

    /// Several connections, so that every worker has its share.
    async fn all_answer(&self, user: &str, path: &str, status: u16) {
        for _ in 0..16 {
            let answer = self.knock(user, path).await;
            assert_eq!(answer.status, status, "{user} {path}: {}", answer.text());
        }
    }

    /// Waits until every worker that is asked says so.
    async fn until_all(&self, user: &str, path: &str, status: u16) {
        let answered = async || self.knock(user, path).await.status == status;
        self.envoy.wait_until_all(&format!("{user} {path} {status}"), answered).await;
    }

    async fn fetched(&self, outcome: &str) -> f64 {
        let series =
            format!("portcullis_rebac_tuple_fetches_total{{plugin=\"rebac\",outcome=\"{outcome}\"}}");
        self.envoy.metric(&series).await.unwrap_or_default()
    }
}

fn has_series(metrics: &str, labels: &[&str]) -> bool {
    metrics
        .lines()
        .any(|line| line.starts_with("portcullis_decisions_total") && labels.iter().all(|l| line.contains(l)))
}

const ANN: &str = "document:1#viewer@user:ann\n";

fn text(text: &str) -> Answer {
    Answer::Text(text.to_owned())
}

#[tokio::test]
async fn a_document_that_has_not_changed_is_not_sent_again() {
    let server = KeyServer::start().await;
    server.set("/tuples", Answer::Tagged(json!([ANN.trim()]), "\"one\""));
    let gate = Fetching::start(server, 4, json!({})).await;
    gate.all_answer("ann", "/documents/1", 200).await;
    gate.envoy.wait_until("304", async || gate.server.unchanged() >= 2).await;
    gate.all_answer("ann", "/documents/1", 200).await;
    gate.server.set("/tuples", Answer::Tagged(json!(["document:1#viewer@user:bob"]), "\"two\""));
    gate.until_all("bob", "/documents/1", 200).await;
    gate.until_all("ann", "/documents/1", 403).await;
    assert_eq!(gate.fetched("new").await, 2.0);
}

#[tokio::test]
async fn fetched_tuples_decide_and_another_document_takes_their_place_as_a_whole() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        let first = json!([ANN.trim_end()]);
        server.set("/tuples", Answer::Slow(first, Duration::from_secs(2)));
        let gate = Fetching::start(server, workers, json!({})).await;
        // The first of these come before there is any tuple.
        gate.all_answer("ann", "/documents/1", 200).await;
        gate.all_answer("bob", "/documents/1", 403).await;
        let other = json!([
            {"user": "group:eng#member", "relation": "viewer", "object": "document:1"},
            "group:eng#member@user:bob",
        ]);
        gate.server.set("/tuples", Answer::Json(other, 0));
        gate.until_all("bob", "/documents/1", 200).await;
        gate.until_all("ann", "/documents/1", 403).await;
        let metrics = gate.envoy.prometheus().await;
        for series in [
            "portcullis_rebac_tuples{plugin=\"rebac\"} 2",
            "portcullis_rebac_model_entries{plugin=\"rebac\",content=\"relations\"} 3",
            "portcullis_rebac_tuples_age_seconds{plugin=\"rebac\"}",
            "portcullis_rebac_waits_total{plugin=\"rebac\",outcome=\"woken\"}",
        ] {
            assert!(metrics.contains(series), "{series}\n{metrics}");
        }
        assert_eq!(gate.fetched("new").await, 2.0, "one for all {workers} workers");
    }
}

#[tokio::test]
async fn a_vm_that_traps_is_followed_by_one_that_finds_the_tuples_that_are_there() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/tuples", text(ANN));
        let gate = Fetching::of("rebac-trap", server, workers, json!({"refresh": "1h"})).await;
        gate.all_answer("ann", "/documents/1", 200).await;
        gate.server.set("/tuples", Answer::Status(500));
        let trapping = ask(gate.envoy.address(), "GET", "/documents/1").header("x-user", "ann");
        let trap = trapping.header("x-test-trap", "1").send().await;
        assert_eq!(
            (trap.status, trap.reason().as_str()),
            (503, ""),
            "{workers} workers: the VM did not trap"
        );
        // Whichever of these finds the worker without a VM has it made.
        gate.until_all("ann", "/documents/1", 200).await;
        gate.until_all("bob", "/documents/1", 403).await;
        assert_eq!(gate.server.fetches("/tuples"), 1, "{workers} workers");
    }
}

#[tokio::test]
async fn whatever_the_server_does_the_last_good_tuples_serve_on() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/tuples", text(ANN));
        let gate = Fetching::start(server, workers, json!({"max_size": "64KiB", "timeout": "2s"})).await;
        gate.all_answer("ann", "/documents/1", 200).await;
        let faults = [
            ("status", Answer::Status(500)),
            ("invalid", text("<html>Sign in</html>\n")),
            ("invalid", text("document:1#viewer@user:bob\ndocument:1#viewer@us")),
            ("invalid", text("document:1#viewer@user:bob\ndocument:1#nobody@user:bob\n")),
            (
                "invalid",
                Answer::Json(json!({"tuples": ["document:1#viewer@user:bob"], "continuation_token": "x"}), 0),
            ),
            ("invalid", text("")),
            ("too_large", Answer::Text("document:1#viewer@user:bob\n".repeat(10_000))),
            ("reset", Answer::BreaksOff),
            ("timeout", Answer::Hangs),
        ];
        for (outcome, fault) in faults {
            let before = gate.fetched(outcome).await;
            gate.server.set("/tuples", fault.clone());
            gate.envoy.wait_until(outcome, async || gate.fetched(outcome).await > before).await;
            gate.all_answer("ann", "/documents/1", 200).await;
            gate.all_answer("bob", "/documents/1", 403).await;
            // Back to good, so that the next fault is not spaced out by this one.
            let good = gate.fetched("same").await;
            gate.server.set("/tuples", text(ANN));
            gate.envoy.wait_until("a good fetch", async || gate.fetched("same").await > good).await;
        }
        let log = gate.envoy.log();
        assert!(
            log.contains("tuples: tuple 2: document has no relation nobody; the last good ones serve on"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn after_the_stale_window_it_is_503_unless_errors_pass_and_then_all_is_well_again() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/tuples", text(ANN));
        let gate = Fetching::start(server, workers, json!({"stale": "2s", "wait": "0s"})).await;
        gate.until_all("ann", "/documents/1", 200).await;
        gate.server.set("/tuples", Answer::Status(500));
        gate.until_all("ann", "/documents/1", 503).await;
        let refused = gate.knock("bob", "/documents/1").await;
        assert_eq!(refused.reason(), "tuples_unavailable");
        assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|s| s >= 1));
        gate.until_all("bob", "/open/1", 200).await;
        assert_eq!(ask(gate.envoy.address(), "GET", "/open/1").send().await.reason(), "value_missing");
        let metrics = gate.envoy.prometheus().await;
        assert!(has_series(&metrics, &["outcome=\"error\"", "reason=\"tuples_unavailable\""]), "{metrics}");
        gate.server.set("/tuples", text(ANN));
        gate.until_all("ann", "/documents/1", 200).await;
        gate.until_all("bob", "/open/1", 403).await;
    }
}

/// A hundred thousand tuples, of which one has another user in every round.
fn many(round: usize) -> Answer {
    let mut text = String::with_capacity(4 << 20);
    for n in 0..100_000 {
        text.push_str(&format!("document:{n:07}#viewer@user:{:06}\n", n % 5000));
    }
    text.push_str(&format!("document:x#viewer@user:round-{round}\ndocument:x#viewer@user:ann\n"));
    Answer::Text(text)
}

#[tokio::test]
async fn a_reload_of_a_hundred_thousand_tuples_under_load_loses_no_request() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/tuples", many(0));
        let gate = Arc::new(Fetching::start(server, workers, json!({"timeout": "30s"})).await);
        gate.all_answer("ann", "/documents/x", 200).await;
        let over = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..8)
            .map(|n| {
                let (gate, over) = (Arc::clone(&gate), Arc::clone(&over));
                tokio::spawn(async move {
                    let mut sent = 0;
                    while !over.load(Ordering::SeqCst) {
                        let (user, status) = if n % 2 == 0 { ("ann", 200) } else { ("eve", 403) };
                        let answer = gate.knock(user, "/documents/x").await;
                        assert_eq!(answer.status, status, "{}", answer.text());
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        for round in 1..3 {
            gate.server.set("/tuples", many(round));
            gate.until_all(&format!("round-{round}"), "/documents/x", 200).await;
            gate.until_all(&format!("round-{}", round - 1), "/documents/x", 403).await;
        }
        over.store(true, Ordering::SeqCst);
        for task in load {
            assert!(task.await.unwrap() > 0);
        }
    }
}

/// An Envoy with jwt-auth in front of rebac, over groups in the token, and an endpoint for many questions.
async fn chain(mode: &str) -> (Envoy, Upstream) {
    let upstream = Upstream::start().await;
    let gate = Plugin::new("jwt-auth", config_with(&[("/publish", json!(["claim.groups"]))]));
    let own = json!([{"user": "user:{subject}", "relation": "member", "object": "group:{claim.groups}"}]);
    let rebac = Plugin::new(
        "rebac",
        json!({
            "mode": mode,
            "engine": {"embedded": {"model": MODEL, "tuples": ["document:1#viewer@group:eng#member", "document:2#owner@user:ann"]}},
            "rules": [{"match": {"path": "/documents/{id}"}, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}", "tuples": own}
            ]}}],
            "batch": {"path": "/.well-known/checks", "subject": "user:{subject}", "tuples": own},
            "decision_log": {"decisions": "all", "level": "warn"},
            "unmatched": "deny",
        }),
    );
    let listener = Listener::new("l").plugin(&gate).plugin(&rebac);
    (Envoy::start(&bootstrap(upstream.address(), &[listener])).await, upstream)
}

fn token(groups: &Value) -> String {
    let mut claims = tokens::claims();
    claims["groups"] = groups.clone();
    Signer::rsa("rsa").token("RS256", &claims)
}

#[tokio::test]
async fn groups_in_the_token_open_doors_and_buttons() {
    let (envoy, _upstream) = chain("enforce").await;
    let knock = async |groups: &Value, method: &str, path: &str| {
        ask(envoy.address(), method, path).bearer(&token(groups)).send().await
    };
    assert_eq!(knock(&json!(["ops", "eng"]), "GET", "/documents/1").await.status, 200);
    assert_eq!(knock(&json!(["ops"]), "GET", "/documents/1").await.reason(), "relation_denied");
    let many: Vec<String> = (0..101).map(|n| format!("g{n}")).collect();
    assert_eq!(knock(&json!(many), "GET", "/documents/1").await.reason(), "too_many_tuples");
    let path =
        "/.well-known/checks?check=viewer@document:1&check=owner@document:2&check=owner@document:1&check=x@y";
    let answer = knock(&json!(["eng"]), "GET", path).await;
    assert_eq!((answer.status, answer.header("cache-control").as_str()), (200, "no-store"));
    assert_eq!(
        serde_json::from_str::<Value>(&answer.text()).unwrap(),
        json!({"checks": [
            {"relation": "viewer", "object": "document:1", "allowed": true},
            {"relation": "owner", "object": "document:2", "allowed": true},
            {"relation": "owner", "object": "document:1", "allowed": false},
            {"error": "value_invalid"},
        ]})
    );
    let head = knock(&json!(["eng"]), "HEAD", path).await;
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    let post = knock(&json!(["eng"]), "POST", path).await;
    assert_eq!((post.status, post.header("allow").as_str()), (405, "GET, HEAD"));
    // Without a token nobody gets past jwt-auth.
    assert_eq!(ask(envoy.address(), "GET", path).send().await.reason(), "token_missing");
    let log = envoy.log();
    assert!(log.contains("rebac: decision: deny rule-0 relation_denied document:1#viewer@user\n"), "{log}");
    assert!(log.contains("rebac: decision: allow rule-0 - document:1#viewer@user\n"), "{log}");
    let metrics = envoy.prometheus().await;
    assert!(has_series(&metrics, &["rule=\"_batch\"", "outcome=\"allow\""]), "{metrics}");
    assert!(
        metrics.contains("portcullis_rebac_errors_total{plugin=\"rebac\",cause=\"tuples\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn in_shadow_doors_are_open_and_buttons_still_tell_the_truth() {
    let (envoy, _upstream) = chain("shadow").await;
    let token = token(&json!([]));
    assert_eq!(ask(envoy.address(), "GET", "/documents/1").bearer(&token).send().await.status, 200);
    let batch = "/.well-known/checks?check=viewer@document:1";
    let answer = ask(envoy.address(), "GET", batch).bearer(&token).send().await;
    assert!(answer.status == 200 && answer.text().contains("\"allowed\":false"), "{}", answer.text());
}
