//! What a watch of the engine's changes tells the memory of decisions.
//!
//! The watcher says three things: that it lives ([`Epoch::alive`]), that it broke ([`Epoch::broken`]), and that something changed
//! ([`Epoch::invalidate`]). Each change is a new epoch. An answer belongs to the epoch in which its question left, and counts in no
//! other: what was remembered before a change is void, and an answer that was on its way meanwhile is not remembered.

use std::rc::Rc;

use portcullis_common::clock::Mono;

/// How new answers have to be after a change, so that the engine's own caches do not bring back what was before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Floor {
    /// As they come.
    #[default]
    None,
    /// At least as new as this token: SpiceDB's `changes_through`.
    Token(Rc<str>),
    /// Not from the engine's caches until then: OpenFGA's `HIGHER_CONSISTENCY`.
    FreshUntil(Mono),
}

/// What is known of the engine's changes.
#[derive(Debug, Default)]
pub struct Epoch {
    number: u64,
    floor: Floor,
    watched_until: Option<Mono>,
}

impl Epoch {
    /// Which epoch this is.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Something changed, or may have: a change, a schema, a cursor that the engine no longer knows.
    pub fn invalidate(&mut self, floor: Floor) {
        self.number = self.number.saturating_add(1);
        self.floor = floor;
    }

    /// The watch lives, and is believed to until then. A watch that begins, or begins again, says nothing of what changed before it:
    /// that is a change too.
    pub fn alive(&mut self, now: Mono, until: Mono) {
        if !self.is_watched(now) {
            self.number = self.number.saturating_add(1);
        }
        self.watched_until = Some(until);
    }

    /// The watch broke.
    pub fn broken(&mut self) {
        self.watched_until = None;
    }

    /// Whether changes are known as they happen. A watch that was not heard of in time is none.
    #[must_use]
    pub fn is_watched(&self, now: Mono) -> bool {
        self.watched_until.is_some_and(|until| now < until)
    }

    /// How new the next answers have to be.
    #[must_use]
    pub fn floor(&self, now: Mono) -> Floor {
        match &self.floor {
            Floor::FreshUntil(until) if *until <= now => Floor::None,
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_is_not_heard_of_is_none_and_one_that_begins_is_a_change() {
        let mut epoch = Epoch::default();
        assert!(!epoch.is_watched(Mono(0)));
        epoch.alive(Mono(0), Mono(100));
        assert_eq!(epoch.number(), 1);
        epoch.alive(Mono(50), Mono(150));
        assert_eq!(epoch.number(), 1);
        assert!(epoch.is_watched(Mono(149)) && !epoch.is_watched(Mono(150)));
        epoch.alive(Mono(150), Mono(250));
        assert_eq!(epoch.number(), 2);
        epoch.broken();
        assert!(!epoch.is_watched(Mono(151)));
        epoch.alive(Mono(151), Mono(250));
        assert_eq!(epoch.number(), 3);
    }

    #[test]
    fn after_a_change_answers_have_to_be_newer() {
        let mut epoch = Epoch::default();
        epoch.invalidate(Floor::FreshUntil(Mono(10)));
        assert_eq!((epoch.number(), epoch.floor(Mono(9))), (1, Floor::FreshUntil(Mono(10))));
        assert_eq!(epoch.floor(Mono(10)), Floor::None);
        epoch.invalidate(Floor::Token("t".into()));
        assert_eq!(epoch.floor(Mono(1 << 60)), Floor::Token("t".into()));
    }
}
