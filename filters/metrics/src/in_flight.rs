//! How many requests are in flight: a count for each VM, added up in one gauge.
//!
//! A gauge that every stream raises and lowers drifts for ever once a VM traps: its streams never lower it. So a stream
//! only changes its own VM's count, which costs no host call; it lowers what it raised when it is dropped. At every tick a VM puts
//! the difference to what it last reported into the gauge, and its report into shared data. A VM that has not been heard of
//! for [`SILENCE`] is gone, and whoever notices takes exactly its last report out of the gauge.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::host::{Cas, Host, MetricId, SetFailure};

/// A VM that is silent for so long is gone; one that comes back reports anew.
pub const SILENCE: Duration = Duration::from_secs(10);
/// How often a VM with nothing new says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The most VMs that report: more than any machine has threads.
const MOST: usize = 1_024;
/// How often a report is made anew after a conflict; the next tick is soon.
const TRIES: usize = 4;
/// Bytes of a report: who, when, how many.
const REPORT: usize = 24;

/// A request in flight.
#[derive(Debug, Default)]
pub struct Ticket(Option<Rc<Cell<i64>>>);

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.set(count.get().saturating_sub(1));
        }
    }
}

/// The count of this VM.
#[derive(Debug)]
pub struct InFlight {
    count: Rc<Cell<i64>>,
    me: u64,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    who: u64,
    heard: u64,
    count: i64,
}

impl InFlight {
    /// Nothing in flight; `key` is where the VMs report.
    #[must_use]
    pub fn new(host: &dyn Host, key: Vec<u8>) -> Self {
        let mut me = [0; 8];
        if host.random(&mut me).is_err() {
            log::warn!(
                "this host has no randomness: requests in flight may be counted wrong after a failure"
            );
        }
        InFlight { count: Rc::default(), me: u64::from_le_bytes(me), key }
    }

    /// A request begins.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.count.set(self.count.get().saturating_add(1));
        Ticket(Some(Rc::clone(&self.count)))
    }

    /// Brings the gauge up to date.
    pub fn tick(&self, host: &dyn Host, now: Mono, gauge: Option<MetricId>) {
        for _ in 0..TRIES {
            let Ok(found) = host.shared_get(&self.key) else { return };
            let (bytes, cas) = found.unwrap_or((Vec::new(), Cas::ABSENT));
            let Some((reports, change)) = self.report(&read(&bytes), now) else { return };
            match host.shared_set(&self.key, &write(&reports), cas) {
                Ok(()) => {
                    if let Some(gauge) = gauge.filter(|_| change != 0) {
                        host.increment(gauge, change);
                    }
                    return;
                }
                Err(SetFailure::Conflict) => {}
                Err(SetFailure::Host(_)) => return,
            }
        }
    }

    /// The reports as they should be, and by how much that changes their sum; `None` if they are good as they are.
    fn report(&self, old: &[Report], now: Mono) -> Option<(Vec<Report>, i64)> {
        let since = |report: &Report| now.since(Mono(report.heard));
        let mine = old.iter().find(|r| r.who == self.me);
        let count = self.count.get();
        let gone = |r: &&Report| r.who != self.me && since(r) >= SILENCE;
        let current = match mine {
            Some(mine) => mine.count == count && since(mine) < HEARTBEAT,
            None => count == 0,
        };
        if current && !old.iter().any(|r| gone(&r)) {
            return None;
        }
        let mut new: Vec<Report> =
            old.iter().filter(|r| r.who != self.me && !gone(r)).take(MOST).copied().collect();
        // Nothing in flight needs no heartbeat.
        if count != 0 {
            new.push(Report { who: self.me, heard: now.0, count });
        }
        let sum = |reports: &[Report]| reports.iter().fold(0_i64, |sum, r| sum.saturating_add(r.count));
        Some((new.clone(), sum(&new).saturating_sub(sum(old))))
    }
}

