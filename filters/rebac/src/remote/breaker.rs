//! A circuit breaker: an engine that fails again and again is left alone for a while.

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Nobody asks until then.
    Open(Mono),
    /// One question is on its way. If nothing was heard of it by then, another one goes.
    Probing(Mono),
}

impl Breaker {
    /// A breaker that lets through.
    #[must_use]
    pub fn new(calls: Calls) -> Breaker {
        let Calls { failures, pause, timeout, .. } = calls;
        Breaker { failures: 0, most: failures, pause, probe: timeout, state: State::Closed }
    }

    /// Whether a question may leave. One that may has to be followed by [`Breaker::succeeded`] or [`Breaker::failed`].
    pub fn lets(&mut self, now: Mono) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until) | State::Probing(until) if until <= now => {
                self.state = State::Probing(now.after(self.probe));
                true
            }
            State::Open(_) | State::Probing(_) => false,
        }
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
            assert!(breaker.lets(Mono(0)));
            breaker.failed(Mono(0));
        }
        assert!(!breaker.lets(Mono(999 * MS)));
        assert!(breaker.lets(Mono(1000 * MS)));
        assert!(!breaker.lets(Mono(1000 * MS)), "one at a time");
        breaker.failed(Mono(1100 * MS));
        assert!(!breaker.lets(Mono(2099 * MS)));
        assert!(breaker.lets(Mono(2100 * MS)));
        assert!(breaker.lets(Mono(2300 * MS)), "the question that tried was lost");
        breaker.succeeded();
        assert!(breaker.lets(Mono(2300 * MS)) && breaker.lets(Mono(2300 * MS)));
    }
}
