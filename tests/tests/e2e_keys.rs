//! Key servers that rotate, hang and lie, behind jwt-auth in a real Envoy, with one worker and with four.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Version;
use portcullis_tests::bootstrap::{Listener, Plugin, WatchedListener, bootstrap};
use portcullis_tests::client::{Ask, Connection, Response, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::gate::config_with;
use portcullis_tests::key_server::{Answer, KeyServer};
use portcullis_tests::prometheus::{self, sum};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};
use tokio::time::Instant;

/// An Envoy whose jwt-auth fetches from a server.
struct Fetching {
    envoy: Envoy,
    server: KeyServer,
    _upstream: Upstream,
}

/// `keys` for this server: `/keys`, with times that fit a test.
fn keys(server: &KeyServer, more: Value) -> Value {
    let mut keys = json!({
        "jwks_url": server.url("/keys"),
        "clusters": server.clusters(),
        "min_fresh": "1s",
        "refetch_interval": "1s",
        "timeout": "10s",
        "wait": "40s"
    });
    for (name, value) in more.as_object().unwrap() {
        keys[name] = value.clone();
        if value.is_null() {
            keys.as_object_mut().unwrap().remove(name);
        }
    }
    keys
}

impl Fetching {
    async fn over(server: KeyServer, workers: u32) -> Fetching {
        let keys = keys(&server, json!({}));
        Fetching::start(server, workers, keys).await
    }

    async fn start(server: KeyServer, workers: u32, keys: Value) -> Fetching {
        Fetching::with(server, workers, &[("/providers/corp/keys", keys)]).await
    }

    async fn with(server: KeyServer, workers: u32, changes: &[(&str, Value)]) -> Fetching {
        Fetching::of("jwt-auth", server, workers, changes).await
    }

    /// With the module that traps for `x-test-trap`.
    async fn trapping(server: KeyServer, workers: u32, keys: Value) -> Fetching {
        Fetching::of("jwt-auth-trap", server, workers, &[("/providers/corp/keys", keys)]).await
    }

    async fn of(module: &str, server: KeyServer, workers: u32, changes: &[(&str, Value)]) -> Fetching {
        let upstream = Upstream::start().await;
        let plugin = Plugin::new(module, config_with(changes));
        let mut config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
        config["static_resources"]["clusters"].as_array_mut().unwrap().push(server.cluster());
        let options = Options { workers, ..Options::default() };
        Fetching { envoy: Envoy::start_with(&config, &options).await, server, _upstream: upstream }
    }

    fn request(&self) -> Ask {
        ask(self.envoy.address(), "GET", "/")
    }

    async fn knock(&self, token: &str) -> Response {
        self.request().bearer(token).send().await
    }

    /// Several connections, so that every worker has its share.
    async fn all_answer(&self, token: &str, status: u16) {
        for _ in 0..16 {
            let answer = self.knock(token).await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    }

    /// Waits until every worker answers so.
    async fn until_all(&self, token: &str, status: u16) {
        let answered = async || self.knock(token).await.status == status;
        self.envoy.wait_until_all(&status.to_string(), answered).await;
    }

    /// Counted where they arrive, there are as many fetches as the workers say they made, all told; one may be under way. Nobody
    /// stands still meanwhile, so those that arrived are counted before and after.
    async fn arrived_as_often_as_made(&self) {
        let arrived = || u32::try_from(self.server.fetches("/keys")).map(f64::from).unwrap();
        let before = arrived();
        let text = self.envoy.prometheus().await;
        let after = arrived();
        let samples = prometheus::parse(&text);
        let keys = [("provider", "corp"), ("content", "keys")];
        // Who was not reached was not asked.
        let unreached = [keys[0], keys[1], ("outcome", "unreachable")];
        let [all, unreached] =
            [&keys[..], &unreached[..]].map(|labels| sum(&samples, "portcullis_fetches_total", labels));
        let made = all - unreached;
        assert!(before <= made + 1.0 && made <= after, "{made} made, {before} to {after} arrived");
    }

    async fn fetched(&self, outcome: &str) -> f64 {
        let series = format!(
            "portcullis_fetches_total{{plugin=\"jwt-auth\",outcome=\"{outcome}\",provider=\"corp\",content=\"keys\"}}"
        );
        self.envoy.metric(&series).await.unwrap_or_default()
    }
}

fn rsa() -> String {
    Signer::rsa("rsa").token("RS256", &tokens::claims())
}

fn other() -> String {
    Signer::other_rsa("other").token("RS256", &tokens::claims())
}

fn rsa_jwk() -> Value {
    Signer::rsa("rsa").jwk()
}

fn other_jwk() -> Value {
    Signer::other_rsa("other").jwk()
}

#[tokio::test]
async fn keys_come_from_a_url_and_requests_wait_for_the_first_ones() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/keys", Answer::Slow(json!({"keys": [rsa_jwk()]}), Duration::from_millis(700)));
        let gate = Arc::new(Fetching::over(server, workers).await);
        // All of these come before there is any key.
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.knock(&rsa()).await.status })
            })
            .collect();
        for answer in waiting {
            assert_eq!(answer.await.unwrap(), 200);
        }
        gate.all_answer(&rsa(), 200).await;
        assert_eq!(gate.knock(&other()).await.reason(), "token_invalid");
        assert!(gate.server.fetches("/keys") <= 2, "one for all workers, and one for the unknown key");
    }
}

