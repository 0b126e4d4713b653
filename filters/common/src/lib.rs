//! What every Portcullis filter stands on: the seam to the host, and the contracts that the filters share.
//!
//! A filter is a functional core in a thin shell. The core takes values ([`request::Request`],
//! [`clock::Now`]) and returns values ([`filter::Step`]); effects that return at once go through the small
//! trait [`host::Host`]. The `shell` (on the wasm target only) is the one place that names `proxy_wasm`: it reads,
//! calls the core and applies the step, and decides nothing.
//!
//! | module | one idea |
//! |---|---|
//! | [`filter`] | the trait that a filter implements; steps, root steps, answers, events |
//! | [`request`], [`headers`], [`edits`] | what a filter sees of a stream, and what it may change |
//! | [`answer`], [`reason`] | the one function that builds a refusal, and the closed list of reasons |
//! | [`host`], [`memory`] | effects that return at once, real and in memory |
//! | [`cache`] | a map bounded by bytes |
//! | [`clock`] | `now` as an argument: wall and monotonic |
//! | [`config`] | located errors with a remedy; the types that configs are made of |
//! | [`json`] | JSON that says one thing only |
//! | [`matching`] | hosts, methods, paths, headers: which rule a request meets |
//! | [`lease`] | who of many VMs does what only one should |
//! | [`snapshot`] | a source that is fetched once per process: lease, last good content, stale window |
//! | [`table`] | a table in shared data, exact and bounded |
//! | [`values`] | sources, templates, and how they are resolved |
//! | [`explain`] | telling chosen callers how they were judged |
//! | [`facts`] | what one filter tells the next, the log and RBAC |
//! | [`metrics`] | names, labels and series |
//! | [`mode`] | enforce, shadow, percent, kill switch |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

pub mod answer;
pub mod cache;
pub mod clock;
pub mod config;
pub mod edits;
pub mod explain;
pub mod facts;
pub mod filter;
pub mod headers;
pub mod host;
pub mod json;
pub mod lease;
pub mod matching;
#[cfg(not(target_arch = "wasm32"))]
pub mod memory;
pub mod metrics;
pub mod mode;
pub mod reason;
pub mod request;
#[cfg(target_arch = "wasm32")]
pub mod shell;
pub mod snapshot;
pub mod table;
pub mod values;
