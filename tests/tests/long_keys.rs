//! A flood of tokens by unknown keys, at a rate that is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Version;
use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{Connection, ask};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::gate::config_with;
use portcullis_tests::key_server::KeyServer;
use portcullis_tests::tokens::{self, Signer, b64};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

const SENDERS: u32 = 16;
/// Of each sender.
const REQUESTS: u32 = 750;
/// What they send together in a second.
const RATE: u32 = 1_500;

/// An Envoy of four workers that knows one key.
async fn gate(server: &KeyServer, upstream: &Upstream, more: Value) -> Envoy {
    let mut keys = json!({"jwks_url": server.url("/keys"), "clusters": server.clusters(), "timeout": "5s"});
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let plugin = Plugin::new("jwt-auth", config_with(&[("/providers/corp/keys", keys)]));
    let mut config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
    config["static_resources"]["clusters"].as_array_mut().unwrap().push(server.cluster());
    Envoy::start_with(&config, &Options { workers: 4, ..Options::default() }).await
}

/// A token by a key that nobody knows; nobody looks at its signature.
fn unknown(round: u32, sender: u32, n: u32) -> String {
    let header = json!({"alg": "RS256", "kid": format!("random-{round}-{sender}-{n}")});
    let [header, claims] = [header, tokens::claims()].map(|part| b64(part.to_string()));
    format!("{header}.{claims}.{}", b64([7; 256]))
}

/// Sends them as the clock says, whether or not the ones before are answered; gives the rate.
async fn flood(envoy: &Envoy, round: u32) -> f64 {
    let begun = Instant::now();
    let to = envoy.address();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            tokio::spawn(async move {
                let connection = Connection::open(to, Version::HTTP_2).await.unwrap();
                let mut turns = interval(Duration::from_secs(1) * SENDERS / RATE);
                let mut answers = Vec::new();
                for n in 0..REQUESTS {
                    turns.tick().await;
                    let mut beside = connection.beside().unwrap();
                    let request = ask(to, "GET", "/").bearer(&unknown(round, sender, n)).http2();
                    answers.push(tokio::spawn(async move { beside.send(request).await.unwrap() }));
                }
                let sent = begun.elapsed();
                for answer in answers {
                    let answer = answer.await.unwrap();
                    assert_eq!(
                        (answer.status, &*answer.reason()),
                        (401, "token_invalid"),
                        "{}",
                        answer.text()
                    );
                }
                sent
            })
        })
        .collect();
    let mut longest = Duration::ZERO;
    for sender in senders {
        longest = longest.max(sender.await.unwrap());
    }
    f64::from(SENDERS * REQUESTS) / longest.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_unknown_keys_a_second_cause_no_more_than_the_configured_fetches() {
    // Those who do not wait, and those who wait for the next fetch, all of them.
    for (interval, wait) in [(1, "0s"), (2, "3s")] {
        let server = KeyServer::start().await;
        server.keys(&[Signer::rsa("rsa").jwk()], 3600);
        let upstream = Upstream::start().await;
        let more = json!({"refetch_interval": format!("{interval}s"), "wait": wait});
        let envoy = Arc::new(gate(&server, &upstream, more).await);
        let known = Signer::rsa("rsa").token("RS256", &tokens::claims());
        let knock = {
            let (to, known) = (envoy.address(), known.clone());
            async move || ask(to, "GET", "/").bearer(&known).send().await.status
        };
        envoy.wait_until("keys", async || knock().await == 200).await;
        assert_eq!(server.fetches("/keys"), 1);
        let over = Arc::new(AtomicBool::new(false));
        let others = tokio::spawn({
            let over = Arc::clone(&over);
            async move {
                let mut served = 0;
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(knock().await, 200);
                    served += 1;
                }
                served
            }
        });
        let begun = Instant::now();
        // A machine that does other things too may not send as many at once: then another flood follows.
        let mut rate = 0.0;
        for round in 0..5 {
            if rate < 1_000.0 {
                rate = flood(&envoy, round).await;
            }
        }
        let fetches = server.fetches("/keys") - 1;
        let intervals = begun.elapsed().as_secs() / interval;
        over.store(true, Ordering::SeqCst);
        let served = others.await.unwrap();
        println!(
            "{rate:.0} unknown keys a second in {:?}: {fetches} fetches, at most one in {interval} s; {served} others served",
            begun.elapsed()
        );
        // One at once, and one with each interval that has passed.
        assert!(
            fetches > 1 && fetches <= 1 + usize::try_from(intervals).unwrap(),
            "{fetches} in {intervals} intervals"
        );
        // One may be under way.
        let series = "portcullis_key_refetches_total{plugin=\"jwt-auth\",provider=\"corp\"}";
        let arrived = || f64::from(u32::try_from(server.fetches("/keys") - 1).unwrap());
        envoy.wait_until("as many counted", async || envoy.metric(series).await == Some(arrived())).await;
        assert!(served > 0 && rate >= 1_000.0, "{rate} a second");
    }
}
