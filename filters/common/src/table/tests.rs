use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::memory::{MemoryHost, SharedData};

fn table(host: &MemoryHost, bytes: usize) -> Table {
    Table::open(host, &["t"], SLOTS, bytes).unwrap()
}

fn meter(name: &str) -> Meter {
    Meter::new(&[name], false)
}

/// Adds `step` to what a key owes a meter and gives the old debt.
fn add_to(table: &Table, host: &MemoryHost, meter: Meter, key: &[u8], now: u64, step: u64) -> Update<u64> {
    let update = table.exchange(host, key, now, |view| {
        let slot = view.open(meter)?;
        let old = view.entry(slot).until;
        view.set(slot, Entry { until: old.max(now) + step, data: 0 });
        Ok(Ok::<_, Infallible>(old))
    });
    let update = update.unwrap();
    Update { value: update.value.unwrap(), conflicts: update.conflicts, evicted: update.evicted }
}

fn add(table: &Table, host: &MemoryHost, key: &[u8], now: u64, step: u64) -> u64 {
    add_to(table, host, meter("m"), key, now, step).value
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
    let second = Table::open(&host, &["t", ""], SLOTS, 1 << 20).unwrap();
    assert_eq!(add(&second, &host, b"k", 0, 5), 0);
    let wide = Table::open(&host, &["t"], 64, 1 << 20).unwrap();
    assert_eq!(add(&wide, &host, b"k", 0, 5), 0);
}

#[test]
fn meters_of_one_key_are_decided_in_one_exchange_or_not_at_all() {
    let host = MemoryHost::default();
    let table = table(&host, 1 << 20);
    let both = |refuse: bool| {
        table.exchange(&host, b"k", 0, |view| {
            for name in ["a", "b"] {
                let slot = view.open(meter(name))?;
                let until = view.entry(slot).until + 1;
                view.set(slot, Entry { until, data: 7 });
            }
            Ok(if refuse { Err("no") } else { Ok(()) })
        })
    };
    assert_eq!(both(false).unwrap().value, Ok(()));
    assert_eq!(both(true).unwrap().value, Err("no"));
    for name in ["a", "b"] {
        assert_eq!(add_to(&table, &host, meter(name), b"k", 0, 0).value, 1, "{name}");
    }
}

#[test]
fn a_conflict_decides_anew_and_too_many_give_up_without_a_trace() {
    let host = MemoryHost::default();
    let table = table(&host, 1 << 20);
    host.faults.borrow_mut().conflicts = 5;
    assert_eq!(add_to(&table, &host, meter("m"), b"k", 0, 9).conflicts, 5);
    host.faults.borrow_mut().conflicts = 100;
    let tried = table.exchange(&host, b"k", 0, |view| {
        let slot = view.open(meter("m"))?;
        view.set(slot, Entry { until: 99, data: 0 });
        Ok(Ok::<_, Infallible>(()))
    });
    assert_eq!(tried, Err(Unavailable::Contended));
    host.faults.borrow_mut().conflicts = 0;
    assert_eq!(add(&table, &host, b"k", 0, 0), 9);
}

#[test]
fn a_host_that_keeps_no_rules_is_noticed_when_the_table_is_opened() {
    let host = MemoryHost::default();
    host.faults.borrow_mut().shared_data = true;
    assert_eq!(Table::open(&host, &["t"], SLOTS, 1 << 20).map(drop), Err(Unavailable::Host));
}

#[test]
fn memory_has_a_ceiling_whatever_the_number_of_keys() {
    let host = MemoryHost::default();
    let table = table(&host, 64 << 10);
    for n in 0..100_000_u32 {
        add(&table, &host, &n.to_le_bytes(), u64::from(n), 1_000_000);
    }
    assert!(host.shared.keys() <= table.pages as usize + 2);
    assert!((table.pages as usize) * (page::size(SLOTS) + PAGE_OVERHEAD) <= 64 << 10);
    assert!(page::size(SLOTS) <= 512);
    let (live, of) = table.load(&host, 0, 100_000).unwrap();
    assert_eq!((live, of), (SLOTS, SLOTS));
}

#[test]
fn passed_debts_make_room_without_loss() {
    let host = MemoryHost::default();
    let table = table(&host, 1);
    for n in 0..SLOTS as u8 {
        add(&table, &host, &[n], 0, 10);
    }
    let update = add_to(&table, &host, meter("m"), b"new", 10, 10);
    assert_eq!((update.value, update.evicted), (0, 0));
}

