//! Decisions that are remembered.
//!
//! An entry holds what was answered, when its question left and in which epoch. Whether it still counts is worked out when it is
//! read, so that a watch that breaks shortens at once what was remembered before. Only answers are remembered, never errors.

use std::time::Duration;

use portcullis_common::cache::{Cache, KeyPart};
use portcullis_common::clock::Mono;

use super::epoch::Epoch;
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

#[derive(Clone, Copy, Debug)]
struct Remembered {
    holds: bool,
    left: Departure,
    /// By how many percent its time is shorter.
    shorter: u8,
}

/// The decisions that one worker thread remembers.
#[derive(Debug)]
pub struct Memory {
    cache: Cache<Remembered>,
    rules: CacheRules,
    /// What the watch says.
    pub epoch: Epoch,
}

/// What an entry takes beside its key.
const ENTRY: usize = size_of::<Remembered>();

impl Memory {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(rules: CacheRules) -> Memory {
        Memory { cache: Cache::new(rules.size, KeyPart::Whole), rules, epoch: Epoch::default() }
    }

    /// A question that leaves now.
    #[must_use]
    pub fn departure(&self, now: Mono) -> Departure {
        Departure { at: now, epoch: self.epoch.number() }
    }

    /// What is remembered under `key`.
    pub fn get(&mut self, key: &[u8], now: Mono) -> Found {
        let Some(entry) = self.cache.get(key).copied() else { return Found::Nothing };
        if entry.left.epoch != self.epoch.number() {
            self.cache.remove(key);
            return Found::Nothing;
        }
        let full = match (self.epoch.is_watched(now), entry.holds) {
            (true, _) => self.rules.watched,
            (false, true) => self.rules.allow,
            (false, false) => self.rules.deny,
        };
        let hundredth = full.checked_div(100).unwrap_or_default();
        let time = full.saturating_sub(hundredth.saturating_mul(u32::from(entry.shorter)));
        let age = now.since(entry.left.at);
        if age < time {
            Found::Valid(entry.holds)
        } else if age < time.saturating_add(self.rules.stale) {
            Found::Stale(entry.holds)
        } else {
            self.cache.remove(key);
            Found::Nothing
        }
    }

    /// Remembers an answer, unless something changed since its question left, or a later question was answered already. `random` is
    /// any byte.
    pub fn put(&mut self, key: &[u8], holds: bool, left: Departure, random: u8) {
        let of_kind = if holds { self.rules.allow } else { self.rules.deny };
        if left.epoch != self.epoch.number() || of_kind == Duration::ZERO {
            return;
        }
        if self.cache.get(key).is_some_and(|entry| entry.left.epoch == left.epoch && entry.left.at > left.at)
        {
            return;
        }
        let shorter = u32::from(random).checked_rem(self.rules.jitter.saturating_add(1)).unwrap_or(0);
        let shorter = u8::try_from(shorter).unwrap_or(0);
        self.cache.insert(key, Remembered { holds, left, shorter }, ENTRY);
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cache.bytes()
    }
}

#[cfg(test)]
mod tests {
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
        memory.put(b"yes", true, left, 0);
        memory.put(b"no", false, left, 0);
        memory.put(b"short", true, left, 10);
        assert_eq!(memory.get(b"no", Mono(2 * S - 1)), Found::Valid(false));
        assert_eq!(memory.get(b"no", Mono(2 * S)), Found::Nothing);
        assert_eq!(memory.get(b"short", Mono(9 * S - 1)), Found::Valid(true));
        assert_eq!(memory.get(b"short", Mono(9 * S)), Found::Nothing);
        assert_eq!(memory.get(b"yes", Mono(10 * S - 1)), Found::Valid(true));
        assert_eq!(memory.get(b"yes", Mono(10 * S)), Found::Nothing);
    }

    #[test]
    fn what_was_answered_across_a_change_is_not_remembered() {
        let mut memory = memory(0);
        let left = memory.departure(Mono(0));
        memory.put(b"before", true, left, 0);
        memory.epoch.invalidate(Floor::None);
        memory.put(b"across", true, left, 0);
        assert_eq!(memory.get(b"before", Mono(1)), Found::Nothing);
        assert_eq!(memory.get(b"across", Mono(1)), Found::Nothing);
        let left = memory.departure(Mono(1));
        memory.put(b"after", true, left, 0);
        assert_eq!(memory.get(b"after", Mono(2)), Found::Valid(true));
    }

    #[test]
    fn a_watch_lengthens_and_its_break_shortens_at_once() {
        let mut memory = memory(0);
        memory.epoch.alive(Mono(0), Mono(100 * S));
        let left = memory.departure(Mono(0));
        memory.put(b"k", false, left, 0);
        assert_eq!(memory.get(b"k", Mono(59 * S)), Found::Valid(false));
        memory.epoch.broken();
        assert_eq!(memory.get(b"k", Mono(59 * S)), Found::Nothing);
    }

    #[test]
    fn what_is_over_serves_only_inside_its_window() {
        let mut memory = memory(5);
        let left = memory.departure(Mono(0));
        memory.put(b"k", true, left, 0);
        assert_eq!(memory.get(b"k", Mono(15 * S - 1)), Found::Stale(true));
        assert_eq!(memory.get(b"k", Mono(15 * S)), Found::Nothing);
    }

    #[test]
    fn an_older_question_does_not_replace_the_answer_to_a_later_one() {
        let mut memory = memory(0);
        let (old, new) = (memory.departure(Mono(0)), memory.departure(Mono(5)));
        memory.put(b"k", false, new, 0);
        memory.put(b"k", true, old, 0);
        assert_eq!(memory.get(b"k", Mono(6)), Found::Valid(false));
    }
}
