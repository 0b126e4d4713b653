//! Decisions that are remembered.
//!
//! An entry holds what was answered, when its question left and in which epoch. Whether it still counts is worked out when it is
//! read, so that a watch that breaks shortens at once what was remembered before. Only answers are remembered, never errors.
//!
//! A question has one entry. The token that its answer is at least as new as is part of the entry, so that the answer to a later
//! question voids the one before under every token: no old token brings back what a newer answer took away.

use std::rc::Rc;

use portcullis_common::cache::{Cache, KeyPart};
use portcullis_common::clock::{Mono, nanos};

use super::epoch::Epoch;
use super::freshness::Wanted;
use crate::policy::remote::CacheRules;

/// When a question left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// When.
    pub at: Mono,
    /// In which epoch.
    pub epoch: u64,
}

/// What is remembered of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It counts.
    Valid(bool),
    /// Its time is over, but it may serve while the engine is away.
    Stale(bool),
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
struct Remembered {
    holds: bool,
    left: Departure,
    /// The answer is at least as new as the write that this token is of.
    since: Option<Rc<str>>,
    /// By how many percent its time is shorter, at most 100.
    shorter: u8,
}

/// How long answers count, in nanoseconds: sums of `Duration`s cost ten times as much, and this is read for every hit.
#[derive(Debug)]
struct Times {
    allow: u64,
    deny: u64,
    watched: u64,
    stale: u64,
}

/// The decisions that one worker thread remembers.
#[derive(Debug)]
pub struct Memory {
    cache: Cache<Remembered>,
    rules: CacheRules,
    times: Times,
    /// What the watch says.
    pub epoch: Epoch,
}

/// What an entry takes beside its key.
const ENTRY: usize = size_of::<Remembered>();

impl Memory {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(rules: CacheRules) -> Memory {
        let times = Times {
            allow: nanos(rules.allow),
            deny: nanos(rules.deny),
            watched: nanos(rules.watched),
            stale: nanos(rules.stale),
        };
        Memory { cache: Cache::new(rules.size, KeyPart::Whole), rules, times, epoch: Epoch::default() }
    }

    /// A question that leaves now.
    #[must_use]
    pub fn departure(&self, now: Mono) -> Departure {
        Departure { at: now, epoch: self.epoch.number() }
    }

    /// What is remembered under `key` and is as new as `wanted`.
    pub fn get(&mut self, key: &[u8], wanted: &Wanted, now: Mono) -> Found {
        let Some(entry) = self.cache.get(key) else { return Found::Nothing };
        let is_new = match wanted {
            Wanted::Any => true,
            // Tokens have no order that we know of.
            Wanted::Since(token) => entry.since.as_ref() == Some(token),
            Wanted::Fresh => false,
        };
        if !is_new {
            return Found::Nothing;
        }
        let Remembered { holds, left, shorter, .. } = *entry;
        if left.epoch != self.epoch.number() {
            self.cache.remove(key);
            return Found::Nothing;
        }
        let of_kind = if holds { self.times.allow } else { self.times.deny };
        if of_kind == 0 {
            return Found::Nothing;
        }
        let full = if self.epoch.is_watched(now) { self.times.watched } else { of_kind };
        let time = full.saturating_sub((full / 100).wrapping_mul(u64::from(shorter)));
        let age = now.0.saturating_sub(left.at.0);
        if age < time {
            Found::Valid(holds)
        } else if age < time.saturating_add(self.times.stale) {
            Found::Stale(holds)
        } else {
            self.cache.remove(key);
            Found::Nothing
        }
    }

    /// Remembers an answer to a question that asked for `wanted`, unless something changed since it left, or a later question was
    /// answered already. `random` is any byte.
    pub fn put(&mut self, key: &[u8], holds: bool, wanted: &Wanted, left: Departure, random: u8) {
        let Some(before) = self.forget(key, left) else { return };
        if (self.times.allow, self.times.deny) == (0, 0) {
            return;
        }
        // An answer of a kind that is not remembered stays all the same: an older one of the other kind may still be on its way.
        let since = match wanted {
            Wanted::Any => None,
            Wanted::Since(token) => Some(Rc::clone(token)),
            // The newest is at least as new as a token that was presented before.
            Wanted::Fresh => before,
        };
        let shorter = u32::from(random).checked_rem(self.rules.jitter.saturating_add(1)).unwrap_or(0);
        let shorter = u8::try_from(shorter).unwrap_or(0);
        let bytes = ENTRY.saturating_add(since.as_ref().map_or(0, |token| token.len()));
        self.cache.insert(key, Remembered { holds, left, since, shorter }, bytes);
    }

