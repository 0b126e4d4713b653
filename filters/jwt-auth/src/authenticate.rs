//! From bytes to an identity: the order of checks for one token.
//!
//! Limits and shape, then the issuer (so that no key is tried for a stranger), the key by (issuer, `kid`, `alg`), the
//! signature, and only then the claims.

use std::rc::Rc;

use portcullis_common::clock::Wall;
use portcullis_common::host::Host;

use crate::algorithm::Algorithm;
use crate::claims::{self, Cause, Claims, Window};
use crate::identity::{Identity, Unfit};
use crate::keys::{Key, KeySet};
use crate::policy::{Policy, Provider};
use crate::token::{Headers, Malformed, Unverified};
use crate::verify::Verifier;

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

/// What one token is checked with.
pub struct Check<'a> {
    /// The configuration.
    pub policy: &'a Policy,
    /// Who verifies signatures.
    pub verifier: &'a Verifier,
    /// Headers that were read lately.
    pub headers: &'a mut Headers,
    /// The time.
    pub now: Wall,
    /// The host, for its verifier.
    pub host: &'a dyn Host,
}

/// Checks `token` for the first of `providers` that its issuer belongs to and that accepts it.
///
/// # Errors
/// The last provider's reason.
pub fn authenticate(check: Check<'_>, providers: &[usize], token: &[u8]) -> Result<Identity, Refused> {
    let mut token =
        Unverified::parse(token, check.policy.max_token, check.headers).map_err(Refused::Malformed)?;
    let claims = token.claims().map_err(Refused::Malformed)?;
    let mut refused = Cause::Issuer;
    for position in providers {
        let Some(provider) = check.policy.providers.get(*position) else { continue };
        if !provider.issuers.own(&claims) {
            continue;
        }
        match accept(&check, provider, &token, &claims) {
            Ok(window) => {
                let made =
                    Identity::new(check.policy, *position, provider, claims, window, token.payload_part);
                return made.map_err(Refused::Unfit);
            }
            Err(cause) => refused = cause,
        }
    }
    Err(refused.into())
}

fn accept(
    check: &Check<'_>,
    provider: &Provider,
    token: &Unverified<'_>,
    claims: &Claims,
) -> Result<Window, Cause> {
    is_signed(check.verifier, check.host, &provider.keys, &provider.algorithms, token)?;
    provider.kind.check_type(token.header.typ.as_deref())?;
    let window = claims::window(claims, provider.timing, check.now)?;
    window.check(check.now)?;
    provider.audiences.check(claims)?;
    provider.kind.check_claims(claims, &provider.audiences)?;
    provider.deny.check(claims)?;
    if claims.root().get("cnf").is_some() {
        // RFC 7800: the token is only good together with a proof, and none is asked for here.
        return Err(Cause::Confirmation);
    }
    Ok(window)
}

/// Whether one of the keys that the header may mean made the signature, with one of `algorithms`.
fn is_signed(
    verifier: &Verifier,
    host: &dyn Host,
    keys: &KeySet,
    algorithms: &[Algorithm],
    token: &Unverified<'_>,
) -> Result<(), Cause> {
    let header = &*token.header;
    let algorithm = header.algorithm.filter(|a| algorithms.contains(a)).ok_or(Cause::Algorithm)?;
    let mut candidates = keys.candidates(header.kid.as_deref(), algorithm).peekable();
    if candidates.peek().is_none() {
        return Err(Cause::Key);
    }
    let made = |key: &Rc<Key>| verifier.verify(host, key, algorithm, token.signed, &token.signature);
    if candidates.any(made) { Ok(()) } else { Err(Cause::Signature) }
}

/// The payload of a JWS that one of `keys` signed, whatever it holds: for test vectors, most of which sign no claims.
///
/// # Errors
/// Why it is not accepted.
pub fn verify_jws(
    verifier: &Verifier,
    host: &dyn Host,
    keys: &KeySet,
    algorithms: &[Algorithm],
    token: &[u8],
) -> Result<Vec<u8>, Refused> {
    const LONGEST: usize = 64 << 10;
    let token = Unverified::parse(token, LONGEST, &mut Headers::default()).map_err(Refused::Malformed)?;
    is_signed(verifier, host, keys, algorithms, &token)?;
    Ok(token.payload)
}
