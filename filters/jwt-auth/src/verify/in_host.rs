//! Envoy's foreign function `verify_signature` (since 1.30): BoringSSL's `EVP_DigestVerify`, without padding controls.
//! RSASSA-PKCS1-v1_5 and ECDSA with an ASN.1 signature; no PSS, no Ed25519, no HMAC.
//!
//! Argument, as protobuf: 1 hash_function, 2 public_key (DER), 3 signature, 4 text. Result: 1 result, 2 error
//! (`source/extensions/common/wasm/ext/verify_signature.proto`).

use portcullis_common::host::Host;

use super::in_wasm;
use crate::algorithm::{Algorithm, Family};
use crate::der;
use crate::keys::Key;

const FUNCTION: &str = "verify_signature";

/// The host's verdict; `None` if it gave none.
#[must_use]
pub fn verify(
    host: &dyn Host,
    key: &Key,
    algorithm: Algorithm,
    signed: &[u8],
    signature: &[u8],
) -> Option<bool> {
    if key.spki.is_empty() {
        return None;
    }
    let encoded;
    let signature = match algorithm.family() {
        Family::RsaPkcs1 => signature,
        Family::Ecdsa => {
            // The host would read any two integers; a JWS has two of the curve's length, both in range.
            if !in_wasm::is_ecdsa_signature(algorithm, signature) {
                return Some(false);
            }
            encoded = der::ecdsa_signature(signature)?;
            &encoded
        }
        Family::RsaPss | Family::Edwards | Family::Hmac => return None,
    };
    let mut argument = Vec::with_capacity(signed.len().saturating_add(1024));
    for (field, bytes) in
        [(1, algorithm.hash().name().as_bytes()), (2, &key.spki), (3, signature), (4, signed)]
    {
        push_field(&mut argument, field, bytes);
    }
    verdict(&host.foreign(FUNCTION, &argument).ok()?)
}

/// `VerifySignatureResult`: field 1 is true, or field 2 says why not.
fn verdict(result: &[u8]) -> Option<bool> {
    match result {
        [0x08, 1] | [0x08, 1, 0x12, 0] => Some(true),
        // An error text: the field's tag, its length, the text and nothing else.
        [0x12, length, text @ ..] if text.len() == usize::from(*length) && *length < 0x80 => Some(false),
        _ => None,
    }
}

fn push_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push((length & 0x7f) as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::verify::known_answers;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use portcullis_common::host::HostFailure;

    /// A stand-in for Envoy's function that knows the known answers.
    pub(crate) fn like_envoy(function: &str, argument: &[u8]) -> Result<Vec<u8>, HostFailure> {
        assert_eq!(function, FUNCTION);
        let right = known_answers::ALL.iter().any(|known| {
            let raw = URL_SAFE_NO_PAD.decode(known.signature).unwrap();
            let signature = if known.algorithm.family() == Family::Ecdsa {
                der::ecdsa_signature(&raw).unwrap()
            } else {
                raw
            };
            let contains = |part: &[u8]| argument.windows(part.len()).any(|w| w == part);
            contains(&signature)
                && argument.ends_with(known_answers::MESSAGE)
                && contains(known.algorithm.hash().name().as_bytes())
        });
        Ok(if right { vec![8, 1] } else { b"\x12\x05wrong".to_vec() })
    }

    #[test]
    fn only_a_well_formed_result_is_a_verdict() {
        assert_eq!(verdict(&[8, 1]), Some(true));
        assert_eq!(verdict(b"\x12\x05wrong"), Some(false));
        for junk in [&b""[..], &[8], &[8, 0], &[8, 2], &[8, 1, 1], b"\x12\x06wrong", b"\x12\x04wrong"] {
            assert_eq!(verdict(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn lengths_are_varints() {
        let mut out = Vec::new();
        push_field(&mut out, 4, &[7; 300]);
        assert_eq!(out[..3], [0x22, 0xac, 0x02]);
        assert_eq!(out.len(), 303);
    }
}
