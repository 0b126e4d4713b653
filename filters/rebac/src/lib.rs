//! rebac: may this subject do this to this object?
//!
//! A request's way: [`judge`] finds the rule that matches, [`question`] fills in its questions, [`ask`] has them answered by
//! [`engine`], [`combine`] makes one judgement of the answers, and [`filter`] a step of the judgement.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`], [`policy`] | the configuration as written, and as meant |
//! | [`filter`] | from request to step |
//! | [`judge`] | from request to judgement |
//! | [`question`] | questions, filled in from a request |
//! | [`own`] | a question's own tuples and values |
//! | [`ask`] | from a question to the engine inside the filter |
//! | [`combine`] | from answers to one judgement |
//! | [`batch`] | many questions at once, for whoever shows buttons |
//! | [`trace`] | a line in the log for a decision |
//! | [`engine`] | a model with its tuples, and the answers to questions |
//! | [`model`] | what types, relations and conditions there are |
//! | [`tuples`] | who has which relation to what |
//! | [`document`] | many of them as one text, read in pieces |
//! | [`feed`] | tuples that are fetched |
//! | [`condition`] | expressions that tuples depend on |
//! | [`remote`] | engines outside the filter, and what is remembered of their answers |
//! | [`watch`], [`watching`] | what changes in an engine outside the filter |
//! | [`protobuf`] | as much of a wire format as SpiceDB needs |
//! | [`counters`] | metrics |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

#[cfg(test)]
extern crate self as portcullis_rebac;

pub mod ask;
pub mod batch;
pub mod combine;
pub mod condition;
pub mod config;
pub mod counters;
pub mod document;
pub mod engine;
pub mod feed;
pub mod filter;
pub mod judge;
pub mod model;
pub mod own;
pub mod policy;
pub mod protobuf;
pub mod question;
pub mod remote;
pub mod trace;
pub mod tuples;
pub mod watch;
pub mod watching;

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "the SDK's macro exports `_initialize`")]
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::filter::Rebac>(); }}
}
