//! rebac with real engines, in a real Envoy: what the engine says is what the gateway does, what changes there is known here in time,
//! and an engine that fails lets nobody in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap, cluster};
use portcullis_tests::client::{Ask, Connection, Response, ask};
use portcullis_tests::engines::openfga::Openfga;
use portcullis_tests::engines::spicedb::{KEY, Spicedb};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type folder
  relations
    define parent: [folder]
    define shared: [user, user:*, group#member]
    define viewer: shared or viewer from parent
type document
  relations
    define folder: [folder]
    define blocked: [user]
    define owner: [user]
    define editor: [user, group#member]
    define guest: [user with limit]
    define viewer: owner or editor or guest or viewer from folder
    define reader: viewer but not blocked
    define publisher: editor and owner
condition limit(amount: int, most: int) {
  amount <= most
}
";

const SCHEMA: &str = "definition user {}
definition group {
  relation member: user | group#member
}
definition folder {
  relation parent: folder
  relation shared: user | user:* | group#member
  permission viewer = shared + parent->viewer
}
caveat limit(amount int, most int) {
  amount <= most
}
definition document {
  relation folder: folder
  relation blocked: user
  relation owner: user
  relation editor: user | group#member
  relation guest: user with limit
  permission viewer = owner + editor + guest + folder->viewer
  permission reader = viewer - blocked
  permission publisher = editor & owner
}
";

/// The rules: `GET /RELATION/DOCUMENT?amount=5` by the user of `x-user`.
fn config(engine: Value, more: Value) -> Value {
    let check = |relation: &str| {
        json!({
            "subject": "user:{header.x-user}", "from_client": true, "relation": relation, "object": "document:{path.id}",
            "context": {"amount": "{query.amount}"}
        })
    };
    let mut rules: Vec<Value> = RELATIONS
        .iter()
        .map(|r| json!({"match": {"path": format!("/{r}/{{id}}")}, "checks": {"all": [check(r)]}}))
        .collect();
    rules.push(json!({
        "match": {"path": "/any/{id}"}, "checks": {"any": [check("publisher"), check("reader"), check("owner")]}
    }));
    rules
        .push(json!({"match": {"path": "/all/{id}"}, "checks": {"all": [check("viewer"), check("editor")]}}));
    let mut config = json!({"engine": engine, "rules": rules, "unmatched": "deny"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

const RELATIONS: [&str; 6] = ["viewer", "reader", "editor", "owner", "publisher", "guest"];

/// An Envoy whose cluster `engine` is there.
async fn gate(config: Value, upstream: &Upstream, engine: SocketAddr, http2: bool, workers: u32) -> Envoy {
    let listener = Listener::new("l").plugin(&Plugin::new("rebac", config));
    let mut config = bootstrap(upstream.address(), &[listener]);
    let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
    clusters.push(cluster("engine", engine, http2));
    Envoy::start_with(&config, &Options { workers, ..Options::default() }).await
}

fn openfga(engine: &Openfga, more: Value) -> Value {
    let mut server = json!({"cluster": "engine", "store": engine.store, "model": engine.model});
    server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"openfga": server})
}

fn spicedb(more: Value) -> Value {
    let mut server = json!({"cluster": "engine", "token": {"value": KEY}});
    server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"spicedb": server})
}

/// How long an answer may take on a machine that does other things too.
fn patient() -> Value {
    json!({"timeout": "10s"})
}

/// Watched, and with a cache that forgets nothing by itself while this test runs.
fn watched() -> Value {
    json!({"calls": patient(), "watch": {"remember": "1h"}})
}

async fn knock(envoy: &Envoy, user: &str, path: &str) -> Response {
    ask(envoy.address(), "GET", path).header("x-user", user).send().await
}

async fn wait_for_the_watch(envoy: &Envoy) {
    let up = "portcullis_rebac_watch_up{plugin=\"rebac\"}";
    envoy.wait_until("a watch", async || envoy.metric(up).await == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smoke() {
    let upstream = Upstream::start().await;
    let engine = Openfga::start(MODEL, &[]).await;
    engine.write(&[json!("document:1#owner@user:ann")]).await;
    let envoy =
        gate(config(openfga(&engine, watched()), json!({})), &upstream, engine.server.http(), false, 1).await;
    wait_for_the_watch(&envoy).await;
    let answer = knock(&envoy, "ann", "/viewer/1").await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), envoy.log());
    engine.delete(&[json!("document:1#owner@user:ann")]).await;
    envoy.wait_until("no", async || knock(&envoy, "ann", "/viewer/1").await.status == 403).await;

    let engine = Spicedb::start(SCHEMA, &[]).await;
    engine.write(&["document:1#owner@user:ann"]).await;
    let envoy = gate(config(spicedb(watched()), json!({})), &upstream, engine.server.grpc(), true, 1).await;
    wait_for_the_watch(&envoy).await;
    let answer = knock(&envoy, "ann", "/viewer/1").await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), envoy.log());
    engine.delete(&["document:1#owner@user:ann"]).await;
    envoy.wait_until("no", async || knock(&envoy, "ann", "/viewer/1").await.status == 403).await;
    println!("{}", envoy.log());
    println!(
        "{}",
        envoy.prometheus().await.lines().filter(|l| l.contains("watch")).collect::<Vec<_>>().join("\n")
    );
}
