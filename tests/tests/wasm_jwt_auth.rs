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
        let (stream, went) =
            plugin.request("GET", "/api/1", &[("authorization", &bearer), ("x_user", "root")]);
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
    assert_eq!(
        (reply.status, reply.reason().as_str(), reply.details.as_str()),
        (401, "token_missing", "token_missing")
    );
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"api\"");
    assert_eq!(stream.property("portcullis.jwt-auth.verdict").as_deref(), Some("deny;token_missing;api;0"));
    assert_eq!(
        world.metric(&["decisions_total", "outcome=.=deny", "reason=.=token_missing", "rule=.=api"]),
        1
    );
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
fn a_token_is_remembered_only_as_long_as_it_is_valid_and_for_its_own_bytes() {
    let world = World::default();
    let plugin = start(&world);
    let mut claims = claims();
    claims["exp"] = (tokens::now() + 100).into();
    let token = Signer::rsa("rsa").token("RS256", &claims);
    let ask =
        |token: &str| plugin.request("GET", "/api/1", &[("authorization", &format!("Bearer {token}"))]).1;
    let verified = || world.metric(&["token_verifications_total"]);
    assert_eq!((ask(&token), verified()), (Went::On, 1));
    assert_eq!((ask(&token), verified()), (Went::On, 1), "remembered");
    // Another payload in front of the same signature: the same end, other bytes.
    let mut tampered = claims.clone();
    tampered["sub"] = "root".into();
    let payload = Signer::rsa("rsa").token("RS256", &tampered);
    let parts: Vec<&str> = payload.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], parts[1], token.rsplit_once('.').unwrap().1);
    assert_eq!(ask(&forged).reply().reason(), "token_invalid");
    assert_eq!(verified(), 2);
    world.set_wall_seconds(tokens::now() + 100 + 30);
    assert_eq!(ask(&token).reply().reason(), "token_invalid", "expired, remembered or not");
    assert_eq!(world.metric(&["token_failures_total", "cause=.=expired"]), 1);
}

#[test]
fn what_the_token_says_of_the_rule_is_asked_on_every_hit() {
    let plugin = start(&World::default());
    let bearer = format!("Bearer {}", Signer::rsa("rsa").token("RS256", &claims()));
    let ask = |path| plugin.request("GET", path, &[("authorization", &bearer)]).1;
    assert_eq!(ask("/api/1"), Went::On);
    assert_eq!(ask("/nowhere").reply().reason(), "unmatched");
}

#[test]
fn which_verifier_is_in_use_shows_in_the_log_and_in_a_metric() {
    let world = World::default();
    let plugin = start(&world);
    assert!(plugin.vm().log().contains("jwt-auth: RS256 signatures are verified in wasm"));
    assert_eq!(world.metric(&["portcullis_signature_verifier", "verifier=.=wasm"]), 1);
}

#[test]
fn the_demo_key_warns_and_is_counted() {
    let world = World::default();
    let vm = Vm::new(&world, "jwt-auth");
    let mut config = config();
    config["providers"]["corp"]["keys"]["jwks"]["keys"] = json!([Signer::demo().jwk()]);
    vm.configure(config.to_string()).unwrap();
    assert!(vm.log().contains("demo-do-not-use"));
    assert_eq!(world.metric(&["portcullis_demo_keys_total"]), 1);
}

#[test]
fn a_disabled_plugin_lets_pass_without_facts_and_still_removes_what_clients_may_not_send() {
    let vm = Vm::new(&World::default(), "jwt-auth");
    let mut config = config();
    config["enabled"] = false.into();
    let plugin = vm.configure(config.to_string()).unwrap();
    let (stream, went) = plugin.request("GET", "/nowhere", &[("x-user", "root"), ("x_org", "1")]);
    assert_eq!(went, Went::On);
    assert!(stream.headers().iter().all(|(n, _)| n != "x-user" && n != "x_org"));
    assert_eq!(stream.property("portcullis.jwt-auth.verdict"), None);
}

#[test]
fn shadow_records_and_lets_pass_without_the_identity_of_an_invalid_token() {
    let world = World::default();
    let vm = Vm::new(&world, "jwt-auth");
    let mut config = config();
    config["mode"] = "shadow".into();
    let plugin = vm.configure(config.to_string()).unwrap();
    let (stream, went) =
        plugin.request("GET", "/api/1", &[("authorization", "Bearer x.y.z"), ("x-user", "root")]);
    assert_eq!(went, Went::On);
    assert_eq!(stream.header("x-user"), None);
    assert_eq!(stream.property("portcullis.jwt-auth.subject"), None);
    assert_eq!(
        stream.property("portcullis.jwt-auth.verdict").as_deref(),
        Some("shadow_deny;token_malformed;api;0")
    );
    for path in ["/a//b", "/nowhere"] {
        assert_eq!(plugin.request("GET", path, &[]).1, Went::On, "{path}");
    }
    assert_eq!(world.metric(&["outcome=.=shadow_deny"]), 3);
}
