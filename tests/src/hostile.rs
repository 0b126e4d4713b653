//! Input that nobody sends by mistake.

use crate::tokens::Signer;
use serde_json::json;

/// A request as bytes, for a real Envoy.
#[derive(Clone, Debug)]
pub struct Raw {
    /// What is wrong with it.
    pub what: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the filters get to see it; a default Envoy answers most of these itself.
    pub seen: bool,
}

/// Requests for a listener that lets everything through.
#[must_use]
pub fn requests() -> Vec<Raw> {
    let head = |line: &str, headers: &[u8]| [line.as_bytes(), b"\r\n", headers, b"\r\n"].concat();
    let host = b"host: api.test\r\n";
    let with = |line: &str, headers: &[u8]| head(line, &[&host[..], headers].concat());
    let many: Vec<u8> = (0..1_000).flat_map(|n| format!("x-{n}: {n}\r\n").into_bytes()).collect();
    let token = |size: usize| format!("authorization: Bearer {}\r\n", "A".repeat(size)).into_bytes();
    let case = |what, bytes, seen| Raw { what, bytes, seen };
    vec![
        case("a header value that is not UTF-8", with("GET /api HTTP/1.1", b"x-bin: \xff\xfe\x80\r\n"), true),
        case("a token that is not UTF-8", with("GET /api HTTP/1.1", b"authorization: Bearer \xff.\xfe.\x80\r\n"), true),
        case("a header name with an underscore", with("GET /api HTTP/1.1", b"x_user: root\r\n"), true),
        case("the same header a hundred times", with("GET /api HTTP/1.1", &b"x-user: root\r\n".repeat(100)), true),
        case("two Authorization headers", with("GET /api HTTP/1.1", &b"authorization: Bearer a.b.c\r\n".repeat(2)), true),
        case("two content types", with("GET /api HTTP/1.1", b"content-type: a\r\ncontent-type: application/grpc\r\n"), true),
        case("a thousand headers", with("GET /api HTTP/1.1", &many), true),
        case("a token of 64 KiB", with("GET /api HTTP/1.1", &token(64 << 10)), true),
        case("a token of 1 MiB", with("GET /api HTTP/1.1", &token(1 << 20)), true),
        case("a token of dots", with("GET /api HTTP/1.1", &[&b"authorization: Bearer "[..], &b".".repeat(9_000), b"\r\n"].concat()), true),
        // The connection manager answers 404 without a filter; the in-process host lets it through.
        case("an asterisk", with("OPTIONS * HTTP/1.1", b""), false),
        case("an upgrade", with("GET /api HTTP/1.1", b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), true),
        case("CONNECT", head("CONNECT api.test:443 HTTP/1.1", b"host: api.test:443\r\n"), true),
        case("HTTP/1.0 without Host", head("GET /api HTTP/1.0", b""), true),
        case("an absolute target", with("GET http://other.test/api HTTP/1.1", b""), true),
        case("an unknown method", with("BREW /api HTTP/1.1", b""), false),
        case("a path with bytes that are not ASCII", with("GET /caf%FF HTTP/1.1", b""), true),
        case("a path with an encoded NUL", with("GET /a%00b HTTP/1.1", b""), true),
        case("a path of 60 KiB", with(&format!("GET /{} HTTP/1.1", "a/".repeat(30_000)), b""), true),
        case("a query of 60 KiB", with(&format!("GET /api?{} HTTP/1.1", "a=b&".repeat(15_000)), b""), true),
        case("a cookie of 60 KiB", with("GET /api HTTP/1.1", &[&b"cookie: "[..], &b"sid=a; ".repeat(8_500), b"\r\n"].concat()), true),
        case("no path", with("GET  HTTP/1.1", b""), false),
        case("a NUL in a header", with("GET /api HTTP/1.1", b"x-bin: a\0b\r\n"), false),
    ]
}

