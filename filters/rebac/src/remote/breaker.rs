//! A circuit breaker: an engine that fails again and again is left alone for a while.

use std::rc::{Rc, Weak};
use std::time::Duration;

use portcullis_common::clock::Mono;

use crate::policy::remote::Calls;

/// The breaker of one engine.
#[derive(Debug)]
pub struct Breaker {
    failures: u32,
    most: u32,
    pause: Duration,
    /// How long a question may take that tries whether the engine answers again.
    probe: Duration,
    state: State,
    /// Whoever tries that holds it.
    probing: Weak<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Nobody asks until then.
    Open(Mono),
    /// One question is on its way. If nothing was heard of it by then, or its asker left, another one goes.
    Probing(Mono),
}

/// Leave to ask. It is held until the answer came: one that is dropped before lets another one try.
#[derive(Debug, Default)]
pub struct Pass(#[expect(dead_code, reason = "it is held")] Option<Rc<()>>);

impl Breaker {
    /// A breaker that lets through.
    #[must_use]
    pub fn new(calls: Calls) -> Breaker {
        let Calls { failures, pause, timeout, .. } = calls;
        let (state, probing) = (State::Closed, Weak::new());
        Breaker { failures: 0, most: failures, pause, probe: timeout, state, probing }
    }

    /// Whether a question may leave. One that may has to be followed by [`Breaker::succeeded`] or [`Breaker::failed`], unless its
    /// asker leaves.
    pub fn lets(&mut self, now: Mono) -> Option<Pass> {
        let probes = match self.state {
            State::Closed => return Some(Pass::default()),
            State::Open(until) => until <= now,
            State::Probing(until) => until <= now || self.probing.strong_count() == 0,
        };
        probes.then(|| {
            self.state = State::Probing(now.after(self.probe));
            let held = Rc::new(());
            self.probing = Rc::downgrade(&held);
            Pass(Some(held))
        })
    }

    /// The engine answered.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.state = State::Closed;
    }

    /// It did not.
    pub fn failed(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.most || self.state != State::Closed {
            self.state = State::Open(now.after(self.pause));
        }
    }

    /// Whether it is left alone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn after_failures_in_a_row_one_question_tries() {
        let calls = Calls {
            timeout: Duration::from_millis(200),
            retries: 0,
            failures: 3,
            pause: Duration::from_secs(1),
        };
        let mut breaker = Breaker::new(calls);
        for _ in 0..2 {
            breaker.failed(Mono(0));
        }
        breaker.succeeded();
        for _ in 0..3 {
            assert!(breaker.lets(Mono(0)).is_some());
            breaker.failed(Mono(0));
        }
        assert!(breaker.lets(Mono(999 * MS)).is_none());
        let pass = breaker.lets(Mono(1000 * MS));
        assert!(pass.is_some());
        assert!(breaker.lets(Mono(1000 * MS)).is_none(), "one at a time");
        breaker.failed(Mono(1100 * MS));
        assert!(breaker.lets(Mono(2099 * MS)).is_none());
        let pass = breaker.lets(Mono(2100 * MS));
        assert!(breaker.lets(Mono(2101 * MS)).is_none());
        // Whoever leaves before the answer came holds nobody up.
        drop(pass);
        let pass = breaker.lets(Mono(2101 * MS));
        assert!(pass.is_some() && breaker.lets(Mono(2102 * MS)).is_none());
        assert!(breaker.lets(Mono(2301 * MS)).is_some(), "the question that tried was lost");
        breaker.succeeded();
        assert!(breaker.lets(Mono(2301 * MS)).is_some() && breaker.lets(Mono(2301 * MS)).is_some());
    }
}
