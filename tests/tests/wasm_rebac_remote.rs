//! rebac and an engine outside the filter, in the in-process host: the engine is a script.

use portcullis_common::filter::GrpcTarget;
use portcullis_tests::wasm::{Plugin, Stream, Vm, Went, World};
use serde_json::{Value, json};

const MS: u64 = 1_000_000;
const OK: [(&str, &str); 1] = [(":status", "200")];
const YES: &[u8] = br#"{"allowed":true,"resolution":""}"#;
const NO: &[u8] = br#"{"allowed":false,"resolution":""}"#;

fn config(engine: Value) -> Value {
    json!({
        "engine": engine,
        "rules": [
            {"match": {"path": "/documents/{id}"}, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "view", "object": "document:{path.id}"}
            ]}},
            {"match": {"path": "/both/{id}"}, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "view", "object": "document:{path.id}"},
                {"subject": "user:{subject}", "relation": "edit", "object": "document:{path.id}"},
            ]}},
        ],
        "unmatched": "deny",
    })
}

fn openfga() -> Value {
    json!({"openfga": {
        "cluster": "engine",
        "store": "01JF3ZK8W6X2Q9V5T7B4N1M0PC",
        "model": "01JF3ZK8W6X2Q9V5T7B4N1M0PD",
        "calls": {"retries": 0},
    }})
}

fn spicedb() -> Value {
    json!({"spicedb": {"cluster": "engine", "token": {"value": "key"}, "calls": {"retries": 0}}})
}

fn plugin(world: &World, engine: Value) -> Plugin {
    let plugin = Vm::new(world, "rebac").configure(config(engine).to_string()).unwrap();
    plugin.vm().set_property("portcullis.jwt-auth.subject", "ann");
    plugin
}

/// The token of the last call.
fn call(plugin: &Plugin) -> u32 {
    plugin.vm().callouts().pop().expect("a call").token
}

fn waits(plugin: &Plugin, path: &str) -> Stream {
    let (stream, went) = plugin.request("GET", path, &[]);
    assert_eq!(went, Went::Waits);
    stream
}

fn refused(went: Went) -> (u32, String) {
    let reply = went.reply();
    (reply.status, reply.reason())
}

#[test]
fn the_first_asks_and_its_answer_wakes_the_others() {
    let world = World::default();
    let plugin = plugin(&world, openfga());
    let streams: Vec<Stream> = (0..11).map(|_| waits(&plugin, "/documents/1")).collect();
    assert_eq!(plugin.vm().callouts().len(), 1);
    plugin.answer_http(call(&plugin), &OK, YES);
    assert_eq!(streams[0].went(), Went::On);
    // The others do not wait for the next tick of those that come every 50 ms.
    assert!(plugin.vm().tick_millis() < 10);
    plugin.tick();
    assert!(streams.iter().all(|stream| stream.went() == Went::On));
    drop(streams);
    plugin.tick();
    assert_eq!(plugin.vm().tick_millis(), 0, "nothing is left to do");
    assert_eq!(plugin.request("GET", "/documents/1", &[]).1, Went::On);
}

#[test]
fn ten_that_wait_survive_the_cancelling_of_the_first() {
    let world = World::default();
    let plugin = plugin(&world, openfga());
    let first = waits(&plugin, "/documents/1");
    let others: Vec<Stream> = (0..10).map(|_| waits(&plugin, "/documents/1")).collect();
    let lost = call(&plugin);
    first.end();
    world.advance(50 * MS);
    plugin.tick();
    let calls = plugin.vm().callouts();
    let again = calls.iter().map(|c| c.token).find(|token| *token != lost).expect("the plugin's own call");
    plugin.answer_http(again, &OK, YES);
    plugin.tick();
    assert!(others.iter().all(|stream| stream.went() == Went::On));
}

/// Lets pass while the engine is away, which a client that goes away must not look like.
fn lenient(world: &World, timeout: &str) -> Plugin {
    let mut engine = openfga();
    engine["openfga"]["calls"]["timeout"] = timeout.into();
    let mut config = config(engine);
    config["on_error"] = "allow".into();
    let plugin = Vm::new(world, "rebac").configure(config.to_string()).unwrap();
    plugin.vm().set_property("portcullis.jwt-auth.subject", "ann");
    plugin
}

