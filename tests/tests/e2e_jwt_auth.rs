//! jwt-auth in a real Envoy.

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

#[tokio::test]
async fn a_token_is_checked_and_handed_on() {
    let upstream = Upstream::start().await;
    let signer = Signer::p256("ec");
    let plugin = Plugin::new(
        "jwt-auth",
        json!({
            "providers": {"corp": {
                "issuer": "https://id.test",
                "audiences": ["orders"],
                "algorithms": ["RS256", "ES256"],
                "keys": {"jwks": {"keys": [Signer::rsa("rsa").jwk(), signer.jwk()]}},
                "claim_headers": {"x-user": "{subject}"}
            }},
            "rules": [{"name": "all", "match": {"path": "/**"}, "require": {"any": ["corp"]}}],
            "unmatched": "deny"
        }),
    );
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[Listener::new("l").plugin(&plugin)])).await;
    let refused = ask(envoy.address(), "GET", "/x").header("x-user", "root").send().await;
    assert_eq!((refused.status, refused.reason().as_str()), (401, "token_missing"));
    for token in
        [signer.token("ES256", &tokens::claims()), Signer::rsa("rsa").token("RS256", &tokens::claims())]
    {
        for _ in 0..2 {
            let passed =
                ask(envoy.address(), "GET", "/x").header("x-user", "root").bearer(&token).send().await;
            assert_eq!(passed.status, 200, "{}", passed.text());
            assert_eq!(passed.json()["headers"]["x-user"], json!(["ann"]));
            assert_eq!(passed.json()["headers"]["authorization"], json!(null));
        }
    }
    let grpc = ask(envoy.address(), "POST", "/pkg.S/M").grpc(b"hi").send().await;
    assert_eq!((grpc.status, grpc.grpc_status()), (200, Some(16)));
}
