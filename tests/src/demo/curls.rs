//! The curls that `make run` prints. A test runs them, as printed.

use super::token;

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
    let curl = |what, path: &str, bearer: Option<String>, status, holds| {
        let header = bearer.map_or_else(String::new, |token| format!(" -H 'Authorization: Bearer {token}'"));
        Curl { what, command: format!("curl -i '{base}{path}'{header}"), status, holds }
    };
    vec![
        curl("open to everybody", "/health", None, 200, "\"path\": \"/health\""),
        curl("no token", "/orders/1", None, 401, "token_missing"),
        curl(
            "a token of ann's: the upstream learns who calls",
            "/orders/1",
            Some(token("ann", 3600)),
            200,
            "\"ann\"",
        ),
        curl("an expired token", "/orders/1", Some(token("ann", -3600)), 401, "token_invalid"),
        curl(
            "a token that was changed after it was signed",
            "/orders/1",
            Some(tampered()),
            401,
            "token_invalid",
        ),
        curl(
            "a path that two servers read differently",
            "/orders/1;admin=true",
            Some(token("ann", 3600)),
            400,
            "ambiguous_path",
        ),
        curl("no rule allows it", "/admin", None, 403, "unmatched"),
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
