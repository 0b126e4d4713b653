//! A table in shared data: exact across workers, bounded for ever.
//!
//! Shared data is one process-wide map behind one lock, whose keys can never be deleted; a key per client would grow
//! without end. So there is a fixed number of **pages**, each one shared value. A key has its page; in it, each **meter** that
//! measures the key has a slot: a keyed fingerprint, a time until which the slot says anything, and a word of data. One read
//! and one compare-and-set decide about all meters of a key together; a conflict means that somebody else won, and the
//! decision is made again on what they left.
//!
//! A slot whose time has passed says nothing and is reused without loss. A page full of debts gives up the smallest of the
//! meter that has most of it, and from then on whoever is unknown to that page and meter starts with what was given up
//! (Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005, turned to
//! debts): the error is one-sided, a limit is never exceeded.

mod page;
#[cfg(test)]
mod tests;

use std::hash::Hasher;

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

use crate::host::{Cas, Host, HostFailure, SetFailure};
use page::Page;

/// How often a decision is made anew after a conflict. With a window of about a microsecond this is never used up.
const TRIES: u32 = 32;
/// What the host's map takes for a page besides its bytes: key, node, allocation.
const PAGE_OVERHEAD: usize = 128;
/// Slots of a page that holds debts: the page stays below 512 bytes, which the host copies under its lock.
pub const SLOTS: usize = 16;

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    prefix: [u8; 17],
    secret: [u8; 16],
    pages: u32,
    slots: usize,
}

/// What is measured, apart from the key: a limit's rate, say. State outlives whatever its name does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meter(u64);

impl Meter {
    /// The meter of this name. `windows` says what the data of its entries is: the counts of two windows, or one number of which
    /// more is worse.
    #[must_use]
    pub fn new(name: &[&str], windows: bool) -> Meter {
        Meter((hash(SipHasher13::new(), name).h1 & !1) | u64::from(windows))
    }

    /// Whose slot it is: 48 bits of key and meter, 16 of the meter alone. Two meters with the same 16 only share what is given up.
    fn owner(self, key: u64) -> u64 {
        // An odd constant (2^64 divided by the golden ratio) spreads the bits that differ over the upper 48.
        let mixed = (key ^ self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed & !0xFFFF) | (self.0 & 0xFFFF)).max(1)
    }

    fn same(a: u64, b: u64) -> bool {
        a & 0xFFFF == b & 0xFFFF
    }

    fn has_windows(owner: u64) -> bool {
        owner & 1 == 1
    }
}

/// What a slot says. Ordered as debts: the one that lasts longer is larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// When it stops saying anything, in nanoseconds of the monotonic clock.
    pub until: u64,
    /// Whatever else its meter wants to know.
    pub data: u64,
}

impl Entry {
    /// What is at least as bad as both. `windows` says that `data` holds two counts, of the window before in the upper half and of
    /// the window in the lower, and not one number.
    fn or_worse(self, other: Entry, windows: bool) -> Entry {
        let until = self.until.max(other.until);
        if !windows {
            return Entry { until, data: self.data.max(other.data) };
        }
        let (early, late) = if self.until <= other.until { (self, other) } else { (other, self) };
        let (early_before, early_count) = (early.data >> 32, early.data & 0xFFFF_FFFF);
        let (before, count) = (late.data >> 32, late.data & 0xFFFF_FFFF);
        // A window that ended earlier may be the one before.
        let (before, count) = if early.until == late.until {
            (before.max(early_before), count.max(early_count))
        } else {
            (before.max(early_count), count)
        };
        Entry { until, data: (before << 32) | count }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Others were faster, 32 times in a row.
    Contended,
    /// The page has no room, and nothing in it may go.
    Full,
    /// The host has no shared data, or does not keep its rules.
    Host,
}

/// The page has no room for another slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl From<HostFailure> for Unavailable {
    fn from(_: HostFailure) -> Self {
        Unavailable::Host
    }
}

impl From<Full> for Unavailable {
    fn from(_: Full) -> Self {
        Unavailable::Full
    }
}

/// A decision, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<T> {
    /// The decision.
    pub value: T,
    /// How often somebody else was faster.
    pub conflicts: u32,
    /// How many slots that still owed something had to go.
    pub evicted: u32,
}

/// One key's view of its page, for one decision. It is written back if something was set.
pub struct View {
    page: Page,
    key: u64,
    now: u64,
}

/// A slot of a [`View`].
#[derive(Clone, Copy, Debug)]
pub struct Slot(usize);

impl View {
    /// The slot of a meter, made if there is none.
    ///
    /// # Errors
    /// If the page has no room for it.
    pub fn open(&mut self, meter: Meter) -> Result<Slot, Full> {
        self.page.open(meter.owner(self.key), self.now).map(Slot)
    }

    /// The slot of a meter, if there is one.
    #[must_use]
    pub fn find(&self, meter: Meter) -> Option<Slot> {
        self.page.of(meter.owner(self.key)).next().map(Slot)
    }

