//! rebac: may this subject do this to this object?
//!
//! | module | one idea |
//! |---|---|
//! | [`condition`] | expressions that tuples depend on |
//! | [`engine`] | a model with its tuples, and the answers to questions |
//! | [`model`] | what types, relations and conditions there are |
//! | [`tuples`] | who has which relation to what |

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))] // a test that overflows fails, which is right

pub mod condition;
pub mod engine;
pub mod model;
pub mod tuples;
