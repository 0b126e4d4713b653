//! Lease, state and content of a source in shared data.
//!
//! Keys cannot be deleted, so their number is fixed: a lease, a state, and two sets of chunks that take turns. A reader may
//! come between the chunks of a writer: each chunk has the version that it belongs to, and the state the hash of the whole.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::clock::{Mono, nanos};
use crate::host::{Cas, Host, HostFailure, SetFailure};
use crate::lease::Contender;
pub(super) use crate::lease::Lease;

/// How much of the content a chunk holds: 64 KiB with its version. Shared data is one lock for the whole process, under which
/// values are copied.
const CHUNK: usize = (64 << 10) - 8;
/// In front of a state; another layout gets another number.
const FORMAT: u64 = 3;
/// A server that does not say for how long its content is fresh.
const UNSAID: u64 = u64::MAX;

/// What all VMs know of a source. Times are monotonic: one clock for the process, and this does not outlive it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Which content there is; 0 for none.
    pub(super) version: u64,
    /// Which set of chunks holds it, 0 or 1.
    pub(super) set: u64,
    pub(super) length: u64,
    pub(super) hash: [u64; 2],
    pub(super) fetched: Mono,
    /// For how long the server called it fresh; `None` if it did not say. Each configuration makes its own times of that.
    pub(super) said: Option<Duration>,
    /// When the latest fetch began.
    pub(super) begun: Mono,
    /// How many fetches ended.
    pub(super) attempts: u64,
    /// When the latest of those that ended began.
    pub(super) looked: Mono,
    /// How many failed in a row.
    pub(super) failures: u32,
    pub(super) next_try: Mono,
    /// When the last fetch out of turn began.
    pub(super) out_of_turn: Mono,
    /// Whose name for the content `tag` is: the hash of a URL.
    pub(super) tagged: u64,
    /// The server's own name for the content (RFC 9110, section 8.8.3); empty if it gave none.
    pub(super) tag: String,
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let words = [
            FORMAT,
            self.version,
            self.set,
            self.length,
            self.hash[0],
            self.hash[1],
            self.fetched.0,
            self.said.map_or(UNSAID, |said| nanos(said).min(UNSAID - 1)),
            self.begun.0,
            self.attempts,
            self.looked.0,
            u64::from(self.failures),
            self.next_try.0,
            self.out_of_turn.0,
            self.tagged,
        ];
        words.iter().flat_map(|word| word.to_le_bytes()).chain(self.tag.bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> Option<State> {
        let (words, tag) = bytes.split_at_checked(15 * 8)?;
        let (words, _) = words.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        match words[..] {
            [
                FORMAT,
                version,
                set,
                length,
                h1,
                h2,
                fetched,
                said,
                begun,
                attempts,
                looked,
                failures,
                next,
                out_of_turn,
                tagged,
            ] => Some(State {
                version,
                set: set & 1,
                length,
                hash: [h1, h2],
                fetched: Mono(fetched),
                said: (said != UNSAID).then_some(Duration::from_nanos(said)),
                begun: Mono(begun),
                attempts,
                looked: Mono(looked),
                failures: u32::try_from(failures).unwrap_or(u32::MAX),
                next_try: Mono(next),
                out_of_turn: Mono(out_of_turn),
                tagged,
                tag: std::str::from_utf8(tag).ok()?.to_owned(),
            }),
            _ => None,
        }
    }
}

/// The place of one source.
#[derive(Debug)]
pub(super) struct Store {
    prefix: [u8; 17],
    lease: Contender,
}

impl Store {
    pub(super) fn new(name: &[&str], me: u64) -> Store {
        let mut prefix = [b's'; 17];
        let mut hasher = SipHasher13::new();
        for part in name {
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
        }
        if let Some(rest) = prefix.get_mut(1..) {
            rest.copy_from_slice(&hasher.finish128().as_bytes());
        }
        Store { prefix, lease: Contender::new([&prefix[..], b"l"].concat(), me) }
    }

    pub(super) fn key(&self, of: &[u8]) -> Vec<u8> {
        [&self.prefix, of].concat()
    }

    pub(super) fn chunk(&self, set: u64, n: usize) -> Vec<u8> {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        [&self.prefix[..], b"c", &set.to_le_bytes()[..1], &n.to_le_bytes()].concat()
    }

    /// The state, and its version in the host; an absent or foreign one is as if nothing had been fetched.
    pub(super) fn state(&self, host: &dyn Host) -> Result<(State, Cas), HostFailure> {
        let stored = host.shared_get(&self.key(b"s"))?;
        Ok(stored.map_or((State::default(), Cas::ABSENT), |(bytes, cas)| {
            (State::decode(&bytes).unwrap_or_default(), cas)
        }))
    }

    /// Replaces the state if it is still at `cas`; gives the new version. A host without shared data keeps nothing, which is
    /// no conflict.
    pub(super) fn set_state(&self, host: &dyn Host, state: &State, cas: Cas) -> Result<Cas, SetFailure> {
        match host.shared_set(&self.key(b"s"), &state.encode(), cas) {
            Ok(()) => Ok(host.shared_get(&self.key(b"s")).ok().flatten().map_or(Cas::ABSENT, |(_, cas)| cas)),
            Err(SetFailure::Conflict) => Err(SetFailure::Conflict),
            Err(SetFailure::Host(_)) => Ok(Cas::ABSENT),
        }
    }

    /// Whether the state is still the one of this version.
    pub(super) fn is_at(&self, host: &dyn Host, cas: Cas) -> bool {
        host.shared_get(&self.key(b"s")).map_or(true, |stored| stored.is_none_or(|(_, now)| now == cas))
    }

    /// As [`Contender::take`].
    pub(super) fn take_lease(&self, host: &dyn Host, now: Mono, ends: Mono) -> Lease {
        self.lease.take(host, now, ends)
    }

    /// As [`Contender::release`].
    pub(super) fn release(&self, host: &dyn Host) {
        self.lease.release(host);
    }

    /// Puts the content of `state` into its set.
    pub(super) fn set_content(&self, host: &dyn Host, state: &State, content: &[u8]) {
        for (n, chunk) in content.chunks(CHUNK).enumerate() {
            let value = [&state.version.to_le_bytes(), chunk].concat();
            // A chunk that is not there fails the hash, and then it is fetched again.
            let _ = host.shared_set(&self.chunk(state.set, n), &value, Cas(0));
        }
    }

    /// The content of `state`; `None` if it is being replaced, or is not there.
    pub(super) fn content(&self, host: &dyn Host, state: &State, max: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(state.length).ok().filter(|length| *length <= max)?;
        let mut content = Vec::with_capacity(length);
        for n in 0..length.div_ceil(CHUNK) {
            let (value, _) = host.shared_get(&self.chunk(state.set, n)).ok()??;
            let (version, chunk) = value.split_first_chunk::<8>()?;
            if u64::from_le_bytes(*version) != state.version {
                return None;
            }
            content.extend_from_slice(chunk);
        }
        (content.len() == length && hash(&content) == state.hash).then_some(content)
    }
}

/// Tells contents apart; not a promise against somebody who looks for two with one hash, for what is hashed was validated.
pub(super) fn hash(content: &[u8]) -> [u64; 2] {
    let mut hasher = SipHasher13::new();
    hasher.write(content);
    let hash = hasher.finish128();
    [hash.h1, hash.h2]
}
