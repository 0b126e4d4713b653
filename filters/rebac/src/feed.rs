//! Tuples that are fetched: what became of them, and when the next ones are due.
//!
//! A [`Snapshot`] does the fetching and sharing; here is what is made of its content: another store for the engine, once all of it was
//! read. Until then the engine answers from the last one.

use std::rc::Rc;

use portcullis_common::clock::Mono;
use portcullis_common::facts;
use portcullis_common::filter::{Answer, RootStep, WaitKey};
use portcullis_common::host::Host;
use portcullis_common::snapshot::{Fetched, Progress, Reader, Snapshot, Unfit};

use crate::counters::Counters;
use crate::document::{Loading, Piece, Problem};
use crate::policy::Policy;

/// What requests wait for that came before there were tuples.
pub const MOVED: WaitKey = 0;
/// The tag of the calls for tuples: the upper half of the number; below stands which call it is.
const TAG: u64 = 0x7475_706c << 32;
/// How much of a document is read and sorted in one callback: about three milliseconds' worth. It is what a worker's requests may
/// have to wait for.
const PIECE: Piece = Piece { bytes: 192 << 10, tuples: 300_000 };

/// Tuples that are fetched.
#[derive(Debug)]
pub struct Feed {
    snapshot: Snapshot,
    taker: Taker,
}

/// What takes documents over.
#[derive(Debug)]
struct Taker {
    policy: Rc<Policy>,
    loading: Loading,
    problem: Option<Problem>,
}

impl Feed {
    /// Nothing fetched yet; `None` if nothing is to be.
    #[must_use]
    pub fn new(policy: &Rc<Policy>, host: &dyn Host) -> Option<Feed> {
        let fetched = policy.fetched.as_ref()?;
        let attached = facts::attached(host);
        let target = &fetched.spec.target;
        let scheme = if target.url.secure { "https" } else { "http" };
        // What is too large or does not fit for one is content to another.
        let most = fetched.spec.max_bytes.to_string();
        let name = [
            "rebac",
            &attached,
            &policy.plugin.name,
            "tuples",
            scheme,
            &target.url.authority,
            &target.url.path,
            &target.cluster,
            &most,
            &fetched.model,
        ];
        let snapshot = Snapshot::new(host, &name, fetched.spec.clone());
        let taker = Taker { policy: Rc::clone(policy), loading: Loading::default(), problem: None };
        Some(Feed { snapshot, taker })
    }

    /// Reads what other VMs fetched.
    pub fn look(&mut self, now: Mono, host: &dyn Host, counters: &mut Counters) {
        let progress = self.snapshot.look(now, host, &mut self.taker);
        self.apply(progress, now, host, counters);
    }

    /// Whether tuples may come until then.
    #[must_use]
    pub fn may_come(&self, until: Mono) -> bool {
        self.snapshot.is_making() || self.snapshot.next_try() < until
    }

    /// When the next fetch may begin: for `Retry-After`.
    #[must_use]
    pub fn next_try(&self) -> Mono {
        self.snapshot.next_try()
    }

    /// Whether a document is being read.
    #[must_use]
    pub fn is_making(&self) -> bool {
        self.snapshot.is_making()
    }

    /// Time passed: what has to be called, and whether waiting requests should look again.
    pub fn tick(&mut self, now: Mono, host: &dyn Host, counters: &mut Counters) -> Vec<RootStep> {
        let progress = self.snapshot.tick(now, host, &mut self.taker);
        self.apply(progress, now, host, counters)
    }

    /// The answer to a call came; `tag` is the one of its step. `None` if it is not one of these.
    pub fn answered(
        &mut self,
        tag: u64,
        answer: Answer,
        now: Mono,
        host: &dyn Host,
        counters: &mut Counters,
    ) -> Option<Vec<RootStep>> {
        let number = u32::try_from(tag.checked_sub(TAG)?).ok()?;
        let progress = self.snapshot.answered(number, answer, now, host, &mut self.taker);
        Some(self.apply(progress, now, host, counters))
    }

    fn apply(
        &mut self,
        progress: Progress,
        now: Mono,
        host: &dyn Host,
        counters: &mut Counters,
    ) -> Vec<RootStep> {
        let engine = &self.taker.policy.engine;
        engine.set_ready(self.snapshot.is_usable());
        if let Some(fetched) = progress.fetched {
            counters.fetched(host, fetched.word());
            self.report(fetched);
        }
        if progress.adopted {
            let store = self.taker.policy.engine.store();
            let name = &self.taker.policy.plugin.name;
            log::info!("{name}: {} tuples, in {} bytes", store.len(), store.bytes());
            counters.tuples(host, store.len());
        }
        if let Some(age) = self.snapshot.age(now) {
            counters.age(host, age.as_secs());
        }
        let mut steps = Vec::new();
        if let Some((number, callout)) = progress.call {
            steps.push(RootStep::Call { tag: TAG | u64::from(number), callout });
        }
        if progress.moved {
            steps.push(RootStep::Wake(MOVED));
        }
        steps
    }

    fn report(&mut self, fetched: Fetched) {
        let name = &self.taker.policy.plugin.name;
        let meaning =
            if self.snapshot.is_usable() { "the last good ones serve on" } else { "there are none" };
        match (fetched, self.taker.problem.take()) {
            (Fetched::New | Fetched::Same, _) => {}
            (Fetched::Unfit(_), Some(problem)) => log::warn!("{name}: tuples: {problem}; {meaning}"),
            (Fetched::Status(status), _) => log::warn!("{name}: tuples: status {status}; {meaning}"),
            _ => log::warn!("{name}: tuples: {}; {meaning}", fetched.word()),
        }
    }
}

impl Reader for Taker {
    fn accept(&mut self, content: &[u8]) -> Result<(), Unfit> {
        let mut done = self.take(content, true)?;
        while !done {
            done = self.take(content, false)?;
        }
        Ok(())
    }

    fn take(&mut self, content: &[u8], first: bool) -> Result<bool, Unfit> {
        if first {
            (self.loading, self.problem) = (Loading::default(), None);
        }
        let engine = &self.policy.engine;
        match self.loading.go_on(engine.schema(), content, PIECE) {
            Ok(None) => Ok(false),
            Ok(Some(store)) => {
                self.loading = Loading::default();
                engine.replace(store);
                Ok(true)
            }
            Err(problem) => {
                self.loading = Loading::default();
                self.problem = Some(problem);
                Err(Unfit("a tuple is none, or does not fit the model"))
            }
        }
    }
}
