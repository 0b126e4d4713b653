//! A table in shared data: exact across workers, bounded for ever.
//!
//! Shared data is one process-wide map behind one lock, whose keys can never be deleted; a key per client would grow
//! without end. So there is a fixed number of **pages**, each one shared value of sixteen slots: a keyed fingerprint and a few
//! 64-bit words. One read and one compare-and-set decide; a conflict means that somebody else won, and the decision is
//! made again on what they left. The words are **debts**: times until which a slot says anything. A slot whose debts
//! have passed says nothing and is reused without loss. A page full of debts gives up its smallest, and from then on whoever is
//! unknown to that page starts with what was given up: the error is one-sided, a limit is never exceeded.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::host::{Cas, Host, HostFailure, SetFailure};

/// Slots in a page.
const SLOTS: usize = 16;
/// The layout of a page; a page of another layout counts as empty.
const LAYOUT: u8 = 1;
/// How often a decision is made anew after a conflict. With a window of about a microsecond this is never used up.
const TRIES: usize = 32;
/// What the host's map takes for a page besides its bytes: key, node, allocation.
const PAGE_OVERHEAD: usize = 128;

/// A table of slots with `words` debts each.
#[derive(Clone, Debug)]
pub struct Table {
    prefix: [u8; 17],
    secret: [u8; 16],
    pages: u32,
    words: usize,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Others were faster, [`TRIES`] times in a row.
    Contended,
    /// The host has no shared data, or does not keep its rules.
    Host,
}

impl From<HostFailure> for Unavailable {
    fn from(_: HostFailure) -> Self {
        Unavailable::Host
    }
}

/// What a decision does to its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// Nothing.
    Keep(T),
    /// New debts.
    Write(T, Vec<u64>),
}

/// A decision, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<T> {
    /// The decision.
    pub value: T,
    /// How often somebody else was faster.
    pub conflicts: u32,
    /// Whether a slot that still owed something had to go.
    pub evicted: bool,
}

impl Table {
    /// Opens the table called `name` (all that tells it from others under one `vm_id`), of at most `bytes`. Its secret is
    /// made by whoever comes first.
    ///
    /// # Errors
    /// If the host has no shared data, or lets a second writer replace what the first put there.
    pub fn open(host: &dyn Host, name: &[&str], words: usize, bytes: usize) -> Result<Table, Unavailable> {
        let mut hasher = SipHasher13::new();
        for part in name {
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
        }
        hasher.write_usize(words);
        let mut prefix = [b'p'; 17];
        if let Some(rest) = prefix.get_mut(1..) {
            rest.copy_from_slice(&hasher.finish128().as_bytes());
        }
        let mut table = Table { prefix, secret: [0; 16], pages: pages(words, bytes), words };
        table.self_test(host)?;
        table.secret = table.agree_on_secret(host)?;
        Ok(table)
    }

    /// How many keys can owe something at once before the smallest debts are given up.
    #[must_use]
    pub fn slots(&self) -> usize {
        (self.pages as usize).saturating_mul(SLOTS)
    }

    /// Decides about `key`. `decide` gets its debts (zeros, or what was given up, if it is unknown) and may be called
    /// again after a conflict; `now` tells which debts have passed.
    ///
    /// # Errors
    /// [`Unavailable`]; then nothing was written.
    pub fn update<T>(
        &self,
        host: &dyn Host,
        key: &[u8],
        now: u64,
        mut decide: impl FnMut(&[u64]) -> Change<T>,
    ) -> Result<Update<T>, Unavailable> {
        let (page_key, fingerprint) = self.place(key);
        for conflicts in 0..TRIES {
            let (bytes, cas) = host.shared_get(&page_key)?.unwrap_or((Vec::new(), Cas::ABSENT));
            let mut page = Page::read(bytes, self.words);
            let found = page.find(fingerprint, now);
            let conflicts = u32::try_from(conflicts).unwrap_or(u32::MAX);
            let (value, debts) = match decide(&found.debts) {
                Change::Keep(value) => return Ok(Update { value, conflicts, evicted: false }),
                Change::Write(value, debts) => (value, debts),
            };
            page.write(&found, fingerprint, &debts);
            match host.shared_set(&page_key, &page.bytes, cas) {
                Ok(()) => return Ok(Update { value, conflicts, evicted: found.evicts }),
                Err(SetFailure::Conflict) => {}
                Err(SetFailure::Host(failure)) => return Err(failure.into()),
            }
        }
        Err(Unavailable::Contended)
    }

    fn place(&self, key: &[u8]) -> ([u8; 21], u64) {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write(key);
        let hash = hasher.finish128();
        let page = u32::try_from(hash.h1 & u64::from(self.pages.saturating_sub(1))).unwrap_or(0);
        let mut page_key = [0; 21];
        for (to, from) in page_key.iter_mut().zip(self.prefix.into_iter().chain(page.to_le_bytes())) {
            *to = from;
        }
        // 0 marks an empty slot.
        (page_key, hash.h2.max(1))
    }

