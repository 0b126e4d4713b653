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
//! | this one | when to fetch, what an answer changes |
//! | [`target`] | where to fetch |
//! | [`times`] | how long content is fresh, and how failures are spaced |
//! | `store` | lease, state and content in shared data |

mod store;
pub mod target;
#[cfg(test)]
mod tests;
pub mod times;

use std::time::Duration;

use crate::clock::Mono;
use crate::filter::{Answer, Callout};
use crate::host::{Cas, Host};
use store::{Lease, State, Store};
use target::Target;
use times::Times;

/// How much longer than its calls a lease lives: a holder whose call ended late still holds it.
const SLACK: Duration = Duration::from_secs(1);
/// A document that names another one that names another one: nobody needs more.
const MAX_HOPS: u8 = 2;
/// How often content is read that does not fit its state before it counts as lost. A writer is done within microseconds.
const MAX_TORN: u8 = 3;
/// The longest name of content that is remembered, in bytes.
const MAX_TAG: usize = 128;

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

/// Whoever uses the content. It keeps what it made of it.
pub trait Reader {
    /// Takes content over in place of the last.
    ///
    /// # Errors
    /// If it is not what it should be; then nothing changes.
    fn accept(&mut self, content: &[u8]) -> Result<(), Unfit>;

    /// Takes content over piece by piece, where all of it is too much for one callback: called with the same content in tick after
    /// tick until it gives `true`. `first` says that it begins anew, also where other content was not finished.
    ///
    /// # Errors
    /// As [`Reader::accept`].
    fn take(&mut self, content: &[u8], _first: bool) -> Result<bool, Unfit> {
        self.accept(content).map(|()| true)
    }

    /// Looks at the answer number `hop` of a fetch, from 0: if it is not the content yet, where the next one is.
    ///
    /// # Errors
    /// If it is not what it should be.
    fn follow(&mut self, _hop: u8, _body: &[u8]) -> Result<Option<Target>, Unfit> {
        Ok(None)
    }
}

/// Why content was not taken, in words for the log. They hold nothing that the server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// With new content.
    New,
    /// With the content that was known.
    Same,
    /// With another status than 200.
    Status(u16),
    /// With more than [`Spec::max_bytes`].
    TooLarge,
    /// With what the reader did not take.
    Unfit(Unfit),
    /// The answer broke off.
    Reset,
    /// Nobody was reached.
    Unreachable,
    /// No answer came in time.
    Timeout,
}

impl Fetched {
    /// The word for metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Fetched::New => "new",
            Fetched::Same => "same",
            Fetched::Status(_) => "status",
            Fetched::TooLarge => "too_large",
            Fetched::Unfit(_) => "invalid",
            Fetched::Reset => "reset",
            Fetched::Unreachable => "unreachable",
            Fetched::Timeout => "timeout",
        }
    }

    /// Whether the content is now what the server has.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Fetched::New | Fetched::Same)
    }
}

