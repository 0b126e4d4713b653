//! metrics: what happened, how long, why refused?
//!
//! A stream's end: [`filter`] reads how it was answered, [`policy`] finds the route, [`counters`] count it.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`], [`policy`] | the configuration as written, and as meant |
//! | [`filter`] | from the end of a stream to its counters |
//! | [`counters`] | metrics |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

pub mod config;
pub mod counters;
pub mod filter;
pub mod policy;

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "the SDK's macro exports `_initialize`")]
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::filter::Metrics>(); }}
}
