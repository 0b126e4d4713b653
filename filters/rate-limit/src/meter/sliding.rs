//! A sliding window, from two counts: the window that runs, and the share of the one before that still lies in the last period.
//!
//! The share is taken as if the window before had been filled evenly, so a period may see up to twice the limit if it
//! was not; it is never more than `limit + rate x d` in any time d, which is what a bucket of the same size would admit. What it has over
//! the bucket: no burst returns before the period is over.
//!
//! An entry's `until` is the end of the window after its own, and so tells which window is meant; its `data` are the count before
//! and the count of the window.

use std::num::NonZeroU64;
use std::time::Duration;

use portcullis_common::table::Entry;

use super::{Decision, Standing, halves, join, scale};

/// A limit and a window, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    limit: NonZeroU64,
    period: NonZeroU64,
}

/// Where a request falls.
#[derive(Clone, Copy)]
struct Window {
    /// When it began.
    from: u64,
    before: u64,
    count: u64,
    /// How much of it is over.
    elapsed: u64,
    /// How long until it begins, to who looked at the clock before another did.
    early: u64,
}

impl Sliding {
    /// At most `limit` in `period`; `None` if the period does not fit the clock.
    #[must_use]
    pub fn new(limit: NonZeroU64, period: Duration) -> Option<Sliding> {
        let period = NonZeroU64::new(u64::try_from(period.as_nanos()).ok()?)?;
        (period.get() < u64::MAX / 8).then_some(Sliding { limit, period })
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.get()
    }

    pub(super) fn decide(&self, entry: Entry, now: u64, cost: u64) -> Decision {
        let window = self.window(entry, now);
        let taken = self.taken(window);
        if taken.saturating_add(cost) <= self.limit.get() {
            let after = Window { count: window.count.saturating_add(cost), ..window };
            Decision::Admit { entry: self.entry(after), standing: self.standing(after) }
        } else {
            Decision::Refuse { retry_after: self.wait(window, cost), standing: self.standing(window) }
        }
    }

    pub(super) fn give_back(&self, entry: Entry, receipt: Entry, amount: u64) -> Entry {
        let (before, count) = halves(entry.data);
        let data = if entry.until == receipt.until {
            join(before, count.saturating_sub(amount))
        } else if entry.until == receipt.until.saturating_add(self.period.get()) {
            join(before.saturating_sub(amount), count)
        } else {
            entry.data
        };
        Entry { until: entry.until, data }
    }

    pub(super) fn charge(&self, entry: Entry, now: u64, amount: u64) -> Entry {
        let window = self.window(entry, now);
        self.entry(Window { count: window.count.saturating_add(amount), ..window })
    }

    fn window(&self, entry: Entry, now: u64) -> Window {
        let period = self.period.get();
        let from = now.saturating_sub(now % self.period);
        let (before, count) = halves(entry.data);
        // The window that the entry is about began two periods before its end.
        let known = entry.until.saturating_sub(period.saturating_mul(2));
        let elapsed = now.saturating_sub(from);
        if entry.until == 0 || known.saturating_add(period) < from {
            Window { from, before: 0, count: 0, elapsed, early: 0 }
        } else if known < from {
            Window { from, before: count, count: 0, elapsed, early: 0 }
        } else {
            // Its own, or a later one: another worker looked at the clock after us.
            let (elapsed, early) = (now.saturating_sub(known), known.saturating_sub(now));
            Window { from: known, before, count, elapsed, early }
        }
    }

    fn entry(&self, window: Window) -> Entry {
        let until = window.from.saturating_add(self.period.get().saturating_mul(2));
        Entry { until, data: join(window.before, window.count) }
    }

