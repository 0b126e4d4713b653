use super::*;
use portcullis_common::headers::Headers;
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
    let items: [&[u8]; 10] = [
        b"GET",
        b"/a",
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

fn read(attributes: &Attributes, host: &MemoryHost, request: &dyn Fn() -> Request) -> Seen<'static> {
    let mut list = Vec::new();
    let seen = attributes.read(host, request, &mut list);
    let owned = |text: &Cow<'_, [u8]>| Cow::Owned(text.to_vec());
    Seen {
        method: owned(&seen.method),
        path: seen.path.as_ref().map(owned),
        details: owned(&seen.details),
        envoy_route: owned(&seen.envoy_route),
        facts: seen.facts.iter().map(|fact| fact.as_ref().map(owned)).collect(),
        ..seen
    }
}

#[test]
fn all_ways_give_the_same() {
    let host = host();
    let slow = Attributes::new(&host, false, vec![fact()]);
    assert!(!slow.in_one_call());
    let one_by_one = read(&slow, &host, &request);
    // The quick expression, and then, where that one fails, the careful one.
    for fails in [0, 1] {
        host.on_foreign(move |function, argument| match function {
            "expr_create" if argument.starts_with(b"[has(") => Ok(vec![1, 0, 0, 0]),
            "expr_create" => Ok(vec![0, 0, 0, 0]),
            _ if argument[0] < fails => Err(HostFailure),
            _ => Ok(list()),
        });
        let attributes = Attributes::new(&host, false, vec![fact()]);
        for _ in 0..10 {
            assert_eq!(read(&attributes, &host, &|| panic!("no headers are read")), one_by_one);
        }
        assert!(attributes.in_one_call());
    }
    assert_eq!(one_by_one.facts, [Some(Cow::Borrowed(&b"allow;;r;12"[..]))]);
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
            assert_eq!(read(&attributes, &host, &request).code, 200);
        }
        assert!(!attributes.in_one_call());
    }
}

#[test]
fn a_grpc_call_has_its_status_and_others_have_none() {
    let host = host();
    host.set_property("response\0grpc_status", 5_u64.to_le_bytes());
    let attributes = Attributes::new(&host, false, Vec::new());
    assert_eq!(read(&attributes, &host, &request).grpc, None);
    let call = |method| {
        move || {
            let headers = [(":method", method), (":path", "/s/m"), ("content-type", "application/grpc")];
            headers.into_iter().collect::<Request>()
        }
    };
    assert_eq!(read(&attributes, &host, &call("POST")).grpc, Some(Some(5)));
    assert_eq!(read(&attributes, &host, &call("GET")).grpc, None);
}

#[test]
fn a_stream_without_anything_is_read_as_nothing() {
    let attributes = Attributes::new(&MemoryHost::default(), true, vec![fact()]);
    let seen = read(&attributes, &MemoryHost::default(), &Request::default);
    assert_eq!(seen, Seen { facts: vec![None], ..Seen::default() });
}
