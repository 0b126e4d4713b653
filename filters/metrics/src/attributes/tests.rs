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
    let text = |t: &str| {
        let inner = [&[0x1a, t.len() as u8], t.as_bytes()].concat();
        [&[0x0a, inner.len() as u8], &inner[..]].concat()
    };
    let number = |n: f64| [&b"\x0a\x09\x11"[..], &n.to_le_bytes()].concat();
    let no = b"\x0a\x02\x20\0".to_vec();
    [
        text("GET"),
        text("/a"),
        no,
        number(200.0),
        text("via_upstream"),
        number(0.0),
        text("0.005s"),
        text("0.003s"),
        number(7.0),
        number(9.0),
        text("YWxsb3c7O3I7MTI="),
    ]
    .concat()
}

#[test]
fn both_ways_give_the_same() {
    let host = host();
    let slow = Attributes::new(&host, false, vec![fact()]);
    assert!(!slow.in_one_call());
    let one_by_one = slow.read(&host, &request);
    host.on_foreign(|function, _| Ok(if function == "expr_create" { vec![1, 0, 0, 0] } else { list() }));
    let quick = Attributes::new(&host, false, vec![fact()]);
    let at_once = quick.read(&host, &|| unreachable!("no headers are read"));
    assert!(quick.in_one_call());
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.facts, [Some(b"allow;;r;12".to_vec())]);
}

#[test]
fn an_expression_that_fails_is_given_up() {
    let host = host();
    host.on_foreign(|function, _| if function == "expr_create" { Ok(vec![1, 0, 0, 0]) } else { Err(HostFailure) });
    let attributes = Attributes::new(&host, false, Vec::new());
    assert_eq!(attributes.read(&host, &request).code, 200);
    assert!(!attributes.in_one_call());
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