#[test]
fn who_asks_what_another_left_unanswered_asks_anew() {
    let world = World::default();
    let plugin = lenient(&world, "200ms");
    waits(&plugin, "/documents/1").end();
    let lost = call(&plugin);
    // No tick comes: nobody waits.
    world.advance(2_000 * MS);
    let stream = waits(&plugin, "/documents/1");
    assert_ne!(call(&plugin), lost);
    plugin.answer_http(call(&plugin), &OK, NO);
    assert_eq!(refused(stream.went()), (403, "relation_denied".to_owned()));
}

#[test]
fn who_waits_for_what_another_left_gets_the_engines_answer_also_after_a_short_deadline() {
    let world = World::default();
    let plugin = lenient(&world, "20ms");
    let first = waits(&plugin, "/documents/1");
    let second = waits(&plugin, "/documents/1");
    let lost = call(&plugin);
    first.end();
    world.advance(50 * MS);
    plugin.tick();
    assert_eq!(second.went(), Went::Waits);
    let calls = plugin.vm().callouts();
    let again = calls.iter().map(|c| c.token).find(|token| *token != lost).expect("the plugin's own call");
    plugin.answer_http(again, &OK, NO);
    plugin.tick();
    assert_eq!(refused(second.went()), (403, "relation_denied".to_owned()));
}

#[test]
fn an_engine_that_never_answers_holds_a_request_for_its_deadline_and_one_tick() {
    let world = World::default();
    let plugin = plugin(&world, openfga());
    let streams: Vec<Stream> = (0..3).map(|_| waits(&plugin, "/documents/1")).collect();
    for _ in 0..4 {
        world.advance(45 * MS);
        plugin.tick();
        assert!(streams.iter().all(|stream| stream.went() == Went::Waits));
    }
    world.advance(45 * MS);
    for _ in 0..3 {
        plugin.tick();
    }
    for stream in streams {
        assert_eq!(refused(stream.went()), (503, "engine_unavailable".to_owned()));
    }
}

/// The stream's own call is answered in its context; what the plugin's tick lets it ask then, the SDK registers for the plugin.
#[test]
fn an_answer_to_what_was_asked_after_a_wait_finds_the_stream() {
    let (mut remote, mut grpc) = (openfga(), spicedb());
    remote["openfga"]["calls"] = json!({"retries": 1, "timeout": "10s"});
    grpc["spicedb"]["calls"] = json!({"retries": 1, "timeout": "10s"});
    for engine in [remote, grpc] {
        let http = engine.get("openfga").is_some();
        let world = World::default();
        let plugin = plugin(&world, engine);
        let answer = |yes: bool| match (http, yes) {
            (true, true) => plugin.answer_http(call(&plugin), &OK, YES),
            (true, false) => plugin.answer_http(call(&plugin), &[(":status", "503")], b""),
            (false, true) => plugin.answer_grpc(call(&plugin), 0, b"\x10\x02"),
            (false, false) => plugin.answer_grpc(call(&plugin), 14, b""),
        };
        let ask_again = |asked: usize| {
            answer(false);
            for _ in 0..20 {
                world.advance(50 * MS);
                plugin.tick();
            }
            assert_eq!(plugin.vm().callouts().len(), asked + 1, "asked again");
        };
        let stream = waits(&plugin, "/documents/1");
        ask_again(1);
        answer(true);
        assert_eq!(stream.went(), Went::On);
        // Who has left by then is not looked for, and nothing waits for it.
        let gone = waits(&plugin, "/documents/2");
        ask_again(3);
        gone.end();
        answer(true);
        for _ in 0..3 {
            plugin.tick();
        }
        assert_eq!(plugin.vm().tick_millis(), 0, "nothing is left to do");
    }
}

/// The first request waits for the engine's token, and asks in the callback that brings it.
#[test]
fn the_request_before_the_first_token_is_answered() {
    let mut engine = openfga();
    engine["openfga"]["client_credentials"] = json!({
        "cluster": "id", "url": "https://id.test/token", "client_id": "gate", "client_secret": {"value": "hush"}
    });
    engine["openfga"]["calls"] = json!({"retries": 0, "timeout": "10s"});
    let world = World::default();
    let plugin = plugin(&world, engine);
    let stream = waits(&plugin, "/documents/1");
    plugin.tick();
    let asked = plugin.vm().callouts();
    assert_eq!(asked.iter().map(|c| c.target.as_slice()).collect::<Vec<_>>(), [b"id"]);
    let token = br#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#;
    plugin.answer_http(call(&plugin), &OK, token);
    plugin.tick();
    assert_eq!(plugin.vm().callouts().len(), 2);
    plugin.answer_http(call(&plugin), &OK, YES);
    assert_eq!(stream.went(), Went::On);
}