    /// Whether the host keeps the two rules that exactness stands on: an absent key is put there once, and a version
    /// that has passed is refused.
    fn self_test(&self, host: &dyn Host) -> Result<(), Unavailable> {
        let key = self.key(b"probe");
        match host.shared_set(&key, b"1", Cas::ABSENT) {
            Ok(()) | Err(SetFailure::Conflict) => {}
            Err(SetFailure::Host(failure)) => return Err(failure.into()),
        }
        match host.shared_set(&key, b"2", Cas::ABSENT) {
            Err(SetFailure::Conflict) => Ok(()),
            Ok(()) | Err(SetFailure::Host(_)) => Err(Unavailable::Host),
        }
    }

    fn agree_on_secret(&self, host: &dyn Host) -> Result<[u8; 16], Unavailable> {
        let key = self.key(b"secret");
        let mut fresh = [0; 16];
        host.random(&mut fresh)?;
        match host.shared_set(&key, &fresh, Cas::ABSENT) {
            Ok(()) | Err(SetFailure::Conflict) => {}
            Err(SetFailure::Host(failure)) => return Err(failure.into()),
        }
        let (secret, _) = host.shared_get(&key)?.ok_or(Unavailable::Host)?;
        secret.as_slice().try_into().map_err(|_| Unavailable::Host)
    }

    fn key(&self, what: &[u8]) -> Vec<u8> {
        [&self.prefix[..], what].concat()
    }
}

/// The largest power of two of pages that fits, at least one.
fn pages(words: usize, bytes: usize) -> u32 {
    let fit = bytes.checked_div(page_size(words).saturating_add(PAGE_OVERHEAD)).unwrap_or(0);
    let bits = usize::BITS.saturating_sub(fit.leading_zeros()).saturating_sub(1).min(24);
    1_u32.checked_shl(bits).unwrap_or(1)
}

/// Layout, words, six bytes of nothing; what was given up; the slots.
fn page_size(words: usize) -> usize {
    let slot = words.saturating_add(1).saturating_mul(8);
    slot.saturating_mul(SLOTS).saturating_add(words.saturating_mul(8)).saturating_add(8)
}

struct Page {
    bytes: Vec<u8>,
    words: usize,
}

/// Where a key is, or would be, and what it owes.
struct Found {
    slot: usize,
    debts: Vec<u64>,
    evicts: bool,
}

impl Page {
    fn read(bytes: Vec<u8>, words: usize) -> Page {
        let whole = bytes.len() == page_size(words) && bytes.first() == Some(&LAYOUT);
        let bytes = if whole {
            bytes
        } else {
            let mut fresh = vec![0; page_size(words)];
            if let Some(layout) = fresh.first_mut() {
                *layout = LAYOUT;
            }
            fresh
        };
        Page { bytes, words }
    }

