//! The primitives under jwt-simple's keys, and RSA's own ([`crate::rsa`]), over raw bytes.

use crate::algorithm::{Algorithm, Hash};
use crate::keys::{Key, Material};
use crate::verify::hash;

/// Whether `signature` is `key`'s over `signed`.
#[must_use]
pub fn verify(key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
    // The curves' own entry hashes with a second SHA-2, which would be linked for that alone.
    let digest = || hash(algorithm.hash(), signed);
    match &key.material {
        Material::Rsa(key) => key.verify(algorithm, signed, signature),
        Material::P256(key) => {
            use p256::ecdsa::signature::hazmat::PrehashVerifier;
            let signature = p256::ecdsa::Signature::from_slice(signature);
            signature.is_ok_and(|s| key.verify_prehash(&digest(), &s).is_ok())
        }
        Material::P384(key) => {
            use p384::ecdsa::signature::hazmat::PrehashVerifier;
            let signature = p384::ecdsa::Signature::from_slice(signature);
            signature.is_ok_and(|s| key.verify_prehash(&digest(), &s).is_ok())
        }
        Material::P521(key) => {
            use p521::ecdsa::signature::hazmat::PrehashVerifier;
            let signature = p521::ecdsa::Signature::from_slice(signature);
            signature.is_ok_and(|s| key.verify_prehash(&digest(), &s).is_ok())
        }
        Material::Ed25519(key) => {
            ed25519_compact::Signature::from_slice(signature).is_ok_and(|s| key.verify(signed, &s).is_ok())
        }
        Material::Hmac(secret) => hmac(secret, algorithm, signed, signature),
    }
}

/// Whether `signature` is `r || s`, each of the curve's length and in [1, n-1] (RFC 7518, section 3.4).
#[must_use]
pub fn is_ecdsa_signature(algorithm: Algorithm, signature: &[u8]) -> bool {
    match algorithm {
        Algorithm::ES256 => p256::ecdsa::Signature::from_slice(signature).is_ok(),
        Algorithm::ES384 => p384::ecdsa::Signature::from_slice(signature).is_ok(),
        Algorithm::ES512 => p521::ecdsa::Signature::from_slice(signature).is_ok(),
        _ => false,
    }
}

/// The comparisons are the primitives' own, whose time does not depend on where two codes differ.
fn hmac(secret: &[u8], algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
    match algorithm.hash() {
        Hash::Sha256 => {
            signature.try_into().is_ok_and(|code: &[u8; 32]| hmac_sha256::HMAC::verify(signed, secret, code))
        }
        Hash::Sha384 => signature
            .try_into()
            .is_ok_and(|code: &[u8; 48]| hmac_sha512::sha384::HMAC::verify(signed, secret, code)),
        Hash::Sha512 => {
            signature.try_into().is_ok_and(|code: &[u8; 64]| hmac_sha512::HMAC::verify(signed, secret, code))
        }
    }
}
