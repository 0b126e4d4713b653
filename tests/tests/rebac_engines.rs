//! rebac with real engines, in a real Envoy: what the engine says is what the gateway does, what changes there is known here in time,
//! and an engine that fails lets nobody in.

#[path = "rebac_engines/broken_watch.rs"]
mod broken_watch;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap, cluster};
use portcullis_tests::client::{Connection, Response, ask};
use portcullis_tests::engines::Engine;
use portcullis_tests::engines::openfga::Openfga;
use portcullis_tests::engines::spicedb::{KEY, Spicedb};
use portcullis_tests::engines::start::Kind;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, markdown, paths};
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

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Plain tuples, and tuples under the condition with the number that it names.
fn tuples(random: &mut Random) -> (Vec<String>, Vec<(String, u64)>) {
    let (mut plain, mut conditioned) = (std::collections::BTreeSet::new(), Vec::new());
    for _ in 0..70 {
        let (user, group) = (random.below(6), random.below(4));
        let (folder, document) = (random.below(4), random.below(6));
        // Who is in what leads downwards only: SpiceDB answers circles with an error.
        let lower = |of: u64, random: &mut Random| (of > 0).then(|| random.below(of.max(1)));
        plain.insert(match random.below(11) {
            0 | 1 => format!("group:g{group}#member@user:u{user}"),
            2 => match lower(group, random) {
                Some(other) => format!("group:g{group}#member@group:g{other}#member"),
                None => continue,
            },
            3 => match lower(folder, random) {
                Some(other) => format!("folder:f{folder}#parent@folder:f{other}"),
                None => continue,
            },
            4 => format!("folder:f{folder}#shared@user:u{user}"),
            5 => format!("folder:f{folder}#shared@group:g{group}#member"),
            6 => format!("document:d{document}#folder@folder:f{folder}"),
            7 => format!("document:d{document}#blocked@user:u{user}"),
            8 => format!("document:d{document}#owner@user:u{user}"),
            9 => format!("document:d{document}#editor@user:u{user}"),
            _ => format!("document:d{document}#editor@group:g{group}#member"),
        });
    }
    plain.insert("folder:f3#shared@user:*".to_owned());
    for document in 0..6 {
        for user in 0..3 {
            conditioned.push((format!("document:d{document}#guest@user:u{user}"), random.below(10)));
        }
    }
    (plain.into_iter().collect(), conditioned)
}

/// A request, and the relations that its rule asks for.
struct Asked {
    user: String,
    document: String,
    rule: &'static str,
    amount: Option<u64>,
}

fn asked(random: &mut Random) -> Asked {
    let rules = RELATIONS.len() as u64 + 2;
    let rule = usize::try_from(random.below(rules)).unwrap();
    Asked {
        user: format!("u{}", random.below(6)),
        document: format!("d{}", random.below(6)),
        rule: RELATIONS.get(rule).unwrap_or(if rule == RELATIONS.len() { &"any" } else { &"all" }),
        amount: (random.below(2) > 0).then(|| random.below(10)),
    }
}

/// What an engine says: yes, no, or that it cannot say.
type Said = Option<bool>;

/// What the engine's own answers come to; `None` if one that matters is missing.
fn judged(rule: &str, said: &[Said]) -> Said {
    let wins = rule == "any";
    if said.contains(&Some(wins)) {
        return Some(wins);
    }
    if said.contains(&None) { None } else { Some(!wins) }
}

