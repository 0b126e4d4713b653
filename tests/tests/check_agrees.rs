//! The offline check says of a request what a real Envoy does with it: the cases of the end-to-end tests, each sent to an Envoy and
//! put to the check with the very same configuration.

use std::net::SocketAddr;

use http::HeaderMap;
use portcullis_check::ask::{self, Asked};
use portcullis_check::evaluate::{End, Pairs, Scene, evaluate};
use portcullis_check::fetched::Fetched;
use portcullis_check::find::File;
use portcullis_check::report;
use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client;
use portcullis_tests::demo::{self, curls::curls};
use portcullis_tests::envoy::Envoy;
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::gate::config_with;
use portcullis_tests::paths;
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

/// What came of a request, as far as Envoy and the check both say it.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: u16,
    /// Of an answer: its headers. Of the upstream's: those that filters added.
    headers: Pairs,
    /// What the upstream got; nothing for an answer.
    upstream: Option<Pairs>,
    body: String,
}

/// What Envoy itself adds.
fn is_envoys(name: &str) -> bool {
    let own = [
        "content-length",
        "date",
        "server",
        "x-forwarded-proto",
        "x-request-id",
        "x-forwarded-for",
        "transfer-encoding",
        "connection",
        "host",
    ];
    own.contains(&name) || name.starts_with("x-envoy-") || name.starts_with(':')
}

fn sorted(pairs: impl IntoIterator<Item = (String, String)>) -> Pairs {
    let mut pairs: Pairs = pairs.into_iter().filter(|(name, _)| !is_envoys(name)).collect();
    for (_, value) in pairs.iter_mut().filter(|(name, _)| name == "ratelimit") {
        // The check's request is the first one; what Envoy's left to the next is no matter of this test, whose limits are asked once each in another.
        *value = value.split(";r=").next().unwrap_or_default().to_owned();
    }
    pairs.sort();
    pairs
}

