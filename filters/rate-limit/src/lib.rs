//! rate-limit: too much, too fast?
//!
//! A request's way: [`filter`] finds the limits that match, [`policy`] makes the key, the table in shared data
//! ([`portcullis_common::table`]) holds the bucket, [`gcra`] decides, [`headers`] tells the client.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`], [`policy`] | the configuration as written, and as meant |
//! | [`filter`] | from request to step |
//! | [`rate`] | `100/minute` |
//! | [`gcra`] | a bucket in one number |
//! | [`headers`] | what clients are told |
//! | [`counters`] | metrics |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

pub mod config;
pub mod counters;
pub mod filter;
pub mod gcra;
pub mod headers;
pub mod policy;
pub mod rate;

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "the SDK's macro exports `_initialize`")]
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::filter::RateLimit>(); }}
}
