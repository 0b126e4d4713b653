//! Requests in flight, kept by each VM for itself: its share of a key is a count with a lease.
//!
//! A VM writes the number that it knows, never a difference, so a share that was lost or doubled is right again after the next
//! write. Its tick renews what it holds; a VM that died renews nothing, and its shares end with their leases.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::host::{Cas, Host, SetFailure};
use portcullis_common::table::{Entry, Full, Meter, Table, Unavailable, Update, View};

/// Slots of a page that holds shares: so many VMs can hold one key at a time.
pub const SLOTS: usize = 64;

/// A key of a limit.
type Whose = (Meter, Rc<[u8]>);

/// A place and how many are taken with it, or how many are if there is none.
pub type Acquired = Result<(Held, u64), u64>;

/// What this VM holds.
#[derive(Debug)]
pub struct InFlight {
    table: Table,
    /// This VM, among those that share the table.
    owner: u32,
    held: BTreeMap<Whose, Share>,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    count: u32,
    lease: u64,
    /// When what was written ends.
    until: u64,
    /// Whether what was written is no longer so.
    stale: bool,
}

/// One request that is held.
#[derive(Debug)]
pub struct Held {
    whose: Whose,
}

impl InFlight {
    /// Nothing is held yet. `owner` is a number that no other VM has ([`number`]).
    #[must_use]
    pub fn new(table: Table, owner: u32) -> InFlight {
        InFlight { table, owner, held: BTreeMap::new() }
    }

    /// Whether anything has to be renewed.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes one of `most`, and tells how many are taken then; `Err` with that number if all were taken already.
    ///
    /// # Errors
    /// If the table cannot answer; then nothing is held.
    pub fn acquire(
        &mut self,
        host: &dyn Host,
        meter: Meter,
        key: &Rc<[u8]>,
        (most, lease): (NonZeroU32, Duration),
        now: Mono,
    ) -> Result<Update<Acquired>, Unavailable> {
        let whose = (meter, Rc::clone(key));
        let own = self.held.get(&whose).map_or(0, |s| s.count);
        let lease = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX);
        let until = now.0.saturating_add(lease);
        let owner = self.owner;
        let update = self.table.exchange(host, key, now.0, |view| {
            let taken = others(view, meter, owner, now.0).saturating_add(u64::from(own));
            if taken >= u64::from(most.get()) {
                return Ok(Err(taken));
            }
            write(view, meter, owner, own.saturating_add(1), until)?;
            Ok(Ok(taken.saturating_add(1)))
        })?;
        let value = update.value.map(|taken| {
            let share = Share { count: own.saturating_add(1), lease, until, stale: false };
            self.held.insert(whose.clone(), share);
            (Held { whose }, taken)
        });
        Ok(Update { value, conflicts: update.conflicts, evicted: update.evicted })
    }

    /// Gives one back. If the table cannot take it now, the next tick tells it.
    pub fn release(&mut self, host: &dyn Host, held: Held, now: Mono) {
        if let Some(share) = self.held.get_mut(&held.whose) {
            share.count = share.count.saturating_sub(1);
            share.stale = true;
        }
        self.renew(host, &held.whose, now);
    }

    /// Renews what is more than half over, and tells what could not be told.
    pub fn tick(&mut self, host: &dyn Host, now: Mono) {
        let due = |share: &Share| share.stale || share.until.saturating_sub(now.0) < share.lease / 2;
        let all: Vec<Whose> = self.held.iter().filter(|(_, s)| due(s)).map(|(w, _)| w.clone()).collect();
        for whose in all {
            self.renew(host, &whose, now);
        }
    }

    fn renew(&mut self, host: &dyn Host, whose: &Whose, now: Mono) {
        let Some(share) = self.held.get_mut(whose) else { return };
        let until = if share.count == 0 { 0 } else { now.0.saturating_add(share.lease) };
        let (count, owner) = (share.count, self.owner);
        let told = self.table.exchange(host, &whose.1, now.0, |view| {
            write(view, whose.0, owner, count, until).map(Ok::<(), ()>)
        });
        share.stale = told.is_err();
        if told.is_ok() {
            share.until = until;
            if count == 0 {
                self.held.remove(whose);
            }
        }
    }
}

/// A number that no other VM of this host has, from a counter in shared data: two VMs with one number would count as one.
///
/// # Errors
/// If the host has no shared data.
pub fn number(host: &dyn Host, name: &[&str]) -> Result<u32, Unavailable> {
    let key = [b"portcullis vm ", name.join("\0").as_bytes()].concat();
    // All workers start at once; each turn that fails is another's success.
    for _ in 0..1_000 {
        let (last, cas) = match host.shared_get(&key)? {
            Some((bytes, cas)) => (bytes.as_slice().try_into().map_or(0, u32::from_le_bytes), cas),
            None => (0, Cas::ABSENT),
        };
        let next = last.wrapping_add(1);
        match host.shared_set(&key, &next.to_le_bytes(), cas) {
            Ok(()) => return Ok(next),
            Err(SetFailure::Conflict) => {}
            Err(SetFailure::Host(failure)) => return Err(failure.into()),
        }
    }
    Err(Unavailable::Contended)
}

/// How many the other VMs hold.
fn others(view: &View, meter: Meter, owner: u32, now: u64) -> u64 {
    let live = view
        .shares(meter)
        .map(|(_, entry)| entry)
        .filter(|e| e.until > now && e.data >> 32 != u64::from(owner));
    live.map(|e| e.data & 0xFFFF_FFFF).sum()
}

