//! Verifying signatures: by the host where it can and is honest, in Wasm elsewhere. Both give the same answers; a test
//! runs every vector through both.
//!
//! | module | one idea |
//! |---|---|
//! | [`in_host`] | Envoy's foreign function `verify_signature`, many times as fast for RSA |
//! | [`in_wasm`] | the primitives under jwt-simple's keys, over raw bytes |
//! | [`known_answers`] | what the host is asked before it is believed |

pub mod in_host;
pub mod in_wasm;
pub mod known_answers;

use portcullis_common::host::Host;
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, Hash};
use crate::keys::{Key, KeySet};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Who verifies which algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verifier {
    host: Vec<Algorithm>,
}

impl Verifier {
    /// A verifier that never asks the host.
    #[must_use]
    pub fn wasm_only() -> Verifier {
        Verifier::default()
    }

    /// Asks the host about known signatures: an algorithm is the host's if it accepts the right one and refuses the same
    /// with one bit changed, and over another message.
    #[must_use]
    pub fn probe(host: &dyn Host, wanted: &[Algorithm]) -> Verifier {
        let honest = |known: &&known_answers::KnownAnswer| {
            wanted.contains(&known.algorithm) && is_honest(host, known) == Some(true)
        };
        Verifier { host: known_answers::ALL.iter().filter(honest).map(|known| known.algorithm).collect() }
    }

    /// Whether the host verifies `algorithm`.
    #[must_use]
    pub fn is_host(&self, algorithm: Algorithm) -> bool {
        self.host.contains(&algorithm)
    }

    /// Whether `signature` is `key`'s over `signed`. `key` must be one that [`Key::allows`] the algorithm.
    #[must_use]
    pub fn verify(
        &self,
        host: &dyn Host,
        key: &Key,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        if !key.allows(algorithm) {
            return false;
        }
        if self.is_host(algorithm)
            && let Some(verdict) = in_host::verify(host, key, algorithm, signed, signature)
        {
            return verdict;
        }
        in_wasm::verify(key, algorithm, signed, signature)
    }
}

/// The hash of `message`.
#[must_use]
pub fn hash(by: Hash, message: &[u8]) -> Vec<u8> {
    match by {
        Hash::Sha256 => hmac_sha256::Hash::hash(message).to_vec(),
        Hash::Sha384 => hmac_sha512::sha384::Hash::hash(message).to_vec(),
        Hash::Sha512 => hmac_sha512::Hash::hash(message).to_vec(),
    }
}

fn is_honest(host: &dyn Host, known: &known_answers::KnownAnswer) -> Option<bool> {
    let jwk: Map<String, Value> = serde_json::from_str(known.jwk).ok()?;
    let (set, _) = KeySet::load(&[jwk]).ok()?;
    let key = set.iter().next()?;
    let right = URL_SAFE_NO_PAD.decode(known.signature).ok()?;
    let mut wrong = right.clone();
    *wrong.last_mut()? ^= 1;
    let ask =
        |message: &[u8], signature: &[u8]| in_host::verify(host, key, known.algorithm, message, signature);
    Some(
        ask(known_answers::MESSAGE, &right)?
            && !ask(known_answers::MESSAGE, &wrong)?
            && !ask(b"another message", &right)?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::host::HostFailure;
    use portcullis_common::memory::MemoryHost;

    const WANTED: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES512];

    #[test]
    fn the_known_answers_are_right() {
        for known in known_answers::ALL {
            let jwk: Map<String, Value> = serde_json::from_str(known.jwk).unwrap();
            let set = KeySet::load(&[jwk]).unwrap().0;
            let key = set.iter().next().unwrap();
            let signature = URL_SAFE_NO_PAD.decode(known.signature).unwrap();
            let verify = |message| {
                Verifier::wasm_only().verify(
                    &MemoryHost::default(),
                    key,
                    known.algorithm,
                    message,
                    &signature,
                )
            };
            assert!(verify(known_answers::MESSAGE), "{}", known.algorithm);
            assert!(!verify(b"another message"), "{}", known.algorithm);
        }
    }

    #[test]
    fn a_host_that_lies_or_has_no_verifier_is_not_asked_again() {
        for answer in [Ok(vec![8, 1]), Ok(vec![]), Ok(vec![8, 0]), Ok(b"junk".to_vec()), Err(HostFailure)] {
            let host = MemoryHost::default();
            host.on_foreign(move |_, _| answer.clone());
            assert_eq!(Verifier::probe(&host, &WANTED), Verifier::wasm_only());
        }
        assert_eq!(Verifier::probe(&MemoryHost::default(), &WANTED), Verifier::wasm_only());
    }

    #[test]
    fn an_honest_host_is_used_for_what_is_wanted() {
        let host = MemoryHost::default();
        host.on_foreign(in_host::tests::like_envoy);
        let verifier = Verifier::probe(&host, &WANTED);
        assert!(verifier.is_host(Algorithm::RS256) && verifier.is_host(Algorithm::ES512));
        assert!(!verifier.is_host(Algorithm::ES256), "nobody wanted it");
    }
}
