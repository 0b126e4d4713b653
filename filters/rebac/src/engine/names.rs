//! Objects by numbers: all their names in one text, found by a hash.
//!
//! Names are what users chose, so the hash has a secret key. Numbers are given in the order in which names come: a list of tuples is
//! read once, in pieces, and nothing has to be sorted before the first number is known.

use std::hash::{BuildHasher, RandomState};

/// The names of a store's objects.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
    /// The type of each.
    kinds: Vec<u16>,
    /// Open addressing: one more than a number, or 0. The length is a power of two, and a quarter is free.
    slots: Vec<u32>,
    key: RandomState,
}

impl Names {
    /// The number of a name, a new one if it has none. `None` if the names are longer than 4 GiB together.
    pub(super) fn intern(&mut self, name: &str, kind: u16) -> Option<u32> {
        if self.len().saturating_mul(4) >= self.slots.len().saturating_mul(3) {
            self.grow();
        }
        let free = match self.search(name) {
            Search::Found(number) => return Some(number),
            Search::Free(slot) => slot,
        };
        let number = u32::try_from(self.len()).ok()?;
        let end = u32::try_from(self.text.len().checked_add(name.len())?).ok()?;
        self.text.push_str(name);
        self.ends.push(end);
        self.kinds.push(kind);
        *self.slots.get_mut(free)? = number.checked_add(1)?;
        Some(number)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name of a number.
    pub(super) fn name(&self, number: usize) -> Option<&str> {
        let end = *self.ends.get(number)?;
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    pub(super) fn kind(&self, number: usize) -> Option<u16> {
        self.kinds.get(number).copied()
    }

    /// The number of a name.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        match self.search(name) {
            Search::Found(number) => Some(number),
            Search::Free(_) => None,
        }
    }

    fn search(&self, name: &str) -> Search {
        let Some(last) = self.slots.len().checked_sub(1) else { return Search::Free(0) };
        let mut slot = self.key.hash_one(name) as usize & last;
        loop {
            let number = match self.slots.get(slot) {
                Some(0) | None => return Search::Free(slot),
                Some(next) => next.saturating_sub(1),
            };
            if usize::try_from(number).ok().and_then(|n| self.name(n)) == Some(name) {
                return Search::Found(number);
            }
            slot = slot.wrapping_add(1) & last;
        }
    }

    fn grow(&mut self) {
        let length = self.slots.len().saturating_mul(2).max(16);
        let last = length.saturating_sub(1);
        let mut slots = vec![0_u32; length];
        for number in 0..self.len() {
            let mut slot = self.key.hash_one(self.name(number).unwrap_or_default()) as usize & last;
            while slots.get(slot).is_some_and(|taken| *taken != 0) {
                slot = slot.wrapping_add(1) & last;
            }
            if let (Some(free), Ok(number)) = (slots.get_mut(slot), u32::try_from(number)) {
                *free = number.saturating_add(1);
            }
        }
        self.slots = slots;
    }

    /// Gives back what was kept free for more names.
    pub(super) fn close(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.kinds.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = self.ends.capacity().saturating_add(self.slots.capacity());
        let numbers = numbers.saturating_mul(size_of::<u32>());
        let kinds = self.kinds.capacity().saturating_mul(size_of::<u16>());
        self.text.capacity().saturating_add(numbers).saturating_add(kinds)
    }
}

enum Search {
    Found(u32),
    Free(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_number_however_many_there_are() {
        let mut names = Names::default();
        assert_eq!(names.find("a"), None);
        for round in 0..2 {
            for n in 0..5000_u32 {
                assert_eq!(names.intern(&format!("user:{n}"), 3), Some(n), "round {round}");
            }
        }
        names.close();
        assert_eq!((names.len(), names.name(4999), names.kind(17)), (5000, Some("user:4999"), Some(3)));
        assert_eq!(
            (names.find("user:17"), names.find("user:5000"), names.name(5000)),
            (Some(17), None, None)
        );
    }
}