#[test]
fn a_cluster_that_is_not_there_is_a_dependencys_failure() {
    let target = GrpcTarget::new("engine", "engine").unwrap();
    for (engine, cluster) in [(openfga(), "engine"), (spicedb(), target.as_str())] {
        let world = World::default();
        let plugin = plugin(&world, engine);
        plugin.vm().forget_cluster(cluster);
        for _ in 0..10 {
            let went = plugin.request("GET", "/documents/1", &[]).1;
            assert_eq!(refused(went), (503, "engine_unavailable".to_owned()));
        }
        assert_eq!(plugin.vm().log().matches("unreachable").count(), 1, "{}", plugin.vm().log());
    }
}

#[test]
fn spicedb_by_grpc() {
    let world = World::default();
    let plugin = plugin(&world, spicedb());
    let ask = |path: &str, status: u32, message: &[u8]| {
        let stream = waits(&plugin, path);
        plugin.answer_grpc(call(&plugin), status, message);
        stream.went()
    };
    assert_eq!(ask("/documents/1", 0, b"\x10\x02"), Went::On);
    assert_eq!(refused(ask("/documents/2", 0, b"\x10\x01")), (403, "relation_denied".to_owned()));
    let conditional = b"\x10\x03\x1a\x04\x0a\x02ip";
    assert_eq!(refused(ask("/documents/3", 0, conditional)), (403, "condition_unresolved".to_owned()));
    for (status, message, code, reason) in [
        (0, &b""[..], 503, "engine_unavailable"),
        (0, b"\xff", 503, "engine_unavailable"),
        (3, b"", 403, "value_invalid"),
        (7, b"", 503, "credentials_refused"),
        (8, b"", 503, "check_too_long"),
        (9, b"", 500, "mapping_refused"),
        (14, b"", 503, "engine_unavailable"),
        (16, b"", 503, "credentials_refused"),
    ] {
        assert_eq!(refused(ask("/documents/4", status, message)), (code, reason.to_owned()), "{status}");
    }
    assert_eq!(plugin.request("GET", "/documents/1", &[]).1, Went::On);
    // An id that SpiceDB takes for none is not sent to it.
    assert_eq!(refused(plugin.request("GET", "/documents/a.b", &[]).1), (403, "value_invalid".to_owned()));
    // A method in lower case, which an upstream may read as another one, neither; nor does what is remembered answer it.
    for method in ["get", "Post"] {
        let went = plugin.request(method, "/documents/1", &[]).1;
        assert_eq!(refused(went), (400, "ambiguous_method".to_owned()), "{method}");
    }
    let calls = plugin.vm().callouts();
    assert_eq!(calls.len(), 11, "one for each question");
}

#[test]
fn what_an_engine_says_wrongly_lets_nobody_through() {
    let world = World::default();
    let plugin = plugin(&world, openfga());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#"{{"allowed":true,"resolution":"{}"}}"#, "x".repeat(2 << 20));
    for (n, (status, body)) in [
        ("200", ""),
        ("200", "{}"),
        ("200", "true"),
        ("200", r#"{"allowed":"true"}"#),
        ("200", r#"{"allowed":true"#),
        ("200", r#"{"result":{"0":{"allowed":true}}}"#),
        ("200", &deep),
        ("200", &long),
        ("201", r#"{"allowed":true}"#),
        ("302", r#"{"allowed":true}"#),
        ("500", r#"{"allowed":true}"#),
        ("", r#"{"allowed":true}"#),
    ]
    .into_iter()
    .enumerate()
    {
        // Each time after a pause: else the breaker would answer.
        world.advance(2_000 * MS);
        let stream = waits(&plugin, &format!("/documents/{n}"));
        plugin.answer_http(call(&plugin), &[(":status", status)], body.as_bytes());
        assert_eq!(refused(stream.went()), (503, "engine_unavailable".to_owned()), "{n}");
    }
    world.advance(2_000 * MS);
    let stream = waits(&plugin, "/documents/last");
    plugin.answer_http(call(&plugin), &OK, NO);
    assert_eq!(refused(stream.went()), (403, "relation_denied".to_owned()));
    let stream = waits(&plugin, "/both/1");
    plugin.answer_http(call(&plugin), &OK, br#"{"result":{"0":{"allowed":true}}}"#);
    assert_eq!(refused(stream.went()), (503, "engine_unavailable".to_owned()), "half a batch");
}
