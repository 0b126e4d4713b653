//! rate-limit: too much, too fast?
//!
//! A request's way: [`filter`] finds the limits that match, [`policy`] makes key, numbers and cost, [`charge`] asks the table in
//! shared data ([`portcullis_common::table`]), where a [`meter`] decides; [`headers`] tells the client, and the answer may settle.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`], [`policy`] | the configuration as written, and as meant |
//! | [`filter`] | from request to step |
//! | `passage` | a request's passage through the limits |
//! | [`rate`] | `100/minute` |
//! | [`address`] | networks, and the client's address by an own rule |
//! | [`meter`] | what a limit measures with: bucket, sliding window, calendar |
//! | [`charge`] | all limits on a key at once, or none |
//! | [`in_flight`] | requests in flight, by VM, with a lease |
//! | `settle` | what an answer makes of the charge |
//! | [`body`] | a number in the body of an answer |
//! | [`refusal`], [`headers`] | what clients are told |
//! | `redirect` | a request that comes twice and is charged once |
//! | `ledger` | what starts afresh after a change |
//! | [`counters`], `load` | metrics |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

pub mod address;
pub mod body;
pub mod charge;
pub mod config;
pub mod counters;
pub mod filter;
pub mod headers;
pub mod in_flight;
mod ledger;
mod load;
pub mod meter;
mod passage;
pub mod policy;
pub mod rate;
mod redirect;
pub mod refusal;
mod settle;

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "the SDK's macro exports `_initialize`")]
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::filter::RateLimit>(); }}
}
