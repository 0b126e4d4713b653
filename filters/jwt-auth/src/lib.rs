//! jwt-auth: who is calling?
//!
//! A request's way: [`filter`] finds the rule, [`credentials`] the token, [`authenticate`] checks it ([`token`], [`keys`],
//! [`verify`], [`claims`] in this order), [`identity`] makes facts and headers of it, and [`filter`] says what becomes of
//! the request.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`], [`policy`] | the configuration as written, and as meant |
//! | [`filter`] | from request to step |
//! | [`credentials`] | where tokens are found |
//! | [`authenticate`] | the order of checks |
//! | [`issuer`], [`profile`], [`deny`] | whose tokens, of which kind, and which not |
//! | [`token`] | compact JWS, read strictly |
//! | [`algorithm`], [`keys`], [`jwk`], [`roca`], [`rsa`], [`der`], [`verify`] | keys and signatures |
//! | [`servers`], [`discovery`], [`absent`] | keys and deny lists that are fetched |
//! | [`claims`] | dates, audiences, nested claims |
//! | [`requirement`] | what a verified token has to grant |
//! | [`identity`] | facts and headers |
//! | [`challenge`], [`resource`] | what a refused client is told |
//! | [`counters`] | metrics |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

pub mod absent;
pub mod algorithm;
pub mod authenticate;
pub mod challenge;
pub mod claims;
pub mod config;
pub mod counters;
pub mod credentials;
pub mod deny;
pub mod der;
pub mod discovery;
pub mod filter;
pub mod identity;
pub mod issuer;
pub mod jwk;
pub mod keys;
pub mod policy;
pub mod profile;
pub mod requirement;
pub mod resource;
pub mod roca;
pub mod rsa;
pub mod servers;
pub mod token;
pub mod verify;

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "the SDK's macro exports `_initialize`")]
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::filter::JwtAuth>(); }}
}
