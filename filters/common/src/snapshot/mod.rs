//! A source that is fetched once for the whole process and shared by all its workers: key sets, deny lists, tuples.
//!
//! Each VM has a [`Snapshot`] of the source and asks it in every tick. What one VM fetched lies in shared data, where the
//! others read it; who fetches is decided by a **lease** there, so that a refresh is one fetch however many workers there
//! are, and a holder that died is waited for no longer than its lease. Content replaces the last good one only after its
//! [`Reader`] took it. It is **fresh** for as long as the server said, within bounds of ours, is refreshed in the background
//! before that ends, and then serves on as **stale** for a while if refreshing fails; failures are spaced out.
//!
//! Nothing here calls: a tick returns the call that is due, and the answer is handed in.
//!
//! | file | one idea |
//! |---|---|
//! | this one | what is known, and when to fetch |
//! | `fetch` | a fetch, from its beginning to its end |
//! | `reader` | who uses the content, and what is reported |
//! | [`target`] | where to fetch |
//! | [`times`] | how long content is fresh, and how failures are spaced |
//! | `store` | lease, state and content in shared data |

mod fetch;
mod reader;
mod store;
pub mod target;
#[cfg(test)]
mod tests;
pub mod times;

use std::time::Duration;

use crate::clock::Mono;
use crate::host::{Cas, Host};
pub use reader::{Fetched, Progress, Reader, Unfit};
use store::{State, Store};
use target::Target;
use times::Times;

/// How much longer than its calls a lease lives: a holder whose call ended late still holds it.
const SLACK: Duration = Duration::from_secs(1);
/// How often content is read that does not fit its state before it counts as lost. A writer is done within microseconds.
const MAX_TORN: u8 = 3;

/// What a snapshot is of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Where a fetch begins.
    pub target: Target,
    /// When it is fetched.
    pub times: Times,
    /// The longest content, in bytes.
    pub max_bytes: usize,
}

/// One VM's view of a source.
#[derive(Debug)]
pub struct Snapshot {
    spec: Spec,
    store: Store,
    /// The state as it was last seen.
    state: State,
    /// Which version the reader has; 0 for none.
    held: u64,
    /// A version that this VM's reader did not take though another's did.
    refused: u64,
    torn: u8,
    usable: bool,
    /// What other VMs did was seen outside a tick.
    untold: bool,
    /// Somebody misses something since then.
    wanted: Option<Mono>,
    flight: Option<Flight>,
    flights: u32,
    making: Option<Making>,
    /// Where in the time before the end of freshness this VM refreshes, and how far it spaces failures.
    jitter: u8,
}

/// Content that the reader takes piece by piece.
#[derive(Debug)]
struct Making {
    content: Vec<u8>,
    of: Of,
}

/// Where content came from.
#[derive(Debug)]
enum Of {
    /// Another VM fetched it.
    Shared { version: u64 },
    /// This one did, and tells the others once its reader took it.
    Fetched { flight: Flight, terms: Terms, hash: [u64; 2] },
}

/// What a server says about its content.
#[derive(Debug)]
struct Terms {
    /// For how long it calls it fresh.
    said: Option<Duration>,
    /// Its name for it; `None` if it said that it is the one that was named.
    tag: Option<String>,
}

/// A fetch that this VM makes.
#[derive(Debug)]
struct Flight {
    number: u32,
    hop: u8,
    begun: Mono,
    ends: Mono,
    /// The version of the state as this VM left it: another one means that somebody else took over.
    cas: Cas,
    /// The hash of the URL that is asked now.
    asked: u64,
    /// Whether the server was told what is known.
    tagged: bool,
}

impl Snapshot {
    /// A snapshot. `name` tells it from all others under one `vm_id`: everything that fetch and validation depend on.
    #[must_use]
    pub fn new(host: &dyn Host, name: &[&str], spec: Spec) -> Snapshot {
        let mut random = [0; 9];
        // Without randomness, all VMs refresh at the same moment, and the lease still sees to one fetch.
        let _ = host.random(&mut random);
        let [jitter, me @ ..] = random;
        Snapshot {
            spec,
            store: Store::new(name, u64::from_le_bytes(me)),
            state: State::default(),
            held: 0,
            refused: 0,
            torn: 0,
            usable: false,
            untold: false,
            wanted: None,
            flight: None,
            flights: 0,
            making: None,
            jitter,
        }
    }

