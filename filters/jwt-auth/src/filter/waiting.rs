//! Requests that wait for keys or a deny list: which ones, how many, how long.

use std::rc::Rc;

use portcullis_common::clock::Mono;
use portcullis_common::filter::Step;
use portcullis_common::host::Host;
use portcullis_common::mode::Enforcement;

use super::judgement::Rejection;
use super::{Asked, JwtAuth};
use crate::servers::{MOVED, What};

/// The most requests that wait at once, in one worker.
const MAX_WAITING: usize = 1024;

/// What is remembered of a request.
#[derive(Debug, Default)]
pub struct Stream {
    pub(super) waits: Option<Rc<()>>,
}

/// A request that waits for keys or a deny list.
#[derive(Debug)]
pub struct Waiting {
    /// When it began to.
    since: Mono,
    /// How long it may.
    until: Mono,
    /// What it would be refused for, and by which rule.
    refusal: (Option<usize>, Rejection),
    /// What the servers had told when that was found.
    epoch: u64,
}

/// How much longer a request may wait.
pub(super) enum Patience {
    /// As long as its provider allows.
    Fresh,
    /// It waited already.
    Left(Waiting),
    /// No longer.
    Over(Waiting),
}

impl Patience {
    /// When the request began to wait.
    pub(super) fn since(&self) -> Option<Mono> {
        match self {
            Patience::Fresh => None,
            Patience::Left(waiting) | Patience::Over(waiting) => Some(waiting.since),
        }
    }

    /// The refusal of a request that waited, if judging it anew could find nothing else: the servers told nothing since. Requests are
    /// woken by whatever moves, many at once, and a token without `kid` has up to eight signatures to be checked.
    pub(super) fn refusal(&self, epoch: u64) -> Option<(Option<usize>, Rejection)> {
        match self {
            Patience::Left(waiting) | Patience::Over(waiting) if waiting.epoch == epoch => {
                Some(waiting.refusal.clone())
            }
            _ => None,
        }
    }
}

impl JwtAuth {
    /// Lets the request wait, if what is missing may come in time.
    pub(super) fn wait(
        &mut self,
        stream: &mut Stream,
        asked: Asked<'_>,
        refusal: (Option<usize>, &Rejection),
        patience: &Patience,
    ) -> Option<Step<Waiting>> {
        let now = asked.now.mono();
        let missing = refusal.1.missing.as_ref()?;
        let provider = asked.policy.providers.get(missing.provider)?;
        let (since, until) = match patience {
            Patience::Fresh => (now, now.after(provider.wait)),
            Patience::Left(waiting) if now < waiting.until => (waiting.since, waiting.until),
            Patience::Left(_) | Patience::Over(_) => return None,
        };
        let may_come = self.servers.ask_for(missing, since, until, now);
        // A refusal that is not carried out holds nobody up.
        if !may_come || until <= now || asked.policy.enforcement(refusal.0) == Enforcement::Nothing {
            return None;
        }
        if matches!(patience, Patience::Fresh) {
            if self.waiting() >= MAX_WAITING {
                self.counters.waited(asked.host, "refused");
                return None;
            }
            if matches!(missing.what, What::Key(_)) {
                self.counters.missed(asked.host, &provider.name);
            }
        }
        stream.waits = Some(Rc::clone(&self.waiting));
        self.tell_waiting(asked.host);
        let refusal = (refusal.0, refusal.1.clone());
        let waiting = Waiting { since, until, refusal, epoch: self.servers.epoch() };
        Some(Step::Wait(MOVED, until.since(now), waiting))
    }

    pub(super) fn count_wait(&mut self, host: &dyn Host, patience: &Patience, how: &'static str) {
        if !matches!(patience, Patience::Fresh) {
            self.counters.waited(host, how);
            self.tell_waiting(host);
        }
    }

    /// Brings the gauge up to date. Who leaves says nothing to the filter, so every tick looks.
    pub(super) fn tell_waiting(&mut self, host: &dyn Host) {
        self.counters.waiting(host, self.waiting());
    }

    fn waiting(&self) -> usize {
        // One is this filter's own.
        Rc::strong_count(&self.waiting).saturating_sub(1)
    }
}
