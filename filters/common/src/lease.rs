//! Who of many VMs does what only one of them should: a lease in shared data.
//!
//! A holder that died is waited for no longer than its lease.

use crate::clock::Mono;
use crate::host::{Cas, Host, HostFailure, SetFailure};

/// Whether this VM may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It may.
    Ours,
    /// Another one does.
    Taken,
}

/// One VM that takes a lease now and then.
#[derive(Debug)]
pub struct Contender {
    key: Vec<u8>,
    /// Who this VM is: a random number.
    me: u64,
}

impl Contender {
    /// The VM `me`, for the lease that lies under `key` in shared data.
    #[must_use]
    pub fn new(key: Vec<u8>, me: u64) -> Contender {
        Contender { key, me }
    }

    /// Takes the lease, or prolongs it, until `ends`, unless another VM has it. A host without shared data leaves each VM to itself.
    pub fn take(&self, host: &dyn Host, now: Mono, ends: Mono) -> Lease {
        let cas = match host.shared_get(&self.key) {
            Err(HostFailure) => return Lease::Ours,
            Ok(None) => Cas::ABSENT,
            Ok(Some((bytes, cas))) => match holder(&bytes) {
                Some((who, until)) if who != self.me && now < until => return Lease::Taken,
                _ => cas,
            },
        };
        match host.shared_set(&self.key, &self.lease(ends), cas) {
            Err(SetFailure::Conflict) => Lease::Taken,
            Ok(()) | Err(SetFailure::Host(_)) => Lease::Ours,
        }
    }

    /// Gives the lease back, if it is still ours.
    pub fn release(&self, host: &dyn Host) {
        if let Ok(Some((bytes, cas))) = host.shared_get(&self.key)
            && holder(&bytes).is_some_and(|(who, _)| who == self.me)
        {
            // Somebody else's by now, or nobody's in its own time.
            let _ = host.shared_set(&self.key, &self.lease(Mono(0)), cas);
        }
    }

    fn lease(&self, ends: Mono) -> Vec<u8> {
        [self.me.to_le_bytes(), ends.0.to_le_bytes()].concat()
    }
}

fn holder(lease: &[u8]) -> Option<(u64, Mono)> {
    match lease.as_chunks::<8>() {
        ([who, until], []) => Some((u64::from_le_bytes(*who), Mono(u64::from_le_bytes(*until)))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryHost, SharedData};

    #[test]
    fn one_of_many_holds_it_until_its_end() {
        let shared = SharedData::default();
        let host = MemoryHost::sharing(&shared);
        let (a, b) = (Contender::new(b"k".to_vec(), 1), Contender::new(b"k".to_vec(), 2));
        assert_eq!(a.take(&host, Mono(0), Mono(10)), Lease::Ours);
        assert_eq!(b.take(&host, Mono(5), Mono(15)), Lease::Taken);
        assert_eq!(a.take(&host, Mono(5), Mono(15)), Lease::Ours);
        assert_eq!(b.take(&host, Mono(10), Mono(20)), Lease::Taken);
        assert_eq!(b.take(&host, Mono(15), Mono(25)), Lease::Ours);
        a.release(&host);
        assert_eq!(a.take(&host, Mono(16), Mono(26)), Lease::Taken);
        b.release(&host);
        assert_eq!(a.take(&host, Mono(16), Mono(26)), Lease::Ours);
    }
}