    /// Whether the reader's content may be used, as of the last tick: there is some, fresh or in its stale window.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Which content the reader has; changes with it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.held
    }

    /// Whether the reader is taking content over, and wants more ticks for it.
    #[must_use]
    pub fn is_making(&self) -> bool {
        self.making.is_some()
    }

    /// Whether the last fetch failed, in whichever VM.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.state.failures != 0
    }

    /// How long ago the content was fetched.
    #[must_use]
    pub fn age(&self, now: Mono) -> Option<Duration> {
        (self.held != 0).then(|| now.since(self.state.fetched))
    }

    /// When the next fetch may begin, as far as failures space them out.
    #[must_use]
    pub fn next_try(&self) -> Mono {
        self.state.next_try
    }

    /// Whether a fetch that began at `since` or later has ended.
    #[must_use]
    pub fn looked_since(&self, since: Mono) -> bool {
        self.state.looked >= since
    }

    /// Whether a fetch is under way, in whichever VM. One whose VM died is for as long as its calls could have taken.
    #[must_use]
    pub fn is_under_way(&self, now: Mono) -> bool {
        let longest = self.spec.times.timeout.saturating_add(SLACK);
        self.state.begun > self.state.looked && now < self.state.begun.after(longest)
    }

    /// Asks for a fetch out of turn: something is missing. Gives when it may begin: such fetches have a least interval, for
    /// the whole process.
    pub fn want(&mut self, now: Mono) -> Mono {
        self.wanted.get_or_insert(now);
        self.out_of_turn()
    }

    /// When the next fetch out of turn may begin.
    #[must_use]
    pub fn out_of_turn(&self) -> Mono {
        let least = match self.state.out_of_turn {
            Mono(0) => Mono(0),
            last => last.after(self.spec.times.interval),
        };
        least.max(self.state.next_try)
    }

    /// Takes over what other VMs left in shared data since the last look.
    pub fn look(&mut self, now: Mono, host: &dyn Host, reader: &mut dyn Reader) -> Progress {
        self.read(now, host, reader).1
    }

    fn read(&mut self, now: Mono, host: &dyn Host, reader: &mut dyn Reader) -> (Cas, Progress) {
        let mut progress = Progress::default();
        // A host without shared data leaves each VM to itself.
        let (state, cas) = self.store.state(host).unwrap_or((self.state.clone(), Cas::ABSENT));
        progress.moved = state.attempts != self.state.attempts;
        self.untold |= progress.moved;
        self.state = state;
        if self.wanted.is_some_and(|since| self.state.looked >= since) {
            self.wanted = None;
        }
        let version = self.state.version;
        let begun = match &self.making {
            Some(Making { of: Of::Shared { version: v }, .. }) => *v == version,
            // What this VM fetched comes after whatever there is.
            Some(Making { of: Of::Fetched { .. }, .. }) => true,
            None => false,
        };
        if version != self.held && version != self.refused && !begun {
            match self.store.content(host, &self.state, self.spec.max_bytes) {
                Some(content) => {
                    self.torn = 0;
                    self.making = Some(Making { content, of: Of::Shared { version } });
                    self.make(true, now, host, reader, &mut progress);
                }
                None => self.torn = self.torn.saturating_add(1),
            }
        }
        self.usable = self.held != 0 && now < self.stale_until();
        (cas, progress)
    }

    /// Looks, and says which call is due.
    pub fn tick(&mut self, now: Mono, host: &dyn Host, reader: &mut dyn Reader) -> Progress {
        let making = self.making.is_some();
        let (_, mut progress) = self.read(now, host, reader);
        // Whoever waits is told of what a request found first.
        progress.moved |= std::mem::take(&mut self.untold);
        if making && !progress.adopted {
            self.make(false, now, host, reader, &mut progress);
            self.usable = self.held != 0 && now < self.stale_until();
        }
        if self.flight.as_ref().is_some_and(|flight| flight.ends <= now) {
            self.fail(now, host, Fetched::Timeout, &mut progress);
        }
        let fetched = matches!(&self.making, Some(Making { of: Of::Fetched { .. }, .. }));
        if self.flight.is_none() && !fetched && self.due(now).is_some() {
            self.begin(now, host, reader, &mut progress);
        }
        progress
    }

    /// Why a fetch is due, if one is.
    fn due(&self, now: Mono) -> Option<Due> {
        if now < self.state.next_try {
            return None;
        }
        let lost = self.torn >= MAX_TORN || (self.state.version != 0 && self.state.version == self.refused);
        if self.state.version == 0 || lost || now >= self.refresh_at() {
            return Some(Due::Refresh);
        }
        (self.wanted.is_some() && now >= self.out_of_turn()).then_some(Due::Wanted)
    }

    /// By our own times: whoever fetched the content may have others, those of an earlier configuration or of another plugin.
    fn fresh_until(&self) -> Mono {
        self.state.fetched.after(self.spec.times.fresh(self.state.said))
    }

    fn stale_until(&self) -> Mono {
        self.fresh_until().after(self.spec.times.stale)
    }

    /// In the last fifth of the time in which the content is fresh, elsewhere in each VM.
    fn refresh_at(&self) -> Mono {
        let fresh = self.fresh_until().since(self.state.fetched);
        let early = fresh.saturating_mul(u32::from(self.jitter)).checked_div(5 * 256).unwrap_or_default();
        self.state.fetched.after(fresh.saturating_sub(early))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Refresh,
    Wanted,
}
