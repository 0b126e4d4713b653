//! jwt-auth and its key servers in the in-process host: the clock, the answers and the deaths of workers under control.

use portcullis_tests::gate::config_with;
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::wasm::{Callout, LocalReply, Plugin, Stream, Vm, Went, World};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;
const OK: [(&str, &str); 2] = [(":status", "200"), ("cache-control", "max-age=100")];

fn world() -> World {
    let world = World::default();
    world.set_wall_seconds(tokens::now());
    world
}

/// One more worker of the process.
fn worker(world: &World, more: Value) -> Plugin {
    let mut keys = json!({
        "jwks_url": "https://id.test/keys",
        "clusters": {"id.test": "id"},
        "refetch_interval": "10s",
        "wait": "3s",
        "stale": "200s"
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Vm::new(world, "jwt-auth").configure(config_with(&[("/providers/corp/keys", keys)]).to_string()).unwrap()
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn good() -> Vec<u8> {
    set(&[Signer::rsa("rsa").jwk()])
}

fn both() -> Vec<u8> {
    set(&[Signer::rsa("rsa").jwk(), Signer::other_rsa("other").jwk()])
}

fn ask(plugin: &Plugin, token: &str) -> (Stream, Went) {
    plugin.request("GET", "/", &[("authorization", &format!("Bearer {token}"))])
}

fn token() -> String {
    Signer::rsa("rsa").token("RS256", &tokens::claims())
}

fn other() -> String {
    Signer::other_rsa("other").token("RS256", &tokens::claims())
}

/// The calls that nobody looked at yet.
fn fresh_calls(plugin: &Plugin, seen: usize) -> Vec<Callout> {
    plugin.vm().callouts().split_off(seen)
}

/// A worker that has keys.
fn ready(world: &World, more: Value) -> Plugin {
    let plugin = worker(world, more);
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[0].token, &OK, &good());
    plugin
}

fn is_unavailable(reply: &LocalReply) -> bool {
    let after = reply.header("retry-after").parse::<u32>();
    (reply.status, reply.reason().as_str()) == (503, "keys_unavailable")
        && after.is_ok_and(|s| (1..=61).contains(&s))
}

#[test]
fn ten_wait_for_the_first_keys_and_survive_the_one_that_came_first() {
    let world = world();
    let plugin = worker(&world, json!({}));
    assert_eq!(plugin.vm().tick_millis(), 250, "to fetch, to refresh, and to see what others fetched");
    let (first, went) = ask(&plugin, &token());
    assert_eq!(went, Went::Waits);
    assert_eq!(plugin.vm().tick_millis(), 2, "the fetch begins at once");
    let others: Vec<Stream> = (0..10).map(|_| ask(&plugin, &token()).0).collect();
    let waiting = || world.metric(&["portcullis_key_requests_waiting.plugin=.=jwt-auth"]);
    assert_eq!(waiting(), 11);
    plugin.tick();
    assert_eq!(plugin.vm().tick_millis(), 50);
    let [call] = &plugin.vm().callouts()[..] else { panic!("one call") };
    assert_eq!(call.target, b"id");
    for header in [(":method", "GET"), (":authority", "id.test"), (":path", "/keys"), (":scheme", "https")] {
        assert!(call.headers.contains(&(header.0.into(), header.1.into())), "{:?}", call.headers);
    }
    first.end();
    plugin.tick();
    assert_eq!(waiting(), 10, "who leaves waits no more");
    plugin.answer_http(call.token, &OK, &good());
    assert_eq!(waiting(), 0);
    for stream in others {
        assert_eq!(stream.went(), Went::On);
        assert_eq!(stream.header("x-user").as_deref(), Some("ann"));
    }
    assert_eq!(plugin.vm().tick_millis(), 250);
    assert_eq!(ask(&plugin, &token()).1, Went::On);
    assert_eq!(world.metric(&["portcullis_key_waits_total", "outcome=.=woken"]), 10);
    assert_eq!(world.metric(&["portcullis_fetches_total", "outcome=.=new", "provider=.=corp"]), 1);
    assert_eq!(world.metric(&["portcullis_fetched_entries", "content=.=keys"]), 1);
}

#[test]
fn one_worker_fetches_and_the_others_read() {
    let world = world();
    let (a, b) = (worker(&world, json!({})), worker(&world, json!({})));
    let (waiting, _) = ask(&b, &token());
    a.tick();
    b.tick();
    assert_eq!((a.vm().callouts().len(), b.vm().callouts().len()), (1, 0));
    a.answer_http(a.vm().callouts()[0].token, &OK, &good());
    b.tick();
    assert_eq!(waiting.went(), Went::On);
    // A worker that comes now, after a trap say, asks nobody and lets nobody wait.
    let late = worker(&world, json!({}));
    assert_eq!(ask(&late, &token()).1, Went::On);
}

#[test]
fn a_dead_lease_holder_costs_one_lease_term() {
    let world = world();
    let (a, b) = (worker(&world, json!({"wait": "20s"})), worker(&world, json!({"wait": "20s"})));
    a.tick();
    assert_eq!(a.vm().callouts().len(), 1);
    drop(a);
    let (waiting, _) = ask(&b, &token());
    // The call may take 5 s, the lease a second more.
    for _ in 0..59 {
        world.advance(SECOND / 10);
        b.tick();
        assert_eq!(b.vm().callouts().len(), 0);
    }
    world.advance(SECOND / 10);
    b.tick();
    b.answer_http(b.vm().callouts()[0].token, &OK, &good());
    assert_eq!(waiting.went(), Went::On);
}

#[test]
fn nobody_waits_longer_than_allowed_nor_for_what_cannot_come() {
    let world = world();
    let plugin = worker(&world, json!({}));
    let (stream, _) = ask(&plugin, &token());
    plugin.tick();
    world.advance(3 * SECOND - 1);
    plugin.tick();
    assert_eq!(stream.went(), Went::Waits);
    world.advance(1);
    plugin.tick();
    assert!(is_unavailable(&stream.went().reply()), "{:?}", stream.went());
    // The call fails, and the next ones; when their spacing is longer than a request waits, it is told at once.
    let mut seen = 0;
    for _ in 0..6 {
        for call in fresh_calls(&plugin, seen) {
            plugin.answer_http(call.token, &[(":status", "500")], b"<html>");
            seen += 1;
        }
        world.advance(SECOND * 9);
        plugin.tick();
    }
    for call in fresh_calls(&plugin, seen) {
        plugin.answer_http(call.token, &[(":status", "500")], b"<html>");
    }
    assert!(is_unavailable(&ask(&plugin, &token()).1.reply()));
    assert_eq!(world.metric(&["portcullis_key_waits_total", "outcome=.=timeout"]), 1);
    let (_, went) = plugin.request("GET", "/", &[]);
    assert_eq!(went.reply().reason(), "token_missing", "that needs no key");
}

#[test]
fn those_who_wait_are_bounded() {
    let world = world();
    let plugin = worker(&world, json!({}));
    // The gauge is of all workers; this one's bound is its own.
    let elsewhere = worker(&world, json!({}));
    let (_other, _) = ask(&elsewhere, &token());
    let waiting: Vec<Stream> = (0..1024).map(|_| ask(&plugin, &token()).0).collect();
    assert!(waiting.iter().all(|stream| stream.went() == Went::Waits));
    assert_eq!(world.metric(&["portcullis_key_requests_waiting"]), 1025);
    assert!(is_unavailable(&ask(&plugin, &token()).1.reply()));
    assert_eq!(world.metric(&["portcullis_key_waits_total", "outcome=.=refused"]), 1);
    // Who leaves makes room.
    let mut waiting = waiting.into_iter();
    waiting.next().unwrap().end();
    assert_eq!(ask(&plugin, &token()).1, Went::Waits);
    drop(waiting);
}

/// Envoy lets streams go one within the other: all at once overflow its stack.
#[test]
fn those_who_wait_are_let_go_a_few_at_a_time() {
    let world = world();
    let plugin = worker(&world, json!({}));
    let waiting: Vec<Stream> = (0..1024).map(|_| ask(&plugin, &token()).0).collect();
    let gone = || waiting.iter().filter(|stream| stream.went() == Went::On).count();
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[0].token, &OK, &set(&[Signer::rsa("rsa").jwk()]));
    for round in 1..=32 {
        assert_eq!(gone(), round * 32);
        assert_eq!(plugin.vm().tick_millis() == 2, round < 32, "it ticks fast while some are left");
        plugin.tick();
    }
    assert_eq!(gone(), 1024);
}

#[test]
fn an_unknown_key_is_looked_for_once_in_an_interval() {
    let world = world();
    let plugin = ready(&world, json!({}));
    world.advance(1);
    let (stream, went) = ask(&plugin, &other());
    assert_eq!(went, Went::Waits);
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[1].token, &OK, &both());
    assert_eq!(stream.went(), Went::On);
    let mut answered = 2;
    let mut refused = 0;
    for n in 0..3_000 {
        // A hundred a second, for half a minute.
        world.advance(SECOND / 100);
        let (stream, went) = ask(&plugin, &Signer::rsa(&format!("k{n}")).token("RS256", &tokens::claims()));
        plugin.tick();
        for call in fresh_calls(&plugin, answered) {
            answered += 1;
            plugin.answer_http(call.token, &OK, &good());
        }
        let went = if went == Went::Waits { stream.went() } else { went };
        if let Went::Answered(reply) = went {
            refused += 1;
            assert_eq!((reply.status, reply.reason().as_str()), (401, "token_invalid"));
        }
    }
    assert!((4..=5).contains(&answered), "{answered} fetches: two, and one for each interval of ten seconds");
    assert!(refused > 2_000, "{refused}");
}

