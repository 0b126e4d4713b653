//! Whose tokens a provider's are.

use portcullis_common::values::context::scalar;
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use crate::claims::{self, Claims};

/// The issuers of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuers {
    /// `iss` is one of these, to the byte (RFC 7519, section 4.1.1; RFC 8725, section 3.8).
    Exact(Vec<Box<str>>),
    /// `iss` is this text, filled from the token's own claims, each of which has one of the values listed for it.
    Template {
        /// The text.
        template: Template,
        /// The values of each source in it.
        values: Vec<(Source, Vec<Box<str>>)>,
    },
    /// `sub` is a SPIFFE ID below this, which is `spiffe://<trust domain>/`; `iss` is optional in a JWT-SVID (JWT-SVID, section 3).
    TrustDomain(Box<str>),
}

impl Issuers {
    /// Whether a token with these claims, not believed yet, says that it is one of theirs.
    #[must_use]
    pub fn own(&self, claims: &Claims) -> bool {
        match self {
            Issuers::Exact(issuers) => {
                claims::issuer(claims).is_some_and(|issuer| issuers.iter().any(|i| **i == *issuer))
            }
            Issuers::Template { template, values } => {
                let filled = template.fill(|source| {
                    let value = match source {
                        Source::Claim(keys) => claims::at(claims, keys),
                        _ => None,
                    };
                    let value = scalar(value.ok_or(portcullis_common::values::Failure::Absent)?)?;
                    let allowed =
                        values.iter().any(|(s, list)| s == source && list.iter().any(|v| **v == *value));
                    if allowed { Ok(value) } else { Err(portcullis_common::values::Failure::Unusable) }
                });
                filled.is_ok_and(|filled| claims::issuer(claims) == Some(&filled))
            }
            Issuers::TrustDomain(domain) => claims
                .root()
                .get("sub")
                .and_then(|sub| sub.text())
                .and_then(|sub| sub.strip_prefix(&**domain))
                .is_some_and(is_spiffe_path),
        }
    }

    /// The issuers that can be listed.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        match self {
            Issuers::Exact(issuers) => issuers.iter().map(|i| i.to_string()).collect(),
            Issuers::Template { .. } | Issuers::TrustDomain(_) => Vec::new(),
        }
    }
}

/// What stands behind `spiffe://<trust domain>/` (SPIFFE-ID, section 2.2): segments that are not empty, `.` or `..`.
fn is_spiffe_path(path: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    path.len() <= 2048
        && path.split('/').all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(fits))
}

/// Whether this is the name of a trust domain (SPIFFE-ID, section 2.1).
#[must_use]
pub fn is_trust_domain(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::json::Document;

    fn own(issuers: &Issuers, json: &str) -> bool {
        issuers.own(&Document::parse(json.as_bytes(), 99).unwrap())
    }

    #[test]
    fn an_issuer_is_compared_to_the_byte() {
        let issuers = Issuers::Exact(vec!["https://a".into(), "https://b".into()]);
        assert!(own(&issuers, r#"{"iss":"https://b"}"#));
        for bad in [r#"{"iss":"https://a/"}"#, r#"{"iss":"HTTPS://a"}"#, r#"{"iss":["https://a"]}"#, "{}"] {
            assert!(!own(&issuers, bad), "{bad}");
        }
    }

    #[test]
    fn a_template_is_filled_from_the_token_and_only_with_what_is_listed() {
        let issuers = Issuers::Template {
            template: Template::parse("https://login.test/{claim.tid}/v2.0").unwrap(),
            values: vec![(Source::parse("claim.tid").unwrap(), vec!["t1".into(), "t2".into()])],
        };
        assert!(own(&issuers, r#"{"tid":"t1","iss":"https://login.test/t1/v2.0"}"#));
        for bad in [
            r#"{"tid":"t1","iss":"https://login.test/t2/v2.0"}"#,
            r#"{"tid":"t3","iss":"https://login.test/t3/v2.0"}"#,
            r#"{"iss":"https://login.test/t1/v2.0"}"#,
            r#"{"tid":"t1"}"#,
            r#"{"tid":["t1"],"iss":"https://login.test/t1/v2.0"}"#,
        ] {
            assert!(!own(&issuers, bad), "{bad}");
        }
    }

    #[test]
    fn a_trust_domain_owns_the_paths_below_it() {
        let issuers = Issuers::TrustDomain("spiffe://td.test/".into());
        assert!(own(&issuers, r#"{"sub":"spiffe://td.test/ns/a/sa/b"}"#));
        for bad in [
            r#"{"sub":"spiffe://td.test/"}"#,
            r#"{"sub":"spiffe://td.test"}"#,
            r#"{"sub":"spiffe://td.test.evil/ns"}"#,
            r#"{"sub":"spiffe://td.test/a//b"}"#,
            r#"{"sub":"spiffe://td.test/a/../b"}"#,
            r#"{"sub":"spiffe://td.test/a?b"}"#,
            r#"{"sub":7}"#,
        ] {
            assert!(!own(&issuers, bad), "{bad}");
        }
        assert!(is_trust_domain("td.test") && !is_trust_domain("TD") && !is_trust_domain("a/b"));
    }
}
