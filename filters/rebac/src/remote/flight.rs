//! Questions that are on their way.
//!
//! A question that several streams of a worker have is asked by the first of them; the others wait for its flight. If the asker ends
//! before its answer came, nobody joins the flight any more, and if others wait already, the plugin itself asks again with its next
//! tick. That an asker left says nothing about the engine: it must not look like one that is away.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use portcullis_common::filter::WaitKey;

use super::Outcome;
use super::freshness::Wanted;
use super::memory::Departure;
use crate::question::Question;

/// A question on its way.
#[derive(Debug)]
pub struct Flight {
    /// What those who wait for it wait for.
    pub number: WaitKey,
    /// Its key in the memory.
    pub key: Rc<[u8]>,
    /// The question.
    pub question: Question,
    /// How new its answer has to be.
    pub wanted: Wanted,
    /// When it left.
    pub left: Departure,
    outcome: RefCell<Option<Outcome>>,
    orphaned: Cell<bool>,
}

impl Flight {
    /// Whether its asker left before the answer came.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.orphaned.get()
    }

    /// What came of it.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }
}

/// Whoever asks for a flight's question. One that is dropped before the flight ended leaves it to the plugin.
#[derive(Debug)]
pub struct Lead {
    /// The flight.
    pub flight: Rc<Flight>,
    shared: Rc<RefCell<Shared>>,
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.flight.outcome.borrow().is_some() {
            return;
        }
        self.flight.orphaned.set(true);
        let mut shared = self.shared.borrow_mut();
        shared.forget(&self.flight);
        // There may be no tick that would look: what nobody holds any more goes here.
        shared.orphans.retain(|orphan| orphan.strong_count() > 0);
        if Rc::strong_count(&self.flight) > 1 {
            shared.orphans.push(Rc::downgrade(&self.flight));
        }
    }
}

/// What flights and those who ask for them share.
#[derive(Debug, Default)]
struct Shared {
    /// Flights that others may wait for; somebody asks for each.
    under_way: BTreeMap<Rc<[u8]>, Rc<Flight>>,
    /// Flights whose asker left while others waited.
    orphans: Vec<Weak<Flight>>,
}

impl Shared {
    /// Another one may have left under its key since.
    fn forget(&mut self, flight: &Rc<Flight>) {
        if self.under_way.get(&flight.key).is_some_and(|other| Rc::ptr_eq(other, flight)) {
            self.under_way.remove(&flight.key);
        }
    }
}

/// The flights of a worker.
#[derive(Debug, Default)]
pub struct Flights {
    shared: Rc<RefCell<Shared>>,
    last: WaitKey,
    /// Flights that ended and whose waiters were not woken yet.
    ended: Vec<WaitKey>,
}

impl Flights {
    /// The flight of this key that left in this epoch: an older one may bring what was true before a change.
    #[must_use]
    pub fn join(&self, key: &[u8], epoch: u64) -> Option<Rc<Flight>> {
        self.shared.borrow().under_way.get(key).filter(|flight| flight.left.epoch == epoch).map(Rc::clone)
    }

    /// A question leaves. `open` says whether others may wait for it.
    pub fn leave(
        &mut self,
        key: &[u8],
        question: Question,
        wanted: Wanted,
        left: Departure,
        open: bool,
    ) -> Lead {
        self.last = self.last.saturating_add(1);
        let key: Rc<[u8]> = key.into();
        let (outcome, orphaned) = (RefCell::new(None), Cell::new(false));
        let flight = Rc::new(Flight { number: self.last, key, question, wanted, left, outcome, orphaned });
        if open {
            self.shared.borrow_mut().under_way.insert(Rc::clone(&flight.key), Rc::clone(&flight));
        }
        Lead { flight, shared: Rc::clone(&self.shared) }
    }

    /// A question was answered, or there is none to answer it.
    pub fn end(&mut self, flight: &Rc<Flight>, outcome: Outcome) {
        flight.outcome.borrow_mut().get_or_insert(outcome);
        self.shared.borrow_mut().forget(flight);
        self.ended.push(flight.number);
    }

    /// Flights whose asker is gone while others wait; whoever takes them asks for them.
    pub fn orphans(&mut self) -> Vec<Rc<Flight>> {
        let orphans = std::mem::take(&mut self.shared.borrow_mut().orphans);
        orphans.iter().filter_map(Weak::upgrade).collect()
    }

    /// A flight that cannot be asked for yet.
    pub fn postpone(&mut self, flight: &Rc<Flight>) {
        self.shared.borrow_mut().orphans.push(Rc::downgrade(flight));
    }

    /// Those whose waiters have to be woken.
    pub fn ended(&mut self) -> Vec<WaitKey> {
        std::mem::take(&mut self.ended)
    }

    /// How many are under way that others may wait for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.borrow().under_way.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::question;
    use portcullis_common::clock::Mono;

    const LEFT: Departure = Departure { at: Mono(0), epoch: 3 };

    fn leave(flights: &mut Flights) -> Lead {
        flights.leave(b"k", question("user:a", "view", "document:1"), Wanted::Any, LEFT, true)
    }

    #[test]
    fn those_who_come_later_wait_for_the_first() {
        let mut flights = Flights::default();
        let lead = leave(&mut flights);
        let waits = flights.join(b"k", 3).unwrap();
        assert!(flights.join(b"other", 3).is_none());
        assert!(flights.join(b"k", 4).is_none(), "it left before a change");
        flights.end(&lead.flight, Ok(true));
        assert_eq!((waits.outcome(), flights.ended()), (Some(Ok(true)), vec![waits.number]));
        drop(lead);
        assert!(flights.orphans().is_empty() && flights.is_empty());
    }

    #[test]
    fn a_flight_whose_asker_left_is_asked_again_if_somebody_waits() {
        let mut flights = Flights::default();
        let lead = leave(&mut flights);
        let waits = flights.join(b"k", 3).unwrap();
        drop(lead);
        assert!(flights.join(b"k", 3).is_none(), "nobody asks for it: whoever comes now asks anew");
        let orphans = flights.orphans();
        assert_eq!((orphans.len(), waits.is_orphaned()), (1, true));
        flights.end(&orphans[0], Ok(false));
        assert_eq!(waits.outcome(), Some(Ok(false)));
        assert!(flights.is_empty());

        drop(leave(&mut flights));
        assert!(flights.is_empty(), "nobody waits for it, and no tick has to come to see that");
        assert!(flights.orphans().is_empty());
    }

    #[test]
    fn what_everybody_left_takes_no_memory_though_nothing_ticks() {
        let mut flights = Flights::default();
        for _ in 0..1_000 {
            let lead = leave(&mut flights);
            let waits = flights.join(b"k", 3).unwrap();
            drop(lead);
            drop(waits);
        }
        assert!(flights.is_empty());
        assert!(flights.shared.borrow().orphans.len() <= 1);
    }

    #[test]
    fn a_flight_of_an_older_epoch_ends_alone() {
        let mut flights = Flights::default();
        let old = leave(&mut flights);
        let left = Departure { at: Mono(1), epoch: 4 };
        let new = flights.leave(b"k", question("user:a", "view", "document:1"), Wanted::Any, left, true);
        flights.end(&old.flight, Ok(true));
        assert!(flights.join(b"k", 4).is_some_and(|flight| Rc::ptr_eq(&flight, &new.flight)));
        assert_eq!(new.flight.outcome(), None);
    }
}
