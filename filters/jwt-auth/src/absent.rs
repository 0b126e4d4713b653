//! Keys that were looked for in vain, so that nobody asks a server for the same one again and again.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use portcullis_common::clock::Mono;

/// How many are remembered.
const MAX_ABSENT: usize = 1024;

/// Names of keys that were looked for in vain, bounded; of the rest the oldest goes first.
#[derive(Debug, Default)]
pub struct Absent {
    known: VecDeque<(u64, Mono)>,
    random: RandomState,
}

impl Absent {
    fn number(&self, provider: usize, name: Option<&str>) -> u64 {
        self.random.hash_one((provider, name))
    }

    /// Whether a key is on record as not there.
    #[must_use]
    pub fn has(&self, provider: usize, name: Option<&str>, now: Mono) -> bool {
        if self.known.is_empty() {
            return false;
        }
        let number = self.number(provider, name);
        self.known.iter().any(|(known, until)| *known == number && now < *until)
    }

    /// Records, until a time, that a key is not there.
    pub fn add(&mut self, provider: usize, name: Option<&str>, until: Mono) {
        if self.known.len() >= MAX_ABSENT {
            self.known.pop_front();
        }
        let number = self.number(provider, name);
        self.known.push_back((number, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_absent_keys_is_bounded_and_ends() {
        let mut absent = Absent::default();
        for n in 0..2 * MAX_ABSENT {
            absent.add(0, Some(&format!("k{n}")), Mono(10));
        }
        assert_eq!(absent.known.len(), MAX_ABSENT);
        let last = format!("k{}", 2 * MAX_ABSENT - 1);
        assert!(absent.has(0, Some(&last), Mono(9)) && !absent.has(0, Some(&last), Mono(10)));
        assert!(!absent.has(1, Some(&last), Mono(9)) && !absent.has(0, Some("k0"), Mono(9)));
    }
}
