//! `envoy/production.yaml` as it stands, but for addresses: started, exercised, attacked. The key server here speaks no TLS; that
//! the file's TLS settings are good is seen by [`the_file_starts_without_its_key_server`], which takes it as it is.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use http::Version;
use portcullis_tests::client::{self, Connection, Response, ask, raw};
use portcullis_tests::engines::spicedb::KEY;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::key_server::{Answer, KeyServer};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{hostile, paths};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOST: &str = "id.example.com";

fn file() -> Value {
    examples::read(&paths::root().join("envoy/production.yaml"))
}

fn cluster<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
    clusters.iter_mut().find(|c| c["name"] == name).unwrap()
}

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

fn manager(config: &Value) -> &Value {
    config.pointer(MANAGER).unwrap()
}

/// The chain, with a key server and an upstream of ours.
struct Edge {
    envoy: Envoy,
    upstream: Upstream,
    signer: Signer,
    _keys: KeyServer,
}

impl Edge {
    async fn start() -> Edge {
        Edge::start_with(|_| {}).await
    }

    /// With a part of the file changed, to reach a limit with few requests.
    async fn start_with(change: impl FnOnce(&mut Value)) -> Edge {
        Edge::of(file(), change).await
    }

    /// Of this file.
    async fn of(file: Value, change: impl FnOnce(&mut Value)) -> Edge {
        let (upstream, server, signer) =
            (Upstream::start().await, KeyServer::start().await, Signer::p256("edge"));
        server.keys(&[signer.jwk()], 600);
        let metadata =
            json!({"issuer": format!("https://{HOST}"), "jwks_uri": format!("https://{HOST}/keys")});
        server.set("/.well-known/openid-configuration", Answer::Json(metadata, 600));
        let mut config = examples::with_ports(file, Ports::free(upstream.address()));
        let identity = cluster(&mut config, "identity");
        identity.as_object_mut().unwrap().remove("transport_socket").unwrap();
        lead(&mut config, "identity", server.address());
        change(&mut config);
        let secrets = [("OPENFGA_TOKEN", "a-token"), ("SPICEDB_KEY", KEY)];
        let options = Options {
            environment: secrets.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ..Options::default()
        };
        let envoy = Envoy::start_with(&config, &options).await;
        Edge { envoy, upstream, signer, _keys: server }
    }

    fn token(&self, subject: &str) -> String {
        let claims = json!({"iss": format!("https://{HOST}"), "aud": "orders", "sub": subject, "exp": tokens::now() + 600});
        self.signer.token("ES256", &claims)
    }

    async fn get(&self, path: &str, subject: &str) -> Response {
        ask(self.envoy.address(), "GET", path).bearer(&self.token(subject)).send().await
    }
}

/// The file with an engine outside the filter.
fn with_engine(name: &str) -> Value {
    let text = fs::read_to_string(paths::root().join("envoy/production.yaml")).unwrap();
    let file = examples::parse(&examples::with_engine(&text, name)).unwrap();
    let engine = rebac(&file)["engine"].as_object().unwrap();
    assert!(engine.len() == 1 && engine[name]["watch"].is_object(), "{engine:?}");
    file
}

fn rebac(file: &Value) -> &Value {
    let filters = manager(file)["http_filters"].as_array().unwrap();
    let filter = filters.iter().find(|f| f["name"] == "rebac").unwrap();
    &filter["typed_config"]["config"]["configuration"]["value"]
}

/// Has a cluster lead to a server of this test.
fn lead(config: &mut Value, name: &str, to: SocketAddr) {
    let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    *cluster(config, name).pointer_mut(address).unwrap() =
        json!({"address": to.ip().to_string(), "port_value": to.port()});
}

/// A port of this machine where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_engine_that_is_away_lets_nobody_in() {
    for engine in ["openfga", "spicedb"] {
        let edge = Edge::of(with_engine(engine), |config| lead(config, engine, nobody())).await;
        let answer = edge.get("/orders/1", "ann").await;
        assert_eq!((answer.status, answer.reason().as_str()), (503, "engine_unavailable"), "{engine}");
        assert_eq!(ask(edge.envoy.address(), "GET", "/health").send().await.status, 200, "{engine}");
        assert_eq!(edge.upstream.seen(), 1, "{engine}: only /health got through");
    }
}

/// Each engine as the file names it, with the tuples that stand in the file.
#[cfg(feature = "peers")]
mod engines {
    use portcullis_tests::engines::openfga::Openfga;
    use portcullis_tests::engines::spicedb::Spicedb;

    use super::*;

