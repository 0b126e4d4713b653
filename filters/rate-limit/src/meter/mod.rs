//! What a limit measures with: three algorithms over one entry of the table.
//!
//! | module | one idea |
//! |---|---|
//! | [`gcra`] | a bucket in one number |
//! | [`sliding`] | two windows and a share of the first |
//! | [`calendar`] | a count from midnight to midnight |

pub mod calendar;
pub mod gcra;
pub mod sliding;

use std::time::Duration;

use portcullis_common::table::Entry;

use calendar::Calendar;
use gcra::Bucket;
use sliding::Sliding;

/// A measure. Each of its functions is pure: entry in, entry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A bucket that fills steadily.
    Bucket(Bucket),
    /// A window that slides.
    Sliding(Sliding),
    /// A window of the calendar.
    Calendar(Calendar),
}

/// The present, on the clock that nothing steps and on the calendar's, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Monotonic.
    pub mono: u64,
    /// Since 1970; see [`calendar::Anchor`].
    pub calendar: u64,
}

/// What a measure says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It passes.
    Admit {
        /// The entry after it.
        entry: Entry,
        /// What is left for others.
        standing: Standing,
    },
    /// It does not.
    Refuse {
        /// When the same request would pass, if nobody else asks; never sooner.
        retry_after: Duration,
        /// What is left.
        standing: Standing,
    },
}

/// How much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whole units that would pass now.
    pub remaining: u64,
    /// When one more will; nothing if none is taken.
    pub next: Option<Duration>,
}

impl Measure {
    /// The most that can pass at once.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        match self {
            Measure::Bucket(bucket) => bucket.burst(),
            Measure::Sliding(sliding) => sliding.limit(),
            Measure::Calendar(calendar) => calendar.limit(),
        }
    }

    /// Whether its entries hold the counts of two windows.
    #[must_use]
    pub fn has_windows(&self) -> bool {
        matches!(self, Measure::Sliding(_))
    }

    /// Decides about a request that costs `cost`.
    #[must_use]
    pub fn decide(&self, entry: Entry, now: Times, cost: u64) -> Decision {
        match self {
            Measure::Bucket(bucket) => bucket.decide(entry, now.mono, cost),
            Measure::Sliding(sliding) => sliding.decide(entry, now.mono, cost),
            Measure::Calendar(calendar) => calendar.decide(entry, now, cost),
        }
    }

    /// The entry after `amount` of what was charged is given back; `receipt` is the entry that the charge left. What has flowed
    /// back since by itself is not given a second time.
    #[must_use]
    pub fn give_back(&self, entry: Entry, receipt: Entry, now: Times, amount: u64) -> Entry {
        match self {
            Measure::Bucket(bucket) => bucket.give_back(entry, receipt, now.mono, amount),
            Measure::Sliding(sliding) => sliding.give_back(entry, receipt, amount),
            Measure::Calendar(_) => calendar::give_back(entry, receipt, amount),
        }
    }

    /// The entry after `amount` more is charged, whether or not it is there: the request has been served.
    #[must_use]
    pub fn charge(&self, entry: Entry, now: Times, amount: u64) -> Entry {
        match self {
            Measure::Bucket(bucket) => bucket.charge(entry, now.mono, amount),
            Measure::Sliding(sliding) => sliding.charge(entry, now.mono, amount),
            Measure::Calendar(calendar) => calendar.charge(entry, now, amount),
        }
    }
}

/// The two halves of an entry's data.
fn halves(data: u64) -> (u64, u64) {
    (data >> 32, data & 0xFFFF_FFFF)
}

/// The reverse of [`halves`]; a number that does not fit its half becomes the largest that does.
fn join(high: u64, low: u64) -> u64 {
    (high.min(0xFFFF_FFFF) << 32) | low.min(0xFFFF_FFFF)
}

/// `a * b / c`, rounded down, without overflow on the way; 0 for a `c` of 0.
fn scale(a: u64, b: u64, c: u64) -> u64 {
    let product = u128::from(a).saturating_mul(u128::from(b));
    u64::try_from(product.checked_div(u128::from(c)).unwrap_or(0)).unwrap_or(u64::MAX)
}
