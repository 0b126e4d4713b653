//! What clients are told about a limit.
//!
//! `draft` is draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy: "name";q=100;w=60` and `RateLimit: "name";r=42;t=7`,
//! structured fields (RFC 9651). `t` is when one more request will pass, and absent while nothing is taken.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::edits::HeaderEdit;
use portcullis_common::facts::push_decimal;

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
    pub fn share(&self) -> u64 {
        // In 64 bits: a division of 128 is a function of some thousand instructions in WebAssembly.
        match self.standing.remaining.checked_mul(1_000_000) {
            Some(left) => left.checked_div(self.capacity).unwrap_or(0),
            None => self.standing.remaining.checked_div(self.capacity / 1_000_000).unwrap_or(0),
        }
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self, dialect: HeaderDialect) -> Vec<(&'static str, Vec<u8>)> {
        let seconds = self.standing.next.map(ceil_seconds);
        match dialect {
            HeaderDialect::Draft => {
                let unit = if self.concurrent { ";qu=\"concurrent-requests\"" } else { "" };
                let mut policy = self.item(";q=", self.quota);
                policy.extend_from_slice(unit.as_bytes());
                parameter(&mut policy, ";w=", self.window);
                let mut left = self.item(";r=", self.standing.remaining);
                parameter(&mut left, ";t=", seconds);
                vec![("ratelimit-policy", policy), ("ratelimit", left)]
            }
            HeaderDialect::XRateLimit => vec![
                ("x-ratelimit-limit", decimal(self.capacity)),
                ("x-ratelimit-remaining", decimal(self.standing.remaining)),
                ("x-ratelimit-reset", decimal(seconds.unwrap_or(0))),
            ],
            HeaderDialect::Nothing => Vec::new(),
        }
    }

    /// The policy's name as a string of a structured field, with one number.
    fn item(&self, name: &str, number: u64) -> Vec<u8> {
        // Written by hand, as the verdict is: `format!` costs several times the instructions.
        let mut out = Vec::with_capacity(64);
        out.push(b'"');
        out.extend_from_slice(self.policy.as_bytes());
        out.push(b'"');
        parameter(&mut out, name, Some(number));
        out
    }
}

fn parameter(out: &mut Vec<u8>, name: &str, number: Option<u64>) {
    if let Some(number) = number {
        out.extend_from_slice(name.as_bytes());
        push_decimal(out, number);
    }
}

fn decimal(number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    push_decimal(&mut out, number);
    out
}

/// The same as edits of a response.
#[must_use]
pub fn edits(headers: Vec<(&'static str, Vec<u8>)>) -> Vec<HeaderEdit> {
    let edit = |(name, value): (&'static str, Vec<u8>)| HeaderEdit::Set(name.into(), Rc::from(value));
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
        assert_eq!(policy(told(Some(60), false)), b"\"l\";q=5;w=60");
        assert_eq!(policy(told(None, false)), b"\"l\";q=5");
        assert_eq!(policy(told(None, true)), b"\"l\";q=5;qu=\"concurrent-requests\"");
    }
}
