//! Key sets: RFC 7517, with RFC 7518, section 6 and RFC 8037, section 2.
//!
//! A key fixes which algorithms may use it; the token's header only selects among them (RFC 8725, section 3.1).

use std::rc::Rc;

use jwt_simple::algorithms::{Edwards25519PublicKey, P256PublicKey, P384PublicKey};
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, Family};
use crate::der::{self, Curve};
use crate::jwk::{self, Fixed, Members, Unusable};
use crate::{roca, rsa};

/// The most keys that a set may have.
pub const MAX_KEYS: usize = 256;
/// The most keys that a token without `kid` is tried with.
const MAX_TRIED: usize = 8;
/// The key that `make run` signs with. It is public; a filter that loads it says so.
pub const DEMO_KID: &str = "demo-do-not-use";

/// The members of a private key (RFC 7518, section 6), which should be nowhere near a verifier.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];
const MODULUS: &str = "write an odd number of 2048 to 4096 bits in base64url";
const EXPONENT: &str = "write AQAB";
const SECRET: &str = "write at least 32 bytes for HS256, 48 for HS384, 64 for HS512, in base64url";
const MAKE: &str = "make another key";
const OFF_CURVE: Unusable =
    Unusable::fault("y", "with x no point of the curve", "copy both anew, or make another key");
const MISMATCHED: Unusable =
    Unusable::fault("alg", "does not fit the key's type", "correct it, or leave it out");
/// Another key of the set has its `kid`, and an algorithm in common with it.
const DUPLICATE: Unusable = Unusable::fault("kid", "another key has the same kid", "give each key its own");

/// A key that was checked when it was loaded.
pub struct Key {
    /// Its name in the set.
    pub kid: Option<Rc<str>>,
    /// The one algorithm that it names for itself.
    algorithm: Option<Algorithm>,
    /// What verifies with it.
    pub material: Material,
    /// SubjectPublicKeyInfo for the host's verifier; empty where the host has none for it.
    pub spki: Vec<u8>,
}

/// Key material, typed.
#[allow(missing_docs, reason = "the names are the registered ones")]
pub enum Material {
    Rsa(Box<rsa::PublicKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    P521(Box<p521::ecdsa::VerifyingKey>),
    Ed25519(ed25519_compact::PublicKey),
    Hmac(Rc<[u8]>),
}

/// Key material does not belong in a log.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A set, and the keys in it that are not used, by position.
pub type Loaded = (KeySet, Vec<(usize, Unusable)>);

/// The keys of one source.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Rc<Key>>,
}

