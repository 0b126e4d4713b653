//! `match: {hosts, methods, path, headers}`: which rule a request meets.
//!
//! | module | one idea |
//! |---|---|
//! | [`path`] | one normal form of a path, and which paths have none |
//! | [`pattern`] | `/documents/{id}/**` |
//! | [`conditions`] | the parts of a `match` |
//! | [`tree`] | the segment tree that finds candidates |
//! | [`listed`] | rules in a list of which the first decides, as their configuration has them |
//! | [`rules`] | first, all, or the most specific of many |
//! | [`strict`] | what a filter that decides who may do what refuses to match |
//! | [`owned`] | headers that only a plugin may set |

pub mod conditions;
pub mod listed;
pub mod owned;
pub mod path;
pub mod pattern;
pub mod rules;
pub mod strict;
pub mod tree;
