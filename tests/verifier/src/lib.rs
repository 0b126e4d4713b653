//! Verifies the JWS in the header `x-jws` with the JWK set in `x-keys` (base64url), by jwt-auth's own code: once by the host
//! and once in WebAssembly. The answer's body is `host=... wasm=...`, each `accept` or the word of the reason.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_common::answer::Reply;
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::ConfigError;
use portcullis_common::facts::Verdict;
use portcullis_common::filter::{Filter, Plugin, Step};
use portcullis_common::host::Host;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::request::Request;
use portcullis_jwt_auth::algorithm::Algorithm;
use portcullis_jwt_auth::authenticate::{Refused, verify_jws};
use portcullis_jwt_auth::identity::Unfit;
use portcullis_jwt_auth::keys::KeySet;
use portcullis_jwt_auth::verify::Verifier;

/// The filter.
#[derive(Debug)]
pub struct Twice {
    plugin: Plugin,
    by_host: Verifier,
}

impl Filter for Twice {
    const NAME: &'static str = "verifier";
    const CLOCK: Clock = Clock::Mono;
    const PAUSES: bool = false;
    type Pending = ();
    type Stream = ();

    fn configure(_: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let plugin = Plugin::new(Self::NAME, OwnedHeaders::default());
        Ok(Twice { plugin, by_host: Verifier::probe(host, &Algorithm::ALL) })
    }

    fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    fn on_request(&mut self, (): &mut (), request: &Request, _: &Now, host: &dyn Host) -> Step<()> {
        let word = |verifier: &Verifier| {
            verdict(verifier, request, host).map_or_else(|why| why, |_| "accept".into())
        };
        let body = format!("host={} wasm={}", word(&self.by_host), word(&Verifier::wasm_only()));
        let verdict = Verdict::skip("verifier".into());
        Step::Reply(Reply::document("verifier", "text/plain", body.into_bytes(), verdict))
    }
}

fn verdict(verifier: &Verifier, request: &Request, host: &dyn Host) -> Result<Vec<u8>, String> {
    let header = |name| request.headers.get(name).one().unwrap_or_default();
    let keys = URL_SAFE_NO_PAD.decode(header("x-keys")).map_err(|e| e.to_string())?;
    let keys: Vec<_> = serde_json::from_slice(&keys).map_err(|e| e.to_string())?;
    let (set, _) = KeySet::load(&keys).map_err(|_| "key_set".to_owned())?;
    verify_jws(verifier, host, &set, &Algorithm::ALL, header("x-jws")).map_err(|refused| match refused {
        Refused::Malformed(how) => how.word().to_owned(),
        Refused::Unfit(Unfit::Cause(cause)) => cause.word().to_owned(),
        Refused::Unfit(Unfit::Value(_)) => "value".to_owned(),
        Refused::Missing(_, cause) => cause.word().to_owned(),
    })
}

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "the SDK's macro exports `_initialize`")]
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::Twice>(); }}
}