/// Envoy answers streams that one callback refused one within the end of the other; three hundred used to be the end of the VM.
#[tokio::test]
async fn a_crowd_that_waited_is_refused_without_the_loss_of_the_vm() {
    let server = KeyServer::start().await;
    server.set("/keys", Answer::Slow(json!({"keys": [rsa_jwk()]}), Duration::from_secs(3)));
    let keys = keys(&server, json!({"timeout": "30s", "wait": "30s"}));
    let gate = Arc::new(Fetching::start(server, 1, keys).await);
    let forged = tampered(&rsa());
    let crowd: Vec<_> = (0..700)
        .map(|_| {
            let (gate, forged) = (Arc::clone(&gate), forged.clone());
            tokio::spawn(async move { gate.knock(&forged).await })
        })
        .collect();
    for answer in crowd {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (401, "token_invalid"));
    }
    assert!(!gate.envoy.log().contains("call stack"), "{}", gate.envoy.log());
}

#[tokio::test]
async fn a_rotation_under_load_loses_no_request() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.keys(&[rsa_jwk()], 3600);
        // There is but one fetch to wait for: whoever comes while it is under way has to.
        let keys = keys(&server, json!({"refetch_interval": "1h"}));
        let gate = Arc::new(Fetching::start(server, workers, keys).await);
        gate.all_answer(&rsa(), 200).await;
        assert_eq!(gate.server.fetches("/keys"), 1);
        let rotated = Arc::new(AtomicBool::new(false));
        let over = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..8)
            .map(|_| {
                let (gate, rotated, over) = (Arc::clone(&gate), Arc::clone(&rotated), Arc::clone(&over));
                tokio::spawn(async move {
                    let (mut sent, mut with_new) = (0, 0);
                    while !over.load(Ordering::SeqCst) {
                        let new = rotated.load(Ordering::SeqCst);
                        let answer = gate.knock(&if new { other() } else { rsa() }).await;
                        // A token by the old key that was on its way when the key went may come too late.
                        let late = !new && rotated.load(Ordering::SeqCst) && answer.status == 401;
                        assert!(answer.status == 200 || late, "new key: {new}: {}", answer.text());
                        sent += 1;
                        with_new += u32::from(new);
                    }
                    (sent, with_new)
                })
            })
            .collect();
        // The old key goes at once: as rough as a rotation can be for tokens that nobody holds any more.
        gate.envoy
            .wait_until("some load", async || gate.envoy.prometheus().await.contains("outcome=\"allow\""))
            .await;
        let set = json!({ "keys": [other_jwk()] });
        gate.server.set("/keys", Answer::Slow(set, Duration::from_millis(500)));
        rotated.store(true, Ordering::SeqCst);
        gate.envoy.wait_until("a refetch", async || gate.server.fetches("/keys") == 2).await;
        gate.all_answer(&other(), 200).await;
        assert_eq!(gate.server.fetches("/keys"), 2, "with {workers} workers");
        // The old key is withdrawn, remembered tokens and all, while the load goes on.
        gate.until_all(&rsa(), 401).await;
        over.store(true, Ordering::SeqCst);
        for task in load {
            let (sent, with_new) = task.await.unwrap();
            assert!(sent > 0 && with_new > 0);
        }
    }
}

