//! metrics in the in-process host: what a failed VM leaves behind, and names that never repeat.

use portcullis_tests::wasm::{Plugin, Vm, World};
use serde_json::json;

fn start(world: &World) -> Plugin {
    let config = json!({
        "routes": ["/documents/{id}"],
        "consumers": {"from": "subject", "top": 5},
        "series": {"counters": 50, "histograms": 20}
    });
    Vm::new(world, "metrics").configure(config.to_string()).unwrap()
}

const IN_FLIGHT: &[&str] = &["portcullis_requests_in_flight"];

#[test]
fn what_a_failed_vm_had_in_flight_is_taken_back_and_counters_stay() {
    let world = World::default();
    let (failing, other) = (start(&world), start(&world));
    let headers = [(":method", "GET"), (":path", "/documents/1"), (":authority", "a")];
    let counted = failing.stream(headers);
    counted.log();
    counted.end();
    let held = [failing.stream(headers), failing.stream(headers)];
    let mine = other.stream(headers);
    failing.tick();
    other.tick();
    assert_eq!(world.metric(IN_FLIGHT), 3);
    // The host drops a failed VM without a word to it.
    std::mem::forget(held);
    let again = start(&world);
    let counted = again.stream(headers);
    counted.log();
    counted.end();
    for _ in 0..15 {
        world.advance(1_000_000_000);
        other.tick();
        again.tick();
    }
    assert_eq!(world.metric(IN_FLIGHT), 1);
    assert_eq!(world.metric(&["portcullis_requests_total."]), 2);
    mine.end();
    other.tick();
    assert_eq!(world.metric(IN_FLIGHT), 0);
}

#[test]
fn paths_and_subjects_that_never_repeat_leave_series_and_memory_flat() {
    let world = World::default();
    let plugin = start(&world);
    let mut settled = (0, 0);
    for n in 0..20_000 {
        let path = format!("/documents/{n}");
        let other = format!("/{n}/{n}");
        let path = if n % 2 == 0 { &path } else { &other };
        let stream = plugin.stream([(":method", "GET"), (":path", path), (":authority", "a")]);
        stream.set_property("portcullis.jwt-auth.subject", format!("subject-{n}"));
        // A code for each of a hundred: more than there is room for.
        stream.set_property("response\0code", (400_u64 + n % 100).to_le_bytes());
        stream.log();
        stream.end();
        if n == 2_000 {
            settled = (world.metrics().len(), plugin.vm().memory_bytes());
        }
    }
    assert_eq!((world.metrics().len(), plugin.vm().memory_bytes()), settled);
    assert_eq!(world.metric(&["portcullis_requests_total."]), 20_000);
    let requests =
        world.metrics().into_keys().filter(|n| n.starts_with("portcullis_requests_total.")).count();
    assert_eq!(requests, 51, "fifty, and the overflow");
    assert!(world.metric(&["portcullis_series_overflow_total", "portcullis_requests_total"]) > 0);
}