    /// Drops what was answered to an earlier question, for there is a newer answer even if that one is not kept; gives its token.
    /// `None` if something changed since this question left, or what is remembered is newer.
    pub fn forget(&mut self, key: &[u8], left: Departure) -> Option<Option<Rc<str>>> {
        if left.epoch != self.epoch.number() {
            return None;
        }
        let entry = self.cache.get(key).filter(|entry| entry.left.epoch == left.epoch);
        if entry.is_some_and(|entry| entry.left.at > left.at) {
            return None;
        }
        let since = entry.and_then(|entry| entry.since.clone());
        self.cache.remove(key);
        Some(since)
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cache.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::remote::epoch::Floor;

    const S: u64 = 1_000_000_000;

    fn memory(stale: u64) -> Memory {
        Memory::new(CacheRules {
            allow: Duration::from_secs(10),
            deny: Duration::from_secs(2),
            watched: Duration::from_secs(60),
            jitter: 10,
            size: 1 << 20,
            stale: Duration::from_secs(stale),
        })
    }

    #[test]
    fn each_answer_has_its_time_and_chance_shortens_it() {
        let mut memory = memory(0);
        let left = memory.departure(Mono(0));
        memory.put(b"yes", true, &Wanted::Any, left, 0);
        memory.put(b"no", false, &Wanted::Any, left, 0);
        memory.put(b"short", true, &Wanted::Any, left, 10);
        assert_eq!(memory.get(b"no", &Wanted::Any, Mono(2 * S - 1)), Found::Valid(false));
        assert_eq!(memory.get(b"no", &Wanted::Any, Mono(2 * S)), Found::Nothing);
        assert_eq!(memory.get(b"short", &Wanted::Any, Mono(9 * S - 1)), Found::Valid(true));
        assert_eq!(memory.get(b"short", &Wanted::Any, Mono(9 * S)), Found::Nothing);
        assert_eq!(memory.get(b"yes", &Wanted::Any, Mono(10 * S - 1)), Found::Valid(true));
        assert_eq!(memory.get(b"yes", &Wanted::Any, Mono(10 * S)), Found::Nothing);
    }

    #[test]
    fn what_was_answered_across_a_change_is_not_remembered() {
        let mut memory = memory(0);
        let left = memory.departure(Mono(0));
        memory.put(b"before", true, &Wanted::Any, left, 0);
        memory.epoch.invalidate(Floor::None);
        memory.put(b"across", true, &Wanted::Any, left, 0);
        assert_eq!(memory.get(b"before", &Wanted::Any, Mono(1)), Found::Nothing);
        assert_eq!(memory.get(b"across", &Wanted::Any, Mono(1)), Found::Nothing);
        let left = memory.departure(Mono(1));
        memory.put(b"after", true, &Wanted::Any, left, 0);
        assert_eq!(memory.get(b"after", &Wanted::Any, Mono(2)), Found::Valid(true));
    }

    #[test]
    fn a_watch_lengthens_and_its_break_shortens_at_once() {
        let mut memory = memory(0);
        memory.epoch.alive(Mono(0), Mono(100 * S));
        let left = memory.departure(Mono(0));
        memory.put(b"k", false, &Wanted::Any, left, 0);
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(59 * S)), Found::Valid(false));
        memory.epoch.broken();
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(59 * S)), Found::Nothing);
    }

    #[test]
    fn what_is_over_serves_only_inside_its_window() {
        let mut memory = memory(5);
        let left = memory.departure(Mono(0));
        memory.put(b"k", true, &Wanted::Any, left, 0);
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(15 * S - 1)), Found::Stale(true));
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(15 * S)), Found::Nothing);
    }

    #[test]
    fn an_older_question_does_not_replace_the_answer_to_a_later_one() {
        let mut memory = memory(0);
        let (old, new) = (memory.departure(Mono(0)), memory.departure(Mono(5)));
        memory.put(b"k", false, &Wanted::Any, new, 0);
        memory.put(b"k", true, &Wanted::Any, old, 0);
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(6)), Found::Valid(false));
    }

    #[test]
    fn a_newer_answer_voids_what_is_remembered_under_any_token() {
        let (old, other) = (Wanted::Since("old".into()), Wanted::Since("other".into()));
        let mut memory = memory(5);
        memory.put(b"k", true, &old, Departure { at: Mono(0), epoch: 0 }, 0);
        assert_eq!(memory.get(b"k", &old, Mono(1)), Found::Valid(true));
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(1)), Found::Valid(true));
        for wanted in [&other, &Wanted::Fresh] {
            assert_eq!(memory.get(b"k", wanted, Mono(1)), Found::Nothing, "{wanted:?}");
        }
        // The newest answer is as new as the token was, and stays so.
        memory.put(b"k", false, &Wanted::Fresh, Departure { at: Mono(2), epoch: 0 }, 0);
        for wanted in [&old, &Wanted::Any] {
            assert_eq!(memory.get(b"k", wanted, Mono(3)), Found::Valid(false), "{wanted:?}");
        }
        memory.put(b"k", true, &old, Departure { at: Mono(1), epoch: 0 }, 0);
        assert_eq!(memory.get(b"k", &old, Mono(3)), Found::Valid(false), "that question left before");
        memory.put(b"k", false, &other, Departure { at: Mono(4), epoch: 0 }, 0);
        assert_eq!(memory.get(b"k", &old, Mono(5)), Found::Nothing);
        memory.put(b"k", true, &Wanted::Any, Departure { at: Mono(6), epoch: 0 }, 0);
        assert_eq!(memory.get(b"k", &other, Mono(7)), Found::Nothing);
    }

    #[test]
    fn an_answer_that_is_not_kept_voids_the_one_before_all_the_same() {
        let mut memory = memory(5);
        memory.times.deny = 0;
        memory.put(b"k", true, &Wanted::Any, Departure { at: Mono(0), epoch: 0 }, 0);
        memory.put(b"k", false, &Wanted::Fresh, Departure { at: Mono(2), epoch: 0 }, 0);
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(2)), Found::Nothing);
        memory.put(b"k", true, &Wanted::Any, Departure { at: Mono(1), epoch: 0 }, 0);
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(2)), Found::Nothing, "its question left before");
        memory.put(b"k", true, &Wanted::Any, Departure { at: Mono(3), epoch: 0 }, 0);
        assert_eq!(memory.forget(b"k", Departure { at: Mono(2), epoch: 0 }), None, "it is older");
        assert_eq!(memory.forget(b"k", Departure { at: Mono(4), epoch: 1 }), None, "it is of another epoch");
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(4)), Found::Valid(true));
        assert_eq!(memory.forget(b"k", Departure { at: Mono(4), epoch: 0 }), Some(None));
        assert_eq!(memory.get(b"k", &Wanted::Any, Mono(4)), Found::Nothing);
    }
}
