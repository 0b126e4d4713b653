//! The few DER structures (ITU-T X.690) that the host's verifier wants: public keys as SubjectPublicKeyInfo, ECDSA
//! signatures as a sequence of two integers.

/// An RSA public key (RFC 8017, appendix A.1.1, in RFC 5280's SubjectPublicKeyInfo). Both numbers are big-endian.
#[must_use]
pub fn rsa_public_key(n: &[u8], e: &[u8]) -> Vec<u8> {
    // rsaEncryption, NULL
    const ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let key = element(0x30, &[integer(n), integer(e)].concat());
    spki(&ALGORITHM, &key)
}

/// A named curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registered ones")]
pub enum Curve {
    P256,
    P384,
    P521,
}

/// An EC public key (RFC 5480, section 2). `point` is uncompressed: `04`, x, y.
#[must_use]
pub fn ec_public_key(curve: Curve, point: &[u8]) -> Vec<u8> {
    const EC_PUBLIC_KEY: [u8; 9] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let oid: &[u8] = match curve {
        Curve::P256 => &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        Curve::P384 => &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
        Curve::P521 => &[6, 5, 0x2b, 0x81, 4, 0, 0x23],
    };
    spki(&element(0x30, &[&EC_PUBLIC_KEY[..], oid].concat()), point)
}

/// The ASN.1 form of a JWS signature `r || s` (RFC 7518, section 3.4); `None` if it has an odd length.
#[must_use]
pub fn ecdsa_signature(raw: &[u8]) -> Option<Vec<u8>> {
    if !raw.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = raw.split_at_checked(raw.len() / 2)?;
    Some(element(0x30, &[integer(r), integer(s)].concat()))
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = element(3, &[&[0], key].concat());
    element(0x30, &[algorithm, &bits].concat())
}

/// An unsigned integer: no leading zeros but the one that keeps it positive.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len());
    let digits = bytes.get(start..).unwrap_or_default();
    match digits.first() {
        Some(first) if *first < 0x80 => element(2, digits),
        _ => element(2, &[&[0], digits].concat()),
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    match length {
        [0, 0, 0, short] if short < 0x80 => out.push(short),
        [0, 0, 0, one] => out.extend([0x81, one]),
        [0, 0, one, two] => out.extend([0x82, one, two]),
        [a, b, c, d] => out.extend([0x84, a, b, c, d]),
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal_and_positive() {
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[]), [2, 1, 0]);
    }

    #[test]
    fn lengths_grow_as_they_must() {
        assert_eq!(element(4, &[7; 3])[..2], [4, 3]);
        assert_eq!(element(4, &[7; 200])[..3], [4, 0x81, 200]);
        assert_eq!(element(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn public_keys_are_what_the_key_types_write_themselves() {
        let point = [4; 65];
        assert_eq!(ec_public_key(Curve::P256, &point).len(), 91);
        let n = [&[0xc5_u8][..], &[1; 255]].concat();
        let ours = rsa_public_key(&n, &[1, 0, 1]);
        let theirs =
            jwt_simple::prelude::RS256PublicKey::from_components(&n, &[1, 0, 1]).unwrap().to_der().unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn an_odd_signature_has_no_halves() {
        assert_eq!(ecdsa_signature(&[1; 63]), None);
        assert_eq!(ecdsa_signature(&[1, 2]), Some(vec![0x30, 6, 2, 1, 1, 2, 1, 2]));
    }
}