fn read(bytes: &[u8]) -> Vec<Report> {
    let word = |report: &[u8], at: usize| {
        let word = report.get(at..at.saturating_add(8)).and_then(|w| w.try_into().ok());
        word.map_or(0, u64::from_le_bytes)
    };
    let report = |r: &[u8]| Report { who: word(r, 0), heard: word(r, 8), count: word(r, 16).cast_signed() };
    bytes.chunks_exact(REPORT).map(report).collect()
}

fn write(reports: &[Report]) -> Vec<u8> {
    reports
        .iter()
        .flat_map(|r| [r.who, r.heard, r.count.cast_unsigned()])
        .flat_map(u64::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::host::MetricKind;
    use portcullis_common::memory::{MemoryHost, SharedData};

    struct Vm {
        host: MemoryHost,
        gauge: MetricId,
        in_flight: InFlight,
    }

    fn vm(shared: &SharedData, who: u8) -> Vm {
        let host = MemoryHost::sharing(shared);
        host.roll(who);
        let gauge = host.define(MetricKind::Gauge, "g").unwrap();
        let in_flight = InFlight::new(&host, b"k".to_vec());
        Vm { host, gauge, in_flight }
    }

    impl Vm {
        fn tick(&self, seconds: u64) {
            self.in_flight.tick(&self.host, Mono(seconds * 1_000_000_000), Some(self.gauge));
        }
        fn gauge(&self) -> i64 {
            self.host.metric("g")
        }
    }

    #[test]
    fn what_a_stream_raises_it_lowers() {
        let shared = SharedData::default();
        let vm = vm(&shared, 1);
        let tickets = [vm.in_flight.ticket(), vm.in_flight.ticket()];
        vm.tick(100);
        assert_eq!(vm.gauge(), 2);
        vm.tick(101);
        assert_eq!(vm.gauge(), 2, "a second tick adds nothing");
        drop(tickets);
        drop(Ticket::default());
        vm.tick(102);
        assert_eq!(vm.gauge(), 0);
        assert_eq!(shared.get(b"k").unwrap().0, b"", "an idle VM needs no place");
    }

    #[test]
    fn what_a_dead_vm_left_is_taken_back_once() {
        let shared = SharedData::default();
        let (dead, one, other) = (vm(&shared, 1), vm(&shared, 2), vm(&shared, 3));
        let _lost = [dead.in_flight.ticket(), dead.in_flight.ticket(), dead.in_flight.ticket()];
        let _mine = one.in_flight.ticket();
        dead.tick(100);
        one.tick(100);
        one.tick(109);
        other.tick(109);
        assert_eq!(dead.gauge() + one.gauge() + other.gauge(), 4);
        for second in 110..130 {
            one.tick(second);
            other.tick(second);
        }
        assert_eq!(dead.gauge() + one.gauge() + other.gauge(), 1);
    }

    #[test]
    fn a_vm_that_was_only_slow_reports_anew() {
        let shared = SharedData::default();
        let (slow, one) = (vm(&shared, 1), vm(&shared, 2));
        let _ticket = slow.in_flight.ticket();
        slow.tick(100);
        one.tick(120);
        assert_eq!(slow.gauge() + one.gauge(), 0);
        slow.tick(121);
        assert_eq!(slow.gauge() + one.gauge(), 1);
    }

    #[test]
    fn a_report_that_cannot_be_made_is_made_at_the_next_tick() {
        let shared = SharedData::default();
        let vm = vm(&shared, 1);
        let _ticket = vm.in_flight.ticket();
        vm.host.faults.borrow_mut().conflicts = 100;
        vm.tick(100);
        vm.host.faults.borrow_mut().conflicts = 0;
        assert_eq!(vm.gauge(), 0);
        vm.tick(101);
        assert_eq!(vm.gauge(), 1);
    }

    #[test]
    fn what_others_wrote_there_panics_nobody() {
        assert_eq!(read(&[1; 23]), []);
        let reports = [Report { who: 1, heard: 2, count: -3 }];
        assert_eq!(read(&write(&reports)), reports);
    }
}
