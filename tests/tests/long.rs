//! Runs that take minutes.

use portcullis_tests::hostile;
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::wasm::{Vm, World};
use serde_json::{Value, json};

/// A million hostile requests through one VM; its memory must be what it was after fifty thousand.
fn million(filter: &str, config: &Value) {
    let world = World::default();
    world.set_wall_seconds(tokens::now());
    let vm = Vm::new(&world, filter);
    let plugin = vm.configure(config.to_string()).unwrap();
    let lists = hostile::header_lists();
    // The longest ones would be all that a debug build does.
    let lists: Vec<_> = lists
        .into_iter()
        .filter(|l| l.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() < 4_096)
        .collect();
    let mut settled = 0;
    for n in 0..1_000_000_usize {
        let mut list = lists[n % lists.len()].clone();
        // Never the same twice: whatever is remembered by what a client sends grows with it.
        list.push((b"x-request-id".to_vec(), n.to_string().into_bytes()));
        list.push((b"x-user".to_vec(), n.to_string().into_bytes()));
        if let Some((_, path)) = list.iter_mut().find(|(n, _)| n == b":path") {
            path.extend_from_slice(format!("?n={n}").as_bytes());
        }
        let stream = plugin.stream(list);
        stream.try_request().unwrap_or_else(|trap| panic!("{filter}: request {n}: {}", trap.0));
        stream.log();
        stream.end();
        if n == 50_000 {
            settled = vm.memory_bytes();
        }
    }
    assert_eq!(vm.memory_bytes(), settled, "{filter}");
}

#[test]
fn a_million_hostile_requests_to_jwt_auth() {
    million(
        "jwt-auth",
        &json!({
            "providers": {"corp": {
                "issuer": "https://id.test", "audiences": ["orders"], "algorithms": ["ES256"],
                "keys": {"jwks": {"keys": [Signer::p256("other").jwk()]}},
                "claim_headers": {"x-user": "{subject}"}
            }},
            "rules": [{"match": {"path": "/**"}, "require": {"any": ["corp"]}}],
            "unmatched": "deny"
        }),
    );
}

#[test]
fn a_million_hostile_requests_to_rate_limit() {
    million(
        "rate-limit",
        &json!({
            "limits": [{"name": "l", "key": ["{header.x-request-id}"], "rate": "10/minute", "missing": {"value": "none"}}],
            "store": {"size": "1MiB"}
        }),
    );
}

#[test]
fn a_million_hostile_requests_to_metrics() {
    million("metrics", &json!({"routes": ["/api", "/**"]}));
}

#[test]
fn a_million_hostile_requests_to_rebac() {
    let check = json!({
        "subject": "user:{header.x-user}", "from_client": true, "relation": "viewer", "object": "document:{path.id}"
    });
    million(
        "rebac",
        &json!({
            "engine": {"embedded": {
                "model": "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user, document#viewer]\n",
                "tuples": ["document:api#viewer@document:b#viewer", "document:b#viewer@document:api#viewer", "document:1#viewer@user:ann"]
            }},
            "rules": [{"match": {"path": "/{id}"}, "checks": {"all": [check]}}],
            "unmatched": "deny"
        }),
    );
}
