//! Where a provider's tokens are.

use portcullis_common::config::{ConfigError, HeaderName};

use super::error;
use crate::config::provider::RawLocation;
use crate::credentials::Location;

/// Where RFC 6750, section 2.1, has them.
pub(super) fn default_locations() -> Vec<RawLocation> {
    let header = HeaderName::parse("authorization").ok();
    vec![RawLocation { header, scheme: Some("Bearer".into()), prefix: None, query: None, cookie: None }]
}

/// One place.
///
/// # Errors
/// If it is none, or two.
pub(super) fn place(path: &str, raw: RawLocation) -> Result<Location, ConfigError> {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    match raw {
        RawLocation { header: Some(name), scheme: Some(scheme), prefix: None, query: None, cookie: None } => {
            if !token(&scheme) {
                return Err(error(format!("{path}.scheme"), "not a scheme; write one word, such as Bearer"));
            }
            // RFC 9449, section 7.1: tokens with `cnf` and a proof, which is the one thing that could not pass here.
            if scheme.eq_ignore_ascii_case("DPoP") {
                let problem =
                    "DPoP's tokens are good only with a proof, and none is checked here; write Bearer";
                return Err(error(format!("{path}.scheme"), problem));
            }
            Ok(Location::Scheme { name, scheme: scheme.into() })
        }
        RawLocation { header: Some(name), scheme: None, prefix, query: None, cookie: None } => {
            if prefix.as_deref() == Some("") {
                return Err(error(
                    format!("{path}.prefix"),
                    "empty; leave it out, or write the text in front of the token",
                ));
            }
            let prefix = prefix.unwrap_or_default();
            if name.as_str() == "authorization" {
                return Err(error(
                    path,
                    "authorization without a scheme; write {header: authorization, scheme: Bearer}",
                ));
            }
            Ok(Location::Header { name, prefix: prefix.into() })
        }
        RawLocation { header: None, scheme: None, prefix: None, query: Some(name), cookie: None }
            if !name.is_empty() =>
        {
            Ok(Location::Query(name.into()))
        }
        RawLocation { header: None, scheme: None, prefix: None, query: None, cookie: Some(name) }
            if token(&name) =>
        {
            Ok(Location::Cookie(name.into()))
        }
        _ => {
            let remedy = "{header: NAME, scheme: SCHEME}, {header: NAME, prefix: TEXT}, {header: NAME}, {query: NAME}, {cookie: NAME}";
            Err(error(path, format!("not one place; write exactly one of {remedy}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_scheme(scheme: &str) -> Result<Location, String> {
        let header = HeaderName::parse("authorization").ok();
        let raw =
            RawLocation { header, scheme: Some(scheme.into()), prefix: None, query: None, cookie: None };
        place("tokens[0]", raw).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scheme_that_promises_a_proof_is_refused() {
        assert!(with_scheme("Bearer").is_ok());
        assert!(with_scheme("Token").is_ok());
        for dpop in ["DPoP", "dpop", "DPOP"] {
            let line = with_scheme(dpop).unwrap_err();
            assert!(line.contains("tokens[0].scheme") && line.contains("; write Bearer"), "{line}");
        }
    }
}