#[test]
fn a_name_that_was_looked_for_in_vain_is_not_looked_for_again() {
    let world = world();
    let plugin = ready(&world, json!({"min_fresh": "1h", "max_fresh": "1h"}));
    world.advance(1);
    let (stream, _) = ask(&plugin, &other());
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[1].token, &OK, &good());
    assert_eq!(stream.went().reply().reason(), "token_invalid");
    for _ in 0..5 {
        world.advance(SECOND);
        assert_eq!(ask(&plugin, &other()).1.reply().reason(), "token_invalid");
        plugin.tick();
    }
    assert_eq!(plugin.vm().callouts().len(), 2);
    // Nobody can have a name that will be used refused for longer.
    world.advance(5 * SECOND);
    let (stream, went) = ask(&plugin, &other());
    assert_eq!(went, Went::Waits, "after the interval");
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[2].token, &OK, &both());
    assert_eq!(stream.went(), Went::On);
}

/// A rotation, seen by those who come while its one fetch is under way, in whichever worker.
#[test]
fn a_fetch_that_is_under_way_is_waited_for() {
    let world = world();
    let (first, second) = (ready(&world, json!({})), worker(&world, json!({})));
    second.tick();
    world.advance(SECOND);
    let (asker, _) = ask(&first, &other());
    first.tick();
    let call = first.vm().callouts()[1].token;
    let late: Vec<Stream> = [&first, &second]
        .map(|plugin| {
            world.advance(SECOND / 10);
            ask(plugin, &other()).0
        })
        .into();
    assert!(late.iter().all(|stream| stream.went() == Went::Waits));
    first.answer_http(call, &OK, &both());
    // A request of the second worker finds the keys before its tick does; who waits there is woken all the same.
    assert_eq!(ask(&second, &other()).1, Went::On);
    second.tick();
    assert!(asker.went() == Went::On && late.iter().all(|stream| stream.went() == Went::On));
    assert_eq!(first.vm().callouts().len() + second.vm().callouts().len(), 2);
}