    /// All slots of a meter that holds several, one for each of its owners.
    pub fn shares(&self, meter: Meter) -> impl Iterator<Item = (Slot, Entry)> {
        self.page.of(meter.owner(self.key)).map(|n| (Slot(n), self.page.entry(n)))
    }

    /// One more slot of such a meter; nothing is given up for it.
    ///
    /// # Errors
    /// If the page has no room for it.
    pub fn add(&mut self, meter: Meter) -> Result<Slot, Full> {
        self.page.take_free(meter.owner(self.key), self.now).map(Slot).ok_or(Full)
    }

    /// What a slot says.
    #[must_use]
    pub fn entry(&self, slot: Slot) -> Entry {
        self.page.entry(slot.0)
    }

    /// What it says from now on.
    pub fn set(&mut self, slot: Slot, entry: Entry) {
        self.page.set(slot.0, entry);
    }
}

impl Table {
    /// Opens the table called `name` (all that tells it from others under one `vm_id`), of at most `bytes`, with `slots` in a
    /// page (at most 64). Its secret is made by whoever comes first.
    ///
    /// # Errors
    /// If the host has no shared data, or lets a second writer replace what the first put there.
    pub fn open(host: &dyn Host, name: &[&str], slots: usize, bytes: usize) -> Result<Table, Unavailable> {
        let slots = slots.clamp(1, 64);
        let mut prefix = [b'p'; 17];
        if let Some(rest) = prefix.get_mut(1..) {
            let mut hasher = SipHasher13::new();
            hasher.write_usize(slots);
            rest.copy_from_slice(&hash(hasher, name).as_bytes());
        }
        let mut table = Table { prefix, secret: [0; 16], pages: pages(slots, bytes), slots };
        table.self_test(host)?;
        table.secret = table.agree_on_secret(host)?;
        Ok(table)
    }

    /// How many slots there are: so many debts at once before the smallest are given up.
    #[must_use]
    pub fn slots(&self) -> usize {
        (self.pages as usize).saturating_mul(self.slots)
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// How many slots of one page say something, of how many.
    #[must_use]
    pub fn load(&self, host: &dyn Host, page: u32, now: u64) -> Option<(usize, usize)> {
        let page = page.checked_rem(self.pages).unwrap_or(0);
        let bytes = host.shared_get(&self.page_key(page)).ok()?.map(|(bytes, _)| bytes);
        Some((bytes.map_or(0, |bytes| Page::read(bytes, self.slots).live(now)), self.slots))
    }

    /// Decides about `key` at `now`. `decide` may be called again after a conflict. What it returns as an error leaves the
    /// page as it was, even where it set something.
    ///
    /// # Errors
    /// What `decide` says, inside; [`Unavailable`] outside. Either way nothing was written.
    pub fn exchange<T, E>(
        &self,
        host: &dyn Host,
        key: &[u8],
        now: u64,
        mut decide: impl FnMut(&mut View) -> Result<Result<T, E>, Full>,
    ) -> Result<Update<Result<T, E>>, Unavailable> {
        let (page_key, key) = self.place(key);
        for conflicts in 0..TRIES {
            let (bytes, cas) = host.shared_get(&page_key)?.unwrap_or((Vec::new(), Cas::ABSENT));
            let mut view = View { page: Page::read(bytes, self.slots), key, now };
            let value = decide(&mut view)?;
            if value.is_err() || !view.page.changed {
                return Ok(Update { value, conflicts, evicted: 0 });
            }
            match host.shared_set(&page_key, view.page.bytes(), cas) {
                Ok(()) => return Ok(Update { value, conflicts, evicted: view.page.evicted }),
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
        (self.page_key(page), hash.h2)
    }

    fn page_key(&self, page: u32) -> [u8; 21] {
        let mut key = [0; 21];
        let (name, number) = key.split_at_mut(self.prefix.len());
        name.copy_from_slice(&self.prefix);
        number.copy_from_slice(&page.to_le_bytes());
        key
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
            Err(SetFailure::Conflict) => {}
            Ok(()) | Err(SetFailure::Host(_)) => return Err(Unavailable::Host),
        }
        // Another worker may test at the same time: only a version that was read twice is certainly the last.
        let (_, old) = host.shared_get(&key)?.ok_or(Unavailable::Host)?;
        match host.shared_set(&key, b"1", old) {
            Ok(()) | Err(SetFailure::Conflict) => {}
            Err(SetFailure::Host(failure)) => return Err(failure.into()),
        }
        match host.shared_set(&key, b"1", old) {
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

/// The hash of a name in parts, none of which runs into the next.
fn hash(mut hasher: SipHasher13, name: &[&str]) -> Hash128 {
    for part in name {
        hasher.write_usize(part.len());
        hasher.write(part.as_bytes());
    }
    hasher.finish128()
}

/// The largest power of two of pages that fits, at least one.
fn pages(slots: usize, bytes: usize) -> u32 {
    let fit = bytes.checked_div(page::size(slots).saturating_add(PAGE_OVERHEAD)).unwrap_or(0);
    let bits = usize::BITS.saturating_sub(fit.leading_zeros()).saturating_sub(1).min(24);
    1_u32.checked_shl(bits).unwrap_or(1)
}
