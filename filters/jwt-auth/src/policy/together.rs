//! What the providers of a plugin must be beside each other and beside the places of their tokens.

use portcullis_common::config::{ConfigError, HeaderName};
use portcullis_common::values::source::Source;

use super::error;
use super::provider::Provider;
use crate::credentials::Location;
use crate::issuer::Issuers;

/// No header that the proxy owns or that carries a token may be set from a claim.
///
/// # Errors
/// The first one that would be.
pub(super) fn headers_free(providers: &[Provider], locations: &[Location]) -> Result<(), ConfigError> {
    let carries = |name: &HeaderName| {
        locations.iter().any(
            |l| matches!(l, Location::Scheme { name: n, .. } | Location::Header { name: n, .. } if n == name),
        )
    };
    for provider in providers {
        let claims = provider.claim_headers.iter().map(|(name, _)| ("claim_headers", name));
        let payload = provider.payload_header.iter().map(|name| ("payload_header", name));
        if let Some((field, name)) =
            claims.chain(payload).find(|(_, name)| name.is_reserved() || carries(name))
        {
            let problem = format!(
                "{} belongs to the proxy or carries tokens; choose another header, such as x-user",
                name.as_str()
            );
            return Err(error(format!("providers.{}.{field}", provider.name), problem));
        }
    }
    Ok(())
}

/// With several providers, no two of them may give the same subject: their templates are one and the same with the issuer in
/// it, or start with different text.
///
/// # Errors
/// The first pair that could.
pub(super) fn told_apart(providers: &[Provider]) -> Result<(), ConfigError> {
    let same = providers.windows(2).all(|pair| matches!(pair, [a, b] if a.subject == b.subject));
    // A JWT-SVID's issuer is not checked, so it tells nobody apart.
    let checked = |p: &Provider| !matches!(p.issuers, Issuers::TrustDomain(_));
    let by_issuer = |p: &Provider| checked(p) && p.subject.sources().any(|s| *s == Source::Issuer);
    if same && providers.iter().all(by_issuer) {
        return Ok(());
    }
    for (n, a) in providers.iter().enumerate() {
        for (m, b) in providers.iter().enumerate() {
            if n != m && b.subject.lead().starts_with(a.subject.lead()) {
                let problem = format!(
                    "could be the subject of provider {} too; start each with a text of its own, such as \"{}/{{claim.sub}}\", or set shared_namespace: true",
                    b.name, a.name
                );
                return Err(error(format!("providers.{}.subject", a.name), problem));
            }
        }
    }
    Ok(())
}
