//! What clients are told about a limit.
//!
//! `draft` is draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy: "name";q=100;w=60` and `RateLimit: "name";r=42;t=7`,
//! structured fields (RFC 9651). `t` is when one more request will pass, and absent while nothing is taken.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::edits::HeaderEdit;

use crate::config::HeaderDialect;
use crate::meter::Standing;

/// One number of one limit, and how a client stands with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The limit's name.
    pub limit: Rc<str>,
    /// Its name: the limit's, with a number behind it where the limit has several rates.
    pub policy: Rc<str>,
    /// How many.
    pub quota: u64,
    /// In how many seconds; nothing for a month, and for requests in flight.
    pub window: Option<u64>,
    /// Whether it is about requests in flight.
    pub concurrent: bool,
    /// The most at once.
    pub capacity: u64,
    /// How much is left.
    pub standing: Standing,
}

impl Told {
    /// What is left of what it holds, in millionths: the smallest is the tightest.
    #[must_use]
    pub fn share(&self) -> u128 {
        let left = u128::from(self.standing.remaining).saturating_mul(1_000_000);
        left.checked_div(u128::from(self.capacity)).unwrap_or(0)
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self, dialect: HeaderDialect) -> Vec<(&'static str, String)> {
        let seconds = self.standing.next.map(ceil_seconds);
        match dialect {
            HeaderDialect::Draft => {
                let unit = if self.concurrent { ";qu=\"concurrent-requests\"" } else { "" };
                let window = self.window.map_or_else(String::new, |w| format!(";w={w}"));
                let reset = seconds.map_or_else(String::new, |t| format!(";t={t}"));
                let Told { policy, quota, standing, .. } = self;
                vec![
                    ("ratelimit-policy", format!("\"{policy}\";q={quota}{unit}{window}")),
                    ("ratelimit", format!("\"{policy}\";r={}{reset}", standing.remaining)),
                ]
            }
            HeaderDialect::XRateLimit => vec![
                ("x-ratelimit-limit", self.capacity.to_string()),
                ("x-ratelimit-remaining", self.standing.remaining.to_string()),
                ("x-ratelimit-reset", seconds.unwrap_or(0).to_string()),
            ],
            HeaderDialect::Nothing => Vec::new(),
        }
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

    #[test]
    fn a_month_has_no_window_and_a_flight_has_a_unit() {
        let told = |window, concurrent| Told {
            limit: "l".into(),
            policy: "l".into(),
            quota: 5,
            window,
            concurrent,
            capacity: 5,
            standing: Standing { remaining: 4, next: None },
        };
        let policy = |told: Told| told.headers(HeaderDialect::Draft).remove(0).1;
        assert_eq!(policy(told(Some(60), false)), "\"l\";q=5;w=60");
        assert_eq!(policy(told(None, false)), "\"l\";q=5");
        assert_eq!(policy(told(None, true)), "\"l\";q=5;qu=\"concurrent-requests\"");
    }
}
