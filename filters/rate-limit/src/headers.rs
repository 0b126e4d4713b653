//! What clients are told about a limit.
//!
//! `draft` is draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy: "name";q=100;w=60` and `RateLimit: "name";r=42;t=7`,
//! structured fields (RFC 9651). `t` is when one more request will pass, and absent while the bucket is full.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::edits::HeaderEdit;

use crate::config::HeaderDialect;
use crate::gcra::Standing;
use crate::policy::Limit;

/// The headers for one limit.
#[must_use]
pub fn headers(dialect: HeaderDialect, limit: &Limit, standing: Standing) -> Vec<(&'static str, String)> {
    let seconds = standing.next.map(ceil_seconds);
    match dialect {
        HeaderDialect::Draft => {
            let reset = seconds.map_or_else(String::new, |t| format!(";t={t}"));
            vec![
                (
                    "ratelimit-policy",
                    format!("\"{}\";q={};w={}", limit.name, limit.rate.count, limit.rate.period.as_secs()),
                ),
                ("ratelimit", format!("\"{}\";r={}{reset}", limit.name, standing.remaining)),
            ]
        }
        HeaderDialect::XRateLimit => vec![
            ("x-ratelimit-limit", limit.quota.burst().to_string()),
            ("x-ratelimit-remaining", standing.remaining.to_string()),
            ("x-ratelimit-reset", seconds.unwrap_or(0).to_string()),
        ],
        HeaderDialect::Nothing => Vec::new(),
    }
}

/// The same as edits of a response.
#[must_use]
pub fn edits(headers: Vec<(&'static str, String)>) -> Vec<HeaderEdit> {
    let edit =
        |(name, value): (&'static str, String)| HeaderEdit::Set(name.into(), Rc::from(value.into_bytes()));
    headers.into_iter().map(edit).collect()
}

/// Whole seconds, never fewer than it takes.
#[must_use]
pub fn ceil_seconds(d: Duration) -> u64 {
    d.as_secs().saturating_add(u64::from(d.subsec_nanos() != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_never_too_few() {
        assert_eq!(ceil_seconds(Duration::from_millis(1)), 1);
        assert_eq!(ceil_seconds(Duration::from_secs(2)), 2);
        assert_eq!(ceil_seconds(Duration::ZERO), 0);
    }
}
