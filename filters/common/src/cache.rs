//! A map bounded by bytes, for what was expensive to find out: verified tokens, decisions.
//!
//! Eviction is CLOCK, a second chance for each (Corbato, 1968): a hit sets a bit and moves nothing, and entries that were
//! not asked for since the hand last passed go first, so a flood of new keys does not wash out those in use. Whether an
//! entry still holds is for the caller to say on every hit; errors do not belong in here.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::rc::Rc;

/// The map. Keys are found by a hash that is keyed with randomness of this VM, so that nobody can aim at a place, and compared
/// whole; of two keys with one hash, the map holds the later.
#[derive(Debug)]
pub struct Cache<V> {
    entries: HashMap<u64, Entry<V>, BuildHasherDefault<Hashed>>,
    /// The hashes in the order in which the hand passes them.
    ring: Vec<Option<u64>>,
    /// The places of the ring that are empty.
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    limit: usize,
    hashed: KeyPart,
    random: RandomState,
}

/// Which part of a key is hashed; all of it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// All of it.
    Whole,
    /// Its last 32 bytes: for keys that end in a signature or a hash, of which nobody can make two with one end.
    End,
}

#[derive(Debug)]
struct Entry<V> {
    key: Rc<[u8]>,
    value: V,
    bytes: usize,
    place: usize,
    visited: bool,
}

/// Passes a hash on as it is.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What an entry takes besides its key and its value's own estimate: two references, the map's slot, the ring's.
const OVERHEAD: usize = 128;

impl<V> Cache<V> {
    /// An empty map of at most `limit` bytes; 0 keeps nothing.
    #[must_use]
    pub fn new(limit: usize, hashed: KeyPart) -> Self {
        Cache {
            entries: HashMap::default(),
            ring: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            limit,
            hashed,
            random: RandomState::new(),
        }
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Option<&V> {
        let hash = self.hash(key);
        let entry = self.entries.get_mut(&hash).filter(|e| same(&e.key, key))?;
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
        let hash = self.hash(key);
        self.drop_entry(hash);
        let mut evicted: usize = 0;
        while self.bytes.saturating_add(bytes) > self.limit && self.evict() {
            evicted = evicted.saturating_add(1);
        }
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(empty) = self.ring.get_mut(place) {
                    *empty = Some(hash);
                }
                place
            }
            None => {
                self.ring.push(Some(hash));
                self.ring.len().saturating_sub(1)
            }
        };
        self.entries.insert(hash, Entry { key: key.into(), value, bytes, place, visited: false });
        self.bytes = self.bytes.saturating_add(bytes);
        evicted
    }

    /// Drops `key`.
    pub fn remove(&mut self, key: &[u8]) {
        let hash = self.hash(key);
        if self.entries.get(&hash).is_some_and(|e| same(&e.key, key)) {
            self.drop_entry(hash);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Cache::new(self.limit, self.hashed);
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

    fn hash(&self, key: &[u8]) -> u64 {
        let from = match self.hashed {
            KeyPart::Whole => 0,
            KeyPart::End => key.len().saturating_sub(32),
        };
        let mut hasher = self.random.build_hasher();
        hasher.write(key.get(from..).unwrap_or_default());
        hasher.finish()
    }

    fn drop_entry(&mut self, hash: u64) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            if let Some(place) = self.ring.get_mut(entry.place) {
                *place = None;
                self.free.push(entry.place);
            }
        }
    }

    /// Drops the first entry from the hand on that was not asked for since the hand last passed. Two rounds suffice.
    fn evict(&mut self) -> bool {
        for _ in 0..self.ring.len().saturating_mul(2) {
            let at = if self.hand < self.ring.len() { self.hand } else { 0 };
            self.hand = at.saturating_add(1);
            let Some(Some(hash)) = self.ring.get(at).copied() else { continue };
            match self.entries.get_mut(&hash) {
                Some(entry) if entry.visited => entry.visited = false,
                _ => {
                    self.drop_entry(hash);
                    return true;
                }
            }
        }
        false
    }
}

/// Whether two keys are the same, 64 bytes at a time: on WebAssembly the standard comparison goes byte by byte, and the compiler
/// unrolls nothing where it optimises for size.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (a_blocks, a_rest) = a.as_chunks::<64>();
    let (b_blocks, b_rest) = b.as_chunks::<64>();
    if !a_blocks.iter().zip(b_blocks).all(|(a, b)| same_block(a, b)) {
        return false;
    }
    let (a_words, a_rest) = a_rest.as_chunks::<8>();
    let (b_words, b_rest) = b_rest.as_chunks::<8>();
    a_words.iter().zip(b_words).all(|(a, b)| u64::from_le_bytes(*a) == u64::from_le_bytes(*b))
        && a_rest == b_rest
}

#[inline]
fn same_block(a: &[u8; 64], b: &[u8; 64]) -> bool {
    let differs = |a: &[u8; 8], b: &[u8; 8]| u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
    let ([a0, a1, a2, a3, a4, a5, a6, a7], [b0, b1, b2, b3, b4, b5, b6, b7]) =
        (a.as_chunks::<8>().0, b.as_chunks::<8>().0)
    else {
        return false;
    };
    let first = differs(a0, b0) | differs(a1, b1) | differs(a2, b2) | differs(a3, b3);
    let second = differs(a4, b4) | differs(a5, b5) | differs(a6, b6) | differs(a7, b7);
    (first | second) == 0
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
        let mut cache = Cache::new(100 * (OVERHEAD + 4 + 10), KeyPart::Whole);
        cache.insert(&key(0), 0, 10);
        for n in 1..10_000 {
            assert_eq!(cache.get(&key(0)), Some(&0), "gone after {n}");
            cache.insert(&key(n), n, 10);
        }
        assert!(cache.len() <= 100);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut cache = Cache::new(10_000, KeyPart::Whole);
        cache.insert(b"a", 1, 2_000);
        assert_eq!(cache.get(b"a"), None);
        let mut none = Cache::new(0, KeyPart::Whole);
        none.insert(b"a", 1, 1);
        assert!(none.is_empty());
    }

    #[test]
    fn a_key_is_compared_whole() {
        let mut cache = Cache::new(100_000, KeyPart::Whole);
        cache.insert(b"token-a", 1, 10);
        assert_eq!(cache.get(b"token-b"), None);
        assert_eq!(cache.get(b"token-"), None);
        let mut by_end = Cache::new(100_000, KeyPart::End);
        let (long, other) = ([b"a", &[b'x'; 40][..]].concat(), [b"b", &[b'x'; 40][..]].concat());
        by_end.insert(&long, 1, 10);
        assert_eq!(by_end.get(&other), None);
        assert_eq!(by_end.get(&long), Some(&1));
    }

    #[test]
    fn sameness_sees_every_byte() {
        let a: Vec<u8> = (0..37).collect();
        assert!(same(&a, &a.clone()));
        for n in 0..a.len() {
            let mut b = a.clone();
            b[n] ^= 1;
            assert!(!same(&a, &b), "byte {n}");
        }
        assert!(!same(&a, &a[..36]));
    }

    proptest! {
        #[test]
        fn bytes_never_exceed_the_limit_and_nothing_foreign_is_answered(
            steps in prop::collection::vec((0_u32..40, 0_usize..300, any::<bool>()), 1..300)
        ) {
            let mut cache = Cache::new(4_000, KeyPart::Whole);
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
