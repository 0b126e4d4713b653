//! Requests that wait for the first tuples: how many, how long.

use std::rc::Rc;

use portcullis_common::clock::{Mono, Now};
use portcullis_common::filter::Step;
use portcullis_common::host::Host;

use super::{Pending, Rebac};
use crate::feed::MOVED;

/// The most requests that wait at once, in one worker.
const MAX_WAITING: usize = 1024;

/// What is remembered of a request.
#[derive(Debug, Default)]
pub struct Stream {
    /// Held while it waits, so that those who wait can be counted.
    pub(super) waits: Option<Rc<()>>,
}

/// A request that waits for tuples.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// How long it may.
    until: Mono,
}

/// How much longer a request may wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// As long as the configuration allows.
    Fresh,
    /// It waited already.
    Left(Waiting),
    /// No longer.
    Over,
}

impl Rebac {
    /// Whether there are tuples now that another worker fetched.
    pub(super) fn look(&mut self, now: &Now, host: &dyn Host) -> bool {
        if let Some(feed) = &mut self.feed {
            feed.look(now.mono(), host, &mut self.counters);
        }
        self.policy.engine.is_ready()
    }

    /// Lets the request wait, if tuples may come in time.
    pub(super) fn wait(
        &mut self,
        stream: &mut Stream,
        now: &Now,
        host: &dyn Host,
        patience: Patience,
    ) -> Option<Step<Pending>> {
        let (feed, fetched) = (self.feed.as_ref()?, self.policy.fetched.as_ref()?);
        let now = now.mono();
        let waiting = match patience {
            Patience::Fresh => Waiting { until: now.after(fetched.wait) },
            Patience::Left(waiting) => waiting,
            Patience::Over => return None,
        };
        if now >= waiting.until || !feed.may_come(waiting.until) {
            return None;
        }
        // One is this filter's own.
        if matches!(patience, Patience::Fresh) && Rc::strong_count(&self.waiting) > MAX_WAITING {
            self.counters.waited(host, "refused");
            return None;
        }
        stream.waits = Some(Rc::clone(&self.waiting));
        Some(Step::Wait(MOVED, waiting.until.since(now), Pending::Tuples(waiting)))
    }

    /// A request's wait is over, if it waited.
    pub(super) fn waited(&mut self, host: &dyn Host, patience: Patience) {
        match patience {
            Patience::Fresh => {}
            Patience::Left(_) => self.counters.waited(host, "woken"),
            Patience::Over => self.counters.waited(host, "timeout"),
        }
    }
}
