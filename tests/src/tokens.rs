//! Keys, and tokens signed with them. The private keys lie in `tests/keys` and are public: they are for tests.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};

/// Base64url without padding.
#[must_use]
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that signs.
pub struct Signer {
    kid: String,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair, &'static str),
    P521(Box<p521::ecdsa::SigningKey>),
    Ed25519(Ed25519KeyPair),
    Hmac(Vec<u8>),
}

impl Signer {
    /// The RSA key of 2048 bits.
    ///
    /// # Panics
    /// If the file is damaged.
    #[must_use]
    pub fn rsa(kid: &str) -> Signer {
        let key = RsaKeyPair::from_pkcs8(include_bytes!("../keys/rsa-2048.pk8")).expect("an RSA key");
        Signer { kid: kid.into(), key: Key::Rsa(key) }
    }

    /// Another RSA key of 2048 bits.
    ///
    /// # Panics
    /// If the file is damaged.
    #[must_use]
    pub fn other_rsa(kid: &str) -> Signer {
        let key = RsaKeyPair::from_pkcs8(include_bytes!("../keys/rsa-2048-other.pk8")).expect("an RSA key");
        Signer { kid: kid.into(), key: Key::Rsa(key) }
    }

    /// The P-256 key.
    ///
    /// # Panics
    /// If the file is damaged.
    #[must_use]
    pub fn p256(kid: &str) -> Signer {
        let pkcs8 = include_bytes!("../keys/p256.pk8");
        let how = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(how, pkcs8, &SystemRandom::new()).expect("a P-256 key");
        Signer { kid: kid.into(), key: Key::Ecdsa(key, "P-256") }
    }

    /// The public demo key, a P-256 key called `demo-do-not-use`.
    ///
    /// # Panics
    /// If the file is damaged.
    #[must_use]
    pub fn demo() -> Signer {
        let pkcs8 = include_bytes!("../keys/demo-p256.pk8");
        let how = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(how, pkcs8, &SystemRandom::new()).expect("a P-256 key");
        Signer { kid: "demo-do-not-use".into(), key: Key::Ecdsa(key, "P-256") }
    }

    /// A private key in PKCS #8, and the algorithm that it signs with, if it is one of RSA, P-256 or P-384.
    #[must_use]
    pub fn from_pkcs8(kid: &str, der: &[u8]) -> Option<(Signer, &'static str)> {
        let signer = |key| Signer { kid: kid.into(), key };
        if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
            return Some((signer(Key::Rsa(key)), "RS256"));
        }
        let curves = [
            (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", "ES256"),
            (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", "ES384"),
        ];
        curves.into_iter().find_map(|(how, curve, algorithm)| {
            let key = EcdsaKeyPair::from_pkcs8(how, der, &SystemRandom::new()).ok()?;
            Some((signer(Key::Ecdsa(key, curve)), algorithm))
        })
    }

    /// The P-384 key.
    ///
    /// # Panics
    /// If the file is damaged.
    #[must_use]
    pub fn p384(kid: &str) -> Signer {
        let pkcs8 = include_bytes!("../keys/p384.pk8");
        let how = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(how, pkcs8, &SystemRandom::new()).expect("a P-384 key");
        Signer { kid: kid.into(), key: Key::Ecdsa(key, "P-384") }
    }

    /// A P-521 key.
    ///
    /// # Panics
    /// Never: the scalar is in range.
    #[must_use]
    pub fn p521(kid: &str) -> Signer {
        let key = p521::ecdsa::SigningKey::from_slice(&[7; 66].map(|b: u8| b & 1)).expect("a P-521 key");
        Signer { kid: kid.into(), key: Key::P521(Box::new(key)) }
    }

    /// The Ed25519 key.
    ///
    /// # Panics
    /// Never: any seed will do.
    #[must_use]
    pub fn ed25519(kid: &str) -> Signer {
        let key = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("an Ed25519 key");
        Signer { kid: kid.into(), key: Key::Ed25519(key) }
    }

    /// A secret.
    #[must_use]
    pub fn hmac(kid: &str, secret: &[u8]) -> Signer {
        Signer { kid: kid.into(), key: Key::Hmac(secret.to_vec()) }
    }

    /// The public key as a JWK; a secret as it is.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Rsa(key) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": b64(public.n), "e": b64(public.e)})
            }
            Key::Ecdsa(key, curve) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Key::P521(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let point = &point.as_bytes()[1..];
                let (x, y) = point.split_at(66);
                json!({"kty": "EC", "crv": "P-521", "x": b64(x), "y": b64(y)})
            }
            Key::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key())}),
            Key::Hmac(secret) => json!({"kty": "oct", "k": b64(secret)}),
        };
        if !self.kid.is_empty() {
            jwk["kid"] = self.kid.clone().into();
        }
        jwk
    }

    /// A token with these claims, signed with `algorithm`.
    #[must_use]
    pub fn token(&self, algorithm: &str, claims: &Value) -> String {
        self.with_header(&json!({"alg": algorithm, "kid": self.kid, "typ": "JWT"}), claims)
    }

    /// A token with this very header; its `alg` says how it is signed.
    #[must_use]
    pub fn with_header(&self, header: &Value, claims: &Value) -> String {
        let algorithm = header["alg"].as_str().unwrap_or_default().to_owned();
        self.sign_text(&algorithm, &header.to_string(), claims.to_string().as_bytes())
    }

    /// A token with this very header and payload, to the byte.
    #[must_use]
    pub fn sign_text(&self, algorithm: &str, header: &str, payload: &[u8]) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    /// A signature over bytes. An algorithm that the key does not have signs with what the key has.
    ///
    /// # Panics
    /// If there is no randomness.
    #[must_use]
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => {
                let mut out = vec![0; key.public().modulus_len()];
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                key.sign(padding, &random, message, &mut out).expect("a signature");
                out
            }
            Key::Ecdsa(key, _) => key.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Key::P521(key) => {
                use p521::ecdsa::signature::Signer;
                let signature: p521::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Key::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Key::Hmac(secret) => {
                let how = match algorithm {
                    "HS384" => ring::hmac::HMAC_SHA384,
                    "HS512" => ring::hmac::HMAC_SHA512,
                    _ => ring::hmac::HMAC_SHA256,
                };
                ring::hmac::sign(&ring::hmac::Key::new(how, secret), message).as_ref().to_vec()
            }
        }
    }
}

/// Seconds since 1970.
///
/// # Panics
/// If the clock stands before that.
#[allow(clippy::disallowed_methods, reason = "tokens for a real Envoy are dated by the real clock")]
#[must_use]
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}

/// Claims that the test providers accept: issuer `https://id.test`, audience `orders`, subject `ann`, an hour to live.
#[must_use]
pub fn claims() -> Value {
    json!({"iss": "https://id.test", "aud": "orders", "sub": "ann", "iat": now(), "exp": now() + 3600})
}
