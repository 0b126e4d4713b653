//! Which series there may be: a list for the whole process, in shared data.
//!
//! Envoy never forgets a series of a Wasm filter, and every worker's VM would fill a limit of its own with its own
//! choice. So the first worker that meets a new series asks here; all workers get the same answer, for ever: what is on the list
//! stays on it, and a list that is full stays full. Nothing here is on a warm path.

use std::hash::Hasher;

use portcullis_common::host::{Cas, Host, SetFailure};
use siphasher::sip::SipHasher13;

/// How often a change is made anew after a conflict.
const TRIES: usize = 32;
/// Bytes of a member: the hash of its name.
const MEMBER: usize = 8;

/// The lists of one plugin.
#[derive(Debug)]
pub struct Registry {
    prefix: Vec<u8>,
}

/// What the registry says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is on the list because of this very question.
    New,
    /// It was on the list.
    Known,
    /// The list is full, and will be for ever.
    Full,
    /// The host could not say.
    Unavailable,
}

impl Registry {
    /// The lists of the plugin that the host knows as `attached` and the configuration as `name`.
    #[must_use]
    pub fn new(attached: &[u8], name: &str) -> Self {
        let mut prefix = b"portcullis.metrics\0".to_vec();
        prefix.extend_from_slice(attached);
        prefix.push(0);
        prefix.extend_from_slice(name.as_bytes());
        prefix.push(0);
        Registry { prefix }
    }

    /// The key of something that this plugin shares.
    #[must_use]
    pub fn key(&self, what: &str) -> Vec<u8> {
        let mut key = self.prefix.clone();
        key.extend_from_slice(what.as_bytes());
        key
    }

    /// Asks for a place on a list of at most `most` names.
    pub fn admit(&self, host: &dyn Host, list: &str, name: &str, most: usize) -> Admission {
        let key = self.key(list);
        let mut hasher = SipHasher13::new();
        hasher.write(name.as_bytes());
        let hash = hasher.finish().to_le_bytes();
        for _ in 0..TRIES {
            let Ok(found) = host.shared_get(&key) else { return Admission::Unavailable };
            let (mut members, cas) = found.unwrap_or((Vec::new(), Cas::ABSENT));
            if members.chunks_exact(MEMBER).any(|m| m == hash) {
                return Admission::Known;
            }
            if members.len() / MEMBER >= most {
                return Admission::Full;
            }
            members.extend_from_slice(&hash);
            match host.shared_set(&key, &members, cas) {
                Ok(()) => return Admission::New,
                Err(SetFailure::Conflict) => {}
                Err(SetFailure::Host(_)) => return Admission::Unavailable,
            }
        }
        Admission::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::memory::{MemoryHost, SharedData};

    #[test]
    fn all_vms_agree_on_who_is_in() {
        let shared = SharedData::default();
        let (a, b) = (MemoryHost::sharing(&shared), MemoryHost::sharing(&shared));
        let registry = Registry::new(b"root", "metrics");
        assert_eq!(registry.admit(&a, "l", "1", 2), Admission::New);
        assert_eq!(registry.admit(&b, "l", "1", 2), Admission::Known);
        assert_eq!(registry.admit(&b, "l", "2", 2), Admission::New);
        for host in [&a, &b] {
            assert_eq!(registry.admit(host, "l", "3", 2), Admission::Full);
            assert_eq!(registry.admit(host, "l", "2", 2), Admission::Known);
        }
        assert_eq!(registry.admit(&a, "other", "3", 2), Admission::New);
        assert_eq!(Registry::new(b"root", "other").admit(&a, "l", "3", 2), Admission::New);
    }

    #[test]
    fn a_conflict_is_tried_again_and_a_host_that_fails_is_no_answer() {
        let host = MemoryHost::default();
        let registry = Registry::new(b"", "metrics");
        host.faults.borrow_mut().conflicts = 5;
        assert_eq!(registry.admit(&host, "l", "1", 2), Admission::New);
        host.faults.borrow_mut().conflicts = 1_000;
        assert_eq!(registry.admit(&host, "l", "2", 2), Admission::Unavailable);
        host.faults.borrow_mut().conflicts = 0;
        host.faults.borrow_mut().shared_data = true;
        assert_eq!(registry.admit(&host, "l", "1", 2), Admission::Unavailable);
    }

    #[test]
    fn a_thousand_names_in_any_order_leave_exactly_the_cap() {
        let host = MemoryHost::default();
        let registry = Registry::new(b"", "metrics");
        let admit = |n: u32| registry.admit(&host, "l", &n.to_string(), 100);
        let new = (0..1_000).filter(|n| admit(*n) == Admission::New).count();
        assert_eq!(new, 100);
        assert_eq!((0..1_000).filter(|n| admit(*n) == Admission::Known).count(), 100);
    }
}
