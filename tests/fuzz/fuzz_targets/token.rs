//! Tokens: no panic, and nothing is accepted that was not signed.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use portcullis_common::clock::Wall;
use portcullis_common::config;
use portcullis_common::memory::MemoryHost;
use portcullis_jwt_auth::authenticate::{Check, authenticate};
use portcullis_jwt_auth::policy::Policy;
use portcullis_jwt_auth::servers::Servers;
use portcullis_jwt_auth::token::Headers;
use portcullis_jwt_auth::verify::Verifier;

/// A token that is valid in 2026 with the key of `CONFIG`: the only message that anybody signed for it.
const GENUINE: &str = include_str!("../genuine-token");
const CONFIG: &str = include_str!("../genuine-config.json");

thread_local! {
    static POLICY: OnceLock<Policy> = const { OnceLock::new() };
}

fuzz_target!(|token: &[u8]| {
    POLICY.with(|policy| {
        let policy = policy.get_or_init(|| {
            Policy::new(config::parse("jwt-auth", CONFIG.as_bytes()).expect("a configuration")).expect("a policy").0
        });
        let (mut headers, verifier, host) = (Headers::default(), Verifier::wasm_only(), MemoryHost::default());
        let now = Wall(1_780_000_000_000_000_000);
        let servers = Servers::new(policy, &host);
        let check =
            Check { policy, servers: &servers, verifier: &verifier, headers: &mut headers, now, host: &host };
        let accepted = authenticate(check, &[0], token).is_ok();
        let signed = |t: &[u8]| t.iter().rposition(|&b| b == b'.').map(|at| t[..at].to_vec());
        assert!(!accepted || signed(token) == signed(GENUINE.trim().as_bytes()), "accepted what nobody signed");
    });
});
