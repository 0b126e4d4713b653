//! A map bounded by bytes, for what was expensive to find out: verified tokens, decisions.
//!
//! Eviction is CLOCK, a second chance for each (Corbato, 1968): a hit sets a bit and moves nothing, and entries that were
//! not asked for since the hand last passed go first, so a flood of new keys does not wash out those in use. Whether an
//! entry still holds is for the caller to say on every hit; errors do not belong in here.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::rc::Rc;

/// The map. Its keys are hashed with a random key of this VM, so that nobody can aim at a bucket.
#[derive(Debug)]
pub struct Cache<V> {
    entries: HashMap<Rc<[u8]>, Entry<V>, RandomState>,
    /// The keys in the order in which the hand passes them.
    ring: Vec<Option<Rc<[u8]>>>,
    /// The places of the ring that are empty.
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    place: usize,
    visited: bool,
}

/// What an entry takes besides its key and its value's own estimate: two references, the map's slot, the ring's.
const OVERHEAD: usize = 128;

impl<V> Cache<V> {
    /// An empty map of at most `limit` bytes; 0 keeps nothing.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Cache { entries: HashMap::default(), ring: Vec::new(), free: Vec::new(), hand: 0, bytes: 0, limit }
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        entry.visited = true;
        Some(&entry.value)
    }

    /// Keeps `value`, which takes about `bytes`, and makes room for it. What is larger than an eighth of the whole is
    /// not kept. Gives the number of entries that had to go.
    pub fn insert(&mut self, key: &[u8], value: V, bytes: usize) -> usize {
        let bytes = bytes.saturating_add(key.len()).saturating_add(OVERHEAD);
        if bytes > self.limit / 8 {
            return 0;
        }
        self.remove(key);
        let mut evicted: usize = 0;
        while self.bytes.saturating_add(bytes) > self.limit && self.evict() {
            evicted = evicted.saturating_add(1);
        }
        let key: Rc<[u8]> = key.into();
        let held = Some(Rc::clone(&key));
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(empty) = self.ring.get_mut(place) {
                    *empty = held;
                }
                place
            }
            None => {
                self.ring.push(held);
                self.ring.len().saturating_sub(1)
            }
        };
        self.entries.insert(key, Entry { value, bytes, place, visited: false });
        self.bytes = self.bytes.saturating_add(bytes);
        evicted
    }

    /// Drops `key`.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            if let Some(place) = self.ring.get_mut(entry.place) {
                *place = None;
                self.free.push(entry.place);
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Cache::new(self.limit);
    }

    /// How many bytes it holds, by the callers' estimates.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops the first entry from the hand on that was not asked for since the hand last passed. Two rounds suffice.
    fn evict(&mut self) -> bool {
        for _ in 0..self.ring.len().saturating_mul(2) {
            let at = if self.hand < self.ring.len() { self.hand } else { 0 };
            self.hand = at.saturating_add(1);
            let Some(Some(key)) = self.ring.get(at).cloned() else { continue };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.visited => entry.visited = false,
                _ => {
                    self.remove(&key);
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u32) -> [u8; 4] {
        n.to_be_bytes()
    }

    #[test]
    fn what_is_in_use_outlives_a_flood() {
        let mut cache = Cache::new(100 * (OVERHEAD + 4 + 10));
        cache.insert(&key(0), 0, 10);
        for n in 1..10_000 {
            assert_eq!(cache.get(&key(0)), Some(&0), "gone after {n}");
            cache.insert(&key(n), n, 10);
        }
        assert!(cache.len() <= 100);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut cache = Cache::new(10_000);
        cache.insert(b"a", 1, 2_000);
        assert_eq!(cache.get(b"a"), None);
        let mut none = Cache::new(0);
        none.insert(b"a", 1, 1);
        assert!(none.is_empty());
    }

    #[test]
    fn a_key_is_compared_whole() {
        let mut cache = Cache::new(100_000);
        cache.insert(b"token-a", 1, 10);
        assert_eq!(cache.get(b"token-b"), None);
        assert_eq!(cache.get(b"token-"), None);
    }

    proptest! {
        #[test]
        fn bytes_never_exceed_the_limit_and_nothing_foreign_is_answered(
            steps in prop::collection::vec((0_u32..40, 0_usize..300, any::<bool>()), 1..300)
        ) {
            let mut cache = Cache::new(4_000);
            for (n, size, write) in steps {
                if write {
                    cache.insert(&key(n), n, size);
                } else if let Some(found) = cache.get(&key(n)) {
                    prop_assert_eq!(*found, n);
                }
                prop_assert!(cache.bytes() <= 4_000);
                prop_assert_eq!(cache.ring.iter().flatten().count(), cache.entries.len());
                prop_assert_eq!(cache.ring.len(), cache.entries.len() + cache.free.len());
                let sum: usize = cache.entries.values().map(|e| e.bytes).sum();
                prop_assert_eq!(sum, cache.bytes());
            }
        }
    }
}