/// What came of a fetch that began before a request does not tell it that its key is not there.
#[test]
fn who_came_during_a_fetch_in_vain_is_looked_for_once_more() {
    let world = world();
    let plugin = ready(&world, json!({"wait": "11s"}));
    world.advance(SECOND);
    let (made_up, _) = ask(&plugin, &Signer::rsa("made-up").token("RS256", &tokens::claims()));
    plugin.tick();
    world.advance(SECOND / 10);
    let (stream, went) = ask(&plugin, &other());
    assert_eq!(went, Went::Waits);
    plugin.answer_http(plugin.vm().callouts()[1].token, &OK, &good());
    plugin.tick();
    assert_eq!(made_up.went().reply().reason(), "token_invalid");
    assert_eq!(stream.went(), Went::Waits);
    world.advance(10 * SECOND);
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[2].token, &OK, &both());
    assert_eq!(stream.went(), Went::On);
}

#[test]
fn shadow_holds_nobody_up() {
    let world = world();
    let keys = json!({"jwks_url": "https://id.test/keys", "clusters": {"id.test": "id"}});
    let config = config_with(&[("/providers/corp/keys", keys), ("/mode", json!("shadow"))]);
    let plugin = Vm::new(&world, "jwt-auth").configure(config.to_string()).unwrap();
    assert_eq!(ask(&plugin, &token()).1, Went::On);
    assert_eq!(world.metric(&["portcullis_decisions_total", "shadow_deny", "keys_unavailable"]), 1);
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[0].token, &OK, &good());
    world.advance(SECOND);
    assert_eq!(ask(&plugin, &other()).1, Went::On);
    plugin.tick();
    assert_eq!(plugin.vm().callouts().len(), 2, "it is looked for all the same");
}

