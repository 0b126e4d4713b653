//! RSA signatures, verified: RFC 8017, sections 5.2.2, 8.1.2 and 8.2.2.
//!
//! Only what a verifier needs, for the one exponent that is accepted. Nothing here is secret, so nothing has to take the same
//! time for every number. A library that can also sign, and decrypt, and count without end was a tenth of the module.

use std::cell::OnceCell;

use crate::algorithm::{Algorithm, Family, Hash};
use crate::verify::hash;

/// The exponent, big-endian: 65537. Small ones invite forgeries, others are nowhere in use.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Whether `e`, big-endian, is the exponent.
#[must_use]
pub fn is_exponent(e: &[u8]) -> bool {
    without_zeros(e) == EXPONENT
}

/// A public key, with what Montgomery's multiplication (P. L. Montgomery, "Modular multiplication without trial division",
/// 1985) needs to know of its modulus.
#[derive(Clone)]
pub struct PublicKey {
    /// The modulus, least significant limb first.
    modulus: Vec<u32>,
    /// The inverse of its negative modulo 2^32.
    inverse: u32,
    /// R^2 modulo it, where R is 2^32 to the number of limbs. Worked out when the key is first used: most of a set never is, and
    /// where the host verifies, none; for 256 long keys it would be a quarter of a second in which a worker serves nobody.
    square: OnceCell<Vec<u32>>,
    bits: usize,
}

impl PublicKey {
    /// A key of 2048 to 4096 bits with an odd modulus and the exponent 65537. Both numbers are big-endian.
    #[must_use]
    pub fn new(n: &[u8], e: &[u8]) -> Option<PublicKey> {
        let n = without_zeros(n);
        let top = n.first()?;
        let bits = n.len().checked_mul(8)?.checked_sub(usize::try_from(top.leading_zeros()).ok()?)?;
        if !(2048..=4096).contains(&bits) || n.last()? & 1 == 0 || !is_exponent(e) {
            return None;
        }
        let modulus = limbs(n, n.len().div_ceil(4));
        let lowest = *modulus.first()?;
        // Newton's iteration doubles the number of right bits; an odd number is its own inverse modulo 8.
        let inverse = (0..4).fold(lowest, |x, _| x.wrapping_mul(2_u32.wrapping_sub(lowest.wrapping_mul(x))));
        Some(PublicKey { modulus, inverse: inverse.wrapping_neg(), square: OnceCell::new(), bits })
    }