fn write(view: &mut View, meter: Meter, owner: u32, count: u32, until: u64) -> Result<(), Full> {
    let owner = u64::from(owner);
    let mine = view.shares(meter).find(|(_, e)| e.data >> 32 == owner).map(|(slot, _)| slot);
    let slot = match mine {
        Some(slot) => slot,
        // A share of nothing that is not there is written already.
        None if count == 0 => return Ok(()),
        None => view.add(meter)?,
    };
    view.set(slot, Entry { until, data: (owner << 32) | u64::from(count) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::memory::{MemoryHost, SharedData};
    use std::sync::atomic::{AtomicU64, Ordering};

    const SECOND: u64 = 1_000_000_000;
    const LEASE: Duration = Duration::from_secs(10);

    fn vm(shared: &SharedData, owner: u32) -> (MemoryHost, InFlight) {
        let host = MemoryHost::sharing(shared);
        let table = Table::open(&host, &["flights"], SLOTS, 1 << 20).unwrap();
        (host, InFlight::new(table, owner))
    }

    fn take((host, flights): &mut (MemoryHost, InFlight), most: u32, now: u64) -> Result<Held, u64> {
        let most = (NonZeroU32::new(most).unwrap(), LEASE);
        let update = flights.acquire(host, Meter::new(&["l"], false), &Rc::from(&b"k"[..]), most, Mono(now));
        update.unwrap().value.map(|(held, _)| held)
    }

    #[test]
    fn vms_share_what_may_be_in_flight() {
        let shared = SharedData::default();
        let (mut a, mut b) = (vm(&shared, 1), vm(&shared, 2));
        let first = take(&mut a, 3, 0).unwrap();
        let _second = take(&mut a, 3, 0).unwrap();
        let _third = take(&mut b, 3, 0).unwrap();
        assert_eq!(take(&mut a, 3, 0).map(drop), Err(3));
        assert_eq!(take(&mut b, 3, 0).map(drop), Err(3));
        a.1.release(&a.0, first, Mono(1));
        assert!(take(&mut b, 3, 1).is_ok());
    }

    #[test]
    fn a_dead_vm_keeps_its_share_for_one_lease_and_a_living_one_for_as_long_as_it_ticks() {
        let shared = SharedData::default();
        let (mut dead, mut alive, mut asker) = (vm(&shared, 1), vm(&shared, 2), vm(&shared, 3));
        let _lost = take(&mut dead, 9, 0).unwrap();
        let long = take(&mut alive, 9, 0).unwrap();
        for second in 0..60 {
            alive.1.tick(&alive.0, Mono(second * SECOND));
            let taken = take(&mut asker, 1, second * SECOND).map(drop);
            assert_eq!(taken, Err(if second < 10 { 2 } else { 1 }), "after {second} s");
        }
        alive.1.release(&alive.0, long, Mono(60 * SECOND));
        assert!(!alive.1.is_busy());
        assert!(take(&mut asker, 1, 60 * SECOND).is_ok());
    }

    #[test]
    fn what_could_not_be_told_is_told_by_the_next_tick() {
        let shared = SharedData::default();
        let (mut a, mut b) = (vm(&shared, 1), vm(&shared, 2));
        let held = take(&mut a, 1, 0).unwrap();
        a.0.faults.borrow_mut().shared_data = true;
        a.1.release(&a.0, held, Mono(1));
        a.0.faults.borrow_mut().shared_data = false;
        assert!(take(&mut b, 1, 1).is_err());
        a.1.tick(&a.0, Mono(2));
        assert!(take(&mut b, 1, 2).is_ok() && !a.1.is_busy());
    }

    /// Threads that are real, on the rules of shared data.
    #[test]
    fn threads_never_hold_more_than_may_be_in_flight() {
        let shared = SharedData::default();
        let (now, most_seen) = (AtomicU64::new(1), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 1..=4_u32 {
                let (shared, now, most_seen) = (&shared, &now, &most_seen);
                let counter = flying();
                scope.spawn(move || {
                    let mut vm = vm(shared, thread);
                    let mut held: Vec<Held> = Vec::new();
                    for step in 0..3_000_u32 {
                        let at = now.fetch_add(1, Ordering::SeqCst);
                        if (step * thread) % 3 == 0 {
                            if let Some(one) = held.pop() {
                                counter.fetch_sub(1, Ordering::SeqCst);
                                vm.1.release(&vm.0, one, Mono(at));
                            }
                        } else if let Ok(one) = take(&mut vm, 5, at) {
                            held.push(one);
                            most_seen.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        }
                    }
                    while let Some(one) = held.pop() {
                        counter.fetch_sub(1, Ordering::SeqCst);
                        vm.1.release(&vm.0, one, Mono(now.load(Ordering::SeqCst)));
                    }
                    assert!(!vm.1.is_busy());
                });
            }
        });
        assert_eq!(most_seen.into_inner(), 5);
        let mut after = vm(&shared, 9);
        assert!((0..5).all(|_| take(&mut after, 5, u64::from(u32::MAX)).is_ok()), "nothing leaked");
    }

    fn flying() -> &'static AtomicU64 {
        static FLYING: AtomicU64 = AtomicU64::new(0);
        &FLYING
    }
}
