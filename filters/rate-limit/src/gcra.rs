//! The generic cell rate algorithm (ITU-T I.371, annex A; Turner's leaky bucket as a meter): a whole bucket in one number.
//!
//! The number is the **theoretical arrival time**: when the bucket will be full again. Each request moves it on by the emission
//! interval; a request that would move it further ahead than the bucket is deep is refused. So any window of length d admits
//! at most `burst + rate x d`.

use std::num::NonZeroU64;
use std::time::Duration;

/// A rate and a bucket. All times in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The time in which one request's worth flows back, rounded up: never more than the rate.
    interval: NonZeroU64,
    /// How much the bucket holds.
    burst: NonZeroU64,
}

/// What a bucket says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It passes.
    Admit {
        /// The bucket after it.
        arrival: u64,
        /// What is left for others.
        standing: Standing,
    },
    /// It does not.
    Refuse {
        /// When the same request would pass; never sooner.
        retry_after: Duration,
        /// What is left.
        standing: Standing,
    },
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whole requests that would pass now.
    pub remaining: u64,
    /// When one more will pass; nothing if the bucket is full.
    pub next: Option<Duration>,
}

impl Quota {
    /// `count` requests in `period`, in bursts of at most `burst`; `None` if that leaves no time between two requests.
    #[must_use]
    pub fn new(count: NonZeroU64, period: Duration, burst: NonZeroU64) -> Option<Quota> {
        let period = u64::try_from(period.as_nanos()).ok()?;
        let interval = NonZeroU64::new(period.div_ceil(count.get()))?;
        // A full bucket has to fit the clock with room to spare.
        let depth = interval.get().checked_mul(burst.get())?;
        (depth < u64::MAX / 4).then_some(Quota { interval, burst })
    }

    /// What the bucket holds.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst.get()
    }

    /// Decides about a request that costs `cost`, at `now`, on a bucket with this arrival time.
    #[must_use]
    pub fn decide(&self, arrival: u64, now: u64, cost: u64) -> Decision {
        let asked = self.interval.get().saturating_mul(cost);
        let after = arrival.max(now).saturating_add(asked);
        let latest = now.saturating_add(self.depth());
        if after <= latest {
            Decision::Admit { arrival: after, standing: self.standing(after, now) }
        } else {
            let retry_after = Duration::from_nanos(after.saturating_sub(latest));
            Decision::Refuse { retry_after, standing: self.standing(arrival, now) }
        }
    }

    /// A bucket that gets back what a request cost.
    #[must_use]
    pub fn refund(&self, arrival: u64, cost: u64) -> u64 {
        arrival.saturating_sub(self.interval.get().saturating_mul(cost))
    }

    fn standing(&self, arrival: u64, now: u64) -> Standing {
        let owed = arrival.saturating_sub(now);
        let free = self.depth().saturating_sub(owed);
        let remaining = free / self.interval;
        let next = (owed != 0).then(|| {
            let whole = remaining.saturating_add(1).saturating_mul(self.interval.get());
            Duration::from_nanos(whole.saturating_sub(free))
        });
        Standing { remaining, next }
    }

    fn depth(&self) -> u64 {
        self.interval.get().saturating_mul(self.burst.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn quota(count: u64, seconds: u64, burst: u64) -> Quota {
        let n = |n| NonZeroU64::new(n).unwrap();
        Quota::new(n(count), Duration::from_secs(seconds), n(burst)).unwrap()
    }

    #[test]
    fn a_bucket_admits_its_burst_and_then_its_rate() {
        let quota = quota(10, 1, 3);
        let mut arrival = 0;
        let now = 100 * SECOND;
        for left in [2, 1, 0] {
            let Decision::Admit { arrival: next, standing } = quota.decide(arrival, now, 1) else {
                panic!("refused")
            };
            assert_eq!(standing.remaining, left);
            arrival = next;
        }
        let Decision::Refuse { retry_after, standing } = quota.decide(arrival, now, 1) else {
            panic!("admitted")
        };
        assert_eq!(retry_after, Duration::from_millis(100));
        assert_eq!(standing, Standing { remaining: 0, next: Some(Duration::from_millis(100)) });
        assert!(matches!(quota.decide(arrival, now + SECOND / 10, 1), Decision::Admit { .. }));
    }

    #[test]
    fn a_full_bucket_has_nothing_to_wait_for() {
        let Decision::Admit { arrival, .. } = quota(10, 1, 3).decide(0, SECOND, 1) else { panic!("refused") };
        let later = quota(10, 1, 3).decide(arrival, 5 * SECOND, 0);
        assert!(matches!(later, Decision::Admit { standing: Standing { remaining: 3, next: None }, .. }));
    }

    #[test]
    fn what_costs_more_than_the_bucket_never_passes() {
        assert!(matches!(quota(10, 1, 3).decide(0, SECOND, 4), Decision::Refuse { .. }));
        assert!(matches!(quota(10, 1, 3).decide(0, SECOND, u64::MAX), Decision::Refuse { .. }));
    }

    #[test]
    fn a_refund_undoes_a_charge() {
        let quota = quota(10, 1, 3);
        let Decision::Admit { arrival, .. } = quota.decide(0, SECOND, 2) else { panic!("refused") };
        assert_eq!(quota.refund(arrival, 2), SECOND);
    }

    proptest! {
        /// Any window of length d admits at most burst + rate x d, and a greedy client gets all of it.
        #[test]
        fn every_window_is_bounded(
            count in 1_u64..50, seconds in 1_u64..20, burst in 1_u64..20,
            pauses in prop::collection::vec(0_u64..2 * SECOND, 1..200),
        ) {
            let quota = quota(count, seconds, burst);
            let (mut arrival, mut now) = (0, 1_000 * SECOND);
            let mut admitted: Vec<u64> = Vec::new();
            for pause in pauses {
                now += pause;
                match quota.decide(arrival, now, 1) {
                    Decision::Admit { arrival: next, .. } => {
                        arrival = next;
                        admitted.push(now);
                    }
                    Decision::Refuse { retry_after, .. } => {
                        let then = now + retry_after.as_nanos() as u64;
                        let passes = matches!(quota.decide(arrival, then, 1), Decision::Admit { .. });
                        prop_assert!(passes);
                        let sooner = matches!(quota.decide(arrival, then - 1, 1), Decision::Refuse { .. });
                        prop_assert!(sooner);
                    }
                }
            }
            for (i, from) in admitted.iter().enumerate() {
                for (j, to) in admitted.iter().enumerate().skip(i) {
                    let most = burst + (to - from) * count / (seconds * SECOND);
                    prop_assert!((j - i + 1) as u64 <= most, "{} in {}", j - i + 1, to - from);
                }
            }
        }
    }
}