    /// The length of the modulus, and of every signature, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bits.div_ceil(8)
    }

    /// Whether `signature` is this key's over `signed`.
    #[must_use]
    pub fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let Some(message) = self.recover(signature) else { return false };
        let digest = hash(algorithm.hash(), signed);
        match algorithm.family() {
            Family::RsaPkcs1 => message == pkcs1(algorithm.hash(), &digest, self.bytes()),
            Family::RsaPss => pss(algorithm.hash(), &digest, &message, self.bits) == Some(true),
            Family::Ecdsa | Family::Edwards | Family::Hmac => false,
        }
    }

    /// The signature to the power of the exponent, big-endian, as long as the modulus (section 5.2.2).
    fn recover(&self, signature: &[u8]) -> Option<Vec<u8>> {
        if signature.len() != self.bytes() {
            return None;
        }
        let number = limbs(signature, self.modulus.len());
        if !self.is_above(&number) {
            return None;
        }
        let base = self.multiply(&number, self.square());
        let power = (0..16).fold(base, |x, _| self.multiply(&x, &x));
        // The last factor is not in Montgomery's form, so the product is not either.
        let power = self.multiply(&power, &number);
        let bytes: Vec<u8> = power.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        bytes.get(bytes.len().checked_sub(self.bytes())?..).map(<[u8]>::to_vec)
    }

    fn square(&self) -> &[u32] {
        self.square.get_or_init(|| {
            let mut square = vec![0; self.modulus.len()];
            if let Some(lowest) = square.first_mut() {
                *lowest = 1;
            }
            for _ in 0..self.modulus.len().saturating_mul(64) {
                self.double(&mut square);
            }
            square
        })
    }

    /// Whether the modulus is larger.
    fn is_above(&self, number: &[u32]) -> bool {
        number.iter().rev().lt(self.modulus.iter().rev())
    }

    /// `a * b / R`, modulo the modulus; one of the two below it.
    fn multiply(&self, a: &[u32], b: &[u32]) -> Vec<u32> {
        let mut sum = vec![0_u32; self.modulus.len()];
        let mut top = 0_u64;
        for factor in a {
            top = top.wrapping_add(add_product(&mut sum, *factor, b));
            let factor = sum.first().map_or(0, |lowest| lowest.wrapping_mul(self.inverse));
            // Makes the lowest limb 0, which is then shifted out.
            top = top.wrapping_add(add_product(&mut sum, factor, &self.modulus));
            sum.rotate_left(1);
            if let Some(last) = sum.last_mut() {
                *last = low(top);
            }
            top >>= 32;
        }
        if top != 0 || !self.is_above(&sum) {
            self.subtract(&mut sum);
        }
        sum
    }

    fn double(&self, number: &mut [u32]) {
        let mut carry = 0;
        for limb in &mut *number {
            let next = *limb >> 31;
            *limb = (*limb << 1) | carry;
            carry = next;
        }
        if carry != 0 || !self.is_above(number) {
            self.subtract(number);
        }
    }

    fn subtract(&self, number: &mut [u32]) {
        let mut borrow = false;
        for (limb, own) in number.iter_mut().zip(&self.modulus) {
            let (once, first) = limb.overflowing_sub(*own);
            let (twice, second) = once.overflowing_sub(u32::from(borrow));
            *limb = twice;
            borrow = first || second;
        }
    }
}

