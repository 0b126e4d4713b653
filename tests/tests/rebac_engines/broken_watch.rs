//! A watch that breaks while the engine answers on: what is remembered holds for `cache.allow` from then on, and no longer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap, cluster};
use portcullis_tests::client::{Connection, ask};
use portcullis_tests::engines::spicedb::Spicedb;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::upstream::Upstream;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long an answer holds without a watch.
const ALLOW: Duration = Duration::from_secs(2);
/// What a busy machine adds. An answer that a watch keeps would hold for an hour.
const SLACK: Duration = Duration::from_secs(5);

/// What a line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// Its connections stay, and nothing comes through.
    Silent,
    /// It has no connections.
    Cut,
}

/// A line to `to`, at an address of its own.
async fn line(to: SocketAddr) -> (SocketAddr, watch::Sender<State>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, state) = watch::channel(State::Whole);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let mut state = state.clone();
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(to).await else { return };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let (there, back) = (state.clone(), state.clone());
                tokio::select! {
                    () = carry(near_in, far_out, there) => {}
                    () = carry(far_in, near_out, back) => {}
                    _ = state.wait_for(|state| *state == State::Cut) => {}
                }
            });
        }
    });
    (address, sender)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if state.wait_for(|state| *state != State::Silent).await.is_err()
            || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}

/// Asks until it is refused again and again; when it last asked and was let in.
async fn knocks(envoy: SocketAddr, path: &'static str) -> Option<Instant> {
    let mut connection = Connection::open(envoy, http::Version::HTTP_11).await.unwrap();
    let (mut last, mut refused) = (None, 0);
    while refused < 20 {
        let sent = super::now();
        let answer =
            connection.send(ask(envoy, "GET", path).header("x-user", "ann")).await.expect("an answer");
        match answer.status {
            200 => (last, refused) = (Some(sent), 0),
            403 => refused += 1,
            _ => panic!("{} {}", answer.status, answer.text()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    last
}

/// How many questions the engine was asked.
async fn asked(envoy: &Envoy) -> f64 {
    let text = envoy.prometheus().await;
    let lines =
        text.lines().filter(|l| l.starts_with("portcullis_rebac_checks_total{") && l.contains("\"engine\""));
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relationship_that_is_deleted_behind_a_broken_watch_lets_nobody_in_for_long() {
    let upstream = Upstream::start().await;
    // Its own rounding of the present is off: it would come on top.
    let engine = Spicedb::start(super::SCHEMA, &["--datastore-revision-quantization-interval=0s"]).await;
    let paths = ["/viewer/w0", "/viewer/w1"];
    engine.write(&["document:w0#owner@user:ann", "document:w1#owner@user:ann"]).await;
    let (address, state) = line(engine.server.grpc()).await;
    let more = json!({"calls": super::patient(), "watch": {"cluster": "watched", "remember": "1h"}});
    let cache = json!({"cache": {"allow": "2s", "deny": "2s"}});
    let listener =
        Listener::new("l").plugin(&Plugin::new("rebac", super::config(super::spicedb(more), cache)));
    let mut config = bootstrap(upstream.address(), &[listener]);
    let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
    clusters.push(cluster("engine", engine.server.grpc(), true));
    clusters.push(cluster("watched", address, true));
    let envoy = Envoy::start_with(&config, &Options { workers: super::WORKERS, ..Options::default() }).await;

    // While it lives nothing is asked again, for longer than an answer would hold without it.
    super::wait_for_the_watch(&envoy).await;
    let mut connections = Vec::new();
    for _ in 0..super::WORKERS * 2 {
        connections.push(Connection::open(envoy.address(), http::Version::HTTP_11).await.unwrap());
    }
    let connections = tokio::sync::Mutex::new(connections);
    envoy
        .wait_until("answers that outlive their time", async || {
            let mut connections = connections.lock().await;
            let (begun, mut before) = (super::now(), None);
            while begun.elapsed() < ALLOW.saturating_mul(3) {
                for connection in connections.iter_mut() {
                    let request = ask(envoy.address(), "GET", paths[0]).header("x-user", "ann");
                    assert_eq!(connection.send(request).await.expect("an answer").status, 200);
                }
                if before.is_none() {
                    before = Some(asked(&envoy).await);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            before == Some(asked(&envoy).await)
        })
        .await;

    for (n, broken) in [State::Silent, State::Cut].into_iter().enumerate() {
        super::wait_for_the_watch(&envoy).await;
        for connection in connections.lock().await.iter_mut() {
            let request = ask(envoy.address(), "GET", paths[n]).header("x-user", "ann");
            assert_eq!(connection.send(request).await.expect("an answer").status, 200);
        }
        let knocking: Vec<_> =
            (0..super::WORKERS * 2).map(|_| tokio::spawn(knocks(envoy.address(), paths[n]))).collect();
        state.send(broken).unwrap();
        engine.delete(&[&format!("document:w{n}#owner@user:ann")]).await;
        let deleted = super::now();
        let mut longest = Duration::ZERO;
        for one in knocking {
            let last = tokio::time::timeout(Duration::from_secs(120), one).await.expect("a refusal").unwrap();
            longest =
                longest.max(last.map_or(Duration::ZERO, |last| last.saturating_duration_since(deleted)));
        }
        println!("{broken:?}: somebody was let in for {longest:?}");
        assert!(longest <= ALLOW + SLACK, "{broken:?}: {longest:?}\n{}", envoy.log());
        state.send(State::Whole).unwrap();
    }
}
