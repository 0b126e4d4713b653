//! What `make run`, `make token`, `make jwk`, `make stats` and `make upstream` do.
//!
//! | module | one idea |
//! |---|---|
//! | [`run`] | Envoy on `envoy/envoy.yaml`, with curls to paste |
//! | [`stats`] | what was counted so far, by route |
//! | [`curls`] | the curls, and what each answers |
//! | [`mod@file`] | a file, served as it is at that moment |
//! | [`own`] | a key of one's own, and tokens signed with it |

pub mod curls;
pub mod file;
pub mod own;
pub mod run;
pub mod stats;

use serde_json::{Value, json};

use crate::tokens::{self, Signer};

/// The claims of a demo token for `subject` that expires in `seconds`, or did so before.
#[must_use]
pub fn claims(subject: &str, seconds: i64) -> Value {
    let expires = i64::try_from(tokens::now()).unwrap_or(i64::MAX).saturating_add(seconds).max(0);
    json!({"iss": "https://demo.portcullis.example", "aud": "orders", "sub": subject, "exp": expires})
}

/// A demo token for `subject`, signed with the public demo key.
#[must_use]
pub fn token(subject: &str, seconds: i64) -> String {
    token_with(subject, seconds, &json!({}))
}

/// The same with more claims.
#[must_use]
pub fn token_with(subject: &str, seconds: i64, more: &Value) -> String {
    let mut claims = claims(subject, seconds);
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    Signer::demo().token("ES256", &claims)
}

/// A token of the demo's other issuer, which speaks for services.
#[must_use]
pub fn service_token(service: &str, seconds: i64) -> String {
    token_with(service, seconds, &json!({"iss": "https://services.portcullis.example"}))
}