fn relations(rule: &'static str) -> Vec<&'static str> {
    match rule {
        "any" => vec!["publisher", "reader", "owner"],
        "all" => vec!["viewer", "editor"],
        one => vec![one],
    }
}

/// Asks the gateway 500 questions, and the engine the same ones; both have to say the same.
async fn agree(envoy: &Envoy, workers: u32, seed: u64, engine: impl AsyncFn(&Asked, &str) -> Said) {
    let mut random = Random(seed);
    let mut tally = std::collections::BTreeMap::new();
    // Some connections, for each belongs to one worker.
    let mut connections = Vec::new();
    for _ in 0..workers * 2 {
        connections.push(Connection::open(envoy.address(), http::Version::HTTP_11).await.unwrap());
    }
    for n in 0..500 {
        let asked = asked(&mut random);
        let mut said = Vec::new();
        for relation in relations(asked.rule) {
            said.push(engine(&asked, relation).await);
        }
        let want = judged(asked.rule, &said);
        let mut path = format!("/{}/{}", asked.rule, asked.document);
        if let Some(amount) = asked.amount {
            path.push_str(&format!("?amount={amount}"));
        }
        let request = ask(envoy.address(), "GET", &path).header("x-user", &asked.user);
        let many = connections.len();
        let answer = connections[n % many].send(request).await.unwrap();
        let got = (answer.status, answer.reason());
        let fits = match want {
            Some(true) => got.0 == 200,
            Some(false) => got == (403, "relation_denied".to_owned()),
            None => got == (403, "condition_unresolved".to_owned()),
        };
        assert!(
            fits,
            "seed {seed}, {n}: {} {path}: {got:?}, the engine says {said:?}\n{}",
            asked.user,
            envoy.log()
        );
        *tally.entry((got.0, want)).or_insert(0) += 1;
    }
    println!("{workers} workers: {tally:?}");
    assert!(tally.len() == 3 && tally.values().all(|n| *n >= 10), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_openfga_says_is_what_the_gateway_does() {
    let upstream = Upstream::start().await;
    let engine = Openfga::start(MODEL, &[]).await;
    let (plain, conditioned) = tuples(&mut Random(7));
    let mut all: Vec<Value> = plain.iter().map(|t| json!(t)).collect();
    all.extend(conditioned.iter().map(|(tuple, most)| {
        let (object, rest) = tuple.split_once('#').unwrap();
        let (relation, user) = rest.split_once('@').unwrap();
        let condition = json!({"name": "limit", "context": {"most": most}});
        json!({"user": user, "relation": relation, "object": object, "condition": condition})
    }));
    for some in all.chunks(50) {
        engine.write(some).await;
    }
    for (workers, seed) in [(1, 1), (4, 2)] {
        let envoy = gate(
            config(openfga(&engine, watched()), json!({})),
            &upstream,
            engine.server.http(),
            false,
            workers,
        )
        .await;
        agree(&envoy, workers, seed, async |asked, relation| {
            let context = asked.amount.map_or(json!({}), |amount| json!({"amount": amount}));
            engine
                .check(
                    &format!("user:{}", asked.user),
                    relation,
                    &format!("document:{}", asked.document),
                    &context,
                )
                .await
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_spicedb_says_is_what_the_gateway_does() {
    let upstream = Upstream::start().await;
    let engine = Spicedb::start(SCHEMA, &[]).await;
    let (plain, conditioned) = tuples(&mut Random(7));
    engine.write(&plain.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (tuple, most) in &conditioned {
        engine.write_with(&[tuple], &json!({"caveatName": "limit", "context": {"most": most}})).await;
    }
    for (workers, seed, http) in [(1, 1, false), (4, 2, false), (4, 3, true)] {
        let mut more = watched();
        // By default it answers as of some seconds ago, and then the two would be asked about different moments.
        more["consistency"] = "fully_consistent".into();
        if http {
            more["protocol"] = "http".into();
            more["watch"] = json!({"cluster": "engine-h2"});
        }
        let (place, config) = if http { (engine.server.http(), more) } else { (engine.server.grpc(), more) };
        let config = crate::config(spicedb(config), json!({}));
        let listener = Listener::new("l").plugin(&Plugin::new("rebac", config));
        let mut all = bootstrap(upstream.address(), &[listener]);
        let clusters = all["static_resources"]["clusters"].as_array_mut().unwrap();
        clusters.push(cluster("engine", place, !http));
        clusters.push(cluster("engine-h2", engine.server.grpc(), true));
        let envoy = Envoy::start_with(&all, &Options { workers, ..Options::default() }).await;
        agree(&envoy, workers, seed, async |asked, relation| {
            let context = asked.amount.map_or(json!({}), |amount| json!({"amount": amount}));
            let (user, document) = (format!("user:{}", asked.user), format!("document:{}", asked.document));
            match &*engine.check(&user, relation, &document, &context).await {
                "PERMISSIONSHIP_HAS_PERMISSION" => Some(true),
                "PERMISSIONSHIP_NO_PERMISSION" => Some(false),
                "PERMISSIONSHIP_CONDITIONAL_PERMISSION" => None,
                other => panic!("{other}"),
            }
        })
        .await;
    }
}

/// How many tuples are deleted, one after the other.
const REVOCATIONS: usize = 100;
/// While the watch lives.
const BOUND: Duration = Duration::from_secs(1);
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(250);
/// The machine did nothing for so long: what was measured meanwhile says nothing about the gateway.
const STALL: Duration = Duration::from_millis(150);
/// The workers of the gateway.
const WORKERS: u32 = 4;

/// What is measured: this test alone looks at the clock, for it is about one.
#[allow(clippy::disallowed_methods, reason = "the bound that is tested is one of time")]
fn now() -> Instant {
    Instant::now()
}

/// When each tuple was deleted, in milliseconds since the test began; 0 while it is there.
struct Deletions {
    begun: Instant,
    at: Vec<AtomicU64>,
    stalled: AtomicU64,
    over: AtomicBool,
}

impl Deletions {
    fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    granted: u64,
    denied: u64,
    /// Let in later than the bound, though nothing held the machine up.
    late: Vec<String>,
    unsure: u64,
}

/// Knocks with tuples that are deleted now, were a little ago, or will be soon.
async fn load(envoy: SocketAddr, deletions: Arc<Deletions>) -> Seen {
    let mut connection = Connection::open(envoy, http::Version::HTTP_11).await.unwrap();
    let mut seen = Seen::default();
    let mut turn = 0;
    while !deletions.over.load(Ordering::SeqCst) {
        let gone = deletions.at.iter().filter(|at| at.load(Ordering::SeqCst) != 0).count();
        let tuple = (gone + turn % 14).saturating_sub(10).min(REVOCATIONS - 1);
        turn += 1;
        let sent = deletions.millis();
        let request = ask(envoy, "GET", &format!("/viewer/r{tuple}")).header("x-user", "ann");
        let answer = connection.send(request).await.expect("an answer");
        let deleted = deletions.at[tuple].load(Ordering::SeqCst);
        match answer.status {
            200 => {
                seen.granted += 1;
                if deleted != 0 && sent > deleted + u64::try_from(BOUND.as_millis()).unwrap() {
                    if deletions.stalled.load(Ordering::SeqCst) >= deleted {
                        seen.unsure += 1;
                    } else {
                        seen.late.push(format!("r{tuple}: deleted at {deleted}, asked at {sent}"));
                    }
                }
            }
            403 => seen.denied += 1,
            _ => panic!("{} {}", answer.status, answer.text()),
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    seen
}

/// Deletes one tuple after the other under load. `delete` gives what a client may present afterwards.
async fn revoke(envoy: &Envoy, delete: impl AsyncFn(&str) -> String) {
    wait_for_the_watch(envoy).await;
    let deletions = Arc::new(Deletions {
        begun: now(),
        at: (0..REVOCATIONS).map(|_| AtomicU64::new(0)).collect(),
        stalled: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let load: Vec<_> = (0..WORKERS * 2)
        .map(|_| tokio::spawn(crate::load(envoy.address(), Arc::clone(&deletions))))
        .collect();
    let stalls = tokio::spawn({
        let deletions = Arc::clone(&deletions);
        async move {
            while !deletions.over.load(Ordering::SeqCst) {
                let before = now();
                tokio::time::sleep(Duration::from_millis(10)).await;
                if before.elapsed() > STALL {
                    deletions.stalled.store(deletions.millis(), Ordering::SeqCst);
                }
            }
        }
    });
    for n in 0..REVOCATIONS {
        tokio::time::sleep(PAUSE).await;
        let token = delete(&format!("document:r{n}#owner@user:ann")).await;
        deletions.at[n].store(deletions.millis().max(1), Ordering::SeqCst);
        for _ in 0..2 {
            let request = ask(envoy.address(), "GET", &format!("/viewer/r{n}")).header("x-user", "ann");
            let answer = request.header("x-zedtoken", &token).send().await;
            assert_eq!(answer.status, 403, "r{n}, freshly: {}", answer.text());
        }
    }
    tokio::time::sleep(BOUND.saturating_mul(2)).await;
    deletions.over.store(true, Ordering::SeqCst);
    stalls.await.unwrap();
    let (mut granted, mut denied, mut unsure) = (0, 0, 0);
    for task in load {
        let seen = task.await.unwrap();
        assert!(seen.late.is_empty(), "{:?}\n{}", seen.late, envoy.log());
        assert!(seen.granted > 0 && seen.denied > 0, "a connection that saw nothing");
        granted += seen.granted;
        denied += seen.denied;
        unsure += seen.unsure;
    }
    let remembered = remembered(envoy).await;
    println!(
        "{granted} granted, {denied} denied, {remembered} from memory, {unsure} while the machine stood still"
    );
    assert!(remembered > 0.0, "nothing was remembered");
}

async fn remembered(envoy: &Envoy) -> f64 {
    let text = envoy.prometheus().await;
    let lines =
        text.lines().filter(|l| l.starts_with("portcullis_rebac_checks_total{") && l.contains("\"cache\""));
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tuple_that_openfga_deletes_lets_nobody_in_any_more() {
    let upstream = Upstream::start().await;
    // Its own caches are on, and lie for as long as is written.
    let caches = ["--check-query-cache-enabled=true", "--check-query-cache-ttl=10s"];
    let engine = Openfga::start(MODEL, &caches).await;
    let all: Vec<Value> = (0..REVOCATIONS).map(|n| json!(format!("document:r{n}#owner@user:ann"))).collect();
    for some in all.chunks(50) {
        engine.write(some).await;
    }
    let freshness = json!({"freshness": {"header": "x-zedtoken", "per_second": 1000}});
    let config = config(openfga(&engine, watched()), freshness);
    let envoy = gate(config, &upstream, engine.server.http(), false, WORKERS).await;
    revoke(&envoy, async |tuple| {
        engine.delete(&[json!(tuple)]).await;
        "fresh".to_owned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relationship_that_spicedb_deletes_lets_nobody_in_any_more() {
    let upstream = Upstream::start().await;
    let engine = Spicedb::start(SCHEMA, &[]).await;
    let all: Vec<String> = (0..REVOCATIONS).map(|n| format!("document:r{n}#owner@user:ann")).collect();
    engine.write(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let freshness = json!({"freshness": {"header": "x-zedtoken", "per_second": 1000}});
    let envoy =
        gate(config(spicedb(watched()), freshness), &upstream, engine.server.grpc(), true, WORKERS).await;
    revoke(&envoy, async |tuple| engine.delete(&[tuple]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_the_client_made_up_is_its_own_fault() {
    let upstream = Upstream::start().await;
    let engine = Spicedb::start(SCHEMA, &[]).await;
    let token = engine.write(&["document:1#owner@user:ann"]).await;
    for (grpc, server) in
        [(true, json!({"calls": patient()})), (false, json!({"protocol": "http", "calls": patient()}))]
    {
        let mut config = config(spicedb(server), json!({"freshness": {"header": "x-zedtoken"}}));
        for rule in config["rules"].as_array_mut().unwrap() {
            rule["on_error"] = "allow".into();
        }
        let address = if grpc { engine.server.grpc() } else { engine.server.http() };
        let envoy = gate(config, &upstream, address, grpc, 1).await;
        // One question, two and three: SpiceDB says it of the call, or of each question.
        for path in ["/viewer/1", "/all/1", "/any/1"] {
            let with = |token: String| {
                let request = ask(envoy.address(), "GET", path).header("x-user", "eve");
                request.header("x-zedtoken", &token).send()
            };
            assert_eq!(with(token.clone()).await.reason(), "relation_denied", "{path}");
            let answer = with(from_the_future(&token)).await;
            assert_eq!((answer.status, answer.reason()), (400, "freshness_invalid".to_owned()), "{path}");
        }
    }
}

/// The token of a write that is still to come: the first digit of its time is another one.
fn from_the_future(token: &str) -> String {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut bytes = base64.decode(token).unwrap();
    let digits = bytes.windows(12).position(|window| window.iter().all(u8::is_ascii_digit)).expect("a time");
    bytes[digits] = b'8';
    base64.encode(bytes)
}

/// The longest that a request may take while the engine is away: its deadline, a tick, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_millis(500 + 50 + 3_000);

fn hasty() -> Value {
    json!({"calls": {"timeout": "500ms", "failures": 1000}})
}

/// Nobody gets in, and nobody waits for longer than the deadline.
async fn nobody_gets_in(envoy: &Envoy, why: &str) {
    for n in 0..5 {
        let begun = now();
        // Each is asked for the first time.
        let answer = knock(envoy, "ann", &format!("/viewer/1?amount={n}{}", why.len())).await;
        let took = begun.elapsed();
        assert_eq!((answer.status, answer.reason()), (503, "engine_unavailable".to_owned()), "{why}");
        assert!(took <= DEADLINE, "{why}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_frozen_or_killed_lets_nobody_in_and_is_asked_again_when_it_is_back() {
    let upstream = Upstream::start().await;
    let mut engine = Spicedb::start(SCHEMA, &[]).await;
    engine.write(&["document:1#owner@user:ann"]).await;
    let mut more = hasty();
    more["watch"] = json!({"remember": "1h"});
    // What was remembered ends because the watch begins again, not because its time is over.
    let cache = json!({"cache": {"allow": "1h"}});
    let envoy = gate(config(spicedb(more), cache), &upstream, engine.server.grpc(), true, 2).await;
    wait_for_the_watch(&envoy).await;
    assert_eq!(knock(&envoy, "ann", "/viewer/1").await.status, 200);
    let up = "portcullis_rebac_watch_up{plugin=\"rebac\"}";
    let unwatched = async || envoy.metric(up).await == Some(0.0);
    engine.server.freeze().await;
    nobody_gets_in(&envoy, "frozen").await;
    envoy.wait_until("no watch", unwatched).await;
    engine.server.thaw();
    let back = async || knock(&envoy, "ann", "/viewer/1?amount=1").await.status == 200;
    envoy.wait_until("an answer after the thaw", back).await;
    wait_for_the_watch(&envoy).await;
    engine.server.kill();
    nobody_gets_in(&envoy, "killed ").await;
    envoy.wait_until("no watch", unwatched).await;
    // Its memory is another one now: it knows none of the tokens that it gave.
    engine.server.restart();
    engine.schema(SCHEMA).await;
    engine.write(&["document:2#owner@user:ann"]).await;
    wait_for_the_watch(&envoy).await;
    let back = async || knock(&envoy, "ann", "/viewer/2").await.status == 200;
    envoy.wait_until("an answer after the restart", back).await;
    let forgotten = async || knock(&envoy, "ann", "/viewer/1").await.status == 403;
    envoy.wait_until_all("what it knew before is forgotten", forgotten).await;

    let mut engine = Openfga::start(MODEL, &[]).await;
    engine.write(&[json!("document:1#owner@user:ann")]).await;
    let mut more = hasty();
    more["watch"] = json!({});
    let envoy =
        gate(config(openfga(&engine, more), json!({})), &upstream, engine.server.http(), false, 2).await;
    wait_for_the_watch(&envoy).await;
    assert_eq!(knock(&envoy, "ann", "/viewer/1").await.status, 200);
    engine.server.freeze().await;
    nobody_gets_in(&envoy, "frozen").await;
    engine.server.thaw();
    let back = async || knock(&envoy, "ann", "/viewer/1?amount=1").await.status == 200;
    envoy.wait_until("an answer after the thaw", back).await;
    engine.server.kill();
    nobody_gets_in(&envoy, "killed ").await;
}

/// A server that says `answer` to whatever it is asked.
async fn says(answer: &'static [u8]) -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes).await;
                let _ = stream.write_all(answer).await;
                // The rest of the request is taken, so that the answer is not lost with the connection.
                let _ = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut bytes)).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_talks_nonsense_lets_nobody_in() {
    let upstream = Upstream::start().await;
    let bodies: [(&str, &[u8]); 7] = [
        ("garbage", b"allowed: true\r\n\r\n"),
        ("a 500", b"HTTP/1.1 500 Oops\r\ncontent-length: 16\r\n\r\n{\"allowed\":true}"),
        ("half a body", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"allowed\":true}"),
        ("no body", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("a word", b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"allowed\":\"true\"}"),
        ("two answers", b"HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n{\"allowed\":true}{\"allowed\":true}"),
        ("nothing", b""),
    ];
    let ids = json!({"store": "01JD0000000000000000STARE0", "model": "01JD0000000000000000MADE00"});
    for (why, body) in bodies {
        let address = says(body).await;
        let mut server = json!({"cluster": "engine"});
        for more in [&ids, &hasty()] {
            server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        let envoy = gate(config(json!({"openfga": server}), json!({})), &upstream, address, false, 1).await;
        nobody_gets_in(&envoy, why).await;
        let mut more = hasty();
        more["watch"] = json!({});
        let envoy = gate(config(spicedb(more), json!({})), &upstream, address, true, 1).await;
        nobody_gets_in(&envoy, why).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_question_of_somebody_who_left_is_answered() {
    let upstream = Upstream::start().await;
    let engine = Openfga::start(MODEL, &[]).await;
    engine.write(&[json!("document:1#owner@user:ann")]).await;
    let config = config(openfga(&engine, json!({"calls": {"timeout": "10s"}})), json!({}));
    let envoy = Arc::new(gate(config, &upstream, engine.server.http(), false, 1).await);
    engine.server.freeze().await;
    let active = "envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix=\"l\"}";
    let first = tokio::spawn({
        let envoy = Arc::clone(&envoy);
        async move { knock(&envoy, "ann", "/viewer/1").await }
    });
    envoy.wait_until("the first", async || envoy.metric(active).await == Some(1.0)).await;
    let others: Vec<_> = (0..10)
        .map(|_| {
            let envoy = Arc::clone(&envoy);
            tokio::spawn(async move { knock(&envoy, "ann", "/viewer/1").await })
        })
        .collect();
    envoy.wait_until("the others", async || envoy.metric(active).await == Some(11.0)).await;
    first.abort();
    envoy.wait_until("the first gone", async || envoy.metric(active).await == Some(10.0)).await;
    engine.server.thaw();
    for other in others {
        let answer = other.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A guide's commands, and what they are shown to print.
fn commands(name: &str) -> Vec<(String, String)> {
    let page = markdown::Page::read(format!("envoy/guides/{name}.md"));
    let blocks = page.blocks();
    let mine = blocks.iter().enumerate().filter(|(_, block)| block.info == format!("sh {name}"));
    mine.map(|(n, block)| {
        let shown = blocks.get(n + 1).filter(|next| next.follows && next.info == "text");
        (block.text.clone(), shown.map(|next| next.text.clone()).unwrap_or_default())
    })
    .collect()
}

/// Runs commands, with other places and tokens than the guide's, and compares what they print.
fn run(commands: &[(String, String)], replaced: &[(&str, String)]) {
    for (script, shown) in commands {
        let script = replaced.iter().fold(script.clone(), |text, (from, to)| text.replace(from, to));
        let script = script
            .replace("$(make -s token)", &demo::token("ann", 600))
            .replace("$(make -s token SUBJECT=bob)", &demo::token("bob", 600));
        let output = tokio::task::block_in_place(|| {
            Command::new("sh").arg("-c").arg(&script).current_dir(paths::root()).output().unwrap()
        });
        assert_eq!(&String::from_utf8_lossy(&output.stdout), shown, "{script}");
    }
}

/// The example's Envoy, on free ports, with this engine.
async fn example(path: &Path, upstream: &Upstream, name: &str, engine: SocketAddr) -> Envoy {
    let mut example = examples::with_ports(examples::read(path), Ports::free(upstream.address()));
    for cluster in example["static_resources"]["clusters"].as_array_mut().unwrap() {
        if cluster["name"] == name {
            let place =
                "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
            *cluster.pointer_mut(place).unwrap() = engine.port().into();
        }
    }
    let envoy = Envoy::start(&example).await;
    wait_for_the_watch(&envoy).await;
    envoy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_of_openfga_prints_what_it_shows() {
    let upstream = Upstream::start().await;
    let server = Engine::start(Kind::Openfga, &[]);
    let folder = tempfile::tempdir().unwrap();
    let mut replaced = vec![
        ("127.0.0.1:8090", server.http().to_string()),
        ("dist/", format!("{}/", folder.path().display())),
    ];
    let commands = commands("openfga");
    assert_eq!(commands.len(), 4, "the guide's commands were not found");
    run(&commands[..2], &replaced);
    let file = folder.path().join("rebac-openfga.yaml");
    let envoy = example(&file, &upstream, "openfga", server.http()).await;
    replaced.push(("127.0.0.1:10000", envoy.address().to_string()));
    run(&commands[2..], &replaced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_of_spicedb_prints_what_it_shows() {
    let upstream = Upstream::start().await;
    let server = Engine::start(Kind::Spicedb("demo-do-not-use"), &[]);
    let commands = commands("spicedb");
    assert_eq!(commands.len(), 3, "the guide's commands were not found");
    let mut replaced = vec![("127.0.0.1:8443", server.http().to_string())];
    // As in the guide: what was written is there before the gateway is.
    run(&commands[..1], &replaced);
    let file = paths::root().join("envoy/rebac-spicedb.yaml");
    let envoy = example(&file, &upstream, "spicedb", server.grpc()).await;
    replaced.push(("127.0.0.1:10000", envoy.address().to_string()));
    run(&commands[1..], &replaced);
    // What the guide shows of the configuration is the example's.
    let shown = markdown::Page::read("envoy/guides/spicedb.md").blocks();
    let shown = shown.iter().find(|block| block.text.starts_with("engine:")).unwrap();
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/1/typed_config/config/configuration/value";
    assert_eq!(&examples::parse(&shown.text).unwrap(), examples::read(&file).pointer(place).unwrap());
}