#[test]
fn a_full_page_gives_up_its_smallest_debt_and_newcomers_inherit_it() {
    let host = MemoryHost::default();
    let table = table(&host, 1);
    for n in 0..SLOTS as u8 {
        add(&table, &host, &[n], 0, 100 + u64::from(n));
    }
    let update = add_to(&table, &host, meter("m"), b"new", 0, 500);
    assert_eq!((update.value, update.evicted), (100, 1));
    assert_eq!(add(&table, &host, &[0], 0, 0), 101, "whoever was given up starts no better than it left");
    let kept = table.exchange(&host, b"other", 0, |view| {
        let slot = view.open(meter("m"))?;
        Ok(Ok::<_, Infallible>(view.entry(slot).until))
    });
    assert_eq!(kept.unwrap().evicted, 0, "a refused newcomer takes no slot");
}

#[test]
fn those_who_crowd_one_limit_crowd_out_each_other() {
    let host = MemoryHost::default();
    let table = table(&host, 1);
    add_to(&table, &host, meter("users"), b"honest", 0, 5);
    for n in 0..200_u8 {
        add_to(&table, &host, meter("addresses"), &[n], 0, 1_000);
    }
    assert_eq!(
        add_to(&table, &host, meter("users"), b"honest", 0, 5).value,
        5,
        "not a bit more, not a bit less"
    );
    assert_eq!(add_to(&table, &host, meter("users"), b"another", 0, 5).value, 0);
}

#[test]
fn what_is_given_up_of_windows_is_no_better_than_both() {
    let entry = |until, before: u64, count: u64| Entry { until, data: before << 32 | count };
    for (a, b, want) in [
        (entry(9, 3, 4), entry(9, 5, 2), entry(9, 5, 4)),
        (entry(8, 3, 7), entry(9, 5, 2), entry(9, 7, 2)),
        (entry(8, 9, 1), entry(9, 5, 2), entry(9, 5, 2)),
    ] {
        assert_eq!((a.or_worse(b, true), b.or_worse(a, true)), (want, want));
    }
    let days = |until, day: u64, count: u64| Entry { until, data: day << 32 | count };
    assert_eq!(days(8, 20_000, 30_000).or_worse(days(9, 20_001, 1), false), days(9, 20_001, 1));
}

#[test]
fn a_share_gives_up_nothing_and_is_given_up_by_nobody() {
    let host = MemoryHost::default();
    let table = table(&host, 1);
    let join = |key: &[u8], owner: u64| {
        table.exchange(&host, key, 0, |view| {
            let slot = view.add(meter("shares"))?;
            view.set(slot, Entry { until: 10, data: owner });
            Ok(Ok::<_, Infallible>(view.shares(meter("shares")).count()))
        })
    };
    for n in 0..SLOTS as u64 {
        assert_eq!(join(b"k", n).unwrap().value, Ok(n as usize + 1));
    }
    assert_eq!(join(b"k", 99), Err(Unavailable::Full));
}

/// Threads that are real, on the rules of shared data: every unit of debt is there in the end, and each was seen by whoever
/// came after it.
#[test]
fn threads_lose_nothing() {
    let shared = SharedData::default();
    let contended = AtomicU64::new(0);
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (shared, contended, seen) = (&shared, &contended, &seen);
            scope.spawn(move || {
                let host = MemoryHost::sharing(shared);
                host.roll(thread);
                let table = table(&host, 1 << 20);
                for _ in 0..2_000 {
                    let update = add_to(&table, &host, meter("m"), b"k", 0, 1);
                    contended.fetch_add(u64::from(update.conflicts), Ordering::Relaxed);
                    seen.lock().unwrap().push(update.value);
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..8_000), "each debt is seen exactly once");
}

proptest! {
    /// Whatever is given up: no key ever sees less debt than it owes, on any of its meters.
    #[test]
    fn nobody_is_forgiven(steps in prop::collection::vec((0_u8..40, 0_u8..3, 1_u64..50, 0_u64..20), 1..400)) {
        let host = MemoryHost::default();
        let table = table(&host, 1);
        let mut owed = HashMap::new();
        let mut now = 0;
        for (key, m, step, pause) in steps {
            now += pause;
            let seen = add_to(&table, &host, meter(&m.to_string()), &[key], now, step).value;
            let truth = *owed.get(&(key, m)).unwrap_or(&0);
            prop_assert!(seen.max(now) >= std::cmp::max(truth, now));
            owed.insert((key, m), seen.max(now) + step);
        }
    }

    #[test]
    fn what_others_wrote_into_shared_data_panics_nobody(junk in prop::collection::vec(any::<u8>(), 0..600), now in any::<u64>()) {
        let mut page = Page::read(junk, SLOTS);
        let _ = page.open(7, now).map(|slot| page.set(slot, Entry::default()));
        prop_assert!(page.live(now) <= SLOTS);
    }
}
