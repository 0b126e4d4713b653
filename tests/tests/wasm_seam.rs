//! The seam, by the probe filter in the in-process host: answers, deadlines, waits, and what happens when the host fails.

use portcullis_tests::wasm::{Plugin, Stream, Vm, Went, World};

const MILLI: u64 = 1_000_000;

fn start(world: &World) -> Plugin {
    Vm::new(world, "probe").configure("").unwrap()
}

fn order(plugin: &Plugin, order: &str) -> (Stream, Went) {
    plugin.request("GET", "/", &[("x-do", order)])
}

fn body(went: Went) -> String {
    String::from_utf8(went.reply().body).unwrap()
}

#[test]
fn an_answer_resumes_the_stream_that_asked() {
    let plugin = start(&World::default());
    let (stream, went) = order(&plugin, "call service /x");
    assert_eq!(went, Went::Waits);
    let [call] = &plugin.vm().callouts()[..] else { panic!("one call") };
    assert_eq!((call.target.as_slice(), call.timeout), (&b"service"[..], 1_500));
    plugin.answer_http(call.token, &[(":status", "200")], b"hello");
    assert_eq!(body(stream.went()), "http 200 hello");
}

#[test]
fn several_answers_come_together_and_in_order() {
    let plugin = start(&World::default());
    let (stream, _) = order(&plugin, "twice service /x");
    let calls = plugin.vm().callouts();
    plugin.answer_http(calls[1].token, &[(":status", "500")], b"second");
    assert_eq!(stream.went(), Went::Waits);
    plugin.answer_http(calls[0].token, &[(":status", "200")], b"first");
    assert_eq!(body(stream.went()), "http 200 first and http 500 second");
}

#[test]
fn an_unknown_cluster_is_refused_at_once_and_a_broken_answer_is_a_reset() {
    let plugin = start(&World::default());
    plugin.vm().forget_cluster("nowhere");
    assert_eq!(body(order(&plugin, "call nowhere /x").1), "refused");
    let (stream, _) = order(&plugin, "call service /x");
    plugin.answer_http(plugin.vm().callouts()[0].token, &[], b"");
    assert_eq!(body(stream.went()), "reset");
}

#[test]
fn our_own_deadline_holds_where_the_host_never_answers() {
    let world = World::default();
    let plugin = start(&world);
    let (stream, _) = order(&plugin, "call service /x");
    assert_eq!(plugin.vm().tick_millis(), 50);
    world.advance(1_499 * MILLI);
    plugin.tick();
    assert_eq!(stream.went(), Went::Waits);
    world.advance(MILLI);
    plugin.tick();
    assert_eq!(body(stream.went()), "timeout");
    // The late answer finds nobody.
    plugin.answer_http(plugin.vm().callouts()[0].token, &[(":status", "200")], b"late");
    assert_eq!(plugin.vm().tick_millis(), 250, "the probe keeps a watch");
}

#[test]
fn a_key_wakes_all_who_wait_for_it_and_nobody_else() {
    let plugin = start(&World::default());
    let (a, _) = order(&plugin, "wait 7 5000");
    let (b, _) = order(&plugin, "wait 7 5000");
    let (other, _) = order(&plugin, "wait 8 5000");
    let gone = order(&plugin, "wait 7 5000").0;
    gone.end();
    let _ = order(&plugin, "wake 7");
    plugin.tick();
    for stream in [&a, &b] {
        assert_eq!(stream.went(), Went::On);
        assert_eq!(stream.header("x-woken").as_deref(), Some("yes"));
    }
    assert_eq!(other.went(), Went::Waits);
}

#[test]
fn a_wait_that_nobody_ends_ends_itself() {
    let world = World::default();
    let plugin = start(&world);
    let (stream, _) = order(&plugin, "wait 7 100");
    world.advance(100 * MILLI);
    plugin.tick();
    assert_eq!(body(stream.went()), "timeout");
}

