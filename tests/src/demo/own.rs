//! A key of one's own: its public half as a JWK, and tokens signed with its private half.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::claims;
use crate::tokens::Signer;

const REMEDY: &str =
    "write one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out own.pem`";

/// A private key that lies in a file.
pub struct OwnKey {
    signer: Signer,
    algorithm: &'static str,
}

impl OwnKey {
    /// Reads a PEM file in PKCS #8 (RFC 7468, section 10) with an RSA, P-256 or P-384 key. The key is called after the file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no such key; with what to do about it.
    pub fn read(path: &str) -> Result<OwnKey, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}; {REMEDY}"))?;
        let name = std::path::Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
        OwnKey::parse(&name, &text).map_err(|problem| format!("{path}: {problem}"))
    }

    fn parse(name: &str, text: &str) -> Result<OwnKey, String> {
        if text.contains("-----BEGIN EC PRIVATE KEY") || text.contains("-----BEGIN RSA PRIVATE KEY") {
            return Err(
                "not in PKCS #8; `openssl pkcs8 -topk8 -nocrypt -in FILE -out own.pem` makes it so".into()
            );
        }
        let body = text
            .split_once("-----BEGIN PRIVATE KEY-----")
            .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"))
            .ok_or_else(|| format!("no private key in PEM; {REMEDY}"))?;
        let bytes: String = body.0.split_whitespace().collect();
        let der = STANDARD.decode(bytes).map_err(|e| format!("the PEM is damaged: {e}"))?;
        let (signer, algorithm) = Signer::from_pkcs8(name, &der)
            .ok_or_else(|| format!("no RSA key of 2048 to 4096 bits, nor one of P-256 or P-384; {REMEDY}"))?;
        Ok(OwnKey { signer, algorithm })
    }

    /// Its public half, one line for `keys.jwks.keys`.
    #[must_use]
    pub fn jwk(&self) -> String {
        let mut jwk = self.signer.jwk();
        jwk["alg"] = self.algorithm.into();
        jwk.to_string()
    }

    /// A token for `subject` that holds for an hour.
    ///
    /// # Errors
    /// The issuer or the audience is empty.
    pub fn token(&self, subject: &str, issuer: &str, audience: &str) -> Result<String, String> {
        if issuer.is_empty() || audience.is_empty() {
            return Err("write ISSUER= and AUDIENCE= too, as they stand in the provider".into());
        }
        let mut claims = claims(subject, 3600);
        claims["iss"] = json!(issuer);
        claims["aud"] = json!(audience);
        Ok(self.signer.token(self.algorithm, &claims))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_key_says_what_to_do() {
        for (text, remedy) in [
            ("", "openssl genpkey"),
            ("-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n", "openssl pkcs8"),
            ("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n", "damaged"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "openssl genpkey"),
        ] {
            let Err(problem) = OwnKey::parse("own", text) else { panic!("{text} is a key") };
            assert!(problem.contains(remedy), "{text}: {problem}");
        }
    }
}