    const TUPLES: [&str; 4] = [
        "order:1#folder@folder:spring",
        "folder:spring#viewer@group:sales#member",
        "group:sales#member@user:ann",
        "order:2#owner@user:bob",
    ];

    /// The file with this engine, which may take its time on a machine that does other things too.
    fn patient(engine: &str) -> Value {
        let mut file = with_engine(engine);
        let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/3/typed_config/config/configuration/value/engine";
        let block = file.pointer_mut(place).and_then(|e| e.get_mut(engine)).unwrap();
        block["calls"] = json!({"timeout": "10s"});
        file
    }

    /// Ann sees what she may and bob what he may, and not the other way about.
    async fn decides(edge: &Edge, engine: &str) {
        edge.envoy
            .wait_until(&format!("{engine} answers"), async || {
                edge.get("/orders/1", "ann").await.status == 200
            })
            .await;
        for (path, subject) in [("/orders/1", "bob"), ("/orders/2", "ann")] {
            let refused = edge.get(path, subject).await;
            assert_eq!(
                (refused.status, refused.reason().as_str()),
                (403, "relation_denied"),
                "{engine}: {path}"
            );
        }
        assert_eq!(edge.get("/orders/2", "bob").await.status, 200, "{engine}");
        let watch = r#"portcullis_rebac_watch_up{plugin="rebac"} 1"#;
        edge.envoy.wait_until(watch, async || edge.envoy.prometheus().await.contains(watch)).await;
    }

    #[tokio::test]
    async fn openfga_decides_in_the_place_of_the_tuples() {
        let embedded = rebac(&file())["engine"]["embedded"]["model"].as_str().unwrap().to_owned();
        let openfga = Openfga::start(&embedded, &[]).await;
        openfga.write(&TUPLES.map(Value::from)).await;
        let written = patient("openfga").to_string();
        let written = written
            .replace("01JD0000000000000000STARE0", &openfga.store)
            .replace("01JD0000000000000000MADE00", &openfga.model);
        let file = serde_json::from_str(&written).unwrap();
        let edge = Edge::of(file, |config| lead(config, "openfga", openfga.server.http())).await;
        decides(&edge, "openfga").await;
    }

    #[tokio::test]
    async fn spicedb_decides_in_the_place_of_the_tuples() {
        let schema = fs::read_to_string(paths::root().join("envoy/guides/spicedb-schema.json")).unwrap();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let spicedb = Spicedb::start(schema["schema"].as_str().unwrap(), &[]).await;
        spicedb.write(&TUPLES).await;
        let edge =
            Edge::of(patient("spicedb"), |config| lead(config, "spicedb", spicedb.server.grpc())).await;
        decides(&edge, "spicedb").await;
    }
}

#[tokio::test]
async fn every_filter_says_yes_and_no() {
    let edge = Edge::start().await;
    let passed = edge.get("/orders/1", "ann").await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    assert_eq!(passed.json()["headers"]["x-user"], json!(["ann"]));
    assert_eq!(passed.header("server"), "", "{:?}", passed.headers);
    let denied = edge.get("/orders/1", "bob").await;
    assert_eq!((denied.status, denied.reason().as_str()), (403, "relation_denied"));
    let unknown = ask(edge.envoy.address(), "GET", "/orders/1").send().await;
    assert_eq!((unknown.status, unknown.reason().as_str()), (401, "token_missing"));
    assert_eq!(ask(edge.envoy.address(), "GET", "/health").send().await.status, 200);
    assert_eq!(ask(edge.envoy.address(), "GET", "/elsewhere").send().await.status, 403);
    let mut last = denied;
    // One comes back in a second, and a busy machine may take that long for a few of these.
    for _ in 0..100 {
        if last.status != 429 {
            last = edge.get("/orders/1", "ann").await;
        }
    }
    assert_eq!((last.status, last.reason().as_str()), (429, "rate_limited"));
    for series in [
        r#"portcullis_decisions_total{plugin="rebac""#,
        r#"portcullis_decisions_total{plugin="jwt-auth""#,
        r#"portcullis_requests_total{plugin="metrics""#,
        "envoy_cluster_circuit_breakers_default_remaining_rq{envoy_cluster_name=\"openfga\"}",
        "envoy_cluster_circuit_breakers_default_remaining_rq{envoy_cluster_name=\"spicedb\"}",
        "envoy_overload_envoy_resource_monitors_fixed_heap_pressure",
    ] {
        edge.envoy.wait_until(series, async || edge.envoy.prometheus().await.contains(series)).await;
    }
}

