//! A token that is fetched by OAuth 2.0 client credentials (RFC 6749, section 4.4), and fetched again before it ends.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::filter::{Answer, Callout};
use serde_json::Value;

use crate::policy::remote::{Bearer, ClientCredentials};

/// How long the endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between two fetches.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a token serves whose end was not said.
const UNSAID: u64 = 300;
/// No token is kept longer.
const LONGEST: u64 = 86_400;

/// The token of this worker.
#[derive(Debug)]
pub struct Tokens {
    bearer: Option<Bearer>,
    ends: Mono,
    /// When it is fetched next.
    next: Mono,
    /// Until when a fetch that is under way may take.
    fetching: Option<Mono>,
}

impl Default for Tokens {
    fn default() -> Self {
        Tokens { bearer: None, ends: Mono(0), next: Mono(0), fetching: None }
    }
}

impl Tokens {
    /// The token, while it holds.
    #[must_use]
    pub fn bearer(&self, now: Mono) -> Option<Bearer> {
        self.bearer.clone().filter(|_| now < self.ends)
    }

    /// A call for a token, if it is time for one.
    pub fn tick(&mut self, credentials: &ClientCredentials, now: Mono) -> Option<Callout> {
        if now < self.next || self.fetching.is_some_and(|until| now < until) {
            return None;
        }
        self.fetching = Some(now.after(TIMEOUT).after(INTERVAL));
        Some(call(credentials))
    }

    /// The endpoint's answer. Whether it was a token.
    pub fn answered(&mut self, answer: &Answer, now: Mono) -> bool {
        self.fetching = None;
        self.next = now.after(INTERVAL);
        let Some((bearer, seconds)) = read(answer) else { return false };
        self.bearer = Some(bearer);
        self.ends = now.after(Duration::from_secs(seconds));
        // When a fifth of its time is left.
        let fresh = Duration::from_millis(seconds.saturating_mul(800));
        self.next = now.after(fresh.max(INTERVAL));
        true
    }

    /// The engine refused it: another one is fetched soon.
    pub fn refused(&mut self, now: Mono) {
        self.next = self.next.min(now.after(INTERVAL));
    }
}

fn call(credentials: &ClientCredentials) -> Callout {
    let secret = String::from_utf8_lossy(credentials.client_secret.expose());
    let scopes = credentials.scopes.join(" ");
    let mut body = String::from("grant_type=client_credentials");
    let fields = [
        ("client_id", Some(&*credentials.client_id)),
        ("client_secret", Some(&*secret)),
        ("audience", credentials.audience.as_deref()),
        ("scope", (!scopes.is_empty()).then_some(&*scopes)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            body.push('&');
            body.push_str(name);
            body.push('=');
            encode(&mut body, value);
        }
    }
    let url = &credentials.url;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![
        header(":method", "POST"),
        header(":scheme", if url.secure { "https" } else { "http" }),
        header(":path", &url.path),
        header(":authority", &url.authority),
        header("content-type", "application/x-www-form-urlencoded"),
        header("accept", "application/json"),
        header("user-agent", "portcullis"),
    ];
    let body = body.into_bytes();
    Callout::Http { cluster: Rc::clone(&credentials.cluster), headers, body, timeout: TIMEOUT }
}

/// `application/x-www-form-urlencoded`, a blank as `%20`.
fn encode(out: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// The token, and its time in seconds.
fn read(answer: &Answer) -> Option<(Bearer, u64)> {
    let (200, body) = super::http(answer).ok()? else { return None };
    let json = super::object(body)?;
    let kind = json.get("token_type").and_then(Value::as_str);
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return None;
    }
    let bearer = Bearer::new(json.get("access_token")?.as_str()?.as_bytes())?;
    let seconds = match json.get("expires_in") {
        None | Some(Value::Null) => UNSAID,
        Some(Value::String(text)) => text.parse().ok()?,
        Some(number) => number.as_u64()?,
    };
    (seconds > 0).then_some((bearer, seconds.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::ok;
    use portcullis_common::snapshot::target::Url;

    const S: u64 = 1_000_000_000;

    fn credentials() -> ClientCredentials {
        ClientCredentials {
            cluster: "id".into(),
            url: Url::parse("https://id.test/token").unwrap(),
            client_id: "a b".to_owned(),
            client_secret: serde_json::from_str(r#"{"value":"s&c"}"#).unwrap(),
            audience: None,
            scopes: vec!["x".to_owned(), "y".to_owned()],
        }
    }

    #[test]
    fn a_token_is_fetched_before_the_last_one_ends() {
        let (mut tokens, credentials) = (Tokens::default(), credentials());
        let Some(Callout::Http { body, .. }) = tokens.tick(&credentials, Mono(0)) else { panic!() };
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "grant_type=client_credentials&client_id=a%20b&client_secret=s%26c&scope=x%20y"
        );
        assert!(tokens.tick(&credentials, Mono(S)).is_none(), "one at a time");
        assert!(
            tokens.answered(&ok(r#"{"access_token":"t","token_type":"Bearer","expires_in":100}"#), Mono(S))
        );
        assert_eq!(tokens.bearer(Mono(100 * S)).unwrap().expose(), "Bearer t");
        assert!(tokens.tick(&credentials, Mono(80 * S)).is_none());
        assert!(tokens.tick(&credentials, Mono(81 * S)).is_some());
        assert!(!tokens.answered(&Answer::Timeout, Mono(86 * S)));
        assert!(tokens.bearer(Mono(100 * S)).is_some() && tokens.bearer(Mono(101 * S)).is_none());
        assert!(tokens.tick(&credentials, Mono(87 * S)).is_some());
        assert!(!format!("{tokens:?} {credentials:?}").contains("s&c"));
        assert!(!format!("{tokens:?}").contains("Bearer t"));
    }

    #[test]
    fn what_is_no_token_is_none() {
        for bad in [
            "",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a\r\nb: c"}"#,
            r#"{"access_token":1}"#,
            r#"{"access_token":"t","access_token":"u"}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
            r#"{"access_token":"t","expires_in":0}"#,
            r#"{"access_token":"t","expires_in":-5}"#,
        ] {
            let mut tokens = Tokens::default();
            assert!(!tokens.answered(&ok(bad), Mono(0)), "{bad}");
            assert!(tokens.bearer(Mono(0)).is_none());
        }
        assert!(Tokens::default().answered(&ok(r#"{"access_token":"t","expires_in":"60"}"#), Mono(0)));
    }
}