#[tokio::test]
async fn whatever_the_server_does_valid_keys_serve_on_with_one_worker() {
    whatever_the_server_does(1).await;
}

#[tokio::test]
async fn whatever_the_server_does_valid_keys_serve_on_with_four_workers() {
    whatever_the_server_does(4).await;
}

async fn whatever_the_server_does(workers: u32) {
    let server = KeyServer::start().await;
    server.keys(&[rsa_jwk()], 1);
    // One of the faults is silence, which lasts this long.
    let keys = keys(&server, json!({"timeout": "2s"}));
    let gate = Arc::new(Fetching::start(server, workers, keys).await);
    gate.all_answer(&rsa(), 200).await;
    // All the while, who has a valid token gets in, and who has not does not.
    let over = Arc::new(AtomicBool::new(false));
    let load = [(rsa(), 200), (tampered(&rsa()), 401)].map(|(token, status)| {
        let (gate, over) = (Arc::clone(&gate), Arc::clone(&over));
        tokio::spawn(async move {
            let mut sent = 0;
            while !over.load(Ordering::SeqCst) {
                let answer = gate.knock(&token).await;
                assert_eq!(answer.status, status, "{}", answer.text());
                sent += 1;
            }
            sent
        })
    });
    let faults = [
        ("status", Answer::Status(500)),
        ("invalid", Answer::Text("<html>Sign in</html>".into())),
        ("reset", Answer::Long(10 << 20)),
        ("invalid", Answer::Json(json!({"keys": []}), 1)),
        ("invalid", Answer::Json(json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}), 1)),
        ("reset", Answer::BreaksOff),
        ("timeout", Answer::Hangs),
    ];
    for (outcome, fault) in faults {
        let before = gate.fetched(outcome).await;
        gate.server.set("/keys", fault.clone());
        gate.envoy.wait_until(outcome, async || gate.fetched(outcome).await > before).await;
        gate.all_answer(&rsa(), 200).await;
        // A key that nobody knows, and a server that cannot be asked.
        let unknown = gate.knock(&other()).await;
        assert_eq!((unknown.status, unknown.reason().as_str()), (503, "keys_unavailable"), "{fault:?}");
        assert!(unknown.header("retry-after").parse::<u32>().is_ok_and(|s| s >= 1));
        // Back to good, so that the next fault is not spaced out by this one.
        let good = gate.fetched("same").await;
        gate.server.keys(&[rsa_jwk()], 1);
        gate.envoy.wait_until("a good fetch", async || gate.fetched("same").await > good).await;
    }
    gate.arrived_as_often_as_made().await;
    gate.server.stop();
    gate.envoy.wait_until("nobody there", async || gate.fetched("unreachable").await > 0.0).await;
    gate.all_answer(&rsa(), 200).await;
    over.store(true, Ordering::SeqCst);
    for task in load {
        assert!(task.await.unwrap() > 0);
    }
}

/// The same token with another subject.
fn tampered(token: &str) -> String {
    let mut claims = tokens::claims();
    claims["sub"] = "root".into();
    let other = Signer::rsa("rsa").token("RS256", &claims);
    let (front, _) = other.rsplit_once('.').unwrap();
    format!("{front}.{}", token.rsplit_once('.').unwrap().1)
}

