//! The curls that `make run` prints. A test runs them, as printed.

use serde_json::{Value, json};

use super::{service_token, token, token_with};

/// One command, and what it answers.
#[derive(Clone, Debug)]
pub struct Curl {
    /// What it shows.
    pub what: &'static str,
    /// The command.
    pub command: String,
    /// The status code.
    pub status: u16,
    /// Text that is in the answer.
    pub holds: &'static str,
}

/// The curls for an Envoy at `base`, such as `http://127.0.0.1:10000`, in the order in which they answer as promised.
#[must_use]
pub fn curls(base: &str) -> Vec<Curl> {
    let curl = |what, path: &str, tokens: &[(&str, String)], status, holds| {
        let header = |(name, token): &(&str, String)| format!(" -H '{name}{token}'");
        let headers: String = tokens.iter().map(header).collect();
        Curl { what, command: format!("curl -i '{base}{path}'{headers}"), status, holds }
    };
    const BEARER: &str = "Authorization: Bearer ";
    let ann = |more: &Value| vec![(BEARER, token_with("ann", 3600, more))];
    let plain = || ann(&json!({}));
    let service = || ("X-Service-Token: ", service_token("billing", 3600));
    vec![
        curl("open to everybody", "/health", &[], 200, "\"path\": \"/health\""),
        curl("no token", "/orders/1", &[], 401, "token_missing"),
        curl("a token of ann's: the upstream learns who calls", "/orders/1", &plain(), 200, "\"ann\""),
        curl("an expired token", "/orders/1", &[(BEARER, token("ann", -3600))], 401, "token_invalid"),
        curl(
            "a token that was changed after it was signed",
            "/orders/1",
            &[(BEARER, tampered())],
            401,
            "token_invalid",
        ),
        curl(
            "a path that two servers read differently",
            "/orders/1;admin=true",
            &plain(),
            400,
            "ambiguous_path",
        ),
        curl("no rule allows it", "/admin", &[], 403, "unmatched"),
        curl("a token is optional here", "/catalog/1", &[], 200, "/catalog/1"),
        curl(
            "but if there is one, it has to be valid",
            "/catalog/1",
            &[(BEARER, tampered())],
            401,
            "token_invalid",
        ),
        curl(
            "a scope is needed, and ann's token lacks it",
            "/refunds/1",
            &plain(),
            403,
            "scope_insufficient",
        ),
        curl(
            "the same with the scope",
            "/refunds/1",
            &ann(&json!({"scope": "refunds:read refunds:write"})),
            200,
            "\"ann\"",
        ),
        curl("a role or a plan is needed", "/reports/1", &plain(), 403, "claims_insufficient"),
        curl("the same with the plan", "/reports/1", &ann(&json!({"plan": "gold"})), 200, "\"ann\""),
        curl(
            "two tokens are needed: the user's and the service's",
            "/transfers/1",
            &plain(),
            401,
            "token_missing",
        ),
        curl("both", "/transfers/1", &[plain().remove(0), service()], 200, "\"ann\""),
        curl(
            "ann is in the group that may see the document's folder",
            "/documents/roadmap",
            &plain(),
            200,
            "/documents/roadmap",
        ),
        curl("bob is not", "/documents/roadmap", &[(BEARER, token("bob", 3600))], 403, "relation_denied"),
        curl("a rule in shadow: refused for the metrics only", "/beta/1", &[], 200, "/beta/1"),
        curl(
            "what a client finds out about this API (RFC 9728)",
            "/.well-known/oauth-protected-resource",
            &[],
            200,
            "authorization_servers",
        ),
    ]
}

/// A token whose payload says something that was not signed.
fn tampered() -> String {
    let genuine = token("ann", 3600);
    let mut parts: Vec<&str> = genuine.split('.').collect();
    let other = token("root", 3600);
    let forged: Vec<&str> = other.split('.').collect();
    parts[1] = forged[1];
    parts.join(".")
}