#[test]
fn a_withdrawn_key_takes_what_is_remembered_with_it() {
    let world = world();
    let (a, b) = (ready(&world, json!({})), worker(&world, json!({})));
    b.tick();
    world.advance(1);
    for plugin in [&a, &b] {
        for _ in 0..2 {
            assert_eq!(ask(plugin, &token()).1, Went::On);
        }
    }
    let verified = world.metric(&["token_verifications_total"]);
    assert_eq!(verified, 2, "each once");
    // Another key comes: what is remembered stays.
    let (waiting, _) = ask(&a, &other());
    a.tick();
    let both = set(&[Signer::rsa("rsa").jwk(), Signer::other_rsa("other").jwk()]);
    a.answer_http(a.vm().callouts()[1].token, &OK, &both);
    assert_eq!(waiting.went(), Went::On);
    b.tick();
    assert_eq!((ask(&a, &token()).1, ask(&b, &token()).1), (Went::On, Went::On));
    assert_eq!(world.metric(&["token_verifications_total"]) - verified, 2, "for the other token");
    // The first goes: so does what it verified, in every worker.
    world.advance(100 * SECOND);
    for plugin in [&a, &b] {
        plugin.tick();
    }
    let fetching = if a.vm().callouts().len() > 2 { &a } else { &b };
    let call = fetching.vm().callouts().pop().unwrap();
    fetching.answer_http(call.token, &OK, &set(&[Signer::other_rsa("other").jwk()]));
    for plugin in [&a, &b] {
        plugin.tick();
        assert_ne!(ask(plugin, &token()).1, Went::On);
        assert_eq!(ask(plugin, &other()).1, Went::On);
    }
}

