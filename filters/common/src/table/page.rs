//! One page: some slots, and for a few meters what the page had to give up.

use super::{Entry, Full, Meter};

/// The layout of a page; a page of another layout counts as empty.
const LAYOUT: u8 = 2;
/// Meters whose given-up debts one page remembers.
const FLOORS: usize = 4;
/// Whose, until when, what: three words.
const RECORD: usize = 24;
/// Layout, and seven bytes of nothing.
const HEAD: usize = 8;

/// A page's size in bytes.
pub(super) fn size(slots: usize) -> usize {
    slots.saturating_add(FLOORS).saturating_mul(RECORD).saturating_add(HEAD)
}

/// A copy of a page, on which one decision is made.
pub(super) struct Page {
    bytes: Vec<u8>,
    slots: usize,
    /// The slots that this decision is about, one bit each: they do not make room for each other.
    opened: u64,
    pub(super) changed: bool,
    pub(super) evicted: u32,
}

/// A record: the owner (a keyed hash whose lowest 16 bits tell the meter; 0 is nobody) and its entry.
#[derive(Clone, Copy)]
struct Record {
    owner: u64,
    entry: Entry,
}

impl Record {
    fn is_live(&self, now: u64) -> bool {
        self.owner != 0 && self.entry.until > now
    }
}

impl Page {
    pub(super) fn read(bytes: Vec<u8>, slots: usize) -> Page {
        let whole = bytes.len() == size(slots) && bytes.first() == Some(&LAYOUT);
        let bytes = if whole { bytes } else { empty(slots) };
        Page { bytes, slots, opened: 0, changed: false, evicted: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many slots say something.
    pub(super) fn live(&self, now: u64) -> usize {
        (0..self.slots).filter(|n| self.slot(*n).is_live(now)).count()
    }

    pub(super) fn entry(&self, slot: usize) -> Entry {
        self.slot(slot).entry
    }

    pub(super) fn set(&mut self, slot: usize, entry: Entry) {
        let owner = self.slot(slot).owner;
        self.write(self.at(slot), Record { owner, entry });
        self.changed = true;
    }

    /// The slots of this owner.
    pub(super) fn of(&self, owner: u64) -> impl Iterator<Item = usize> {
        // The bytes are compared where they lie: this runs over all slots for every decision.
        let records = self.bytes.get(self.at(0)..).unwrap_or_default().chunks_exact(RECORD);
        let owner = owner.to_le_bytes();
        records.enumerate().filter(move |(_, record)| record.first_chunk() == Some(&owner)).map(|(n, _)| n)
    }

    /// A slot that says nothing, for this owner.
    pub(super) fn take_free(&mut self, owner: u64, now: u64) -> Option<usize> {
        let free = (0..self.slots).find(|n| !self.is_opened(*n) && !self.slot(*n).is_live(now))?;
        self.take(free, Record { owner, entry: Entry::default() });
        Some(free)
    }

    /// The owner's slot; a new one starts with what the page gave up of this meter.
    pub(super) fn open(&mut self, owner: u64, now: u64) -> Result<usize, Full> {
        let known = self.of(owner).next();
        if let Some(slot) = known {
            self.opened |= bit(slot);
            return Ok(slot);
        }
        if let Some(slot) = self.take_free(owner, now) {
            let entry = self.floor(owner, now);
            self.write(self.at(slot), Record { owner, entry });
            return Ok(slot);
        }
        let slot = self.victim().ok_or(Full)?;
        let victim = self.slot(slot);
        self.give_up(victim, now)?;
        let entry = self.floor(owner, now);
        self.take(slot, Record { owner, entry });
        self.evicted = self.evicted.saturating_add(1);
        Ok(slot)
    }

    /// The smallest debt of the meter that has the most slots here: those who crowd one limit crowd out each other.
    fn victim(&self) -> Option<usize> {
        let others = || (0..self.slots).filter(|n| !self.is_opened(*n));
        let company =
            |n: usize| others().filter(|m| Meter::same(self.slot(*m).owner, self.slot(n).owner)).count();
        others().min_by_key(|n| (std::cmp::Reverse(company(*n)), self.slot(*n).entry))
    }

    /// What whoever is unknown to this page starts with.
    fn floor(&self, owner: u64, now: u64) -> Entry {
        let floors = (0..FLOORS).map(|n| self.record(floor_at(n)));
        let mut live = floors.filter(|f| f.is_live(now) && Meter::same(f.owner, owner));
        live.next().map_or(Entry::default(), |f| f.entry)
    }

    fn give_up(&mut self, victim: Record, now: u64) -> Result<(), Full> {
        let floor = |n: &usize| self.record(floor_at(*n));
        let mine = (0..FLOORS).find(|n| Meter::same(floor(n).owner, victim.owner));
        let place = mine.or_else(|| (0..FLOORS).find(|n| !floor(n).is_live(now))).ok_or(Full)?;
        let known = floor(&place);
        let entry = if mine.is_some() && known.is_live(now) {
            known.entry.or_worse(victim.entry, Meter::has_windows(victim.owner))
        } else {
            victim.entry
        };
        self.write(floor_at(place), Record { owner: victim.owner, entry });
        Ok(())
    }

    fn take(&mut self, slot: usize, record: Record) {
        self.opened |= bit(slot);
        self.write(self.at(slot), record);
    }

    fn is_opened(&self, slot: usize) -> bool {
        self.opened & bit(slot) != 0
    }

    fn slot(&self, n: usize) -> Record {
        self.record(self.at(n))
    }

    fn at(&self, slot: usize) -> usize {
        floor_at(FLOORS.saturating_add(slot))
    }

    fn record(&self, at: usize) -> Record {
        let entry = Entry { until: self.word(at.saturating_add(8)), data: self.word(at.saturating_add(16)) };
        Record { owner: self.word(at), entry }
    }

    fn write(&mut self, at: usize, record: Record) {
        let words = [record.owner, record.entry.until, record.entry.data];
        if let Some(bytes) = self.bytes.get_mut(at..at.saturating_add(RECORD)) {
            for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    fn word(&self, at: usize) -> u64 {
        let bytes = self.bytes.get(at..at.saturating_add(8)).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }
}

fn empty(slots: usize) -> Vec<u8> {
    let mut bytes = vec![0; size(slots)];
    if let Some(layout) = bytes.first_mut() {
        *layout = LAYOUT;
    }
    bytes
}

fn floor_at(n: usize) -> usize {
    n.saturating_mul(RECORD).saturating_add(HEAD)
}

fn bit(slot: usize) -> u64 {
    u32::try_from(slot).ok().and_then(|n| 1_u64.checked_shl(n)).unwrap_or(0)
}
