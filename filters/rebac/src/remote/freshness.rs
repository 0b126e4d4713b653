//! How new an answer has to be.

use std::rc::Rc;

use portcullis_common::clock::Mono;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;

use crate::policy::remote::Freshness;

/// How new an answer has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// As the configuration says; it may be remembered.
    Any,
    /// The engine's newest.
    Fresh,
    /// At least as new as a write, of which the client has this token.
    Since(Rc<str>),
}

/// The longest token. SpiceDB's have about 40 bytes.
pub const LONGEST: usize = 512;

/// What a request asks for, and whether it does so by its header alone. A method that is always answered freshly is so whatever the
/// client presents: a token is at most as new as the engine, and may be as old as the client likes.
///
/// # Errors
/// A token that cannot be one, whatever the method.
pub fn wanted(rules: &Freshness, request: &Request, has_tokens: bool) -> Result<(Wanted, bool), Reason> {
    let method = request.method();
    let always = rules.methods.iter().any(|m| m.as_bytes() == method);
    if let Some(name) = &rules.header {
        let mut values = request.headers.all(name);
        if let Some(value) = values.next() {
            let token = (values.next().is_none()).then_some(value).and_then(token);
            let token = token.ok_or(Reason::FreshnessInvalid)?;
            if !always {
                return Ok((if has_tokens { Wanted::Since(token.into()) } else { Wanted::Fresh }, true));
            }
        }
    }
    Ok((if always { Wanted::Fresh } else { Wanted::Any }, false))
}

/// A token: base64 of either alphabet, which is what SpiceDB gives.
fn token(value: &[u8]) -> Option<&str> {
    let of_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'=');
    let fits = (1..=LONGEST).contains(&value.len()) && value.iter().copied().all(of_base64);
    fits.then(|| std::str::from_utf8(value).ok()).flatten()
}

/// How many fresh answers clients may still ask for: a bucket that fills by the second.
#[derive(Debug)]
pub struct Budget {
    per_second: u32,
    /// In billionths of an answer.
    left: u64,
    filled: Mono,
}

const ONE: u64 = 1_000_000_000;

impl Budget {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: u32) -> Budget {
        Budget { per_second, left: u64::from(per_second).saturating_mul(ONE), filled: Mono(0) }
    }

    /// Takes one answer; `false` if there is none left.
    pub fn take(&mut self, now: Mono) -> bool {
        let passed = u64::try_from(now.since(self.filled).as_nanos()).unwrap_or(u64::MAX);
        let rate = u64::from(self.per_second);
        let most = rate.saturating_mul(ONE);
        self.left = self.left.saturating_add(passed.saturating_mul(rate)).min(most);
        self.filled = now;
        match self.left.checked_sub(ONE) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(method: &str, tokens: &[&str], has_tokens: bool) -> Result<(Wanted, bool), Reason> {
        let rules =
            Freshness { header: Some("x-zedtoken".into()), methods: vec!["POST".into()], per_second: 1 };
        let headers = tokens.iter().map(|t| ("x-zedtoken", *t));
        let request: Request = [(":method", method), (":path", "/")].into_iter().chain(headers).collect();
        wanted(&rules, &request, has_tokens)
    }

    #[test]
    fn a_token_or_a_method_asks_for_freshness() {
        assert_eq!(asks("GET", &[], true), Ok((Wanted::Any, false)));
        assert_eq!(asks("POST", &[], true), Ok((Wanted::Fresh, false)));
        assert_eq!(asks("GET", &["GhUKEzE3="], true), Ok((Wanted::Since("GhUKEzE3=".into()), true)));
        assert_eq!(asks("GET", &["any"], false), Ok((Wanted::Fresh, true)));
        for tokens in [&["GhUKEzE3="][..], &["old"]] {
            assert_eq!(asks("POST", tokens, true), Ok((Wanted::Fresh, false)), "a header takes nothing away");
            assert_eq!(asks("POST", tokens, false), Ok((Wanted::Fresh, false)));
        }
        assert_eq!(asks("POST", &["a b"], true), Err(Reason::FreshnessInvalid));
        for bad in [&[""][..], &["a b"], &["a", "b"], &["a\u{e9}"], &["a.b"]] {
            assert_eq!(asks("GET", bad, true), Err(Reason::FreshnessInvalid), "{bad:?}");
        }
        assert!(asks("GET", &[&"a".repeat(512)], true).is_ok());
        assert!(asks("GET", &[&"a".repeat(513)], true).is_err());
    }

    #[test]
    fn a_budget_is_a_rate() {
        let mut budget = Budget::new(2);
        assert!(budget.take(Mono(5)) && budget.take(Mono(5)) && !budget.take(Mono(5)));
        assert!(!budget.take(Mono(400_000_000)));
        assert!(budget.take(Mono(500_000_005)) && !budget.take(Mono(500_000_005)));
        assert!(budget.take(Mono(u64::MAX)) && budget.take(Mono(u64::MAX)) && !budget.take(Mono(u64::MAX)));
    }
}
