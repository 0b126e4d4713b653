//! Numbers and spans of time within bounds.

use std::time::Duration;

use portcullis_common::config::{Bound, ConfigError, DurationText, Whole};

use super::error;

/// The span that is written, or else `default`, in milliseconds.
///
/// # Errors
/// If it is not within these bounds.
pub(super) fn duration(
    path: String,
    raw: Option<DurationText>,
    default: u64,
    least: Bound,
    most: Bound,
) -> Result<Duration, ConfigError> {
    DurationText::within(raw, default, least, most).map_err(|problem| error(path, problem))
}

/// The number that is written, or else `default`.
///
/// # Errors
/// If it is not within these bounds.
pub(super) fn whole(
    path: String,
    raw: Option<Whole>,
    default: u32,
    least: u32,
    most: u32,
) -> Result<u32, ConfigError> {
    let value = raw.map_or(Some(default), |n| u32::try_from(n.get()).ok());
    let value = value.filter(|n| (least..=most).contains(n));
    value.ok_or_else(|| error(path, format!("out of range; write a number from {least} to {most}")))
}

/// Whether this is the name of a method.
pub(super) fn is_method(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}
