//! Checks configurations without Envoy, and says what a request would get.
//!
//! | module | one idea |
//! |---|---|
//! | [`yaml`] | a tree that knows its lines |
//! | [`attached`] | a plugin in a file, and the chain that it stands in |
//! | [`find`] | which chains a file holds: Envoy, Istio, Envoy Gateway, a plugin alone |
//! | [`load`], [`heard`] | a plugin's own configuration, with every error in it |
//! | [`cross`] | what only the whole chain shows |
//! | [`run`] | a filter called as the shell calls it |
//! | [`finding`] | what is reported |
//! | [`report`] | files in, findings out |

pub mod attached;
pub mod cross;
pub mod find;
pub mod finding;
pub mod heard;
pub mod load;
pub mod report;
pub mod run;
pub mod yaml;