impl KeySet {
    /// Loads a set for plain JWS; see [`KeySet::load_for`].
    ///
    /// # Errors
    /// As there.
    pub fn load(keys: &[Map<String, Value>]) -> Result<Loaded, &'static str> {
        KeySet::load_for(keys, &["sig"])
    }

    /// Loads a set; gives the keys that are not used, by position, and why. `uses` are the values of `use` that make a key one
    /// for signatures here.
    ///
    /// # Errors
    /// If it is no set at all, holds more than [`MAX_KEYS`], or mixes secrets with public keys: a set with a public key
    /// in it was published, and what was published is no secret.
    pub fn load_for(keys: &[Map<String, Value>], uses: &[&str]) -> Result<Loaded, &'static str> {
        if keys.len() > MAX_KEYS {
            return Err("more than 256 keys; split the set");
        }
        let mut usable: Vec<(usize, Key)> = Vec::new();
        let mut skipped = Vec::new();
        let mut broken: Vec<&str> = Vec::new();
        for (at, jwk) in keys.iter().enumerate() {
            match Key::load(jwk, uses) {
                Ok(key) => usable.push((at, key)),
                Err(why) => {
                    if why.mistake().is_some() {
                        broken.extend(jwk.get("kid").and_then(Value::as_str));
                    }
                    skipped.push((at, why));
                }
            }
        }
        let symmetric = usable.iter().filter(|(_, key)| key.is_symmetric()).count();
        if symmetric != 0 && symmetric != usable.len() {
            return Err("secrets and public keys in one set; give each its own provider");
        }
        // Neither of two keys that a token could mean is used: whoever can add a key must not replace another's.
        let collides = |a: &Key, b: &Key| a.kid.is_some() && a.kid == b.kid && a.shares_algorithm(b);
        let duplicates: Vec<usize> = usable
            .iter()
            .filter(|(at, key)| {
                key.kid.as_deref().is_some_and(|kid| broken.contains(&kid))
                    || usable.iter().any(|(other, o)| other != at && collides(key, o))
            })
            .map(|(at, _)| *at)
            .collect();
        usable.retain(|(at, _)| !duplicates.contains(at));
        skipped.extend(duplicates.into_iter().map(|at| (at, DUPLICATE)));
        Ok((KeySet { keys: usable.into_iter().map(|(_, key)| Rc::new(key)).collect() }, skipped))
    }

    /// A set of one secret.
    ///
    /// # Errors
    /// If it is shorter than the hash of the algorithms that are to use it.
    pub fn of_secret(secret: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, &'static str> {
        let needed = algorithms.iter().map(|a| a.hash().len()).max().unwrap_or(64);
        if secret.len() < needed {
            return Err("shorter than the hash; use at least 32 bytes for HS256, 48 for HS384, 64 for HS512");
        }
        let key =
            Key { kid: None, algorithm: None, material: Material::Hmac(secret.into()), spki: Vec::new() };
        Ok(KeySet { keys: vec![Rc::new(key)] })
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Key>> {
        self.keys.iter()
    }

    /// The keys that may have signed a token with this `kid` and `alg`, at most eight. A token that names a key gets that key,
    /// and after it keys without a name; a token that names none gets any.
    pub fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Rc<Key>> {
        let able = || self.keys.iter().filter(move |key| key.allows(algorithm));
        let named = able().filter(move |key| kid.is_some() && key.kid.as_deref() == kid);
        let others = able().filter(move |key| kid.is_none() || key.kid.is_none());
        named.chain(others).take(MAX_TRIED)
    }
}

impl Key {
    fn load(jwk: &Map<String, Value>, uses: &[&str]) -> Result<Key, Unusable> {
        let members = Members(jwk);
        let kty = members.needed("kty", "write RSA, EC, OKP or oct")?;
        let used = members.text("use", "write sig, or leave it out")?;
        if used.is_some_and(|u| !uses.contains(&u)) || !may_verify(jwk.get("key_ops"))? {
            return Err(Unusable::OtherUse);
        }
        let algorithm = match members.text("alg", "write its one algorithm, or leave it out")? {
            None => None,
            Some(name) => Some(Algorithm::from_name(name).ok_or(Unusable::Unsupported)?),
        };
        if kty != "oct"
            && let Some(private) = PRIVATE.into_iter().find(|m| jwk.contains_key(*m))
        {
            return Err(Unusable::fault(private, "the key's private part", "remove it, and change the key"));
        }
        let kid = members.text("kid", "write the key's name, or leave it out")?.map(Rc::from);
        let (material, spki) = match kty {
            "RSA" => rsa_key(&members.number("n", MODULUS)?, &members.number("e", EXPONENT)?)?,
            "EC" => match members.needed("crv", "write P-256, P-384 or P-521")? {
                "P-256" => p256(&point(members, jwk::P256)?)?,
                "P-384" => p384(&point(members, jwk::P384)?)?,
                "P-521" => p521(&point(members, jwk::P521)?)?,
                _ => return Err(Unusable::Unsupported),
            },
            "OKP" if members.needed("crv", "write Ed25519")? == "Ed25519" => {
                let key = Edwards25519PublicKey::from_bytes(&members.fixed("x", jwk::ED25519)?)
                    .map_err(|_| Unusable::fault("x", "no point of Ed25519, or one of small order", MAKE))?;
                (Material::Ed25519(*key.as_ref()), Vec::new())
            }
            "oct" => {
                let secret = members.number("k", SECRET)?;
                let needed = algorithm.map_or(32, |a| a.hash().len());
                if secret.len() < needed {
                    return Err(Unusable::fault("k", "shorter than the hash", SECRET));
                }
                (Material::Hmac(secret.into()), Vec::new())
            }
            _ => return Err(Unusable::Unsupported),
        };
        let key = Key { kid, algorithm: None, material, spki };
        if algorithm.is_some_and(|a| !key.allows(a)) {
            return Err(MISMATCHED);
        }
        Ok(Key { algorithm, ..key })
    }

