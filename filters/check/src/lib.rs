//! Checks configurations without Envoy, and says what a request would get.
//!
//! | module | one idea |
//! |---|---|
//! | [`yaml`] | a tree that knows its lines |
//! | [`attached`] | a plugin in a file, and the chain that it stands in |
//! | [`find`] | which chains a file holds: Envoy, Istio, Envoy Gateway, a plugin alone |
//! | [`load`], [`heard`] | a plugin's own configuration, with every error in it |
//! | [`cross`] | what only the whole chain shows |
//! | `ungiven` | parameters of conditions that nobody gives |
//! | [`around`] | what a connection manager has around ours: upgrades, routes, hosts, cors |
//! | [`beside`] | ours beside the filters that they replace |
//! | [`finding`], [`report`] | what is reported; files in, findings out |
//! | [`ask`], [`time`] | a request on the command line |
//! | [`modules`] | whether the files of modules are there |
//! | [`normal`] | what Envoy does to a path before any filter sees it |
//! | [`run`], [`fetched`] | a filter called as the shell calls it; what it would fetch, from files |
//! | [`evaluate`], [`notes`], [`questions`], [`say`] | a request through the whole chain |
//! | [`import`] | configurations of others, as ours |
//! | [`cli`] | the command line |

pub mod around;
pub mod ask;
pub mod attached;
pub mod beside;
pub mod cli;
pub mod cross;
pub mod evaluate;
pub mod fetched;
pub mod find;
pub mod finding;
pub mod heard;
pub mod import;
pub mod load;
pub mod modules;
pub mod normal;
pub mod notes;
pub mod questions;
pub mod report;
pub mod run;
pub mod say;
pub mod time;
mod ungiven;
pub mod yaml;