#[test]
fn the_plugin_itself_calls_and_wakes_with_the_answer() {
    let plugin = start(&World::default());
    let (stream, _) = order(&plugin, "rootcall service /x 9");
    plugin.tick();
    plugin.answer_http(plugin.vm().callouts()[0].token, &[(":status", "204")], b"");
    assert_eq!(body(stream.went()), "woken");
    assert_eq!(body(order(&plugin, "events").1), "answered http 204 ");
}

#[test]
fn grpc_answers_are_a_message_or_a_status() {
    let plugin = start(&World::default());
    let (stream, _) = order(&plugin, "grpc users s m");
    let [call] = &plugin.vm().callouts()[..] else { panic!("one call") };
    assert_eq!(
        call.target, b"\x0a\x19\x0a\x05users\x12\x0aprobe.test\x22\x04\x08\xc2\x80\x7f",
        "a serialized GrpcService"
    );
    assert_eq!(call.headers[0].1, "/probe.Echo/Say");
    plugin.answer_grpc(call.token, 0, b"answer");
    assert_eq!(body(stream.went()), "grpc 0 answer");
    let (stream, _) = order(&plugin, "grpc users s m");
    plugin.answer_grpc(plugin.vm().callouts()[1].token, 14, b"no connection");
    assert_eq!(body(stream.went()), "grpc 14 no connection");
}

#[test]
fn a_stream_that_ends_while_it_waits_leaves_nothing_behind() {
    let world = World::default();
    let plugin = start(&world);
    let memory = plugin.vm().memory_bytes();
    for _ in 0..20_000 {
        let (stream, went) = order(&plugin, "wait 7 600000");
        assert_eq!(went, Went::Waits);
        stream.end();
    }
    assert_eq!(plugin.vm().memory_bytes(), memory);
    world.advance(1_000_000 * MILLI);
    plugin.tick();
}

#[test]
fn headers_that_only_the_plugin_may_set_are_gone_before_it_looks() {
    let plugin = start(&World::default());
    let (stream, went) = plugin.request("GET", "/", &[("x-owned", "1"), ("X_Owned", "2"), ("x-mine", "3")]);
    assert_eq!(went, Went::On);
    let names: Vec<String> =
        stream.headers().into_iter().map(|(n, _)| n).filter(|n| n.starts_with(['x', 'X'])).collect();
    assert_eq!(names, ["x-mine"]);
}

#[test]
fn a_host_that_cannot_do_its_part_is_answered_for() {
    let plugin = start(&World::default());
    plugin.vm().fail("proxy_get_header_map_pairs", 2);
    assert_eq!(order(&plugin, "echo").1.reply().reason(), "host_error");
    plugin.vm().fail("proxy_get_header_map_pairs", 0);
    plugin.vm().fail("proxy_remove_header_map_value", 10);
    let (_, went) = plugin.request("GET", "/", &[("x-owned", "1")]);
    assert_eq!(went.reply().reason(), "host_error", "a client must not keep an identity header");
    plugin.vm().fail("proxy_set_property", 1);
    assert_eq!(order(&plugin, "nothing").1, Went::On, "a verdict that cannot be written stops nobody");
}

#[test]
fn responses_are_decorated_and_their_bodies_watched() {
    let plugin = start(&World::default());
    plugin.vm().set_log_level(0);
    let vm = Vm::new(&World::default(), "probe");
    vm.set_log_level(0);
    let plugin = vm.configure("").unwrap();
    let (stream, _) = order(&plugin, "nothing");
    assert!(stream.respond(&[(":status", "200")]).contains(&("x-probe".into(), "seen".into())));
    stream.respond_body(b"12345", false);
    stream.respond_body(b"678", true);
    stream.log();
    assert!(vm.log().contains("logged / after 8 bytes"), "{}", vm.log());
}

#[test]
fn a_panic_says_where() {
    let plugin = start(&World::default());
    let stream = plugin.stream([(":method", "GET"), (":path", "/"), ("x-do", "panic")]);
    let trap = stream.try_request().unwrap_err();
    assert!(trap.0.contains("tests/probe/src/lib.rs"), "{}", trap.0);
}