#[tokio::test]
async fn after_the_stale_window_it_is_503_and_never_401_and_then_all_is_well_again() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.keys(&[rsa_jwk()], 1);
        let more = json!({"stale": "2s", "max_fresh": "1s", "wait": "0s"});
        let keys = keys(&server, more);
        let gate = Fetching::start(server, workers, keys).await;
        gate.envoy.wait_until("keys", async || gate.knock(&rsa()).await.status == 200).await;
        gate.server.stop();
        gate.envoy
            .wait_until("the window's end", async || {
                let answer = gate.knock(&rsa()).await;
                assert!([200, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
                answer.status == 503
            })
            .await;
        gate.until_all(&rsa(), 503).await;
        let refused = gate.knock(&rsa()).await;
        assert_eq!(refused.reason(), "keys_unavailable");
        assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|s| (1..=61).contains(&s)));
        assert_eq!(refused.header("www-authenticate"), "", "the client did nothing wrong");
        let again = KeyServer::start_on(gate.server.address()).await;
        again.keys(&[rsa_jwk()], 1);
        gate.envoy.wait_until("keys again", async || gate.knock(&rsa()).await.status == 200).await;
    }
}

#[tokio::test]
async fn a_refresh_is_one_fetch_however_many_workers() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.keys(&[rsa_jwk()], 2);
        let begun = Instant::now();
        let gate = Fetching::over(server, workers).await;
        gate.all_answer(&rsa(), 200).await;
        gate.envoy.wait_until("three refreshes", async || gate.fetched("same").await >= 3.0).await;
        gate.arrived_as_often_as_made().await;
        assert_eq!(gate.fetched("new").await, 1.0);
        // They are as far apart as the keys are fresh, less the fifth in which they are refreshed: no two are for the same one. What
        // arrives late on a busy machine makes them fewer, never more.
        let fetches = gate.server.fetches("/keys");
        let most = 1 + begun.elapsed().as_millis() / 1_600;
        assert!(u128::try_from(fetches).unwrap() <= most, "{workers} workers: {fetches}, at most {most}");
        gate.all_answer(&rsa(), 200).await;
    }
}

#[tokio::test]
async fn keys_that_have_not_changed_need_not_be_sent_again() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/keys", Answer::Tagged(json!({"keys": [rsa_jwk()]}), "\"one\""));
        let gate = Fetching::over(server, workers).await;
        gate.all_answer(&rsa(), 200).await;
        gate.envoy.wait_until("three times nothing new", async || gate.fetched("same").await >= 3.0).await;
        gate.all_answer(&rsa(), 200).await;
        let (fetches, unchanged) = (gate.server.fetches("/keys"), gate.server.unchanged());
        assert!(
            unchanged >= 3 && fetches <= unchanged + 2,
            "{fetches} fetches, {unchanged} of them with 304"
        );
        // The name of what is known is not the name of what there is.
        gate.server.set("/keys", Answer::Tagged(json!({"keys": [other_jwk()]}), "\"two\""));
        gate.envoy.wait_until("new keys", async || gate.fetched("new").await >= 2.0).await;
        gate.all_answer(&other(), 200).await;
        gate.envoy.wait_until("the old key gone", async || gate.knock(&rsa()).await.status == 401).await;
    }
}

#[tokio::test]
async fn random_key_names_cause_no_more_than_the_configured_refetches() {
    let server = KeyServer::start().await;
    server.keys(&[rsa_jwk()], 3600);
    let keys = keys(&server, json!({"refetch_interval": "1h"}));
    let gate = Arc::new(Fetching::start(server, 4, keys).await);
    gate.all_answer(&rsa(), 200).await;
    let flood: Vec<_> = (0..10)
        .map(|task| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                for n in 0..100 {
                    let token = Signer::rsa(&format!("random-{task}-{n}")).token("RS256", &tokens::claims());
                    let answer = gate.knock(&token).await;
                    assert_eq!(answer.reason(), "token_invalid", "{}", answer.text());
                }
            })
        })
        .collect();
    for task in flood {
        task.await.unwrap();
    }
    gate.all_answer(&rsa(), 200).await;
    assert_eq!(gate.server.fetches("/keys"), 2, "the first, and one in the interval");
}