    /// Whether this key may verify signatures of `algorithm`.
    #[must_use]
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa(_) => matches!(algorithm.family(), Family::RsaPkcs1 | Family::RsaPss),
            Material::P256(_) => algorithm == Algorithm::ES256,
            Material::P384(_) => algorithm == Algorithm::ES384,
            Material::P521(_) => algorithm == Algorithm::ES512,
            Material::Ed25519(_) => algorithm == Algorithm::EdDSA,
            Material::Hmac(secret) => {
                algorithm.family() == Family::Hmac && secret.len() >= algorithm.hash().len()
            }
        }
    }

    /// Whether it is a secret.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        matches!(self.material, Material::Hmac(_))
    }

    /// Whether it is the public demo key.
    #[must_use]
    pub fn is_demo(&self) -> bool {
        self.kid.as_deref() == Some(DEMO_KID)
    }

    /// Whether it is the same key by the same name, in whichever set.
    #[must_use]
    pub fn is_same(&self, other: &Key) -> bool {
        let same = match (&self.material, &other.material) {
            (Material::Ed25519(a), Material::Ed25519(b)) => **a == **b,
            (Material::Hmac(a), Material::Hmac(b)) => a == b,
            // All others have this form, which holds all of the key.
            _ => !self.spki.is_empty() && self.spki == other.spki,
        };
        same && self.kid == other.kid && self.algorithm == other.algorithm
    }

    fn shares_algorithm(&self, other: &Key) -> bool {
        Algorithm::ALL.into_iter().any(|a| self.allows(a) && other.allows(a))
    }
}

/// RFC 7517, section 4.3: absent, or with `verify` in it.
fn may_verify(key_ops: Option<&Value>) -> Result<bool, Unusable> {
    match key_ops {
        None => Ok(true),
        Some(Value::Array(ops)) => Ok(ops.iter().any(|op| op == "verify")),
        Some(_) => Err(Unusable::fault("key_ops", "not a list", "write [\"verify\"], or leave it out")),
    }
}

fn rsa_key(n: &[u8], e: &[u8]) -> Result<(Material, Vec<u8>), Unusable> {
    if !rsa::is_exponent(e) {
        return Err(Unusable::fault("e", "not 65537", EXPONENT));
    }
    let key =
        rsa::PublicKey::new(n, e).ok_or(Unusable::fault("n", "too short, too long or even", MODULUS))?;
    // The size first: the search for ROCA's fingerprint takes time for each byte.
    if roca::is_suspect(n) {
        return Err(Unusable::fault("n", "can be factored (ROCA)", MAKE));
    }
    Ok((Material::Rsa(Box::new(key)), der::rsa_public_key(n, e)))
}

/// `04 || x || y` (SEC 1, section 2.3.3).
fn point(members: Members<'_>, length: Fixed) -> Result<Vec<u8>, Unusable> {
    let (x, y) = (members.fixed("x", length)?, members.fixed("y", length)?);
    Ok([&[4], x.as_slice(), &y].concat())
}

fn p256(point: &[u8]) -> Result<(Material, Vec<u8>), Unusable> {
    let key = P256PublicKey::from_bytes(point).map_err(|_| OFF_CURVE)?;
    Ok((Material::P256(Box::new(*key.as_ref())), der::ec_public_key(Curve::P256, point)))
}

fn p384(point: &[u8]) -> Result<(Material, Vec<u8>), Unusable> {
    let key = P384PublicKey::from_bytes(point).map_err(|_| OFF_CURVE)?;
    Ok((Material::P384(Box::new(*key.as_ref())), der::ec_public_key(Curve::P384, point)))
}