#[test]
fn whatever_the_server_says_the_last_good_keys_serve_until_their_end() {
    let world = world();
    let plugin = ready(&world, json!({}));
    let long = vec![b' '; 600 << 10];
    let longer = vec![b' '; 10 << 20];
    type Broken<'a> = (&'a [(&'a str, &'a str)], &'a [u8], &'a str);
    let answers: [Broken<'_>; 7] = [
        (&[], b"", "reset"),
        (&[(":status", "200")], b"<html>", "invalid"),
        (&[(":status", "200")], b"{\"keys\":[]}", "invalid"),
        (&[(":status", "302"), ("location", "http://evil.test/")], b"", "status"),
        (&[(":status", "504")], b"upstream request timeout", "timeout"),
        (&[(":status", "200")], &long, "too_large"),
        (&[(":status", "200")], &longer, "reset"),
    ];
    let memory = plugin.vm().memory_bytes();
    // Fresh for 100 s, stale for 200 more.
    world.advance(100 * SECOND);
    let mut passed = 100;
    for (n, (headers, body, outcome)) in answers.into_iter().enumerate() {
        let before = world.metric(&["portcullis_fetches_total", &format!("outcome=.={outcome};")]);
        plugin.tick();
        let [call] = &fresh_calls(&plugin, n + 1)[..] else { panic!("{outcome}: one call") };
        plugin.answer_http(call.token, headers, body);
        assert_eq!(world.metric(&["portcullis_fetches_total", &format!("outcome=.={outcome};")]), before + 1);
        assert_eq!(ask(&plugin, &token()).1, Went::On, "{outcome}");
        // A key that nobody knows: who can wait for the next attempt does, all others are told.
        match ask(&plugin, &other()) {
            (stream, Went::Waits) => stream.end(),
            (_, went) => assert!(is_unavailable(&went.reply()), "{outcome}"),
        }
        passed += (1 << n) + 1;
        world.advance(SECOND * ((1 << n) + 1));
    }
    assert!(plugin.vm().memory_bytes() < memory + (4 << 20), "ten megabytes were not even read");
    world.advance(SECOND * (300 - passed));
    plugin.tick();
    assert_ne!(ask(&plugin, &token()).1, Went::On, "300 s are over");
    plugin.answer_http(plugin.vm().callouts().pop().unwrap().token, &OK, &good());
    assert_eq!(ask(&plugin, &token()).1, Went::On);
}

#[test]
fn an_unknown_cluster_is_a_servers_failure() {
    let world = world();
    let vm = Vm::new(&world, "jwt-auth");
    vm.forget_cluster("id");
    let keys = json!({"jwks_url": "https://id.test/keys", "clusters": {"id.test": "id"}, "wait": "0s"});
    let plugin = vm.configure(config_with(&[("/providers/corp/keys", keys)]).to_string()).unwrap();
    plugin.tick();
    assert!(is_unavailable(&ask(&plugin, &token()).1.reply()));
    assert!(plugin.vm().log().contains("keys of corp: unreachable; there are none"), "{}", plugin.vm().log());
}

#[test]
fn two_plugins_of_one_name_share_nothing_that_differs() {
    let world = world();
    let plugin = ready(&world, json!({}));
    assert_eq!(ask(&plugin, &token()).1, Went::On);
    let elsewhere = worker(&world, json!({"jwks_url": "https://id.test/others"}));
    elsewhere.tick();
    assert_eq!(elsewhere.vm().callouts().len(), 1);
    let other_host = Vm::new(&world, "jwt-auth");
    other_host.set_property("plugin_name", "second");
    let keys = json!({"jwks_url": "https://id.test/keys", "clusters": {"id.test": "id"}});
    let second = other_host.configure(config_with(&[("/providers/corp/keys", keys)]).to_string()).unwrap();
    second.tick();
    assert_eq!(second.vm().callouts().len(), 1);
}

