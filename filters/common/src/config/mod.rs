//! Configuration in two stages: a raw serde type with exactly the documented fields, then a compiled type in which
//! impossible states are gone. An error names the path, what is wrong and what to write instead.

mod error;
mod located;
mod parse;
mod proto_struct;
mod secret;
mod types;

pub use error::ConfigError;
pub use parse::parse;
pub use secret::Secret;
pub use types::{Bound, DurationText, HeaderName, PluginName, RuleName, Size, Whole, from_text};
