//! RSA keys of the Infineon library (CVE-2017-15361): their primes have a form that lets them be found.
//!
//! The fingerprint is that of Nemec, Sys, Svenda, Klinec and Matyas, "The Return of Coppersmith's Attack" (CCS 2017), section
//! 5.2: modulo each small prime, the modulus is a power of 65537. A sound key passes by chance once in about 2^150.

/// The small primes of the fingerprint.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus, most significant byte first, has the fingerprint.
#[must_use]
pub fn is_suspect(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| is_power(remainder(modulus, *prime), *prime))
}

fn remainder(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0, |rest, byte| {
        rest.wrapping_mul(256).wrapping_add(u32::from(*byte)).checked_rem(prime).unwrap_or(0)
    })
}

/// Whether `rest` is a power of 65537 modulo `prime`; the powers repeat after fewer than `prime` steps.
fn is_power(rest: u32, prime: u32) -> bool {
    let mut power = 1_u32;
    (0..prime).any(|_| {
        let found = power == rest;
        power = power.wrapping_mul(65_537).checked_rem(prime).unwrap_or(0);
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_found_and_others_are_not() {
        // Modulo 7, 65537 is 3, which generates everything; modulo 11 it is 10, whose powers are 1 and 10.
        assert!((1..7).all(|rest| is_power(rest, 7)));
        assert!(is_power(1, 11) && is_power(10, 11) && !is_power(2, 11));
        assert_eq!(remainder(&[1, 0, 3], 11), 65_539 % 11);
    }

    #[test]
    fn a_power_of_65537_is_suspect_and_a_small_change_is_not() {
        assert!(is_suspect(&[1, 0, 1]));
        assert!(!is_suspect(&[1, 0, 3]));
    }
}