/// Adds `factor * number`; gives the carry.
fn add_product(sum: &mut [u32], factor: u32, number: &[u32]) -> u64 {
    let mut carry = 0_u64;
    for (limb, other) in sum.iter_mut().zip(number) {
        // At most (2^32 - 1)^2 + 2 (2^32 - 1) = 2^64 - 1.
        let product = u64::from(factor).wrapping_mul(u64::from(*other));
        let all = product.wrapping_add(u64::from(*limb)).wrapping_add(carry);
        *limb = low(all);
        carry = all >> 32;
    }
    carry
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn low(word: u64) -> u32 {
    word as u32
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Big-endian bytes as limbs, least significant first.
fn limbs(bytes: &[u8], count: usize) -> Vec<u32> {
    let limb = |four: &[u8]| four.iter().fold(0_u32, |limb, byte| (limb << 8) | u32::from(*byte));
    let mut limbs: Vec<u32> = bytes.rchunks(4).map(limb).collect();
    limbs.resize(count, 0);
    limbs
}

/// EMSA-PKCS1-v1_5 (section 9.2): built and compared whole, for what is taken apart can be taken apart in two ways.
fn pkcs1(hash: Hash, digest: &[u8], length: usize) -> Vec<u8> {
    // DigestInfo of SHA-2: 2.16.840.1.101.3.4.2.x, NULL.
    let (kind, whole) = match hash {
        Hash::Sha256 => (1, 0x31),
        Hash::Sha384 => (2, 0x41),
        Hash::Sha512 => (3, 0x51),
    };
    let size = u8::try_from(hash.len()).unwrap_or_default();
    let info = [0x30, whole, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, kind, 5, 0, 4, size];
    let padding = length.saturating_sub(info.len()).saturating_sub(digest.len()).saturating_sub(3);
    [&[0, 1][..], &vec![0xFF; padding], &[0], &info, digest].concat()
}

/// EMSA-PSS (section 9.1.2) with MGF1 of the same hash, and a salt as long as the hash (RFC 7518, section 3.5).
fn pss(by: Hash, digest: &[u8], message: &[u8], bits: usize) -> Option<bool> {
    let length = bits.checked_sub(1)?.div_ceil(8);
    // With one bit more than whole bytes, the message is a byte shorter than the modulus.
    let (above, encoded) = message.split_at_checked(message.len().checked_sub(length)?)?;
    let unused = u32::try_from(length.checked_mul(8)?.checked_sub(bits.checked_sub(1)?)?).ok()?;
    let mask = 0xFF_u8.checked_shr(unused)?;
    let (encoded, last) = encoded.split_at_checked(length.checked_sub(1)?)?;
    let (masked, tag) = encoded.split_at_checked(encoded.len().checked_sub(by.len())?)?;
    if above.iter().any(|byte| *byte != 0) || last != [0xBC] || masked.first()? & !mask != 0 {
        return Some(false);
    }
    let mut block: Vec<u8> = masked.iter().zip(mgf1(by, tag, masked.len())).map(|(a, b)| a ^ b).collect();
    *block.first_mut()? &= mask;
    let (padding, salt) = block.split_at_checked(block.len().checked_sub(by.len())?)?;
    let (one, zeros) = padding.split_last()?;
    if *one != 1 || zeros.iter().any(|byte| *byte != 0) {
        return Some(false);
    }
    Some(hash(by, &[&[0; 8], digest, salt].concat()) == tag)
}

/// MGF1 (appendix B.2.1).
fn mgf1(by: Hash, seed: &[u8], length: usize) -> impl Iterator<Item = u8> {
    let block = move |n: u32| hash(by, &[seed, &n.to_be_bytes()].concat());
    (0..).flat_map(block).take(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint_dig::BigUint;
    use proptest::prelude::*;

    fn key(n: &[u8]) -> Option<PublicKey> {
        PublicKey::new(n, &EXPONENT)
    }

    fn modulus(bytes: usize, fill: u8) -> Vec<u8> {
        let mut n = vec![fill; bytes];
        n[0] |= 0x80;
        n[bytes - 1] |= 1;
        n
    }

    #[test]
    fn keys_are_of_a_size_and_of_one_exponent() {
        assert!(key(&modulus(256, 0x5A)).is_some() && key(&modulus(512, 0xFF)).is_some());
        assert!(key(&[&[0, 0][..], &modulus(256, 0)].concat()).is_some(), "zeros in front say nothing");
        assert!(key(&modulus(255, 0xFF)).is_none() && key(&modulus(513, 0)).is_none());
        let mut even = modulus(256, 0);
        even[255] = 2;
        assert!(key(&even).is_none());
        let mut short = modulus(256, 0);
        short[0] = 0x7F;
        assert!(key(&short).is_none(), "2047 bits");
        for e in [&[3][..], &[1], &[], &[0], &[1, 0, 0], &[1, 0, 1, 0]] {
            assert!(PublicKey::new(&modulus(256, 0), e).is_none());
        }
        assert!(key(&[]).is_none());
    }

    #[test]
    fn a_signature_is_as_long_as_the_modulus_and_below_it() {
        let n = modulus(256, 0x5A);
        let key = key(&n).unwrap();
        assert_eq!(key.recover(&n), None);
        assert_eq!(key.recover(&[0; 255]), None);
        assert_eq!(key.recover(&[0; 257]), None);
        assert_eq!(key.recover(&[0; 256]), Some(vec![0; 256]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Another library's arithmetic gives the same.
        #[test]
        fn powers_are_right(
            mut n in prop::collection::vec(any::<u8>(), 256..=300),
            s in prop::collection::vec(any::<u8>(), 300),
            extreme in 0_u8..4,
        ) {
            let last = n.len() - 1;
            match extreme {
                0 => n[1..].fill(0xFF),
                1 => n[1..].fill(0),
                _ => {}
            }
            n[0] = n[0].max(0x80);
            n[last] |= 1;
            let big = BigUint::from_bytes_be(&n);
            let s = BigUint::from_bytes_be(&s) % &big;
            let want = s.modpow(&BigUint::from(65_537_u32), &big);
            let padded = |number: BigUint| {
                let bytes = number.to_bytes_be();
                [vec![0; n.len() - bytes.len()], bytes].concat()
            };
            prop_assert_eq!(key(&n).unwrap().recover(&padded(s.clone())), Some(padded(want)));
        }
    }
}