fn of_map(headers: &HeaderMap) -> Pairs {
    headers
        .iter()
        .map(|(n, v)| (n.as_str().to_owned(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect()
}

async fn by_envoy(to: SocketAddr, asked: &Asked) -> Outcome {
    let mut request = client::ask(to, &asked.method, &asked.target).header("host", &asked.authority);
    let is_grpc = |value: &str| value == "application/grpc";
    for (name, value) in asked.headers.iter().filter(|(_, value)| !is_grpc(value)) {
        request = request.header(name, value);
    }
    if asked.headers.iter().any(|(_, value)| is_grpc(value)) {
        request = request.grpc(b"hi");
    }
    let answer = request.send().await;
    let seen: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let received = seen.as_ref().and_then(|s| s.get("headers")).and_then(Value::as_object);
    let upstream = received.map(|headers| {
        let each = |(name, values): (&String, &Value)| {
            let values: Vec<String> =
                values.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
            values.into_iter().map(|value| (name.clone(), value)).collect::<Vec<_>>()
        };
        let path = ("path".to_owned(), seen.as_ref().unwrap()["path"].as_str().unwrap().to_owned());
        sorted(headers.iter().flat_map(each).chain([path]))
    });
    let mut headers = sorted(of_map(&answer.headers).into_iter().chain(of_map(&answer.trailers)));
    let mut body = answer.text();
    if upstream.is_some() {
        headers.retain(|(name, _)| name != "content-type");
        body.clear();
    }
    Outcome { status: answer.status, headers, upstream, body }
}

fn by_check(config: &Value, asked: &Asked) -> Outcome {
    let file = File { name: "envoy.json".into(), text: config.to_string() };
    let report = report::check(&[file], None);
    assert!(!report.is_refused(), "{:?}", report.findings);
    let [(chain, loaded)] = report.chains.as_slice() else { panic!("not one chain") };
    let scene = Scene { time: tokens::now(), client_ip: "127.0.0.1".into(), fetched: Fetched::default() };
    let evaluation = evaluate(chain, loaded, asked, &scene).unwrap();
    match evaluation.end {
        End::Upstream { request, response } => {
            let path = request
                .iter()
                .find(|(name, _)| name == ":path")
                .map(|(_, path)| ("path".to_owned(), path.clone()));
            Outcome {
                status: 200,
                headers: sorted(response),
                upstream: Some(sorted(request.into_iter().chain(path))),
                body: String::new(),
            }
        }
        End::Answer { status, headers, body, .. } => {
            Outcome { status, headers: sorted(headers), upstream: None, body }
        }
        End::Open => panic!("not decided"),
    }
}

/// Sends each of these to an Envoy with `config`, and puts each to the check.
async fn agree(config: &Value, lines: &[String]) {
    let envoy = Envoy::start(config).await;
    for line in lines {
        let asked = ask::request(&ask::words(line).unwrap()).unwrap();
        assert_eq!(by_check(config, &asked), by_envoy(envoy.address(), &asked).await, "{line}");
    }
}

fn example(name: &str, upstream: &Upstream) -> Value {
    let example = examples::read(&paths::root().join("envoy").join(name));
    examples::with_ports(example, Ports::free(upstream.address()))
}

fn bearer(token: &str) -> String {
    format!("-H 'Authorization: Bearer {token}'")
}

#[tokio::test]
async fn about_the_printed_curls_and_the_first_request_of_each_subject() {
    let upstream = Upstream::start().await;
    let lines: Vec<String> = curls("http://localhost").into_iter().map(|curl| curl.command).collect();
    let config = example("envoy.yaml", &upstream);
    // The curls are all ann's, and what is left of her limit changes with each; the others come once.
    agree(&config, &lines).await;
    let subjects = ["cy", "dee", "eve"]
        .map(|s| format!("GET /orders/7 {} -H 'x-user: root'", bearer(&demo::token(s, 600))));
    agree(&config, &subjects).await;
}

#[tokio::test]
async fn about_relations() {
    let upstream = Upstream::start().await;
    let mut lines = Vec::new();
    for (subject, method, path) in [
        ("ann", "GET", "/orders/1"),
        ("ann", "PUT", "/orders/1"),
        ("bob", "GET", "/orders/1"),
        ("bob", "PUT", "/orders/2"),
        ("ann", "GET", "/orders/2"),
        ("ann", "GET", "/elsewhere"),
        ("ann", "HEAD", "/orders/2"),
    ] {
        lines.push(format!("{method} {path} {}", bearer(&demo::token(subject, 600))));
    }
    lines.push("GET /orders/1".into());
    lines.push(format!(
        "POST /orders/1 {} -H 'content-type: application/grpc'",
        bearer(&demo::token("bob", 600))
    ));
    agree(&example("rebac.yaml", &upstream), &lines).await;
}

#[tokio::test]
async fn about_paths_that_can_be_read_in_two_ways() {
    let upstream = Upstream::start().await;
    let token = bearer(&demo::token("ann", 600));
    let paths = [
        "/orders//1",
        "/orders/./1",
        "/orders/../orders/1",
        "/orders/%2e%2e/orders/1",
        "/orders%2F1",
        "/orders/%31",
        "/orders\\1",
        "/orders/1;a=b",
        "/orders/%zz",
        "/orders/a%20b",
        "/orders/a%25b",
        "/orders/1?x=//..%2F",
        "/orders/%00",
        "/health/..",
        "/..",
        "//health",
    ];
    let lines: Vec<String> = paths.iter().map(|path| format!("GET '{path}' {token}")).collect();
    agree(&example("jwt-auth.yaml", &upstream), &lines).await;
}

#[tokio::test]
async fn about_scopes_roles_claims_and_what_is_missing() {
    let upstream = Upstream::start().await;
    let rule = |name: &str, require: Value| json!({"name": name, "match": {"path": format!("/{name}")}, "require": require});
    let rules = json!([
        rule("all-scopes", json!({"any": ["corp"], "scopes": ["a", "b"]})),
        rule("any-scope", json!({"any": ["corp"], "scopes": {"any": ["c", "d"]}})),
        rule("roles", json!({"any": ["corp"], "roles": {"any": ["chief", "buyer"]}})),
        rule("claims", json!({"any": ["corp"], "claims": [{"value": "claim.plan", "one_of": ["gold", "silver"]}, {"value": "subject", "prefix": "an"}]})),
        rule("maybe", json!({"optional": ["corp"], "scopes": ["a"]})),
        {"name": "shadow", "match": {"path": "/shadow"}, "require": {"any": ["corp"]}, "mode": "shadow"},
        {"name": "percent", "match": {"path": "/percent"}, "require": {"any": ["corp"]}, "percent": 0}
    ]);
    let changes = [
        ("/rules", rules),
        ("/providers/corp/roles", json!(["claim.realm_access.roles"])),
        ("/providers/corp/payload_header", json!("x-payload")),
        ("/preflights", json!("pass")),
        ("/resource_metadata", json!({"resource": "https://api.test/v1", "scopes_supported": ["a", "b"]})),
    ];
    let plugin = Plugin::new("jwt-auth", config_with(&changes));
    let config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
    let token = |changes: Value| {
        let mut claims = tokens::claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        bearer(&Signer::rsa("rsa").token("RS256", &claims))
    };
    let mut lines: Vec<String> = [
        ("all-scopes", json!({"scope": "b x a"})),
        ("all-scopes", json!({"scope": "a"})),
        ("any-scope", json!({"scope": "d"})),
        ("any-scope", json!({"scope": "a b"})),
        ("roles", json!({"realm_access": {"roles": ["buyer"]}})),
        ("roles", json!({"roles": ["buyer"]})),
        ("claims", json!({"plan": "gold"})),
        ("claims", json!({"plan": "gold", "sub": "bob"})),
        ("maybe", json!({"scope": "a"})),
        ("maybe", json!({})),
        ("shadow", json!({"exp": 1})),
        ("roles", json!({"exp": 1})),
        ("roles", json!({"aud": "elsewhere"})),
        ("elsewhere", json!({})),
    ]
    .into_iter()
    .map(|(path, claims)| format!("GET /{path} {}", token(claims)))
    .collect();
    let valid = token(json!({}));
    lines.extend([
        "GET /maybe".to_owned(),
        "GET /roles".to_owned(),
        "GET /percent".to_owned(),
        "GET /shadow -H 'x-user: root' -H 'X-Payload: y'".to_owned(),
        "GET /roles -H 'authorization: Bearer x.y'".to_owned(),
        "GET /roles -H 'authorization: Basic x'".to_owned(),
        format!("GET /roles {valid} {valid}"),
        "OPTIONS /roles -H 'origin: https://a.test' -H 'access-control-request-method: PUT'".to_owned(),
        "OPTIONS /roles -H 'origin: https://a.test'".to_owned(),
        "GET /.well-known/oauth-protected-resource/v1".to_owned(),
        format!("POST /all-scopes {valid} -H 'content-type: application/grpc'"),
        "POST /all-scopes -H 'content-type: application/grpc-web'".to_owned(),
    ]);
    agree(&config, &lines).await;
}

#[tokio::test]
async fn about_limits_and_their_keys() {
    let upstream = Upstream::start().await;
    agree(&example("rate-limit.yaml", &upstream), &["GET /x".into()]).await;
    let plugin = Plugin::new(
        "rate-limit",
        json!({
            "limits": [
                {"name": "listed", "key": ["{header.x-key}"], "match": {"path": "/listed"}, "rate": "5/hour",
                 "deny": [{"from": "header.x-key", "from_client": true, "values": ["bad"]}],
                 "allow": [{"from": "header.x-key", "from_client": true, "values": ["good"]}]},
                {"name": "absent", "key": ["{header.x-other}"], "match": {"path": "/absent"}, "rate": "5/hour"},
                {"name": "skipped", "key": ["{header.x-other}"], "match": {"path": "/skipped"}, "rate": "5/hour", "missing": "skip"},
                {"name": "instead", "key": ["{header.x-other}"], "match": {"path": "/instead"}, "rate": "5/hour", "missing": {"key": ["{client.ip}"]}},
                {"name": "dear", "key": ["dear"], "match": {"path": "/dear"}, "rate": "9/hour", "cost": {"fixed": 4}}
            ],
            "headers": "x-ratelimit"
        }),
    );
    let config = bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)]);
    let lines = [
        "GET /listed -H 'x-key: bad'",
        "GET /listed -H 'x-key: good'",
        "GET /listed -H 'x-key: other'",
        "GET /absent",
        "GET /skipped",
        "GET /instead",
        "GET /dear",
        "GET /none",
    ];
    agree(&config, &lines.map(str::to_owned)).await;
}

