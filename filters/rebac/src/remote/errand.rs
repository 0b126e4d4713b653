//! The questions of one request, on their way to an engine.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::filter::WaitKey;
use portcullis_common::reason::Reason;

use super::Outcome;
use super::breaker::Pass;
use super::fault::Fault;
use super::flight::{Flight, Lead};
use super::freshness::Wanted;
use crate::combine::{Answered, Group};
use crate::question::Question;

/// How many bytes of questions one call carries: OpenFGA takes requests of 600 KiB, of which JSON's own characters are a part.
const LARGEST: usize = 200 << 10;

/// A request's questions, and how far they got.
#[derive(Debug)]
pub struct Errand {
    /// The rule that asks.
    pub rule: usize,
    /// What the questions are to each other.
    pub group: Group,
    /// One for each check, in their order.
    pub slots: Vec<Slot>,
    /// How new the answers have to be.
    pub wanted: Wanted,
    /// How long the request waits.
    pub until: Mono,
    /// How much longer it may wait, once, for a flight whose asker left.
    pub spare: Option<Duration>,
    /// Headers that calls carry on.
    pub headers: Vec<(String, String)>,
    /// What it waits for.
    pub stage: Stage,
    /// How often its calls were repeated.
    pub attempt: u32,
    /// When its calls left.
    pub sent: Mono,
    /// The slots of each call.
    pub batches: Vec<Vec<usize>>,
    /// Leave to ask, held until the answers came.
    pub pass: Pass,
}

/// What an errand waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The answers to its calls.
    Called,
    /// The time before they are repeated.
    BackingOff,
    /// Somebody else's answer.
    Joined,
    /// A token.
    Token,
}

/// A check.
#[derive(Debug)]
pub enum Slot {
    /// It is answered.
    Answered(Answered),
    /// It has to be asked. `stale` is what was remembered beyond its time.
    Open {
        /// The question.
        question: Question,
        /// Its key in the memory.
        key: Rc<[u8]>,
        /// What was remembered beyond its time.
        stale: Option<bool>,
    },
    /// This errand asks it.
    Led {
        /// Its flight.
        lead: Lead,
        /// What was remembered beyond its time.
        stale: Option<bool>,
    },
    /// Another one asks it.
    Joined {
        /// Its flight.
        flight: Rc<Flight>,
        /// What was remembered beyond its time.
        stale: Option<bool>,
    },
}

impl Slot {
    /// What stands in a slot while it is made another one.
    pub const NONE: Slot = Slot::Answered(Answered { asked: None, holds: Err(Reason::HostError) });

    /// The flight, if this errand asks it.
    #[must_use]
    pub fn led(&self) -> Option<&Rc<Flight>> {
        match self {
            Slot::Led { lead, .. } => Some(&lead.flight),
            _ => None,
        }
    }

    /// Whether its answer decides: one that holds for any, a plain no for all.
    #[must_use]
    pub fn decides(&self, group: Group) -> bool {
        match self {
            Slot::Answered(Answered { holds: Ok(()), .. }) => group == Group::Any,
            slot => slot.outcome() == Some(Ok(group == Group::Any)),
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        match self {
            Slot::Answered(answered) => match answered.holds {
                Ok(()) => Some(Ok(true)),
                Err(Reason::RelationDenied) => Some(Ok(false)),
                Err(_) => Some(Err(Fault::Value)),
            },
            Slot::Open { .. } => None,
            Slot::Led { lead, .. } => lead.flight.outcome(),
            Slot::Joined { flight, .. } => flight.outcome(),
        }
    }
}

impl Errand {
    /// These slots, in calls of at most `most` questions and about [`LARGEST`] bytes.
    #[must_use]
    pub fn batched(&self, open: Vec<usize>, most: usize) -> Vec<Vec<usize>> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for at in open {
            let size = self.slots.get(at).and_then(Slot::led).map_or(0, |flight| flight.question.size());
            match batches.last_mut().filter(|batch| batch.len() < most && size <= room) {
                Some(batch) => {
                    batch.push(at);
                    room = room.saturating_sub(size);
                }
                None => {
                    batches.push(vec![at]);
                    room = LARGEST.saturating_sub(size);
                }
            }
        }
        batches
    }

    /// The slots that this errand asks and that have no answer.
    #[must_use]
    pub fn unanswered(&self) -> Vec<usize> {
        let open = |slot: &Slot| slot.led().is_some_and(|flight| flight.outcome().is_none());
        self.slots.iter().enumerate().filter(|(_, slot)| open(slot)).map(|(at, _)| at).collect()
    }

    /// The first flight of somebody else that has no answer.
    #[must_use]
    pub fn awaited(&self) -> Option<WaitKey> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Joined { flight, .. } if flight.outcome().is_none() => Some(flight.number),
            _ => None,
        })
    }

    /// Whether a flight that it waits for lost its asker.
    #[must_use]
    pub fn awaits_an_orphan(&self) -> bool {
        let orphan = |flight: &Rc<Flight>| flight.outcome().is_none() && flight.is_orphaned();
        self.slots.iter().any(|slot| matches!(slot, Slot::Joined { flight, .. } if orphan(flight)))
    }

    /// Whether what is answered decides.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.slots.iter().any(|slot| slot.decides(self.group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::flight::Flights;
    use crate::remote::memory::Departure;
    use crate::remote::tests::question;

    #[test]
    fn a_call_has_no_more_questions_and_bytes_than_an_engine_takes() {
        let mut flights = Flights::default();
        let mut errand = |sizes: &[usize]| {
            let slots = sizes.iter().enumerate().map(|(n, size)| {
                let question = question(&"a".repeat(*size), "viewer", "document:1");
                let left = Departure { at: Mono(0), epoch: 0 };
                let lead = flights.leave(&[u8::try_from(n).unwrap()], question, Wanted::Any, left, false);
                Slot::Led { lead, stale: None }
            });
            Errand {
                rule: 0,
                group: Group::All,
                slots: slots.collect(),
                wanted: Wanted::Any,
                until: Mono(0),
                spare: None,
                headers: Vec::new(),
                stage: Stage::Called,
                attempt: 0,
                sent: Mono(0),
                batches: Vec::new(),
                pass: Pass::default(),
            }
        };
        let batched = |errand: Errand| errand.batched(errand.unanswered(), 3);
        assert_eq!(batched(errand(&[])), Vec::<Vec<usize>>::new());
        assert_eq!(batched(errand(&[10; 7])), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        let big = 90 << 10;
        assert_eq!(batched(errand(&[big, big, big, 1])), [vec![0, 1], vec![2, 3]]);
        assert_eq!(batched(errand(&[LARGEST * 2, 1])), [vec![0], vec![1]]);
    }
}
