//! A quota of the calendar: so many from one midnight to the next, in UTC or at a fixed offset from it.
//!
//! An entry's `data` are the number of its window and the count in it, its `until` the window's end on the monotonic clock. A window
//! whose number is smaller than the entry's is over for good: a clock that steps back gives nobody a second quota.

use std::num::NonZeroU64;
use std::time::Duration;

use portcullis_common::clock::Now;
use portcullis_common::host::{Cas, Host};
use portcullis_common::table::Entry;

use super::{Decision, Standing, Times, halves, join};
use crate::rate::Period;

const SECOND: u64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// A limit for each window of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    limit: NonZeroU64,
    period: Period,
    /// Seconds that the zone is ahead of UTC.
    offset: i64,
}

impl Calendar {
    /// At most `limit` from each boundary to the next; `offset` in seconds.
    #[must_use]
    pub fn new(limit: NonZeroU64, period: Period, offset: i64) -> Calendar {
        Calendar { limit, period, offset }
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.get()
    }

    pub(super) fn decide(&self, entry: Entry, now: Times, cost: u64) -> Decision {
        let (number, count, until) = self.window(entry, now);
        let after = count.saturating_add(cost);
        let wait = Duration::from_nanos(until.saturating_sub(now.mono));
        let standing = |count: u64| Standing {
            remaining: self.limit.get().saturating_sub(count),
            next: (count != 0).then_some(wait),
        };
        if after <= self.limit.get() {
            Decision::Admit { entry: Entry { until, data: join(number, after) }, standing: standing(after) }
        } else {
            Decision::Refuse { retry_after: wait, standing: standing(count) }
        }
    }

    pub(super) fn charge(&self, entry: Entry, now: Times, amount: u64) -> Entry {
        let (number, count, until) = self.window(entry, now);
        Entry { until, data: join(number, count.saturating_add(amount)) }
    }

    /// The number of the window, what was counted in it, and when it ends.
    fn window(&self, entry: Entry, now: Times) -> (u64, u64, u64) {
        let local = i64::try_from(now.calendar / SECOND).unwrap_or(i64::MAX).saturating_add(self.offset);
        let (number, end) = match self.period {
            Period::Span(span) => {
                let span = i64::try_from(span.as_secs()).unwrap_or(i64::MAX).max(1);
                let number = local.div_euclid(span);
                (number, number.saturating_add(1).saturating_mul(span))
            }
            Period::Month => {
                let month = month_of(local.div_euclid(DAY));
                (month, first_day(month.saturating_add(1)).saturating_mul(DAY))
            }
        };
        let number = u64::try_from(number).unwrap_or(0);
        let (known, count) = halves(entry.data);
        if entry.data != 0 && known >= number {
            return (known, count, entry.until);
        }
        let end = u64::try_from(end.saturating_sub(self.offset)).unwrap_or(0).saturating_mul(SECOND);
        (number, 0, now.mono.saturating_add(end.saturating_sub(now.calendar)))
    }
}

pub(super) fn give_back(entry: Entry, receipt: Entry, amount: u64) -> Entry {
    let ((number, count), (charged, _)) = (halves(entry.data), halves(receipt.data));
    let left = if number == charged { count.saturating_sub(amount) } else { count };
    Entry { until: entry.until, data: join(number, left) }
}

/// The month of a day since 1970-01-01, counted from January of the year 0; the proleptic Gregorian calendar, by the arithmetic of
/// Howard Hinnant, "chrono-compatible low-level date algorithms".
fn month_of(day: i64) -> i64 {
    // Years begin in March, so that the leap day is a year's last.
    let day = day.saturating_add(719_468);
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let leaps = (of_era / 1_460).saturating_sub(of_era / 36_524).saturating_add(of_era / 146_096);
    let year = of_era.saturating_sub(leaps) / 365;
    let of_year =
        of_era.saturating_sub(year.saturating_mul(365)).saturating_sub(year / 4).saturating_add(year / 100);
    let month = of_year.saturating_mul(5).saturating_add(2) / 153;
    era.saturating_mul(400).saturating_add(year).saturating_mul(12).saturating_add(month).saturating_add(2)
}

/// The reverse: the first day of a month.
fn first_day(month: i64) -> i64 {
    let month = month.saturating_sub(2);
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12));
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = month.saturating_mul(153).saturating_add(2) / 5;
    let days = of_era
        .saturating_mul(365)
        .saturating_add(of_era / 4)
        .saturating_sub(of_era / 100)
        .saturating_add(of_year);
    era.saturating_mul(146_097).saturating_add(days).saturating_sub(719_468)
}

/// What the calendar's clock is ahead of the monotonic one, agreed on by all workers. It only ever grows: the calendar follows a
/// wall clock that is set forward, and waits for one that is set back.
#[derive(Debug)]
pub struct Anchor {
    key: Vec<u8>,
    ahead: u64,
}

impl Anchor {
    /// The anchor of the store called `name`.
    #[must_use]
    pub fn new(name: &[&str]) -> Anchor {
        Anchor { key: [b"portcullis calendar ", name.join("\0").as_bytes()].concat(), ahead: 0 }
    }