#[test]
fn keys_that_would_be_fetched_come_from_files() {
    let token = Signer::rsa("rsa").token("RS256", &tokens::claims());
    let asked = ask::request(&["/x".into(), "-H".into(), format!("authorization: Bearer {token}")]).unwrap();
    let keys = json!({"keys": [Signer::rsa("rsa").jwk()]}).to_string().into_bytes();
    let by_issuer = Fetched { keys: vec![("https://id.test".into(), keys.clone())], ..Fetched::default() };
    let url = |path: &str| format!("https://id.test{path}");
    let by_url = Fetched { documents: vec![(url("/keys"), keys)], ..Fetched::default() };
    let elsewhere =
        Fetched { keys: vec![("https://other.test".into(), b"{}".to_vec())], ..Fetched::default() };
    for (field, path, fetched, passes) in [
        ("jwks_url", "/keys", &by_issuer, true),
        ("jwks_url", "/keys", &by_url, true),
        ("discovery", "/.well-known/openid-configuration", &by_issuer, true),
        ("discovery", "/.well-known/openid-configuration", &by_url, false),
        ("jwks_url", "/keys", &elsewhere, false),
    ] {
        let keys = json!({field: url(path), "clusters": {"id.test": "id"}});
        let config = config_with(&[("/providers/corp/keys", keys)]);
        let report = report::check(&[File { name: "c.json".into(), text: config.to_string() }], None);
        let (chain, loaded) = &report.chains[0];
        let scene = Scene { time: tokens::now(), client_ip: "127.0.0.1".into(), fetched: fetched.clone() };
        let evaluation = evaluate(chain, loaded, &asked, &scene).unwrap();
        assert_eq!(matches!(evaluation.end, End::Upstream { .. }), passes, "{field}: {evaluation:?}");
        if !passes {
            assert_eq!(evaluation.end, End::Open, "{field}");
            let said = evaluation.passages[0].notes.join("\n");
            assert!(said.contains("would fetch id.test/"), "{said}");
        }
    }
}
