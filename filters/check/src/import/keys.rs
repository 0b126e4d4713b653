//! Key sets, and the algorithms that they are for.

use serde_json::{Value, json};

/// Every algorithm with a public key: what a set that is fetched may be for.
pub const PUBLIC: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

/// `keys` and `algorithms` of a key set that is written out, or what is wrong with it.
///
/// # Errors
/// If it is no key set, or its keys cannot be used here.
pub fn written(jwks: &str) -> Result<(Value, Value), String> {
    let no_set = || "no key set as JSON; write keys by hand".to_owned();
    let set: Value = serde_json::from_str(jwks.trim()).map_err(|_| no_set())?;
    let keys =
        set.get("keys").and_then(Value::as_array).filter(|keys| !keys.is_empty()).ok_or_else(no_set)?;
    let mut algorithms: Vec<&str> = keys.iter().flat_map(algorithms).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    if algorithms.iter().any(|a| a.starts_with("HS")) {
        return Err(
            "a secret among the keys; give it a provider of its own with keys: {secret: {env: NAME}}".into(),
        );
    }
    if algorithms.is_empty() {
        return Err("no key of a kind that is known here; write keys by hand".into());
    }
    Ok((json!({"jwks": {"keys": keys}}), json!(algorithms)))
}

fn algorithms(key: &Value) -> Vec<&'static str> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let known = PUBLIC.into_iter().chain(["HS256", "HS384", "HS512"]);
    if let Some(alg) = text("alg") {
        return known.filter(|a| *a == alg).collect();
    }
    match (text("kty"), text("crv")) {
        (Some("RSA"), _) => vec!["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        (Some("EC"), Some("P-256")) => vec!["ES256"],
        (Some("EC"), Some("P-384")) => vec!["ES384"],
        (Some("EC"), Some("P-521")) => vec!["ES512"],
        (Some("OKP"), Some("Ed25519")) => vec!["EdDSA"],
        (Some("oct"), _) => vec!["HS256"],
        _ => Vec::new(),
    }
}

/// The host of a URL, with its port.
#[must_use]
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}
