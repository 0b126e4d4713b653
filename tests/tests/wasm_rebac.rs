//! rebac and its tuples in the in-process host: what a load costs each callback, and what it takes in memory.

use std::time::Instant;

use portcullis_tests::wasm::{Plugin, Vm, Went, World};
use serde_json::{Value, json};

const OK: [(&str, &str); 1] = [(":status", "200")];
const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user]
type folder
  relations
    define viewer: [group#member]
type document
  relations
    define parent: [folder]
    define viewer: [user] or viewer from parent
";

/// A hundred thousand tuples; `round` tells one set from another.
fn tuples(round: usize) -> Vec<String> {
    let mut all: Vec<String> =
        (0..80_000).map(|n| format!("document:{n:08}#parent@folder:{:05}", (n + round) % 2000)).collect();
    all.extend((0..2000).map(|n| format!("folder:{n:05}#viewer@group:{:04}#member", n % 100)));
    all.extend((0..18_000).map(|n| format!("group:{:04}#member@user:{n:06}", n % 100)));
    all
}

fn lines(tuples: &[String]) -> Vec<u8> {
    (tuples.join("\n") + "\n").into_bytes()
}

/// As OpenFGA writes them.
fn objects(tuples: &[String]) -> Vec<u8> {
    let one = |tuple: &String| {
        let (object, rest) = tuple.split_once('#').unwrap();
        let (relation, user) = rest.split_once('@').unwrap();
        json!({"user": user, "relation": relation, "object": object})
    };
    Value::from(tuples.iter().map(one).collect::<Vec<_>>()).to_string().into_bytes()
}

fn worker(world: &World) -> Plugin {
    with_tuples(world, json!({"url": "http://tuples.test/all", "clusters": {"tuples.test": "tuples"}}))
}

fn with_tuples(world: &World, tuples: Value) -> Plugin {
    let config = json!({
        "engine": {"embedded": {"model": MODEL, "tuples": tuples}},
        "rules": [{"match": {"path": "/api/{id}"}, "checks": {"all": [
            {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
        ]}}],
        "unmatched": "deny",
    });
    let plugin = Vm::new(world, "rebac").configure(config.to_string()).unwrap();
    plugin.vm().set_property("portcullis.jwt-auth.subject", "000077");
    plugin
}

/// Makes a callback; the instructions and the milliseconds that it took, of which only the first decide.
#[allow(clippy::disallowed_methods, reason = "what is printed is the time of this machine")]
fn cost(plugin: &Plugin, callback: impl FnOnce()) -> (u64, u128) {
    plugin.vm().reset_counts();
    let begun = Instant::now();
    callback();
    (plugin.vm().fuel(), begun.elapsed().as_millis())
}

fn print(what: &str, costs: &[(u64, u128)]) -> u64 {
    let all: u64 = costs.iter().map(|(fuel, _)| fuel).sum();
    let most = costs.iter().map(|(fuel, _)| *fuel).max().unwrap_or_default();
    let longest = costs.iter().map(|(_, ms)| *ms).max().unwrap_or_default();
    let ms: u128 = costs.iter().map(|(_, ms)| ms).sum();
    println!(
        "{what}: {} callbacks, {} M instructions in {ms} ms; at most {} M and {longest} ms in one",
        costs.len(),
        all / 1_000_000,
        most / 1_000_000
    );
    most
}

/// Ticks until nothing is left to do.
fn finish(plugin: &Plugin, costs: &mut Vec<(u64, u128)>) {
    while plugin.vm().tick_millis() == 50 {
        costs.push(cost(plugin, || plugin.tick()));
    }
}

#[test]
fn a_hundred_thousand_tuples_are_taken_over_in_short_pieces() {
    let world = World::default();
    let (fetching, reading) = (worker(&world), worker(&world));
    let before = reading.vm().memory_bytes();
    for (form, document, may) in [("lines", lines(&tuples(0)), 77), ("objects", objects(&tuples(1)), 76)] {
        println!("{form}: {} bytes", document.len());
        fetching.tick();
        let call = fetching.vm().callouts().pop().expect("a call");
        let mut costs = vec![cost(&fetching, || fetching.answer_http(call.token, &OK, &document))];
        finish(&fetching, &mut costs);
        let most = print("who fetches", &costs).max({
            let mut costs = vec![cost(&reading, || reading.tick())];
            finish(&reading, &mut costs);
            print("who reads", &costs)
        });
        for vm in [&fetching, &reading] {
            for document in 75..80 {
                let (_, went) = vm.request("GET", &format!("/api/{document:08}"), &[]);
                assert_eq!(went == Went::On, document == may, "{form} {document}");
            }
        }
        println!("memory: {} KiB more; {}", (reading.vm().memory_bytes() - before) >> 10, reading.vm().log());
        // A tenth of all of it: a request that comes just then waits for so long, some ten milliseconds.
        assert!(most < 120_000_000, "{most} instructions in one callback");
        world.advance(31_000_000_000);
    }
}

#[test]
fn who_fetches_pays_for_it_in_ticks_and_not_with_requests() {
    let world = World::default();
    let own = "document:00000077#viewer@user:000077";
    let (fetched, written) = (worker(&world), with_tuples(&world, json!([own])));
    assert_eq!((fetched.vm().tick_millis(), written.vm().tick_millis()), (250, 0));
    fetched.tick();
    let call = fetched.vm().callouts().pop().expect("a call");
    fetched.answer_http(call.token, &OK, format!("{own}\n").as_bytes());
    let calls = [&fetched, &written].map(|plugin| {
        assert_eq!(plugin.request("GET", "/api/00000077", &[]).1, Went::On);
        plugin.vm().reset_counts();
        assert_eq!(plugin.request("GET", "/api/00000077", &[]).1, Went::On);
        plugin.vm().host_calls()
    });
    assert_eq!(calls[0], calls[1]);
    assert_eq!(fetched.vm().tick_millis(), 250);
}