/// What a tick or an answer brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// A call to make; hand its answer to [`Snapshot::answered`] with this number.
    pub call: Option<(u32, Callout)>,
    /// Whoever waits should look again: there is other content, or a fetch ended, here or in another VM.
    pub moved: bool,
    /// The reader has other content.
    pub adopted: bool,
    /// A fetch of this VM ended.
    pub fetched: Option<Fetched>,
    /// The call is made out of turn, because something is missing.
    pub out_of_turn: bool,
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
    /// How long it is fresh.
    fresh: Duration,
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

    /// Whoever fetched the content may have had other times: those of an earlier configuration, or of another plugin.
    fn fresh_until(&self) -> Mono {
        self.state.fresh_until.min(self.state.fetched.after(self.spec.times.max_fresh))
    }

    fn stale_until(&self) -> Mono {
        self.state.stale_until.min(self.fresh_until().after(self.spec.times.stale))
    }

    /// In the last fifth of the time in which the content is fresh, elsewhere in each VM.
    fn refresh_at(&self) -> Mono {
        let fresh = self.fresh_until().since(self.state.fetched);
        let early = fresh.saturating_mul(u32::from(self.jitter)).checked_div(5 * 256).unwrap_or_default();
        self.state.fetched.after(fresh.saturating_sub(early))
    }

    fn begin(&mut self, now: Mono, host: &dyn Host, reader: &mut dyn Reader, progress: &mut Progress) {
        let ends = now.after(self.spec.times.timeout).after(SLACK);
        if self.store.take_lease(host, now, ends) == Lease::Taken {
            return;
        }
        // Between the look and the lease another VM may have fetched.
        let attempts = self.state.attempts;
        let (cas, again) = self.read(now, host, reader);
        progress.moved |= again.moved;
        progress.adopted |= again.adopted;
        let due = if self.state.attempts == attempts { self.due(now) } else { None };
        let Some(due) = due else { return self.store.release(host) };
        progress.out_of_turn = due == Due::Wanted;
        if progress.out_of_turn {
            self.state.out_of_turn = now;
        }
        // Written even where nothing changed: who held the lease before and comes back late finds another version.
        let Ok(cas) = self.store.set_state(host, &self.state, cas) else {
            return self.store.release(host);
        };
        let number = self.flights.wrapping_add(1);
        self.flights = number;
        let (callout, asked, tagged) = self.callout(&self.spec.target);
        self.flight = Some(Flight { number, hop: 0, begun: now, ends, cas, asked, tagged });
        progress.call = Some((number, callout));
    }

    /// A call to `target`, the hash of its URL, and whether it says what is known: that has to be from there.
    fn callout(&self, target: &Target) -> (Callout, u64, bool) {
        let url = &target.url;
        let scheme = if url.secure { "https:" } else { "http:" };
        let [asked, _] = store::hash([scheme, &*url.authority, &*url.path].concat().as_bytes());
        let known = self.held != 0 && self.held == self.state.version && self.state.tagged == asked;
        let tag = Some(&*self.state.tag).filter(|tag| known && !tag.is_empty());
        (target.callout(self.spec.times.timeout, tag), asked, tag.is_some())
    }

    /// The answer to call `number` came.
    pub fn answered(
        &mut self,
        number: u32,
        answer: Answer,
        now: Mono,
        host: &dyn Host,
        reader: &mut dyn Reader,
    ) -> Progress {
        let mut progress = Progress::default();
        let (hop, tagged) = match &self.flight {
            Some(flight) if flight.number == number => (flight.hop, flight.tagged),
            // Its time was over, and it was counted then.
            _ => return progress,
        };
        let (response, body) = match answer {
            Answer::Http { status: 200, body, response } if body.len() <= self.spec.max_bytes => {
                (response, body)
            }
            // An answer to a question that was not asked says nothing.
            Answer::Http { status: 304, response, .. } if tagged => {
                self.not_modified(&response, now, host, &mut progress);
                return progress;
            }
            other => {
                self.fail(now, host, failure(&other), &mut progress);
                return progress;
            }
        };
        match reader.follow(hop, &body) {
            Ok(None) => self.got(&response, body, now, host, reader, &mut progress),
            Ok(Some(next)) if hop < MAX_HOPS => self.hop(&next, now, host, &mut progress),
            Ok(Some(_)) => {
                let endless = Fetched::Unfit(Unfit("one document names another without end"));
                self.fail(now, host, endless, &mut progress);
            }
            Err(unfit) => self.fail(now, host, Fetched::Unfit(unfit), &mut progress),
        }
        progress
    }

    /// The same fetch goes on elsewhere.
    fn hop(&mut self, next: &Target, now: Mono, host: &dyn Host, progress: &mut Progress) {
        let ends = now.after(self.spec.times.timeout).after(SLACK);
        if self.store.take_lease(host, now, ends) == Lease::Taken {
            self.flight = None;
            return;
        }
        let (callout, asked, tagged) = self.callout(next);
        let Some(flight) = &mut self.flight else { return };
        self.flights = self.flights.wrapping_add(1);
        let (number, hop) = (self.flights, flight.hop.saturating_add(1));
        *flight = Flight { number, hop, ends, asked, tagged, ..*flight };
        progress.call = Some((number, callout));
    }

    /// The server has no other content than what is known.
    fn not_modified(
        &mut self,
        response: &[(Vec<u8>, Vec<u8>)],
        now: Mono,
        host: &dyn Host,
        progress: &mut Progress,
    ) {
        let Some(flight) = self.flight.take() else { return };
        if self.is_overtaken(&flight, host, progress) {
            return;
        }
        // What it does not say again is as before (RFC 9111, section 4.3.4).
        let fresh = match header(response, "cache-control") {
            None => self.state.fresh_until.since(self.state.fetched),
            Some(_) => self.spec.times.fresh(response),
        };
        self.publish(None, flight, Terms { fresh, tag: None }, now, host, progress);
    }

    /// The answer is content.
    fn got(
        &mut self,
        response: &[(Vec<u8>, Vec<u8>)],
        content: Vec<u8>,
        now: Mono,
        host: &dyn Host,
        reader: &mut dyn Reader,
        progress: &mut Progress,
    ) {
        let Some(flight) = self.flight.take() else { return };
        let hash = store::hash(&content);
        let terms = Terms { fresh: self.spec.times.fresh(response), tag: Some(tag(response)) };
        if self.state.version != 0 && self.state.hash == hash && self.held == self.state.version {
            if !self.is_overtaken(&flight, host, progress) {
                self.publish(None, flight, terms, now, host, progress);
            }
            return;
        }
        self.making = Some(Making { content, of: Of::Fetched { flight, terms, hash } });
        self.make(true, now, host, reader, progress);
    }

    /// Has the reader take one more piece.
    fn make(
        &mut self,
        first: bool,
        now: Mono,
        host: &dyn Host,
        reader: &mut dyn Reader,
        progress: &mut Progress,
    ) {
        let Some(mut making) = self.making.take() else { return };
        if let Of::Fetched { flight, .. } = &making.of
            && self.is_overtaken(flight, host, progress)
        {
            return;
        }
        let taken = reader.take(&making.content, first);
        if let (Ok(false), Of::Fetched { flight, .. }) = (taken, &mut making.of) {
            flight.ends = now.after(self.spec.times.timeout).after(SLACK);
            if self.store.take_lease(host, now, flight.ends) == Lease::Taken {
                progress.fetched = Some(Fetched::Timeout);
                return;
            }
        }
        match (taken, making.of) {
            (Ok(false), of) => self.making = Some(Making { of, ..making }),
            (Ok(true), Of::Shared { version }) => {
                self.held = version;
                progress.adopted = true;
                progress.moved = true;
            }
            (Err(_), Of::Shared { version }) => self.refused = version,
            (Ok(true), Of::Fetched { flight, terms, hash }) => {
                self.publish(Some((&making.content, hash)), flight, terms, now, host, progress);
            }
            (Err(unfit), Of::Fetched { flight, .. }) => {
                self.flight = Some(flight);
                self.fail(now, host, Fetched::Unfit(unfit), progress);
            }
        }
    }

    /// Whether somebody else took over in the meantime; the next tick reads what came of that.
    fn is_overtaken(&self, flight: &Flight, host: &dyn Host, progress: &mut Progress) -> bool {
        let overtaken = !self.store.is_at(host, flight.cas);
        if overtaken {
            progress.fetched = Some(Fetched::Timeout);
        }
        overtaken
    }

    /// Tells the others what was fetched: new content that the reader took, or that it is what it was.
    fn publish(
        &mut self,
        new: Option<(&[u8], [u64; 2])>,
        flight: Flight,
        terms: Terms,
        now: Mono,
        host: &dyn Host,
        progress: &mut Progress,
    ) {
        let mut state = self.state.clone();
        if let Some((content, hash)) = new {
            progress.adopted = true;
            state.version = state.version.wrapping_add(1).max(1);
            state.set ^= 1;
            state.hash = hash;
            state.length = u64::try_from(content.len()).unwrap_or(u64::MAX);
            self.store.set_content(host, &state, content);
        }
        if let Some(tag) = terms.tag {
            state.tagged = flight.asked;
            state.tag = tag;
        }
        state.fetched = now;
        state.fresh_until = now.after(terms.fresh);
        state.stale_until = state.fresh_until.after(self.spec.times.stale);
        state.failures = 0;
        state.next_try = Mono(0);
        self.conclude(state, &flight, host);
        self.held = self.state.version;
        self.torn = 0;
        self.usable = true;
        progress.moved = true;
        progress.fetched = Some(if new.is_some() { Fetched::New } else { Fetched::Same });
    }

    fn fail(&mut self, now: Mono, host: &dyn Host, how: Fetched, progress: &mut Progress) {
        let Some(flight) = self.flight.take() else { return };
        let mut state = self.state.clone();
        state.failures = state.failures.saturating_add(1);
        state.next_try = now.after(times::back_off(state.failures, self.jitter));
        self.conclude(state, &flight, host);
        progress.moved = true;
        progress.fetched = Some(how);
    }

    /// A fetch is over: tells the others, unless somebody took over.
    fn conclude(&mut self, mut state: State, flight: &Flight, host: &dyn Host) {
        state.attempts = state.attempts.wrapping_add(1);
        state.looked = state.looked.max(flight.begun);
        if self.wanted.is_some_and(|since| state.looked >= since) {
            self.wanted = None;
        }
        let _ = self.store.set_state(host, &state, flight.cas);
        self.store.release(host);
        self.state = state;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Refresh,
    Wanted,
}

fn header<'a>(response: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let named = |(n, _): &&(Vec<u8>, Vec<u8>)| n.eq_ignore_ascii_case(name.as_bytes());
    response.iter().find(named).map(|(_, value)| &**value)
}

/// The server's name for what it sent, if it can be sent back as it is.
fn tag(response: &[(Vec<u8>, Vec<u8>)]) -> String {
    let tag =
        header(response, "etag").filter(|tag| tag.len() <= MAX_TAG && tag.iter().all(u8::is_ascii_graphic));
    tag.and_then(|tag| std::str::from_utf8(tag).ok()).unwrap_or_default().to_owned()
}

fn failure(answer: &Answer) -> Fetched {
    match answer {
        Answer::Http { status: 200, .. } => Fetched::TooLarge,
        // The host's own words for an upstream that was not reached, or not in time.
        Answer::Http { status: 503, .. } | Answer::Refused => Fetched::Unreachable,
        Answer::Http { status: 504, .. } | Answer::Timeout => Fetched::Timeout,
        Answer::Http { status, .. } => Fetched::Status(*status),
        _ => Fetched::Reset,
    }
}
