//! Requests that wait for keys or a deny list: which ones, how many, how long.

use std::rc::Rc;

use portcullis_common::clock::Mono;
use portcullis_common::filter::Step;
use portcullis_common::host::Host;

use super::{Asked, JwtAuth};
use crate::servers::{MOVED, Missing, What};

/// The most requests that wait at once, in one worker.
const MAX_WAITING: usize = 1024;

/// What is remembered of a request.
#[derive(Debug, Default)]
pub struct Stream {
    pub(super) waits: Option<Rc<()>>,
}

/// A request that waits for keys or a deny list.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// When it began to.
    since: Mono,
    /// How long it may.
    until: Mono,
}

/// How much longer a request may wait.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// As long as its provider allows.
    Fresh,
    /// It waited already.
    Left(Waiting),
    /// No longer.
    Over,
}

impl JwtAuth {
    /// Lets the request wait, if what is missing may come in time.
    pub(super) fn wait(
        &mut self,
        stream: &mut Stream,
        asked: Asked<'_>,
        missing: &Missing,
        patience: Patience,
    ) -> Option<Step<Waiting>> {
        let now = asked.now.mono();
        let provider = asked.policy.providers.get(missing.provider)?;
        let waiting = match patience {
            Patience::Fresh => Waiting { since: now, until: now.after(provider.wait) },
            Patience::Left(waiting) if now < waiting.until => waiting,
            Patience::Left(_) | Patience::Over => return None,
        };
        if !self.servers.ask_for(missing, waiting.since, waiting.until, now) {
            return None;
        }
        if matches!(patience, Patience::Fresh) {
            // One is this filter's own.
            if Rc::strong_count(&self.waiting) > MAX_WAITING {
                self.counters.waited(asked.host, "refused");
                return None;
            }
            if matches!(missing.what, What::Key(_)) {
                self.counters.missed(asked.host, &provider.name);
            }
        }
        stream.waits = Some(Rc::clone(&self.waiting));
        Some(Step::Wait(MOVED, waiting.until.since(now), waiting))
    }

    pub(super) fn count_wait(&mut self, host: &dyn Host, patience: Patience, how: &'static str) {
        if !matches!(patience, Patience::Fresh) {
            self.counters.waited(host, how);
        }
    }
}