#[tokio::test]
async fn waiting_requests_survive_the_one_that_came_first() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/keys", Answer::Hangs);
        let keys = keys(&server, json!({"timeout": "60s", "wait": "60s"}));
        let gate = Arc::new(Fetching::start(server, workers, keys).await);
        let knock = || {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.knock(&rsa()).await.status })
        };
        let active = async || {
            gate.envoy.metric("envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix=\"l\"}").await
        };
        let first = knock();
        gate.envoy.wait_until("the first", async || active().await == Some(1.0)).await;
        let others: Vec<_> = (0..10).map(|_| knock()).collect();
        gate.envoy.wait_until("eleven", async || active().await == Some(11.0)).await;
        gate.envoy.wait_until("a fetch", async || gate.server.fetches("/keys") == 1).await;
        let gauge = async |want: f64| {
            let series = "portcullis_key_requests_waiting{plugin=\"jwt-auth\"}";
            let what = format!("{want} that wait");
            gate.envoy.wait_until(&what, async || gate.envoy.metric(series).await == Some(want)).await;
        };
        gauge(11.0).await;
        first.abort();
        gate.envoy.wait_until("ten", async || active().await == Some(10.0)).await;
        gauge(10.0).await;
        // The server breaks the hanging call off, and has keys from then on.
        let address = gate.server.address();
        gate.server.stop();
        let again = KeyServer::start_on(address).await;
        again.keys(&[rsa_jwk()], 3600);
        for other in others {
            assert_eq!(other.await.unwrap(), 200);
        }
        assert_eq!(again.fetches("/keys"), 1);
        gauge(0.0).await;
        // All leave before there is an answer.
        again.set("/keys", Answer::Hangs);
        let unknown: Vec<_> = (0..3)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.knock(&other()).await.status })
            })
            .collect();
        gauge(3.0).await;
        unknown.iter().for_each(tokio::task::JoinHandle::abort);
        gauge(0.0).await;
    }
}

fn discovered(server: &KeyServer, issuer: &str, keys: &str) -> Value {
    json!({"issuer": issuer, "jwks_uri": server.url(keys), "response_types_supported": ["code"]})
}

#[tokio::test]
async fn metadata_name_the_keys_of_their_own_issuer_and_of_nobody_else() {
    for workers in [1, 4] {
        let path = "/.well-known/openid-configuration";
        let server = KeyServer::start().await;
        server.keys(&[rsa_jwk()], 1);
        server.set("/others", Answer::Json(json!({"keys": [other_jwk()]}), 1));
        server.set(path, Answer::Json(discovered(&server, "https://id.test", "/keys"), 1));
        let keys = keys(&server, json!({"jwks_url": null, "discovery": server.url(path)}));
        let gate = Fetching::start(server, workers, keys).await;
        gate.all_answer(&rsa(), 200).await;
        let elsewhere = json!({"issuer": "https://id.test", "jwks_uri": "http://127.0.0.1:1/keys"});
        for document in [
            discovered(&gate.server, "https://other.test", "/others"),
            elsewhere,
            json!({"issuer": "https://id.test"}),
        ] {
            let before = gate.fetched("invalid").await;
            gate.server.set(path, Answer::Json(document.clone(), 1));
            gate.envoy.wait_until("a refusal", async || gate.fetched("invalid").await > before).await;
            gate.all_answer(&rsa(), 200).await;
            assert_ne!(gate.knock(&other()).await.status, 200, "{document}");
            gate.server.set(path, Answer::Json(discovered(&gate.server, "https://id.test", "/keys"), 1));
            let good = gate.fetched("same").await;
            gate.envoy.wait_until("a good fetch", async || gate.fetched("same").await > good).await;
        }
        assert_eq!(gate.server.fetches("/others"), 0);
    }
}

/// A key set does not say whose it is; the tokens do.
#[tokio::test]
async fn another_issuers_set_lets_its_tokens_in_no_more_than_before() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.keys(&[rsa_jwk()], 1);
        let gate = Fetching::over(server, workers).await;
        gate.all_answer(&rsa(), 200).await;
        gate.server.keys(&[other_jwk()], 1);
        gate.envoy.wait_until("the other set", async || gate.fetched("new").await == 2.0).await;
        let mut claims = tokens::claims();
        claims["iss"] = "https://other.test".into();
        gate.all_answer(&Signer::other_rsa("other").token("RS256", &claims), 401).await;
        gate.arrived_as_often_as_made().await;
        gate.server.keys(&[rsa_jwk()], 1);
        gate.envoy.wait_until("our own again", async || gate.fetched("new").await == 3.0).await;
        gate.all_answer(&rsa(), 200).await;
    }
}