#[test]
fn a_deny_list_that_cannot_be_had_is_what_the_operator_says() {
    let world = world();
    for (on_error, want) in [("deny", "deny_list_unavailable"), ("allow", "")] {
        let list = json!({"url": "https://deny.test/list", "cluster": "deny", "on_error": on_error});
        let config = config_with(&[("/providers/corp/deny", json!({ "list": list }))]);
        let vm = Vm::new(&world, "jwt-auth");
        vm.set_property("plugin_name", on_error);
        let plugin = vm.configure(config.to_string()).unwrap();
        let (stream, went) = ask(&plugin, &token());
        plugin.tick();
        let call = plugin.vm().callouts().pop().unwrap();
        plugin.answer_http(call.token, &[(":status", "200")], b"{\"jtis\":[]}");
        world.advance(60 * SECOND);
        plugin.tick();
        let went = if went == Went::Waits { stream.went() } else { went };
        match went {
            Went::Answered(reply) => assert_eq!((reply.status, &*reply.reason()), (503, want)),
            other => assert_eq!((other, want), (Went::On, "")),
        }
        plugin.answer_http(
            plugin.vm().callouts().pop().unwrap().token,
            &[(":status", "200")],
            b"{\"sub\":[\"ann\"]}",
        );
        assert_eq!(ask(&plugin, &token()).1.reply().reason(), "token_invalid", "listed, and forgotten");
    }
}

/// A worker serves nobody while it reads a key set. As many and as long keys as a set may have took 9 billion instructions while each
/// key's constants were worked out at once.
#[test]
fn the_largest_key_set_is_read_in_the_blink_of_an_eye() {
    let world = world();
    let plugin = worker(&world, json!({}));
    plugin.tick();
    let keys: Vec<Value> = (0..255_u16)
        .map(|n| {
            let mut modulus = vec![0x5A; 512];
            modulus[0] = 0xC3;
            modulus[1..3].copy_from_slice(&n.to_be_bytes());
            modulus[511] = 1;
            json!({"kty": "RSA", "kid": format!("k{n}"), "e": "AQAB", "n": tokens::b64(modulus)})
        })
        .chain([Signer::rsa("rsa").jwk()])
        .collect();
    plugin.vm().reset_counts();
    plugin.answer_http(plugin.vm().callouts()[0].token, &OK, &set(&keys));
    let fuel = plugin.vm().fuel();
    println!("256 keys of 4096 bits: {fuel} fuel");
    assert_eq!(world.metric(&["portcullis_fetched_entries", "content=.=keys"]), 256);
    assert!(fuel < 60_000_000, "{fuel}");
    assert_eq!(ask(&plugin, &token()).1, Went::On);
}

/// Whoever waits is woken by whatever moves: that must not cost eight signatures each time.
#[test]
fn a_request_that_is_woken_for_nothing_is_not_judged_anew() {
    let world = world();
    let plugin = worker(&world, json!({"wait": "60s"}));
    plugin.tick();
    let keys: Vec<Value> = (0..8)
        .map(|n| {
            let mut jwk = Signer::rsa("").jwk();
            jwk["kid"] = format!("k{n}").into();
            jwk
        })
        .collect();
    plugin.answer_http(plugin.vm().callouts()[0].token, &OK, &set(&keys));
    world.advance(1);
    // No name, and eight keys that may have signed it.
    let mut forged = Signer::other_rsa("").token("RS256", &tokens::claims());
    forged = forged.replacen(forged.split('.').next().unwrap(), &tokens::b64(br#"{"alg":"RS256"}"#), 1);
    plugin.vm().reset_counts();
    let (stream, went) = ask(&plugin, &forged);
    assert_eq!(went, Went::Waits);
    let judged = plugin.vm().fuel();
    let verified = world.metric(&["token_verifications_total"]);
    plugin.tick();
    plugin.vm().reset_counts();
    plugin.answer_http(plugin.vm().callouts()[1].token, &OK, &set(&keys));
    assert_eq!(stream.went().reply().reason(), "token_invalid");
    let woken = plugin.vm().fuel();
    println!("judged: {judged} fuel, woken: {woken} fuel");
    assert!(woken < judged / 20, "{woken} {judged}");
    assert_eq!(world.metric(&["token_verifications_total"]), verified);
    assert_eq!(world.metric(&["portcullis_key_refetches_total", "provider=.=corp"]), 1);
}
