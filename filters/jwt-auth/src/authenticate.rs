//! From bytes to an identity: the order of checks for one token.
//!
//! Limits and shape, then the issuer (so that no key is tried for a stranger), the key by (issuer, `kid`, `alg`), the
//! signature, and only then the claims.

use portcullis_common::clock::Wall;
use portcullis_common::host::Host;

use crate::claims::{self, Cause, Claims};
use crate::identity::{Identity, Unfit};
use crate::policy::{Policy, Provider};
use crate::token::{Malformed, Unverified};
use crate::verify::Verifier;

/// The types that a token may say it is, without `application/`.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It could not be read.
    Malformed(Malformed),
    /// It, or what it says, is not valid here.
    Unfit(Unfit),
}

impl From<Cause> for Refused {
    fn from(cause: Cause) -> Self {
        Refused::Unfit(Unfit::Cause(cause))
    }
}

/// Checks `token` for the first of `providers` that its issuer belongs to and that accepts it.
///
/// # Errors
/// The last provider's reason.
pub fn authenticate(
    policy: &Policy,
    verifier: &Verifier,
    providers: &[usize],
    token: &[u8],
    now: Wall,
    host: &dyn Host,
) -> Result<Identity, Refused> {
    let token = Unverified::parse(token, policy.max_token).map_err(Refused::Malformed)?;
    let claims = token.claims().map_err(Refused::Malformed)?;
    let issuer = claims::issuer(&claims).ok_or(Cause::Issuer)?;
    let mut refused = Refused::from(Cause::Issuer);
    for position in providers {
        let Some(provider) = policy.providers.get(*position) else { continue };
        if !provider.issuers.iter().any(|i| **i == *issuer) {
            continue;
        }
        match accept(policy, verifier, *position, provider, &token, &claims, now, host) {
            Ok(identity) => return Ok(identity),
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

#[allow(clippy::too_many_arguments, reason = "one call, all of it inputs of the decision")]
fn accept(
    policy: &Policy,
    verifier: &Verifier,
    position: usize,
    provider: &Provider,
    token: &Unverified<'_>,
    claims: &Claims,
    now: Wall,
    host: &dyn Host,
) -> Result<Identity, Refused> {
    let algorithm = token.algorithm.filter(|a| provider.algorithms.contains(a)).ok_or(Cause::Algorithm)?;
    let mut keys = provider.keys.candidates(token.kid.as_deref(), algorithm).peekable();
    if keys.peek().is_none() {
        return Err(Cause::Key.into());
    }
    if !keys.any(|key| verifier.verify(host, key, algorithm, token.signed, &token.signature)) {
        return Err(Cause::Signature.into());
    }
    if !is_accepted_type(token.typ.as_deref()) {
        return Err(Cause::Type.into());
    }
    let window = claims::window(claims, provider.timing, now)?;
    window.check(now)?;
    provider.audiences.check(claims)?;
    if claims.contains_key("cnf") {
        // RFC 7800: the token is only good together with a proof, and none is asked for here.
        return Err(Cause::Confirmation.into());
    }
    Identity::new(policy, position, provider, claims.clone(), window, token.payload_part).map_err(Refused::Unfit)
}

/// `typ` compares without case and without `application/` (RFC 7515, section 4.1.9; RFC 8725, section 3.11).
fn is_accepted_type(typ: Option<&str>) -> bool {
    let Some(typ) = typ else { return true };
    let typ = typ.to_ascii_lowercase();
    TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}