/// Header lists for the in-process host: what a real Envoy would not let through, too.
#[must_use]
pub fn header_lists() -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let pair = |n: &[u8], v: &[u8]| (n.to_vec(), v.to_vec());
    let get =
        |path: &[u8]| vec![pair(b":method", b"GET"), pair(b":path", path), pair(b":authority", b"api.test")];
    let mut lists = vec![
        vec![],
        vec![pair(b":method", b"GET")],
        vec![pair(b":method", b"CONNECT"), pair(b":authority", b"api.test:443")],
        vec![pair(b":path", b"/api"), pair(b":path", b"/health"), pair(b":method", b"GET")],
        vec![pair(b"", b""), pair(b"", b"")],
        vec![pair(b"\xff\xfe", b"\xff"), pair(b":path", b"\xff\xff"), pair(b":authority", b"\xff")],
    ];
    for path in [
        &b""[..],
        b"*",
        b"/",
        b"//",
        b"/\0",
        b"/\xff\xfe",
        b"/%",
        b"/%%%",
        b"/%00",
        b"?",
        b"/?",
        b"/a?b?c",
        b"/..",
        b"/api/..",
        b"/api/%2e%2e",
    ] {
        lists.push(get(path));
    }
    lists.push(get(&b"/a".repeat(40_000)));
    lists.push(get(&b"/%61".repeat(20_000)));
    lists.push(get(&b"/..".repeat(20_000)));
    for authority in [&b""[..], b"a@b", b"[::1", b"[::1]:80", b".", b":", b"\0", b"A.B.:1"] {
        lists.push(vec![pair(b":method", b"GET"), pair(b":path", b"/api"), pair(b":authority", authority)]);
    }
    for token in tokens() {
        let mut list = get(b"/api");
        list.push((b"authorization".to_vec(), [b"Bearer ", &token[..]].concat()));
        lists.push(list);
    }
    for value in [
        &b"Bearer"[..],
        b"Bearer ",
        b"bearer\t\t",
        b"",
        b"\0",
        b"Basic YTpi",
        b"Bearer a b c",
        b"Bearer a, Bearer b",
    ] {
        let mut list = get(b"/api");
        list.push(pair(b"authorization", value));
        list.push(pair(b"Authorization", value));
        lists.push(list);
    }
    let mut many = get(b"/api");
    many.extend((0..1_024).map(|n| pair(format!("x-{n}").as_bytes(), &[255; 32])));
    lists.push(many);
    lists
}

/// Tokens that are none.
#[must_use]
pub fn tokens() -> Vec<Vec<u8>> {
    let signer = Signer::p256("ec");
    let header = |json: &str| format!("{}.e30.c2ln", crate::tokens::b64(json)).into_bytes();
    let deep = format!("{{\"alg\":\"ES256\",\"a\":{}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    let wide = format!("{{{}\"z\":0}}", (0..2_000).map(|n| format!("\"{n}\":{n},")).collect::<String>());
    let payload =
        |bytes: &[u8]| signer.sign_text("ES256", r#"{"alg":"ES256","kid":"ec"}"#, bytes).into_bytes();
    vec![
        b"".to_vec(),
        b".".to_vec(),
        b"..".to_vec(),
        b"...".to_vec(),
        vec![0xff; 100],
        vec![b'A'; 64 << 10],
        b"a.b.c".to_vec(),
        header(r#"{"alg":"none"}"#),
        header(r#"{"alg":"ES256","crit":["x"]}"#),
        header(r#"{"alg":1}"#),
        header("[]"),
        header("\u{0}"),
        header(&deep),
        payload(b"[]"),
        payload(b"\xff\xff"),
        payload(deep.as_bytes()),
        payload(wide.as_bytes()),
        payload(br#"{"iss":"https://id.test","exp":1e400}"#),
        payload(br#"{"iss":"https://id.test","exp":-1}"#),
        payload(br#"{"iss":["https://id.test"]}"#),
        payload(
            json!({"iss": "https://id.test", "aud": "orders", "exp": u64::MAX, "sub": "a\u{0}b"})
                .to_string()
                .as_bytes(),
        ),
    ]
}
