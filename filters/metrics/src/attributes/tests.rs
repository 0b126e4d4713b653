use super::*;
use portcullis_common::host::HostFailure;
use portcullis_common::memory::MemoryHost;

fn fact() -> PropertyKey {
    PropertyKey::from(&b"portcullis.jwt-auth.verdict"[..])
}

fn host() -> MemoryHost {
    let host = MemoryHost::default();
    for (key, value) in [
        ("response\0code", 200_u64),
        ("response\0flags", 0),
        ("request\0duration", 5_000_000),
        ("response\0backend_latency", 3_000_000),
        ("request\0size", 7),
        ("response\0size", 9),
    ] {
        host.set_property(key, value.to_le_bytes());
    }
    host.set_property("response\0code_details", "via_upstream");
    host.set_property("portcullis.jwt-auth.verdict", "allow;;r;12");
    host
}

fn request() -> Request {
    [(":method", "GET"), (":path", "/a?b"), (":authority", "h")].into_iter().collect()
}

/// A list as Envoy would answer for [`host`] and [`request`].
fn list() -> Vec<u8> {
    let number = u64::to_le_bytes;
    let items: [&[u8]; 11] = [
        b"GET",
        b"/a",
        NOTHING,
        &number(200),
        b"via_upstream",
        &number(0),
        &number(5_000_000),
        &number(3_000_000),
        &number(7),
        &number(9),
        b"allow;;r;12",
    ];
    Headers::encode(items.into_iter().map(|item| (item, &b""[..])))
}

#[test]
fn both_ways_give_the_same() {
    let host = host();
    let slow = Attributes::new(&host, false, vec![fact()]);
    assert!(!slow.in_one_call());
    let one_by_one = slow.read(&host, &request);
    host.on_foreign(|function, _| Ok(if function == "expr_create" { vec![1, 0, 0, 0] } else { list() }));
    let quick = Attributes::new(&host, false, vec![fact()]);
    let at_once = quick.read(&host, &|| panic!("no headers are read"));
    assert!(quick.in_one_call());
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.facts, [Some(b"allow;;r;12".to_vec())]);
}

#[test]
fn an_expression_that_fails_is_given_up() {
    let host = host();
    // No answer, an answer that is no list, and one that is too short.
    for answer in [None, Some(vec![10, 5, 26, 3]), Some(Headers::encode([(&b"GET"[..], &b""[..])]))] {
        let answer = move || answer.clone().ok_or(HostFailure);
        host.on_foreign(move |f, _| if f == "expr_create" { Ok(vec![1, 0, 0, 0]) } else { answer() });
        let attributes = Attributes::new(&host, false, Vec::new());
        for _ in 0..FAILURES {
            assert!(attributes.in_one_call(), "one failure says little");
            assert_eq!(attributes.read(&host, &request).code, 200);
        }
        assert!(!attributes.in_one_call());
    }
}

#[test]
fn a_grpc_call_has_its_status_and_others_have_none() {
    let host = host();
    host.set_property("response\0grpc_status", 5_u64.to_le_bytes());
    let attributes = Attributes::new(&host, false, Vec::new());
    assert_eq!(attributes.read(&host, &request).grpc, None);
    let call = || [(":path", "/s/m"), ("content-type", "application/grpc")].into_iter().collect::<Request>();
    assert_eq!(attributes.read(&host, &call).grpc, Some(Some(5)));
}

#[test]
fn a_stream_without_anything_is_read_as_nothing() {
    let attributes = Attributes::new(&MemoryHost::default(), true, vec![fact()]);
    let seen = attributes.read(&MemoryHost::default(), &Request::default);
    assert_eq!(seen, Seen { facts: vec![None], ..Seen::default() });
}