fn p521(point: &[u8]) -> Result<(Material, Vec<u8>), Unusable> {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| OFF_CURVE)?;
    Ok((Material::P521(Box::new(key)), der::ec_public_key(Curve::P521, point)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::known_answers as known;

    fn load(json: &str) -> Result<Loaded, &'static str> {
        KeySet::load(&serde_json::from_str::<Vec<Map<String, Value>>>(json).unwrap())
    }

    fn why(jwk: &str) -> Option<Unusable> {
        load(&format!("[{jwk}]")).unwrap().1.first().map(|(_, why)| *why)
    }

    fn rsa_jwk(extra: &str) -> String {
        format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"{extra}}}"#, known::RSA_N)
    }

    #[test]
    fn a_key_is_bound_to_the_algorithms_of_its_type() {
        let (set, _) = load(&format!("[{}]", rsa_jwk(""))).unwrap();
        assert_eq!(set.candidates(None, Algorithm::RS256).count(), 1);
        assert_eq!(set.candidates(None, Algorithm::PS512).count(), 1);
        for other in [Algorithm::ES256, Algorithm::HS256, Algorithm::EdDSA] {
            assert_eq!(set.candidates(None, other).count(), 0, "{other}");
        }
        let (set, _) = load(&format!("[{}]", rsa_jwk(r#","alg":"RS256""#))).unwrap();
        assert_eq!(set.candidates(None, Algorithm::PS256).count(), 0);
    }

    #[test]
    fn a_key_that_is_named_comes_before_those_without_a_name() {
        let nameless = vec![rsa_jwk(""); 9].join(",");
        let (set, _) = load(&format!("[{nameless},{}]", rsa_jwk(r#","kid":"k""#))).unwrap();
        let first = |kid| set.candidates(kid, Algorithm::RS256).next().and_then(|key| key.kid.clone());
        assert_eq!(first(Some("k")).as_deref(), Some("k"));
        assert_eq!(set.candidates(Some("k"), Algorithm::RS256).count(), 8);
        assert_eq!(set.candidates(Some("other"), Algorithm::RS256).count(), 8);
        assert_eq!(set.candidates(None, Algorithm::RS256).count(), 8);
    }

    #[test]
    fn keys_for_other_uses_are_no_mistake() {
        for (jwk, want) in [
            (rsa_jwk(""), None),
            (rsa_jwk(r#","use":"sig","key_ops":["verify"]"#), None),
            (rsa_jwk(r#","use":"enc""#), Some(Unusable::OtherUse)),
            (rsa_jwk(r#","key_ops":["sign"]"#), Some(Unusable::OtherUse)),
            (rsa_jwk(r#","alg":"RSA-OAEP""#), Some(Unusable::Unsupported)),
            (rsa_jwk(r#","alg":"none""#), Some(Unusable::Unsupported)),
            (r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#.into(), Some(Unusable::Unsupported)),
            (r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#.into(), Some(Unusable::Unsupported)),
            (r#"{"kty":"AKP"}"#.into(), Some(Unusable::Unsupported)),
        ] {
            assert_eq!(why(&jwk), want, "{jwk:.90}");
        }
    }

    #[test]
    fn a_mistake_is_named_by_its_member_and_shows_nothing_of_it() {
        let ec = |crv: &str, x: &str, y: &str| format!(r#"{{"kty":"EC","crv":"{crv}","x":"{x}","y":"{y}"}}"#);
        let okp = |x: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        let a = |n: usize| "A".repeat(n);
        let odd = "write an odd number of 2048 to 4096 bits in base64url";
        let secret = "write at least 32 bytes for HS256, 48 for HS384, 64 for HS512, in base64url";
        for (jwk, want) in [
            ("{}".into(), "kty: missing; write RSA, EC, OKP or oct"),
            (r#"{"kty":1}"#.into(), "kty: not text; write RSA, EC, OKP or oct"),
            (rsa_jwk(r#","key_ops":"verify""#), "key_ops: not a list; write [\"verify\"], or leave it out"),
            (rsa_jwk(r#","use":7"#), "use: not text; write sig, or leave it out"),
            (rsa_jwk(r#","kid":7"#), "kid: not text; write the key's name, or leave it out"),
            (rsa_jwk(r#","alg":7"#), "alg: not text; write its one algorithm, or leave it out"),
            (rsa_jwk(r#","alg":"ES256""#), "alg: does not fit the key's type; correct it, or leave it out"),
            (rsa_jwk(r#","d":"AQAB""#), "d: the key's private part; remove it, and change the key"),
            (r#"{"kty":"RSA","e":"AQAB"}"#.into(), &format!("n: missing; {odd}")),
            (
                r#"{"kty":"RSA","n":"A+/=","e":"AQAB"}"#.into(),
                &format!("n: not base64url without padding; {odd}"),
            ),
            (
                r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.into(),
                &format!("n: too short, too long or even; {odd}"),
            ),
            (format!(r#"{{"kty":"RSA","n":"{}","e":"AQ"}}"#, known::RSA_N), "e: not 65537; write AQAB"),
            (format!(r#"{{"kty":"RSA","n":"{}"}}"#, known::RSA_N), "e: missing; write AQAB"),
            (r#"{"kty":"EC"}"#.into(), "crv: missing; write P-256, P-384 or P-521"),
            (r#"{"kty":"OKP"}"#.into(), "crv: missing; write Ed25519"),
            (ec("P-256", &a(43), &a(42)), "y: 42 characters; write 43 characters of base64url for P-256"),
            (ec("P-256", &a(44), &a(43)), "x: 44 characters; write 43 characters of base64url for P-256"),
            (
                ec("P-256", &(a(42) + "="), &a(43)),
                "x: not base64url without padding; write 43 characters of base64url for P-256",
            ),
            (ec("P-384", &a(43), &a(43)), "x: 43 characters; write 64 characters of base64url for P-384"),
            (ec("P-521", &a(88), &a(87)), "y: 87 characters; write 88 characters of base64url for P-521"),
            (
                ec("P-256", &a(43), &a(43)),
                "y: with x no point of the curve; copy both anew, or make another key",
            ),
            (
                ec("P-384", &a(64), &a(64)),
                "y: with x no point of the curve; copy both anew, or make another key",
            ),
            (
                ec("P-521", &a(88), &a(88)),
                "y: with x no point of the curve; copy both anew, or make another key",
            ),
            // What Kubernetes makes of an unquoted y.
            (
                r#"{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","true":"AA"}"#
                    .into(),
                "y: missing; write 43 characters of base64url for P-256",
            ),
            (okp(&a(42)), "x: 42 characters; write 43 characters of base64url for Ed25519"),
            (okp(&a(43)), "x: no point of Ed25519, or one of small order; make another key"),
            (r#"{"kty":"oct"}"#.into(), &format!("k: missing; {secret}")),
            (r#"{"kty":"oct","k":"c2hvcnQ"}"#.into(), &format!("k: shorter than the hash; {secret}")),
        ] {
            let why = why(&jwk).unwrap();
            assert_eq!(why.to_string(), want, "{jwk:.90}");
            assert!(why.mistake().is_some(), "{jwk:.90}");
        }
    }

    #[test]
    fn two_keys_of_one_name_are_both_left_out() {
        let (set, skipped) = load(&format!("[{0},{0}]", rsa_jwk(r#","kid":"a""#))).unwrap();
        assert!(set.is_empty());
        assert_eq!(skipped, [(0, DUPLICATE), (1, DUPLICATE)]);
        let both = format!(
            "[{},{}]",
            rsa_jwk(r#","kid":"a","alg":"RS256""#),
            rsa_jwk(r#","kid":"a","alg":"PS256""#)
        );
        assert_eq!(load(&both).unwrap().0.len(), 2);
    }

    #[test]
    fn secrets_do_not_live_beside_public_keys() {
        let secret = format!(r#"{{"kty":"oct","k":"{}"}}"#, "A".repeat(43));
        assert!(load(&format!("[{},{secret}]", rsa_jwk(""))).is_err());
        assert!(load(&format!("[{secret}]")).is_ok());
        assert!(KeySet::of_secret(&[0; 32], &[Algorithm::HS256]).is_ok());
        assert!(KeySet::of_secret(&[0; 32], &[Algorithm::HS512]).is_err());
    }

    #[test]
    fn a_named_key_is_meant_and_nobody_else() {
        let set = load(&format!("[{},{}]", rsa_jwk(r#","kid":"a""#), rsa_jwk(r#","kid":"b""#))).unwrap().0;
        assert_eq!(set.candidates(Some("a"), Algorithm::RS256).count(), 1);
        assert_eq!(set.candidates(Some("c"), Algorithm::RS256).count(), 0);
        assert_eq!(set.candidates(None, Algorithm::RS256).count(), 2);
        let many = (0..20).map(|i| rsa_jwk(&format!(r#","kid":"k{i}""#))).collect::<Vec<_>>().join(",");
        assert_eq!(load(&format!("[{many}]")).unwrap().0.candidates(None, Algorithm::RS256).count(), 8);
    }
}