    fn word(&self, at: usize) -> u64 {
        let from = at.saturating_mul(8).saturating_add(8);
        let bytes = self.bytes.get(from..from.saturating_add(8)).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    fn set_word(&mut self, at: usize, word: u64) {
        let from = at.saturating_mul(8).saturating_add(8);
        if let Some(bytes) = self.bytes.get_mut(from..from.saturating_add(8)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// The position of a slot's fingerprint; its debts follow.
    fn slot(&self, n: usize) -> usize {
        n.saturating_mul(self.words.saturating_add(1)).saturating_add(self.words)
    }

    fn debts(&self, slot: usize) -> impl Iterator<Item = u64> {
        let from = self.slot(slot).saturating_add(1);
        (from..from.saturating_add(self.words)).map(|at| self.word(at))
    }

    fn find(&self, fingerprint: u64, now: u64) -> Found {
        let mut spare: Option<usize> = None;
        let mut smallest: (u64, usize) = (u64::MAX, 0);
        for n in 0..SLOTS {
            let owner = self.word(self.slot(n));
            if owner == fingerprint {
                return Found { slot: n, debts: self.debts(n).collect(), evicts: false };
            }
            let owes = self.debts(n).max().unwrap_or(0);
            if owner == 0 || owes <= now {
                spare = spare.or(Some(n));
            } else if owes < smallest.0 {
                smallest = (owes, n);
            }
        }
        let given_up = |w: usize| self.word(w);
        match spare {
            Some(slot) => Found { slot, debts: (0..self.words).map(given_up).collect(), evicts: false },
            None => {
                let slot = smallest.1;
                let debts = self.debts(slot).enumerate().map(|(w, debt)| debt.max(given_up(w))).collect();
                Found { slot, debts, evicts: true }
            }
        }
    }

    fn write(&mut self, found: &Found, fingerprint: u64, debts: &[u64]) {
        if found.evicts {
            for (w, debt) in found.debts.iter().enumerate().take(self.words) {
                self.set_word(w, *debt);
            }
        }
        let at = self.slot(found.slot);
        self.set_word(at, fingerprint);
        for (w, debt) in debts.iter().enumerate().take(self.words) {
            self.set_word(at.saturating_add(1).saturating_add(w), *debt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryHost, SharedData};
    use proptest::prelude::*;

    fn table(host: &MemoryHost, bytes: usize) -> Table {
        Table::open(host, &["t"], 1, bytes).unwrap()
    }

    /// Adds `step` to a key's debt and gives the old one.
    fn add(table: &Table, host: &MemoryHost, key: &[u8], now: u64, step: u64) -> u64 {
        table
            .update(host, key, now, |debts| Change::Write(debts[0], vec![debts[0].max(now) + step]))
            .unwrap()
            .value
    }

    #[test]
    fn two_vms_share_one_table_and_one_secret() {
        let shared = SharedData::default();
        let (a, b) = (MemoryHost::sharing(&shared), MemoryHost::sharing(&shared));
        a.roll(1);
        b.roll(2);
        let (first, second) = (table(&a, 1 << 20), table(&b, 1 << 20));
        assert_eq!(first.secret, second.secret);
        add(&first, &a, b"k", 0, 5);
        assert_eq!(add(&second, &b, b"k", 0, 5), 5);
    }

    #[test]
    fn tables_of_other_names_or_shapes_are_other_tables() {
        let host = MemoryHost::default();
        let first = table(&host, 1 << 20);
        add(&first, &host, b"k", 0, 5);
        let second = Table::open(&host, &["t", ""], 1, 1 << 20).unwrap();
        assert_eq!(add(&second, &host, b"k", 0, 5), 0);
        let wide = Table::open(&host, &["t"], 2, 1 << 20).unwrap();
        assert_eq!(wide.update(&host, b"k", 0, |d| Change::Keep(d.to_vec())).unwrap().value, [0, 0]);
    }

    #[test]
    fn a_conflict_decides_anew_and_too_many_give_up_without_a_trace() {
        let host = MemoryHost::default();
        let table = table(&host, 1 << 20);
        host.faults.borrow_mut().conflicts = 5;
        let update = table.update(&host, b"k", 0, |d| Change::Write(d[0], vec![9])).unwrap();
        assert_eq!((update.value, update.conflicts), (0, 5));
        host.faults.borrow_mut().conflicts = 100;
        assert_eq!(
            table.update(&host, b"k", 0, |_| Change::Write((), vec![99])),
            Err(Unavailable::Contended)
        );
        host.faults.borrow_mut().conflicts = 0;
        assert_eq!(add(&table, &host, b"k", 0, 0), 9);
    }

    #[test]
    fn a_host_without_shared_data_is_noticed_when_the_table_is_opened() {
        let host = MemoryHost::default();
        host.faults.borrow_mut().shared_data = true;
        assert_eq!(Table::open(&host, &["t"], 1, 1 << 20).map(drop), Err(Unavailable::Host));
    }

    #[test]
    fn memory_has_a_ceiling_whatever_the_number_of_keys() {
        let host = MemoryHost::default();
        let table = table(&host, 64 << 10);
        for n in 0..100_000_u32 {
            add(&table, &host, &n.to_le_bytes(), u64::from(n), 1_000_000);
        }
        assert!(host.shared.keys() <= table.pages as usize + 2);
        assert!((table.pages as usize) * (page_size(1) + PAGE_OVERHEAD) <= 64 << 10);
    }

    #[test]
    fn passed_debts_make_room_without_loss() {
        let host = MemoryHost::default();
        let table = table(&host, 1);
        for n in 0..SLOTS as u8 {
            add(&table, &host, &[n], 0, 10);
        }
        let update = table.update(&host, b"new", 10, |d| Change::Write(d[0], vec![20])).unwrap();
        assert_eq!((update.value, update.evicted), (0, false));
    }

    #[test]
    fn a_full_page_gives_up_its_smallest_debt_and_newcomers_inherit_it() {
        let host = MemoryHost::default();
        let table = table(&host, 1);
        for n in 0..SLOTS as u8 {
            add(&table, &host, &[n], 0, 100 + u64::from(n));
        }
        let update = table.update(&host, b"new", 0, |d| Change::Write(d[0], vec![d[0] + 500])).unwrap();
        assert_eq!((update.value, update.evicted), (100, true));
        assert_eq!(add(&table, &host, &[0], 0, 0), 101, "whoever was given up starts no better than it left");
        let kept = table.update(&host, b"other", 0, |d| Change::Keep(d[0])).unwrap();
        assert!(!kept.evicted, "a refused newcomer takes no slot");
    }

    proptest! {
        /// Whatever is given up: no key ever sees less debt than it owes.
        #[test]
        fn nobody_is_forgiven(steps in prop::collection::vec((0_u8..40, 1_u64..50, 0_u64..20), 1..400)) {
            let host = MemoryHost::default();
            let table = table(&host, 1);
            let mut owed = std::collections::HashMap::new();
            let mut now = 0;
            for (key, step, pause) in steps {
                now += pause;
                let seen = add(&table, &host, &[key], now, step);
                let truth = *owed.get(&key).unwrap_or(&0);
                prop_assert!(seen.max(now) >= std::cmp::max(truth, now));
                owed.insert(key, seen.max(now) + step);
            }
        }

        #[test]
        fn what_others_wrote_into_shared_data_panics_nobody(junk in prop::collection::vec(any::<u8>(), 0..300)) {
            let page = Page::read(junk, 1);
            let found = page.find(7, 3);
            prop_assert_eq!(found.debts.len(), 1);
        }
    }
}
