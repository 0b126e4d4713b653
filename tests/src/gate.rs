//! jwt-auth in a real Envoy, for the tests that knock at it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bootstrap::{Listener, Plugin, bootstrap};
use crate::client::{Ask, Response, ask};
use crate::envoy::Envoy;
use crate::tokens::Signer;
use crate::upstream::Upstream;

/// The usual configuration: one provider with an RSA and a P-256 key, one rule for everything.
#[must_use]
pub fn config() -> Value {
    json!({
        "providers": {"corp": {
            "issuer": "https://id.test",
            "audiences": ["orders"],
            "algorithms": ["RS256", "ES256"],
            "keys": {"jwks": {"keys": [Signer::rsa("rsa").jwk(), Signer::p256("ec").jwk()]}},
            "claim_headers": {"x-user": "{subject}"}
        }},
        "rules": [{"name": "all", "match": {"path": "/**"}, "require": {"any": ["corp"]}}],
        "unmatched": "deny"
    })
}

/// A configuration of one secret that signs, for tests that need very many tokens and nothing but their subjects.
#[must_use]
pub fn secret_config(secret: &[u8]) -> Value {
    json!({
        "providers": {"corp": {
            "issuer": "https://id.test",
            "audiences": "any",
            "algorithms": ["HS256"],
            "keys": {"secret": {"value": String::from_utf8_lossy(secret)}}
        }},
        "rules": [{"match": {"path": "/**"}, "require": {"any": ["corp"]}}],
        "unmatched": "deny"
    })
}

/// The usual configuration with other fields: JSON pointers and values.
///
/// # Panics
/// If a pointer's parent is not there.
#[must_use]
pub fn config_with(changes: &[(&str, Value)]) -> Value {
    let mut config = config();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}: no parent"));
        parent[name] = value.clone();
    }
    config
}

/// An Envoy with jwt-auth, and an upstream behind it.
pub struct Gate {
    /// The Envoy.
    pub envoy: Envoy,
    /// What is behind it.
    pub upstream: Upstream,
}

impl Gate {
    /// Starts one with this configuration, on a listener that lets hostile requests through to the filter.
    pub async fn start(config: Value) -> Gate {
        let upstream = Upstream::start().await;
        let listener = Listener::new("l").plugin(&Plugin::new("jwt-auth", config)).hostile();
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        Gate { envoy, upstream }
    }

    /// A request in the making.
    #[must_use]
    pub fn get(&self, path: &str) -> Ask {
        ask(self.envoy.address(), "GET", path)
    }

    /// What a request for `/` with this token gets.
    pub async fn knock(&self, token: &str) -> Response {
        self.get("/").bearer(token).send().await
    }

    /// Knocks with this token, which has to be refused with `reason`, without the upstream seeing it.
    ///
    /// # Panics
    /// If it is not.
    pub async fn refuses(&self, token: &str, reason: &str) {
        let seen = self.upstream.seen();
        let answer = self.knock(token).await;
        let short: String = token.chars().take(200).collect();
        assert_eq!(answer.reason(), reason, "{short}: {} {}", answer.status, answer.text());
        assert!((400..500).contains(&answer.status), "{short}: {}", answer.status);
        assert_eq!(self.upstream.seen(), seen, "{short}: reached the upstream");
    }

    /// Knocks with this token, which has to pass.
    ///
    /// # Panics
    /// If it does not.
    pub async fn accepts(&self, token: &str) {
        let answer = self.knock(token).await;
        assert_eq!(answer.status, 200, "{token}: {}", answer.text());
    }

    /// How often tokens failed, by cause.
    pub async fn causes(&self) -> BTreeMap<String, u64> {
        let text = self.envoy.prometheus().await;
        let lines = text.lines().filter(|line| line.starts_with("portcullis_token_failures_total{"));
        let cause = |line: &str| {
            let name = line.split_once("cause=\"")?.1.split_once('"')?.0.to_owned();
            Some((name, line.rsplit_once(' ')?.1.parse().ok()?))
        };
        lines.filter_map(cause).collect()
    }
}