#[tokio::test]
async fn several_sources_count_together_and_a_bad_key_does_not_count_at_all() {
    let server = KeyServer::start().await;
    let mut broken = rsa_jwk();
    broken["kid"] = "broken".into();
    broken["n"] = "AQAB".into();
    server.set("/a", Answer::Json(json!({"keys": [rsa_jwk(), broken, {"kty": "oct", "k": "AAAA"}]}), 60));
    server.set("/b", Answer::Json(json!({"keys": [other_jwk()]}), 60));
    let more = json!({
        "jwks_url": null,
        "jwks_urls": [server.url("/a"), server.url("/b")],
        "jwks": {"keys": [Signer::p256("ec").jwk()]}
    });
    let keys = keys(&server, more);
    let gate = Fetching::start(server, 1, keys).await;
    for token in [rsa(), other(), Signer::p256("ec").token("ES256", &tokens::claims())] {
        gate.all_answer(&token, 200).await;
    }
    let text = gate.envoy.prometheus().await;
    let count = |name: &str| {
        let line = text
            .lines()
            .find(|l| l.starts_with(name) && l.contains("keys"))
            .unwrap_or_else(|| panic!("{name}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(
        (count("portcullis_fetched_entries"), count("portcullis_fetched_skipped")),
        (2.0, 2.0),
        "{text}"
    );
    assert!(count("portcullis_fetched_age_seconds") < 60.0);
    gate.envoy
        .wait_for_log("fetched, but not all is used: keys[1].n: too short, too long or even; write")
        .await;
}

#[tokio::test]
async fn a_fetched_deny_list_withdraws_what_is_remembered() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.set("/deny", Answer::Json(json!({"jti": ["other"]}), 0));
        let list = json!({"url": server.url("/deny"), "cluster": "keys", "interval": "1s", "stale": "1s", "on_error": "deny"});
        let gate =
            Fetching::with(server, workers, &[("/providers/corp/deny", json!({ "list": list }))]).await;
        let mut claims = tokens::claims();
        claims["jti"] = "mine".into();
        let token = Signer::rsa("rsa").token("RS256", &claims);
        gate.envoy.wait_until("the list", async || gate.knock(&token).await.status == 200).await;
        claims["jti"] = "other".into();
        let listed = Signer::rsa("rsa").token("RS256", &claims);
        gate.until_all(&listed, 401).await;
        gate.server.set("/deny", Answer::Json(json!({"jti": ["mine"]}), 0));
        gate.envoy
            .wait_until("withdrawn", async || {
                let mut all = true;
                for _ in 0..8 {
                    all &= gate.knock(&token).await.reason() == "token_invalid";
                }
                all
            })
            .await;
        gate.server.set("/deny", Answer::Text("{\"jtis\": []}".into()));
        gate.envoy.wait_until("no list", async || gate.knock(&listed).await.status == 503).await;
    }
}

#[tokio::test]
async fn a_dead_lease_holder_costs_one_lease_term_with_one_worker() {
    a_dead_lease_holder_costs_one_lease_term(1).await;
}

#[tokio::test]
async fn a_dead_lease_holder_costs_one_lease_term_with_four_workers() {
    a_dead_lease_holder_costs_one_lease_term(4).await;
}

