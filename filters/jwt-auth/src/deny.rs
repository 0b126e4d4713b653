//! Tokens that are refused though they verify: by `jti`, by `sub`, by when they were issued.

use std::collections::BTreeSet;

use portcullis_common::json::{Document, Kind, Ref};
use portcullis_common::snapshot::Unfit;

use crate::claims::{self, Cause, Claims};
use crate::config::keys::RawDeny;

/// The last second of the year 9999. What lies beyond are milliseconds, which would refuse every token.
pub const LAST_SECOND: u64 = 253_402_300_799;

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
        let set =
            |list: Option<Vec<String>>| set(list.unwrap_or_default().into_iter().map(|s| Some(s.into())));
        Deny {
            jti: set(raw.jti).unwrap_or_default(),
            sub: set(raw.sub).unwrap_or_default(),
            issued_before: raw.issued_before.map(|seconds| seconds.get().saturating_mul(1_000_000_000)),
        }
    }

    /// A list that was fetched: a JSON object with nothing but `jti`, `sub` and `issued_before`. A member that is not known here
    /// would be a list that nobody keeps to.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn read(body: &[u8]) -> Result<Deny, Unfit> {
        const MAX_VALUES: u32 = 200_000;
        const OTHER: Unfit =
            Unfit("the list has a member other than jti, sub and issued_before, or one of the wrong type");
        let document = Document::parse(body, MAX_VALUES).map_err(|_| Unfit("the list is no JSON object"))?;
        if document.root().kind() != Kind::Object {
            return Err(Unfit("the list is no JSON object"));
        }
        let texts = |value: Ref<'_>| -> Option<BTreeSet<Box<str>>> {
            let is_list = value.kind() == Kind::Array;
            if is_list { set(value.items().map(|item| item.text().map(Box::from))) } else { None }
        };
        let mut deny = Deny::default();
        for (name, value) in document.root().members() {
            match (name, value.kind()) {
                ("jti", _) => deny.jti = texts(value).ok_or(OTHER)?,
                ("sub", _) => deny.sub = texts(value).ok_or(OTHER)?,
                ("issued_before", Kind::Unsigned(seconds)) => {
                    if !(1..=LAST_SECOND).contains(&seconds) {
                        return Err(Unfit(
                            "issued_before is not a date; it is in seconds since 1970, as iat is",
                        ));
                    }
                    deny.issued_before = Some(seconds.saturating_mul(1_000_000_000));
                }
                _ => return Err(OTHER),
            }
        }
        Ok(deny)
    }

    /// How many tokens and subjects it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jti.len().saturating_add(self.sub.len())
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

/// One by one: collecting sorts first, and would link a sort of its own.
fn set(texts: impl Iterator<Item = Option<Box<str>>>) -> Option<BTreeSet<Box<str>>> {
    let mut set = BTreeSet::new();
    for text in texts {
        set.insert(text?);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_fetched_list_is_read_strictly() {
        let read = |text: &str| Deny::read(text.as_bytes());
        let written = |text: &str| Deny::new(serde_json::from_str(text).unwrap());
        for good in [
            "{}",
            r#"{"jti":["a","b"],"sub":["c"],"issued_before":1000}"#,
            r#"{"jti":[]}"#,
            r#"{"issued_before":253402300799}"#,
        ] {
            assert_eq!(read(good), Ok(written(good)), "{good}");
        }
        for bad in [
            "",
            "<html>",
            "[]",
            "null",
            r#"{"jti":"a"}"#,
            r#"{"jti":[1]}"#,
            r#"{"jtis":["a"]}"#,
            r#"{"issued_before":"1000"}"#,
            r#"{"issued_before":-1}"#,
            r#"{"issued_before":1.5}"#,
            r#"{"issued_before":0}"#,
            r#"{"issued_before":253402300800}"#,
            r#"{"issued_before":1700000000000}"#,
            r#"{"jti":["a"],"jti":[]}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
