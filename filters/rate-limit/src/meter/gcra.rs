//! The generic cell rate algorithm (ITU-T I.371, annex A; Turner's leaky bucket as a meter): a whole bucket in one number.
//!
//! The number is the **theoretical arrival time**: when the bucket will be full again. Each request moves it on by the emission
//! interval; a request that would move it further ahead than the bucket is deep is refused. So any window of length d admits
//! at most `burst + rate x d`.
//!
//! An entry's `until` is that time. Its `data` adds up all that was ever given back: debts flow off in the order in which they
//! were made, so a charge that is given back late has partly flowed off, and only what is left of it may return.

use std::num::NonZeroU64;
use std::time::Duration;

use portcullis_common::table::Entry;

use super::{Decision, Standing};

/// A rate and a bucket. All times in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The time in which one request's worth flows back, rounded up: never more than the rate.
    interval: NonZeroU64,
    /// How much the bucket holds.
    burst: NonZeroU64,
    /// How long it takes to fill: worked out once, for a multiplication that minds its overflow is a function in WebAssembly.
    depth: u64,
}

impl Bucket {
    /// `count` requests in `period`, in bursts of at most `burst`; `None` if a full bucket would outlast the clock.
    #[must_use]
    pub fn new(count: NonZeroU64, period: Duration, burst: NonZeroU64) -> Option<Bucket> {
        let period = u64::try_from(period.as_nanos()).ok()?;
        let interval = NonZeroU64::new(period.div_ceil(count.get()))?;
        // A full bucket has to fit the clock with room to spare.
        let depth = interval.get().checked_mul(burst.get())?;
        (depth < u64::MAX / 4).then_some(Bucket { interval, burst, depth })
    }