/// The worker that fetches is lost with the fetch under way: nobody gives its lease back.
async fn a_dead_lease_holder_costs_one_lease_term(workers: u32) {
    const TIMEOUT: Duration = Duration::from_secs(5);
    // A lease is a second longer than its call. Who waits that long and half of it again is served only if it costs one term, not two.
    const WAIT: &str = "9s";
    let server = KeyServer::start().await;
    server.keys(&[rsa_jwk()], 3600);
    let keys = keys(&server, json!({"timeout": "5s", "wait": WAIT}));
    let gate = Arc::new(Fetching::trapping(server, workers, keys).await);
    gate.all_answer(&rsa(), 200).await;
    assert_eq!(gate.server.fetches("/keys"), 1);
    // Nobody but the worker of this connection misses this key, so it is the one that fetches.
    gate.server.set("/keys", Answer::Hangs);
    let mut connection = Connection::open(gate.envoy.address(), Version::HTTP_2).await.unwrap();
    let mut beside = connection.beside().unwrap();
    let misses = gate.request().bearer(&other()).http2();
    let holder = tokio::spawn(async move { connection.send(misses).await });
    gate.envoy.wait_until("a refetch", async || gate.server.fetches("/keys") == 2).await;
    let trap = beside.send(gate.request().header("x-test-trap", "1").http2()).await.unwrap();
    assert_eq!((trap.status, trap.reason().as_str()), (503, ""), "no VM trapped");
    // The server has both keys from now on, and nobody asks it.
    gate.server.keys(&[rsa_jwk(), other_jwk()], 3600);
    gate.envoy
        .wait_until("a new VM", async || {
            // The same connection, so the worker whose VM was lost.
            let knock = gate.request().bearer(&rsa()).http2();
            let answer = beside.beside().unwrap().send(knock).await.unwrap();
            assert!(answer.status == 200 || answer.reason().is_empty(), "{}", answer.text());
            answer.status == 200
        })
        .await;
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.knock(&other()).await })
        })
        .collect();
    for answer in waiting {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    gate.all_answer(&other(), 200).await;
    let times = gate.server.times("/keys");
    let [_, held, next] = times[..] else { panic!("not three fetches but {times:?}") };
    // Without the lease the next one would have asked at once.
    assert!(next - held >= TIMEOUT / 2, "fetched again {:?} after the holder", next - held);
    holder.abort();
}

#[tokio::test]
async fn a_vm_that_traps_is_followed_by_one_that_finds_the_keys_that_are_there() {
    for workers in [1, 4] {
        let server = KeyServer::start().await;
        server.keys(&[rsa_jwk()], 3600);
        let keys = keys(&server, json!({}));
        let gate = Fetching::trapping(server, workers, keys).await;
        gate.all_answer(&rsa(), 200).await;
        gate.server.set("/keys", Answer::Status(500));
        let trap = gate.request().header("x-test-trap", "1").send().await;
        assert_eq!(trap.status, 503, "{workers} workers: the VM did not trap");
        gate.envoy
            .wait_until("a new VM", async || {
                let mut all = true;
                for _ in 0..8 {
                    let answer = gate.knock(&rsa()).await;
                    assert!(answer.status == 200 || answer.reason().is_empty(), "{}", answer.text());
                    all &= answer.status == 200;
                }
                all
            })
            .await;
        assert_eq!(gate.server.fetches("/keys"), 1, "{workers} workers");
    }
}

#[tokio::test]
async fn a_new_configuration_finds_the_keys_that_are_there() {
    let server = KeyServer::start().await;
    server.keys(&[rsa_jwk()], 3600);
    let upstream = Upstream::start().await;
    let config = |realm: &str| {
        let changes = [("/providers/corp/keys", keys(&server, json!({}))), ("/realm", realm.into())];
        let plugin = Plugin::new("jwt-auth", config_with(&changes));
        let mut config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
        config["static_resources"]["clusters"].as_array_mut().unwrap().push(server.cluster());
        config
    };
    let (watched, start) = WatchedListener::new(config("before"));
    let envoy = Envoy::start(&start).await;
    let address = envoy.address();
    let knock = async || ask(address, "GET", "/").bearer(&rsa()).send().await.status;
    assert_eq!(knock().await, 200);
    server.set("/keys", Answer::Status(500));
    watched.put(&config("after"));
    envoy
        .wait_until("the new configuration", async || {
            assert_eq!(knock().await, 200);
            ask(address, "GET", "/").send().await.header("www-authenticate").contains("after")
        })
        .await;
    assert_eq!(knock().await, 200);
    assert_eq!(server.fetches("/keys"), 1);
}
