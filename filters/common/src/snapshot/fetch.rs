//! A fetch, from its beginning to what the others are told of its end.

use super::reader::{Fetched, Progress, Reader, Unfit};
use super::store::{self, Lease, State};
use super::target::Target;
use super::{Due, Flight, Making, Of, SLACK, Snapshot, Terms, times};
use crate::clock::Mono;
use crate::filter::{Answer, Callout};
use crate::host::Host;

/// A document that names another one that names another one: nobody needs more.
const MAX_HOPS: u8 = 2;
/// The longest name of content that is remembered, in bytes.
const MAX_TAG: usize = 128;

impl Snapshot {
    pub(super) fn begin(
        &mut self,
        now: Mono,
        host: &dyn Host,
        reader: &mut dyn Reader,
        progress: &mut Progress,
    ) {
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
        self.state.begun = now;
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
        let said = match header(response, "cache-control") {
            None => self.state.said,
            Some(_) => times::said(response),
        };
        self.publish(None, flight, Terms { said, tag: None }, now, host, progress);
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
        let terms = Terms { said: times::said(response), tag: Some(tag(response)) };
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
    pub(super) fn make(
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
        state.said = terms.said;
        state.failures = 0;
        state.next_try = Mono(0);
        self.conclude(state, &flight, host);
        self.held = self.state.version;
        self.torn = 0;
        self.usable = true;
        progress.moved = true;
        progress.fetched = Some(if new.is_some() { Fetched::New } else { Fetched::Same });
    }

    pub(super) fn fail(&mut self, now: Mono, host: &dyn Host, how: Fetched, progress: &mut Progress) {
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

fn header<'a>(response: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let named = |(n, _): &&(Vec<u8>, Vec<u8>)| n.eq_ignore_ascii_case(name.as_bytes());
    response.iter().find(named).map(|(_, value)| &**value)
}

/// The server's name for what it sent, if it is one name (RFC 9110, section 8.8.3): `*`, sent back, would stand for whatever there is.
fn tag(response: &[(Vec<u8>, Vec<u8>)]) -> String {
    let tag = header(response, "etag").and_then(|tag| std::str::from_utf8(tag).ok()).unwrap_or_default();
    let quoted = tag.strip_prefix("W/").unwrap_or(tag);
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_one = inner.is_some_and(|inner| inner.bytes().all(|b| b.is_ascii_graphic() && b != b'"'));
    if is_one && tag.len() <= MAX_TAG { tag.to_owned() } else { String::new() }
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