    /// What counts now, rounded up.
    fn taken(&self, window: Window) -> u64 {
        let period = self.period.get();
        let left = period.saturating_sub(window.elapsed);
        let share = u128::from(window.before).saturating_mul(u128::from(left)).div_ceil(u128::from(period));
        window.count.saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// How long until `cost` fits, if nobody else asks.
    fn wait(&self, window: Window, cost: u64) -> Duration {
        let period = self.period.get();
        // The share of `before` is at most `room` once so much of the window is over.
        let over = |before: u64, room: u64| period.saturating_sub(scale(room, period, before));
        let this = self.limit.get().checked_sub(window.count.saturating_add(cost));
        let nanos = match this {
            Some(room) => over(window.before, room).saturating_sub(window.elapsed),
            None => {
                let rest = period.saturating_sub(window.elapsed);
                let room = self.limit.get().saturating_sub(cost);
                // An answer that cost more than was reserved may fill the window after this one too.
                rest.saturating_add(over(window.count, room).min(period))
            }
        };
        Duration::from_nanos(nanos.saturating_add(window.early))
    }

    fn standing(&self, window: Window) -> Standing {
        let taken = self.taken(window);
        let remaining = self.limit.get().saturating_sub(taken);
        let next = (taken != 0).then(|| self.wait(window, remaining.saturating_add(1)));
        Standing { remaining, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn sliding(limit: u64, seconds: u64) -> Sliding {
        Sliding::new(NonZeroU64::new(limit).unwrap(), Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn the_window_before_counts_by_its_share() {
        let sliding = sliding(10, 10);
        let full = sliding.charge(Entry::default(), 5 * SECOND, 10);
        for (at, room) in [(9, 0), (10, 0), (11, 1), (15, 5), (19, 9), (20, 10)] {
            let admits = |cost| matches!(sliding.decide(full, at * SECOND, cost), Decision::Admit { .. });
            assert!(admits(room) && !admits(room + 1), "at {at}");
        }
    }

    #[test]
    fn what_is_given_back_belongs_to_its_own_window() {
        let sliding = sliding(10, 10);
        let receipt = sliding.charge(Entry::default(), 5 * SECOND, 4);
        assert_eq!(halves(sliding.give_back(receipt, receipt, 3).data), (0, 1));
        let later = sliding.charge(receipt, 12 * SECOND, 2);
        assert_eq!(halves(sliding.give_back(later, receipt, 3).data), (1, 2));
        let much_later = sliding.charge(receipt, 45 * SECOND, 2);
        assert_eq!(sliding.give_back(much_later, receipt, 3), much_later);
    }

    #[test]
    fn who_looked_at_the_clock_before_a_window_began_waits_for_that_too() {
        let sliding = sliding(2, 10);
        let entry = sliding.charge(sliding.charge(Entry::default(), 5 * SECOND, 1), 10 * SECOND, 1);
        let Decision::Refuse { retry_after, .. } = sliding.decide(entry, 9 * SECOND, 1) else {
            panic!("admitted")
        };
        assert_eq!(retry_after, Duration::from_secs(11));
    }

    proptest! {
        /// Any time d admits at most limit + rate x d; a refused request passes after its wait and not before; clocks that were read
        /// in another order than the decisions were made change neither.
        #[test]
        fn every_window_is_bounded(
            limit in 1_u64..20, seconds in 1_u64..20,
            steps in prop::collection::vec((0_u64..2 * SECOND, 0_u64..SECOND / 10), 1..200),
        ) {
            let sliding = sliding(limit, seconds);
            let (mut entry, mut clock) = (Entry::default(), 1_000 * SECOND);
            let mut admitted: Vec<u64> = Vec::new();
            for (pause, late) in steps {
                clock += pause;
                let now = clock - late;
                match sliding.decide(entry, now, 1) {
                    Decision::Admit { entry: next, .. } => {
                        entry = next;
                        admitted.push(now);
                    }
                    Decision::Refuse { retry_after, .. } => {
                        let then = now + retry_after.as_nanos() as u64;
                        let passes = matches!(sliding.decide(entry, then, 1), Decision::Admit { .. });
                        prop_assert!(passes, "{entry:?} {now} {retry_after:?}");
                        let sooner = matches!(sliding.decide(entry, then - 1, 1), Decision::Refuse { .. });
                        prop_assert!(sooner);
                    }
                }
            }
            admitted.sort_unstable();
            for (i, from) in admitted.iter().enumerate() {
                for (j, to) in admitted.iter().enumerate().skip(i) {
                    let most = limit + ((to - from) * limit).div_ceil(seconds * SECOND);
                    prop_assert!((j - i + 1) as u64 <= most, "{} in {}", j - i + 1, to - from);
                }
            }
        }
    }
}