#[tokio::test]
async fn the_access_log_is_json_without_a_secret() {
    let edge = Edge::start().await;
    let token = edge.token("ann");
    let request = ask(edge.envoy.address(), "GET", "/orders/1?password=hunter2").bearer(&token);
    assert_eq!(request.header("cookie", "sid=hunter2").send().await.status, 200);
    let lines = || -> Vec<Value> {
        edge.envoy.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    edge.envoy.wait_until("a line", async || !lines().is_empty()).await;
    let line = &lines()[0];
    assert_eq!((&line["subject"], &line["route"]), (&json!("ann"), &json!("/orders/{id}")), "{line}");
    for plugin in ["limit-address", "jwt-auth", "rebac", "limit-subject"] {
        assert!(line["verdicts"][plugin].as_str().is_some_and(|v| v.starts_with("allow;")), "{line}");
        assert!(line["plugin_us"][plugin].is_u64(), "{line}");
    }
    let log = edge.envoy.log();
    assert!(!log.contains("hunter2") && !log.contains(&token), "{log}");
}

#[test]
fn the_access_log_is_the_one_that_is_documented() {
    let block = examples::read(&paths::root().join("envoy/observability/access-log.yaml"));
    assert_eq!(manager(&file())["access_log"], block["access_log"]);
}

#[test]
fn nothing_fails_open_and_everything_is_bounded() {
    let file = file();
    assert_eq!(file["admin"]["address"]["socket_address"]["address"], "127.0.0.1");
    let filters = manager(&file)["http_filters"].as_array().unwrap();
    let names: Vec<_> = filters.iter().filter_map(|f| f["name"].as_str()).collect();
    assert_eq!(names, ["metrics", "limit-address", "jwt-auth", "rebac", "limit-subject", "router"]);
    for filter in filters.iter().filter(|f| f["name"] != "router") {
        assert_eq!(filter["typed_config"]["config"]["failure_policy"], "FAIL_RELOAD", "{}", filter["name"]);
    }
    for cluster in file["static_resources"]["clusters"].as_array().unwrap() {
        let thresholds = &cluster["circuit_breakers"]["thresholds"][0];
        for limit in ["max_connections", "max_pending_requests", "max_requests", "max_retries"] {
            assert!(thresholds[limit].is_u64(), "{}: {limit}", cluster["name"]);
        }
        assert!(
            cluster["connect_timeout"].is_string() && cluster["per_connection_buffer_limit_bytes"].is_u64()
        );
    }
}

/// Nobody answers at id.example.com from here, or not with our keys.
#[tokio::test]
async fn the_file_starts_without_its_key_server() {
    let upstream = Upstream::start().await;
    let envoy = Envoy::start(&examples::with_ports(file(), Ports::free(upstream.address()))).await;
    assert_eq!(ask(envoy.address(), "GET", "/health").send().await.status, 200);
    let claims =
        json!({"iss": format!("https://{HOST}"), "aud": "orders", "sub": "ann", "exp": tokens::now() + 600});
    let token = Signer::p256("edge").token("ES256", &claims);
    let answer = ask(envoy.address(), "GET", "/orders/1").bearer(&token).send().await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "keys_unavailable"));
    assert_eq!(upstream.seen(), 1, "only /health got through");
}

#[tokio::test]
async fn hostile_requests_get_no_further() {
    let edge = Edge::start().await;
    for case in hostile::requests() {
        let answer = String::from_utf8_lossy(&raw(edge.envoy.address(), &case.bytes).await).into_owned();
        // 426: HTTP/1.0 is not spoken.
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{}: {answer:.300}", case.what);
    }
    for bytes in [
        &b"GET /orders/1 HTTP/1.1\r\nhost: a\r\nx_user: root\r\n\r\n"[..],
        b"GET /orders/..%2fhealth HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /health HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /orders/1 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let answer = String::from_utf8_lossy(&raw(edge.envoy.address(), bytes).await).into_owned();
        let shown = String::from_utf8_lossy(bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown}: {answer:.300}");
    }
    assert_eq!(edge.upstream.seen(), 0, "nothing got through");
    assert_eq!(edge.get("/orders/1", "ann").await.status, 200, "nobody else notices");
    let log = edge.envoy.log();
    assert!(!log.contains("wasm log: panicked") && !log.contains("RuntimeError"), "{log}");
}

