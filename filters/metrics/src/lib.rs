//! metrics: what happened, how long, why refused?
//!
//! A stream's end: [`filter`] has [`attributes`] read, [`classes`] names what came of it, [`counters`] count it.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`], [`policy`], [`percent`] | the configuration as written, and as meant |
//! | [`filter`] | from the end of a stream to its counters |
//! | [`attributes`], [`list`] | what is read of a stream, in one call where the host can |
//! | [`classes`] | the closed sets that labels are drawn from; who answered, and why |
//! | [`counters`] | metrics |
//! | [`series`], [`registry`] | a ceiling on series, for the whole process |
//! | [`labels`] | what a label's value may not hold |
//! | [`consumers`] | who calls, in a bounded number of names |
//! | [`objectives`] | promises: was this request a good one? |
//! | [`in_flight`] | requests that are not over |
//! | [`sampling`] | log lines about single requests |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

pub mod attributes;
pub mod classes;
pub mod config;
pub mod consumers;
pub mod counters;
pub mod filter;
pub mod in_flight;
pub mod labels;
pub mod list;
pub mod objectives;
pub mod percent;
pub mod policy;
pub mod registry;
pub mod sampling;
pub mod series;

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "the SDK's macro exports `_initialize`")]
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::filter::Metrics>(); }}
}
