//! jwt-auth as a module, in the in-process host.

use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::wasm::{Plugin, Vm, Went, World};
use serde_json::{Value, json};

fn config() -> Value {
    json!({
        "providers": {"corp": {
            "issuer": "https://id.test",
            "audiences": ["orders"],
            "algorithms": ["RS256", "ES256"],
            "keys": {"jwks": {"keys": [Signer::rsa("rsa").jwk(), Signer::p256("ec").jwk()]}},
            "claim_headers": {"x-user": "{subject}", "x-org": "{claim.org.id}"}
        }},
        "rules": [
            {"match": {"path": "/health"}, "require": "none"},
            {"name": "api", "match": {"path": "/api/**"}, "require": {"any": ["corp"]}},
            {"name": "maybe", "match": {"path": "/maybe"}, "require": {"optional": ["corp"]}}
        ],
        "unmatched": "deny",
        "publish": ["claim.plan"]
    })
}

fn start(world: &World) -> Plugin {
    let vm = Vm::new(world, "jwt-auth");
    world.set_wall_seconds(tokens::now());
    vm.configure(config().to_string()).unwrap()
}

fn claims() -> Value {
    let mut claims = tokens::claims();
    claims["plan"] = "gold".into();
    claims["org"] = json!({"id": 7});
    claims
}

#[test]
fn a_valid_token_passes_with_headers_and_facts_and_is_taken_out() {
    let plugin = start(&World::default());
    for (signer, algorithm) in [(Signer::rsa("rsa"), "RS256"), (Signer::p256("ec"), "ES256")] {
        let bearer = format!("Bearer {}", signer.token(algorithm, &claims()));
        let (stream, went) = plugin.request("GET", "/api/1", &[("authorization", &bearer), ("x_user", "root")]);
        assert_eq!(went, Went::On, "{}", plugin.vm().log());
        assert_eq!(stream.header("authorization"), None);
        assert_eq!(stream.header("x_user"), None);
        assert_eq!(stream.header("x-user").as_deref(), Some("ann"));
        assert_eq!(stream.header("x-org").as_deref(), Some("7"));
        assert_eq!(stream.property("portcullis.jwt-auth.subject").as_deref(), Some("ann"));
        assert_eq!(stream.property("portcullis.jwt-auth.claim.plan").as_deref(), Some("\"gold\""));
        assert_eq!(stream.property("portcullis.jwt-auth.verdict").as_deref(), Some("allow;;api;0"));
    }
}

#[test]
fn refusals_have_their_reason_everywhere() {
    let world = World::default();
    let plugin = start(&world);
    let (stream, went) = plugin.request("GET", "/api/1", &[("x-user", "root")]);
    let reply = went.reply();
    assert_eq!((reply.status, reply.reason().as_str(), reply.details.as_str()), (401, "token_missing", "token_missing"));
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"api\"");
    assert_eq!(stream.property("portcullis.jwt-auth.verdict").as_deref(), Some("deny;token_missing;api;0"));
    assert_eq!(world.metric(&["decisions_total", "outcome=.=deny", "reason=.=token_missing", "rule=.=api"]), 1);
    let (_, went) = plugin.request("GET", "/other", &[]);
    assert_eq!(went.reply().reason(), "unmatched");
}

#[test]
fn a_refused_configuration_lets_nobody_through() {
    let vm = Vm::new(&World::default(), "jwt-auth");
    let error = vm.configure("{}").map(drop).unwrap_err();
    assert!(error.contains("jwt-auth: providers: missing; write one provider"), "{error}");
    let (_, went) = vm.plugin().request("GET", "/health", &[]);
    assert_eq!((went.clone().reply().status, went.reply().reason().as_str()), (500, "config_invalid"));
}

#[test]
fn a_warm_request_stays_in_its_budget() {
    let plugin = start(&World::default());
    let bearer = format!("Bearer {}", Signer::rsa("rsa").token("RS256", &claims()));
    let ask = || plugin.request("GET", "/api/1", &[("authorization", &bearer), ("accept", "*/*"), ("user-agent", "x")]).1;
    assert_eq!(ask(), Went::On);
    plugin.vm().reset_counts();
    assert_eq!(ask(), Went::On);
    println!("{:?} fuel {}", plugin.vm().host_calls(), plugin.vm().fuel());
}