#[tokio::test]
async fn floods_of_headers_and_large_tokens_are_refused() {
    let edge = Edge::start().await;
    let head = b"GET /orders/1 HTTP/1.1\r\nhost: a\r\n".to_vec();
    let headers = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|n| format!("x-{n}: {n}\r\n").into_bytes()).collect()
    };
    for (what, more, status) in [
        ("few headers", headers(20), "HTTP/1.1 401"),
        ("too many headers", headers(100), "HTTP/1.1 431"),
        ("too many bytes", format!("x-a: {}\r\n", "a".repeat(40_000)).into_bytes(), "HTTP/1.1 431"),
        (
            "a token that jwt-auth does not read",
            format!("authorization: Bearer {}\r\n", "a".repeat(20_000)).into_bytes(),
            "HTTP/1.1 4",
        ),
    ] {
        let answer = raw(edge.envoy.address(), &[&head[..], &more[..], b"\r\n"].concat()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(status), "{what}: {answer:.200}");
    }
    assert_eq!(edge.upstream.seen(), 0);
}

/// The connection is closed, or answered 408, and the worker goes on serving meanwhile.
#[tokio::test]
async fn a_slow_client_is_let_go() {
    let edge = Edge::start().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(edge.envoy.address()).await.unwrap();
        stream.write_all(b"GET /orders/1 HTTP/1.1\r\nhost: a\r\nx-slow: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(edge.get("/orders/1", "ann").await.status, 200);
    for mut stream in slow {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(edge.upstream.seen(), 1);
}

/// The first frame that a server sends in HTTP/2 is its settings (RFC 9113, section 3.4).
#[tokio::test]
async fn http2_streams_and_windows_are_bounded() {
    let edge = Edge::start().await;
    let mut stream = TcpStream::connect(edge.envoy.address()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "SETTINGS");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).await.unwrap();
    let setting = |id: u16| {
        let mut pairs = settings.chunks(6);
        pairs.find(|p| p[..2] == id.to_be_bytes()).map(|p| u32::from_be_bytes([p[2], p[3], p[4], p[5]]))
    };
    assert_eq!((setting(3), setting(4)), (Some(100), Some(65_536)), "{settings:?}");
}

/// The limits are those of the file, made small.
#[tokio::test]
async fn connections_and_requests_have_a_ceiling() {
    let edge = Edge::start_with(|config| {
        config["overload_manager"]["resource_monitors"][1]["typed_config"]["max_active_downstream_connections"] =
            4.into();
        let thresholds = &mut cluster(config, "upstream")["circuit_breakers"]["thresholds"][0];
        assert!(thresholds["max_requests"].is_u64());
        thresholds["max_requests"] = 2.into();
    })
    .await;
    let address = edge.envoy.address();
    let held = |n: usize| {
        let request = ask(address, "GET", "/health").header("x-answer-hold", n.to_string());
        tokio::spawn(request.send())
    };
    let both = [held(1), held(2)];
    edge.envoy.wait_until("both are held", async || edge.upstream.seen() == 2).await;
    let third = ask(address, "GET", "/health").send().await;
    assert_eq!(third.status, 503, "{}", third.text());
    assert_eq!(third.header("x-envoy-overloaded"), "true");
    edge.upstream.release();
    for request in both {
        assert_eq!(request.await.unwrap().status, 200);
    }
    let open = std::cell::RefCell::new(Vec::new());
    for _ in 0..4 {
        let mut connection = Connection::open(address, Version::HTTP_11).await.unwrap();
        // The ones before may still be closing.
        if connection.send(ask(address, "GET", "/health")).await.is_some() {
            open.borrow_mut().push(connection);
        }
    }
    assert!(!open.borrow().is_empty());
    edge.envoy
        .wait_until("one connection too many is closed", async || {
            let Some(mut more) = Connection::open(address, Version::HTTP_11).await else { return true };
            let refused = more.send(ask(address, "GET", "/health")).await.is_none();
            open.borrow_mut().push(more);
            refused
        })
        .await;
    assert!(client::get(edge.envoy.admin(), "/ready").await.is_some_and(|r| r.status == 200));
}

/// Private addresses count as inside for an Envoy that is told nothing better.
#[tokio::test]
async fn no_client_is_inside() {
    let edge = Edge::start().await;
    let request = ask(edge.envoy.address(), "GET", "/health")
        .header("x-answer-status", "503")
        .header("x-envoy-retry-on", "5xx")
        .header("x-envoy-max-retries", "3");
    assert_eq!(request.send().await.status, 503);
    assert_eq!(edge.upstream.seen(), 1, "the client had it tried again");
}

#[tokio::test]
async fn what_would_change_the_method_or_the_path_reaches_no_upstream() {
    let edge = Edge::start().await;
    let names = [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-original-url", "/orders/2"),
        ("x-rewrite-url", "/orders/2"),
        ("x-kept", "1"),
    ];
    let request = ask(edge.envoy.address(), "GET", "/orders/1").bearer(&edge.token("ann"));
    let answer =
        names.iter().fold(request, |request, (name, value)| request.header(name, value)).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = answer.json()["headers"].clone();
    let left: Vec<&str> = names.iter().map(|(name, _)| *name).filter(|name| !seen[name].is_null()).collect();
    assert_eq!(left, ["x-kept"]);
}

/// The limit on guessing holds a place for each request until it is answered.
#[tokio::test]
async fn many_who_wait_for_a_slow_upstream_are_no_guessers() {
    let edge = Edge::start().await;
    let held = |_| {
        let request = ask(edge.envoy.address(), "GET", "/health").header("x-answer-hold", "1");
        tokio::spawn(request.send())
    };
    let all: Vec<_> = (0..90).map(held).collect();
    edge.envoy.wait_until("all wait", async || edge.upstream.seen() == 90).await;
    edge.upstream.release();
    for request in all {
        assert_eq!(request.await.unwrap().status, 200);
    }
}

/// The file with those comments switched on that start with these lines.
fn without_comment(first: &[&str]) -> Value {
    let text = std::fs::read_to_string(paths::root().join("envoy/production.yaml")).unwrap();
    let (mut lines, mut on) = (Vec::new(), false);
    for line in text.lines() {
        on = line.trim_start().starts_with('#')
            && (on || first.iter().any(|f| line.trim_start().starts_with(f)));
        lines.push(if on { line.replacen("# ", "", 1) } else { line.to_owned() });
    }
    examples::parse(&lines.join("\n")).unwrap()
}

#[tokio::test]
async fn websockets_pass_the_whole_chain_where_a_route_lets_them() {
    let switched = without_comment(&["# - match: {prefix: /orders/"]);
    let routes = manager(&switched)["route_config"].clone();
    assert_eq!(routes["virtual_hosts"][0]["routes"].as_array().unwrap().len(), 2);
    let edge = Edge::start_with(|config| {
        *config.pointer_mut(&format!("{MANAGER}/route_config")).unwrap() = routes;
    })
    .await;
    let open = async |token: Option<String>| -> String {
        let head = "GET /orders/1 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
        let token = token.map(|t| format!("authorization: Bearer {t}\r\n")).unwrap_or_default();
        let answer = raw(edge.envoy.address(), format!("{head}{token}\r\n").as_bytes()).await;
        String::from_utf8_lossy(&answer).split("\r\n").next().unwrap_or_default().to_owned()
    };
    assert_eq!(open(None).await, "HTTP/1.1 401 Unauthorized");
    assert_eq!(open(Some(edge.token("bob"))).await, "HTTP/1.1 403 Forbidden");
    assert_eq!(edge.upstream.seen(), 0);
    assert_eq!(open(Some(edge.token("ann"))).await, "HTTP/1.1 101 Switching Protocols");
}

/// The listener and its cluster are in an Envoy of their own here, for the port of admin is known only once the other one runs.
#[tokio::test]
async fn a_prometheus_elsewhere_sees_the_statistics_and_nothing_else_of_admin() {
    let edge = Edge::start().await;
    assert_eq!(edge.get("/orders/1", "ann").await.status, 200);
    let mut scrape = without_comment(&["# - name: scrape", "# - name: admin"]);
    lead(&mut scrape, "admin", edge.envoy.admin());
    let resources = &mut scrape["static_resources"];
    resources["listeners"].as_array_mut().unwrap().retain(|l| l["name"] == "scrape");
    resources["clusters"].as_array_mut().unwrap().retain(|c| c["name"] == "admin");
    resources["listeners"][0]["address"]["socket_address"]["port_value"] = 0.into();
    let ports = Ports { listener: 0, admin: 0, upstream: 0 };
    let envoy = Envoy::start(&examples::with_ports(scrape, ports)).await;
    let scraped = async || ask(envoy.address(), "GET", "/stats/prometheus").send().await.text();
    let series = r#"portcullis_requests_total{plugin="metrics""#;
    edge.envoy.wait_until(series, async || scraped().await.contains(series)).await;
    for (method, path) in [
        ("POST", "/quitquitquit"),
        ("GET", "/config_dump"),
        ("GET", "/stats"),
        ("GET", "/stats/prometheus/../../config_dump"),
        ("POST", "/stats/prometheus"),
    ] {
        assert_eq!(ask(envoy.address(), method, path).send().await.status, 404, "{method} {path}");
    }
    assert!(edge.envoy.is_running());
}
