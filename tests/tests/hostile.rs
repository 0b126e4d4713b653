//! Hostile input, in a real Envoy and in the in-process host: nothing traps, nothing gets through, nobody else notices.

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{self, ask};
use portcullis_tests::envoy::Envoy;
use portcullis_tests::hostile;
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wasm::{Vm, World};
use serde_json::{Value, json};

fn jwt_auth() -> Value {
    json!({
        "providers": {"corp": {
            "issuer": "https://id.test",
            "audiences": ["orders"],
            "algorithms": ["ES256"],
            "keys": {"jwks": {"keys": [Signer::p256("ec").jwk()]}},
            "tokens": [{"header": "authorization", "scheme": "Bearer"}, {"query": "access_token"}, {"cookie": "sid"}],
            "claim_headers": {"x-user": "{subject}"}
        }},
        "rules": [{"match": {"hosts": ["*.nowhere.test"]}, "require": "none"}, {"match": {}, "require": {"any": ["corp"]}}],
        "unmatched": "deny"
    })
}

fn rate_limit() -> Value {
    json!({"limits": [
        {"name": "l", "match": {"path": "/**"}, "key": ["{client.ip}", "{host}"], "rate": "1000000/second", "missing": {"value": "none"}},
        {"name": "q", "key": ["{query.a}", "{cookie.sid}", "{header.x-bin}", "{method}"], "rate": "1000000/second", "missing": {"value": "none"}}
    ]})
}

fn metrics() -> Value {
    json!({"routes": ["/api", "/**"]})
}

#[tokio::test]
async fn a_real_envoy_with_open_gates() {
    let upstream = Upstream::start().await;
    let listener = Listener::new("l")
        .hostile()
        .plugin(&Plugin::new("metrics", metrics()))
        .plugin(&Plugin::new("rate-limit", rate_limit()))
        .plugin(&Plugin::new("jwt-auth", jwt_auth()));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let decided = async || {
        let text = envoy.prometheus().await;
        let lines = text.lines().filter(|l| l.starts_with("portcullis_decisions_total{plugin=\"jwt-auth\""));
        lines.filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    let mut unseen = Vec::new();
    for case in hostile::requests() {
        let before = decided().await;
        let answer = client::raw(envoy.address(), &case.bytes).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"),
            "{}: {answer:.300}",
            case.what
        );
        if (decided().await > before) != case.seen {
            unseen.push((case.what, case.seen, answer.lines().next().unwrap_or_default().to_owned()));
        }
    }
    assert_eq!(unseen, [], "cases that the filter saw, or did not see, against their word");
    assert_eq!(upstream.seen(), 0, "nothing got through");
    let passed = ask(envoy.address(), "GET", "/api")
        .bearer(&Signer::p256("ec").token("ES256", &tokens::claims()))
        .send()
        .await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    assert!(
        !envoy.log().contains("wasm log: panicked") && !envoy.log().contains("RuntimeError"),
        "{}",
        envoy.log()
    );
}

#[tokio::test]
async fn http2_and_grpc_are_answered_in_their_own_way() {
    let upstream = Upstream::start().await;
    let to_http2 = json!([{"match": {"prefix": "/"}, "route": {"cluster": "upstream-h2"}}]);
    let listener = Listener::new("l").hostile().routes(to_http2).plugin(&Plugin::new("jwt-auth", jwt_auth()));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    let plain = ask(envoy.address(), "GET", "/api").http2().send().await;
    assert_eq!((plain.status, plain.reason().as_str()), (401, "token_missing"));
    let grpc = ask(envoy.address(), "POST", "/pkg.Service/Method").grpc(b"hi").send().await;
    assert_eq!(
        (grpc.status, grpc.grpc_status(), grpc.header("grpc-message").as_str()),
        (200, Some(16), "token_missing")
    );
    let web = ask(envoy.address(), "POST", "/pkg.Service/Method")
        .header("content-type", "application/grpc-web+proto")
        .send()
        .await;
    assert_eq!((web.status, web.grpc_status()), (200, Some(16)));
    assert!(web.body.is_empty());
    let passed = ask(envoy.address(), "POST", "/pkg.Service/Method")
        .bearer(&Signer::p256("ec").token("ES256", &tokens::claims()));
    assert_eq!(passed.grpc(b"hi").send().await.grpc_status(), Some(0));
}

#[test]
fn the_modules_in_process() {
    for (filter, config) in [("jwt-auth", jwt_auth()), ("rate-limit", rate_limit()), ("metrics", metrics())] {
        let world = World::default();
        world.set_wall_seconds(tokens::now());
        let vm = Vm::new(&world, filter);
        vm.set_log_level(0);
        let plugin = vm.configure(config.to_string()).unwrap();
        for list in hostile::header_lists() {
            let stream = plugin.stream(list.clone());
            let went = stream.try_request();
            assert!(went.is_ok(), "{filter}: {list:?}: {went:?}");
            stream.respond(&[(":status", "200")]);
            stream.log();
            stream.end();
        }
        for line in vm.log().lines() {
            assert!(!line.contains("Bearer") && !line.contains("c2ln"), "a credential in the log: {line}");
        }
    }
}