    /// The present on both clocks.
    pub fn times(&mut self, now: &Now, host: &dyn Host) -> Times {
        let mono = now.mono().0;
        let ahead = now.wall().0.saturating_sub(mono);
        // Two readings are never of one moment; what is less than a second is no step.
        if ahead > self.ahead.saturating_add(SECOND) {
            self.agree(host, ahead);
        }
        Times { mono, calendar: mono.saturating_add(self.ahead) }
    }

    /// Takes over what others know, or tells them.
    fn agree(&mut self, host: &dyn Host, ahead: u64) {
        // Each turn that fails is another worker's success; after a few, ours alone is as good until the next step.
        for _ in 0..4 {
            let (known, cas) = match host.shared_get(&self.key) {
                Ok(Some((bytes, cas))) => (bytes.as_slice().try_into().map_or(0, u64::from_le_bytes), cas),
                Ok(None) => (0, Cas::ABSENT),
                Err(_) => break,
            };
            if known.saturating_add(SECOND) >= ahead {
                self.ahead = self.ahead.max(known);
                return;
            }
            if host.shared_set(&self.key, &ahead.to_le_bytes(), cas).is_ok() {
                break;
            }
        }
        self.ahead = self.ahead.max(ahead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::clock::{Mono, Wall};
    use portcullis_common::memory::{MemoryHost, SharedData};

    fn calendar(limit: u64, period: Period, offset: i64) -> Calendar {
        Calendar::new(NonZeroU64::new(limit).unwrap(), period, offset)
    }

    fn at(calendar: i64) -> Times {
        Times { mono: 7 * SECOND, calendar: u64::try_from(calendar).unwrap() * SECOND }
    }

    fn wait(calendar: Calendar, now: Times) -> u64 {
        let entry = calendar.charge(Entry::default(), now, calendar.limit());
        match calendar.decide(entry, now, 1) {
            Decision::Refuse { retry_after, .. } => retry_after.as_secs(),
            admitted => panic!("{admitted:?}"),
        }
    }

    #[test]
    fn days_and_months_end_at_midnight_of_their_zone() {
        const DAYS: Period = Period::Span(Duration::from_secs(86_400));
        // 2026-02-27 22:30:00 UTC
        let now = at(1_772_231_400);
        assert_eq!(wait(calendar(5, DAYS, 0), now), 5_400);
        assert_eq!(wait(calendar(5, DAYS, 7_200), now), 23 * 3_600 + 1_800);
        assert_eq!(wait(calendar(5, DAYS, -3_600), now), 9_000);
        assert_eq!(wait(calendar(5, Period::Month, 0), now), 86_400 + 5_400);
        assert_eq!(wait(calendar(5, Period::Month, 7_200), now), 86_400 - 1_800);
    }

    #[test]
    fn months_are_those_of_the_gregorian_calendar() {
        let mut day = 0;
        let mut month = 1_970 * 12;
        for year in 1_970..2_140_i64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for days in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                assert_eq!((first_day(month), month_of(day), month_of(day + days - 1)), (day, month, month));
                day += days;
                month += 1;
            }
        }
    }

    #[test]
    fn a_clock_that_steps_gives_nobody_a_second_quota() {
        let shared = SharedData::default();
        let host = MemoryHost::sharing(&shared);
        let hourly = calendar(3, Period::Span(Duration::from_secs(3_600)), 0);
        let mut anchor = Anchor::new(&["s"]);
        let start = 1_772_231_400_u64;
        let mut entry = Entry::default();
        let mut admitted = 0;
        // An hour in which the wall clock is set back and forth by less than an hour and a half around its beginning.
        for (seconds, wall) in
            [(0, 0), (10, -3_000), (20, 20), (30, -5_000), (40, 1_700), (50, 50), (90, -2_000)]
        {
            let now = Now::at(Wall((start as i64 + wall) as u64 * SECOND), Mono((500 + seconds) * SECOND));
            let times = anchor.times(&now, &host);
            for _ in 0..5 {
                if let Decision::Admit { entry: next, .. } = hourly.decide(entry, times, 1) {
                    entry = next;
                    admitted += 1;
                }
            }
        }
        assert_eq!(admitted, 3);
        // A worker that comes later and reads the clock while it is set back.
        let mut late = Anchor::new(&["s"]);
        let behind = Now::at(Wall((start - 9_000) * SECOND), Mono(2_000 * SECOND));
        assert_eq!(late.times(&behind, &host), anchor.times(&behind, &host));
        assert!(late.times(&behind, &host).calendar > behind.wall().0, "it goes by what the others know");
    }

    #[test]
    fn what_is_given_back_belongs_to_its_own_window() {
        let daily = calendar(9, Period::Span(Duration::from_secs(86_400)), 0);
        let receipt = daily.charge(Entry::default(), at(86_400), 4);
        assert_eq!(halves(give_back(receipt, receipt, 3).data), (1, 1));
        let tomorrow = daily.charge(receipt, at(2 * 86_400), 2);
        assert_eq!(give_back(tomorrow, receipt, 2), tomorrow);
    }
}
