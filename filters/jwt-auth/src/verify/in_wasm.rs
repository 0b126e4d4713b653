//! The primitives under jwt-simple's keys, over raw bytes.

use superboring::hash::MessageDigest;
use superboring::pkey::{PKey, Public};
use superboring::rsa::Padding;
use superboring::sign::{RsaPssSaltlen, Verifier};

use crate::algorithm::{Algorithm, Family, Hash};
use crate::keys::{Key, Material};

/// Whether `signature` is `key`'s over `signed`.
#[must_use]
pub fn verify(key: &Key, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
    match &key.material {
        Material::Rsa { key, bytes } => {
            signature.len() == *bytes && rsa(key, algorithm, signed, signature) == Some(true)
        }
        Material::P256(key) => {
            use p256::ecdsa::signature::Verifier;
            p256::ecdsa::Signature::from_slice(signature).is_ok_and(|s| key.verify(signed, &s).is_ok())
        }
        Material::P384(key) => {
            use p384::ecdsa::signature::Verifier;
            p384::ecdsa::Signature::from_slice(signature).is_ok_and(|s| key.verify(signed, &s).is_ok())
        }
        Material::P521(key) => {
            use p521::ecdsa::signature::Verifier;
            p521::ecdsa::Signature::from_slice(signature).is_ok_and(|s| key.verify(signed, &s).is_ok())
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

fn rsa(key: &PKey<Public>, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Option<bool> {
    let digest = match algorithm.hash() {
        Hash::Sha256 => MessageDigest::sha256(),
        Hash::Sha384 => MessageDigest::sha384(),
        Hash::Sha512 => MessageDigest::sha512(),
    };
    let mut verifier = Verifier::new(digest, key).ok()?;
    match algorithm.family() {
        Family::RsaPkcs1 => verifier.set_rsa_padding(Padding::PKCS1).ok()?,
        Family::RsaPss => {
            verifier.set_rsa_padding(Padding::PKCS1_PSS).ok()?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).ok()?;
        }
        Family::Ecdsa | Family::Edwards | Family::Hmac => return None,
    }
    verifier.update(signed).ok()?;
    verifier.verify(signature).ok()
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
