//! Tokens that are refused though they verify: by `jti`, by `sub`, by when they were issued.

use std::collections::BTreeSet;

use crate::claims::{self, Cause, Claims};
use crate::config::provider::RawDeny;

/// A deny list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deny {
    jti: BTreeSet<Box<str>>,
    sub: BTreeSet<Box<str>>,
    /// Nanoseconds since 1970.
    issued_before: Option<u64>,
}

impl Deny {
    /// What was written.
    #[must_use]
    pub fn new(raw: RawDeny) -> Deny {
        let set = |list: Option<Vec<String>>| list.unwrap_or_default().into_iter().map(Into::into).collect();
        Deny {
            jti: set(raw.jti),
            sub: set(raw.sub),
            issued_before: raw.issued_before.map(|seconds| seconds.get().saturating_mul(1_000_000_000)),
        }
    }

    /// Whether a token with these claims may pass. What the list asks about has to be there: a token that leaves it out cannot be
    /// told from one that is denied.
    ///
    /// # Errors
    /// [`Cause::Revoked`].
    pub fn check(&self, claims: &Claims) -> Result<(), Cause> {
        let text = |name: &str| claims.root().get(name).and_then(|value| value.text());
        let listed = |set: &BTreeSet<Box<str>>, name: &str| {
            !set.is_empty() && text(name).is_none_or(|value| set.contains(value))
        };
        let old = self.issued_before.is_some_and(|before| {
            let issued = claims.root().get("iat").and_then(claims::numeric_date);
            issued.is_none_or(|issued| issued < before)
        });
        if old || listed(&self.jti, "jti") || listed(&self.sub, "sub") { Err(Cause::Revoked) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::json::Document;

    fn check(deny: &str, claims: &str) -> bool {
        let deny = Deny::new(serde_json::from_str(deny).unwrap());
        deny.check(&Document::parse(claims.as_bytes(), 99).unwrap()).is_ok()
    }

    #[test]
    fn what_is_listed_is_refused_and_so_is_what_cannot_be_told_apart() {
        for (deny, claims, passes) in [
            ("{}", "{}", true),
            (r#"{"jti":["a"]}"#, r#"{"jti":"b"}"#, true),
            (r#"{"jti":["a"]}"#, r#"{"jti":"a"}"#, false),
            (r#"{"jti":["a"]}"#, "{}", false),
            (r#"{"jti":["1"]}"#, r#"{"jti":1}"#, false),
            (r#"{"sub":["ann"]}"#, r#"{"sub":"ann"}"#, false),
            (r#"{"sub":["ann"]}"#, r#"{"sub":"bob"}"#, true),
            (r#"{"issued_before":1000}"#, r#"{"iat":1000}"#, true),
            (r#"{"issued_before":1000}"#, r#"{"iat":999.9}"#, false),
            (r#"{"issued_before":1000}"#, "{}", false),
            (r#"{"issued_before":1000}"#, r#"{"iat":"1001"}"#, false),
        ] {
            assert_eq!(check(deny, claims), passes, "{deny} {claims}");
        }
    }
}
