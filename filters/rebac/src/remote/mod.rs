//! Engines outside the filter.
//!
//! | module | one idea |
//! |---|---|
//! | [`epoch`] | what a watch of changes tells the memory |
//! | [`memory`] | decisions that are remembered |

pub mod epoch;
pub mod memory;