    /// What the bucket holds.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst.get()
    }

    pub(super) fn decide(&self, entry: Entry, now: u64, cost: u64) -> Decision {
        let after = entry.until.max(now).saturating_add(self.time(cost));
        let latest = now.saturating_add(self.depth);
        if after <= latest {
            let entry = Entry { until: after, data: entry.data };
            Decision::Admit { entry, standing: self.standing(after, now) }
        } else {
            let retry_after = Duration::from_nanos(after.saturating_sub(latest));
            Decision::Refuse { retry_after, standing: self.standing(entry.until, now) }
        }
    }

    pub(super) fn give_back(&self, entry: Entry, receipt: Entry, now: u64, amount: u64) -> Entry {
        // Where the charge ends now: whatever was given back since may have moved it forward. An entry that started anew
        // in between counts backwards, which is a very large number, and nothing is given back.
        let moved = entry.data.wrapping_sub(receipt.data);
        let left = receipt.until.saturating_sub(moved).saturating_sub(now);
        let back = self.time(amount).min(left);
        Entry { until: entry.until.saturating_sub(back), data: entry.data.wrapping_add(back) }
    }

    pub(super) fn charge(&self, entry: Entry, now: u64, amount: u64) -> Entry {
        Entry { until: entry.until.max(now).saturating_add(self.time(amount)), data: entry.data }
    }

    fn standing(&self, arrival: u64, now: u64) -> Standing {
        let owed = arrival.saturating_sub(now);
        let free = self.depth.saturating_sub(owed);
        let remaining = free / self.interval;
        // A debt deeper than the bucket, from an answer that cost more than was reserved, comes on top.
        let beyond = owed.saturating_sub(self.depth);
        let next = (owed != 0).then(|| {
            let part = free % self.interval;
            Duration::from_nanos(self.interval.get().saturating_sub(part).saturating_add(beyond))
        });
        Standing { remaining, next }
    }

    fn time(&self, amount: u64) -> u64 {
        if amount == 1 { self.interval.get() } else { self.interval.get().saturating_mul(amount) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(count: u64, seconds: u64, burst: u64) -> Bucket {
        let n = |n| NonZeroU64::new(n).unwrap();
        Bucket::new(n(count), Duration::from_secs(seconds), n(burst)).unwrap()
    }

    fn admit(bucket: Bucket, entry: Entry, now: u64, cost: u64) -> (Entry, Standing) {
        match bucket.decide(entry, now, cost) {
            Decision::Admit { entry, standing } => (entry, standing),
            refused => panic!("{refused:?}"),
        }
    }

    fn refuse(bucket: Bucket, entry: Entry, now: u64, cost: u64) -> (Duration, Standing) {
        match bucket.decide(entry, now, cost) {
            Decision::Refuse { retry_after, standing } => (retry_after, standing),
            admitted => panic!("{admitted:?}"),
        }
    }

    #[test]
    fn a_bucket_admits_its_burst_and_then_its_rate() {
        let bucket = bucket(10, 1, 3);
        let mut entry = Entry::default();
        let now = 100 * SECOND;
        for left in [2, 1, 0] {
            let (next, standing) = admit(bucket, entry, now, 1);
            assert_eq!(standing.remaining, left);
            entry = next;
        }
        let (retry_after, standing) = refuse(bucket, entry, now, 1);
        assert_eq!(retry_after, Duration::from_millis(100));
        assert_eq!(standing, Standing { remaining: 0, next: Some(Duration::from_millis(100)) });
        admit(bucket, entry, now + SECOND / 10, 1);
    }

    #[test]
    fn a_full_bucket_has_nothing_to_wait_for() {
        let (entry, _) = admit(bucket(10, 1, 3), Entry::default(), SECOND, 1);
        let (_, later) = admit(bucket(10, 1, 3), entry, 5 * SECOND, 0);
        assert_eq!(later, Standing { remaining: 3, next: None });
    }

    #[test]
    fn what_costs_more_than_the_bucket_never_passes() {
        refuse(bucket(10, 1, 3), Entry::default(), SECOND, 4);
        refuse(bucket(10, 1, 3), Entry::default(), SECOND, u64::MAX);
    }

    #[test]
    fn giving_back_at_once_undoes_a_charge() {
        let bucket = bucket(10, 1, 3);
        let (entry, _) = admit(bucket, Entry::default(), SECOND, 2);
        assert_eq!(bucket.give_back(entry, entry, SECOND, 2).until, SECOND);
    }

    #[test]
    fn what_has_flowed_back_by_itself_is_not_given_back_again() {
        let bucket = bucket(1, 10, 1);
        let (first, _) = admit(bucket, Entry::default(), SECOND, 1);
        let (second, _) = admit(bucket, first, 101 * SECOND, 1);
        let settled = bucket.give_back(second, first, 102 * SECOND, 1);
        assert_eq!(settled, second, "the first charge was over long ago; the second stays");
        refuse(bucket, settled, 102 * SECOND, 1);
    }

    #[test]
    fn a_debt_beyond_the_bucket_is_waited_for() {
        let bucket = bucket(1, 1, 2);
        let entry = bucket.charge(Entry::default(), SECOND, 5);
        let (retry_after, standing) = refuse(bucket, entry, SECOND, 1);
        assert_eq!(retry_after, Duration::from_secs(4));
        assert_eq!(standing, Standing { remaining: 0, next: Some(Duration::from_secs(4)) });
    }

    proptest! {
        /// Any window of length d admits at most burst + rate x d, and a greedy client gets all of it; what is given back, at once
        /// or late, does not count.
        #[test]
        fn every_window_is_bounded(
            count in 1_u64..50, seconds in 1_u64..20, burst in 1_u64..20,
            steps in prop::collection::vec((0_u64..2 * SECOND, any::<prop::sample::Index>(), 0_u8..4), 1..200),
        ) {
            let bucket = bucket(count, seconds, burst);
            let (mut entry, mut now) = (Entry::default(), 1_000 * SECOND);
            let mut admitted: Vec<(u64, Entry)> = Vec::new();
            for (pause, which, kind) in steps {
                now += pause;
                if kind == 0 && !admitted.is_empty() {
                    let (_, receipt) = admitted.remove(which.index(admitted.len()));
                    entry = bucket.give_back(entry, receipt, now, 1);
                    continue;
                }
                match bucket.decide(entry, now, 1) {
                    Decision::Admit { entry: next, .. } => {
                        entry = next;
                        admitted.push((now, next));
                    }
                    Decision::Refuse { retry_after, .. } => {
                        let then = now + retry_after.as_nanos() as u64;
                        let passes = matches!(bucket.decide(entry, then, 1), Decision::Admit { .. });
                        prop_assert!(passes);
                        let sooner = matches!(bucket.decide(entry, then - 1, 1), Decision::Refuse { .. });
                        prop_assert!(sooner);
                    }
                }
            }
            for (i, (from, _)) in admitted.iter().enumerate() {
                for (j, (to, _)) in admitted.iter().enumerate().skip(i) {
                    let most = burst + (to - from) * count / (seconds * SECOND);
                    prop_assert!((j - i + 1) as u64 <= most, "{} in {}", j - i + 1, to - from);
                }
            }
        }
    }
}
