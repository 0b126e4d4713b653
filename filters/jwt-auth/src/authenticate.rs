//! From bytes to an identity: the order of checks for one token.
//!
//! Limits and shape, then the issuer (so that no key is tried for a stranger), the key by (issuer, `kid`, `alg`), the
//! signature, and only then the claims.

use std::cell::Cell;
use std::rc::Rc;

use portcullis_common::clock::Wall;
use portcullis_common::host::Host;
use portcullis_common::mode::OnError;

use crate::algorithm::Algorithm;
use crate::claims::{self, Cause, Claims, Window};
use crate::identity::{Identity, Proof, Unfit};
use crate::keys::{Key, KeySet};
use crate::policy::{Policy, Provider};
use crate::servers::{Listing, Missing, Servers, What};
use crate::token::{Headers, Malformed, Unverified};
use crate::verify::Verifier;

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It could not be read.
    Malformed(Malformed),
    /// It, or what it says, is not valid here.
    Unfit(Unfit),
    /// It cannot be checked without this; the cause holds if it cannot be had.
    Missing(Missing, Cause),
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
    /// What was fetched.
    pub servers: &'a Servers,
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
/// The last provider's reason, or that one of them cannot tell.
pub fn authenticate(check: Check<'_>, providers: &[usize], token: &[u8]) -> Result<Identity, Refused> {
    let mut token =
        Unverified::parse(token, check.policy.max_token, check.headers).map_err(Refused::Malformed)?;
    let claims = token.claims().map_err(Refused::Malformed)?;
    let mut refused = Refused::from(Cause::Issuer);
    for position in providers {
        let Some(provider) = check.policy.providers.get(*position) else { continue };
        if !provider.issuers.own(&claims) {
            continue;
        }
        match accept(&check, *position, provider, &token, &claims) {
            Ok((window, proof)) => {
                let epoch = check.servers.epoch();
                let made =
                    Identity::new(check.policy, *position, provider, claims, window, token.payload_part);
                return made
                    .map(|identity| Identity { proof, epoch: Cell::new(epoch), ..identity })
                    .map_err(Refused::Unfit);
            }
            // That one provider refuses does not say what another would have said.
            Err(_) if matches!(refused, Refused::Missing(..)) => {}
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

fn accept(
    check: &Check<'_>,
    position: usize,
    provider: &Provider,
    token: &Unverified<'_>,
    claims: &Claims,
) -> Result<(Window, Option<Proof>), Refused> {
    let proof = signer(check, position, provider, token)?;
    provider.kind.check_type(token.header.typ.as_deref())?;
    let window = claims::window(claims, provider.timing, check.now)?;
    window.check(check.now)?;
    provider.audiences.check(claims)?;
    provider.kind.check_claims(claims, &provider.audiences)?;
    is_not_denied(check.servers, position, provider, claims)?;
    if claims.root().get("cnf").is_some() {
        // RFC 7800: the token is only good together with a proof, and none is asked for here.
        return Err(Cause::Confirmation.into());
    }
    Ok((window, proof))
}

/// Whether a token with these claims is on none of a provider's deny lists.
///
/// # Errors
/// If it is, or if a list that has to be there is not.
pub fn is_not_denied(
    servers: &Servers,
    position: usize,
    provider: &Provider,
    claims: &Claims,
) -> Result<(), Refused> {
    provider.deny.check(claims)?;
    for listing in servers.lists(position) {
        match listing {
            Listing::List(list) => list.check(claims)?,
            Listing::Unknown(OnError::Allow) => {}
            Listing::Unknown(OnError::Deny) => {
                let missing = Missing { provider: position, what: What::List };
                return Err(Refused::Missing(missing, Cause::Revoked));
            }
        }
    }
    Ok(())
}

/// The key that made the signature; `None` stands for one that was written in the configuration.
fn signer(
    check: &Check<'_>,
    position: usize,
    provider: &Provider,
    token: &Unverified<'_>,
) -> Result<Option<Proof>, Refused> {
    let written = is_signed(check.verifier, check.host, &provider.keys, &provider.algorithms, token);
    let mut cause = match written {
        Ok(_) => return Ok(None),
        Err(cause) => cause,
    };
    if !provider.remote || cause == Cause::Algorithm {
        return Err(cause.into());
    }
    let named = |set: &KeySet| {
        let kid = token.header.kid.as_deref();
        kid.is_some() && set.iter().any(|key| key.kid.as_deref() == kid)
    };
    let mut is_known = named(&provider.keys);
    for (source, set) in check.servers.sets(position) {
        match is_signed(check.verifier, check.host, set, &provider.algorithms, token) {
            Ok(key) => return Ok(Some(Proof { source, key })),
            Err(Cause::Key) => {}
            Err(other) => cause = other,
        }
        is_known = is_known || named(set);
    }
    // A key that is here by the token's name for it has spoken; any other may be at the server.
    if is_known {
        return Err(cause.into());
    }
    let lacks = check.servers.lacks_keys(position);
    let what = if lacks { What::Keys } else { What::Key(token.header.kid.as_deref().map(Rc::from)) };
    Err(Refused::Missing(Missing { provider: position, what }, cause))
}

/// Which of the keys that the header may mean made the signature, with one of `algorithms`.
fn is_signed(
    verifier: &Verifier,
    host: &dyn Host,
    keys: &KeySet,
    algorithms: &[Algorithm],
    token: &Unverified<'_>,
) -> Result<Rc<Key>, Cause> {
    let header = &*token.header;
    let algorithm = header.algorithm.filter(|a| algorithms.contains(a)).ok_or(Cause::Algorithm)?;
    let mut candidates = keys.candidates(header.kid.as_deref(), algorithm).peekable();
    if candidates.peek().is_none() {
        return Err(Cause::Key);
    }
    let made = |key: &Rc<Key>| verifier.verify(host, key, algorithm, token.signed, &token.signature);
    candidates.find(|key| made(key)).map(Rc::clone).ok_or(Cause::Signature)
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
