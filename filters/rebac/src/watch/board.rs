//! What all VMs know of the watch: one value in shared data, written by the VM that watches and read by all in their ticks.

use portcullis_common::clock::Mono;
use portcullis_common::host::{Cas, Host, SetFailure};

/// In front of the value; another layout gets another number.
const FORMAT: u64 = 1;
/// How often a write is tried that others get in the way of. Only two VMs write, and only where the lease passes from one to the other.
const TRIES: u32 = 8;

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Board {
    /// How many changes there were; what may have been missed counts as one.
    pub(super) changes: u64,
    /// Everything that changed in the engine before then is counted in `changes`.
    pub(super) seen: Mono,
    /// When the last change was noticed.
    pub(super) changed: Mono,
    /// What the engine calls the state after the last change, if it has a name for that.
    pub(super) floor: Vec<u8>,
    /// Where a watch goes on; empty if it has to begin anew.
    pub(super) cursor: Vec<u8>,
}

impl Board {
    fn encode(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let words =
            [FORMAT, self.changes, self.seen.0, self.changed.0, length(&self.floor), length(&self.cursor)];
        let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.extend_from_slice(&self.floor);
        out.extend_from_slice(&self.cursor);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Board> {
        let (words, rest) = bytes.split_first_chunk::<48>()?;
        let (words, _) = words.as_chunks::<8>();
        let &[format, changes, seen, changed, floor, cursor] = words else { return None };
        let number = u64::from_le_bytes;
        let (floor_bytes, rest) = rest.split_at_checked(usize::try_from(number(floor)).ok()?)?;
        let fits = number(format) == FORMAT && Some(rest.len()) == usize::try_from(number(cursor)).ok();
        fits.then(|| Board {
            changes: number(changes),
            seen: Mono(number(seen)),
            changed: Mono(number(changed)),
            floor: floor_bytes.to_vec(),
            cursor: rest.to_vec(),
        })
    }
}

/// Where the value lies.
#[derive(Debug)]
pub(super) struct Place {
    key: Vec<u8>,
}

impl Place {
    pub(super) fn new(key: Vec<u8>) -> Place {
        Place { key }
    }

    /// What is known; `None` if nothing is, or the host has no shared data.
    pub(super) fn read(&self, host: &dyn Host) -> Option<Board> {
        let (bytes, _) = host.shared_get(&self.key).ok()??;
        Board::decode(&bytes)
    }

    /// Changes what is known. `false` if the host did not take it.
    #[must_use]
    pub(super) fn update(&self, host: &dyn Host, change: impl Fn(&mut Board)) -> bool {
        for _ in 0..TRIES {
            let Ok(stored) = host.shared_get(&self.key) else { return false };
            let (mut board, cas) = match stored {
                None => (Board::default(), Cas::ABSENT),
                Some((bytes, cas)) => (Board::decode(&bytes).unwrap_or_default(), cas),
            };
            change(&mut board);
            match host.shared_set(&self.key, &board.encode(), cas) {
                Ok(()) => return true,
                Err(SetFailure::Conflict) => {}
                Err(SetFailure::Host(_)) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::memory::{MemoryHost, SharedData};

    #[test]
    fn what_one_writes_the_other_reads() {
        let shared = SharedData::default();
        let (a, b) = (MemoryHost::sharing(&shared), MemoryHost::sharing(&shared));
        let place = Place::new(b"k".to_vec());
        assert_eq!(place.read(&a), None);
        a.faults.borrow_mut().conflicts = 3;
        assert!(place.update(&a, |board| {
            board.changes += 1;
            board.floor = b"floor".to_vec();
            board.cursor = b"cursor".to_vec();
            board.seen = Mono(5);
        }));
        let board = place.read(&b).unwrap();
        assert_eq!((board.changes, board.seen, &board.floor[..]), (1, Mono(5), &b"floor"[..]));
        assert_eq!(Board::decode(&board.encode()), Some(board));
        a.faults.borrow_mut().conflicts = 100;
        assert!(!place.update(&a, |board| board.changes += 1));
    }

    #[test]
    fn what_others_left_there_is_nothing() {
        for bytes in [&[][..], &[0; 48], &[1; 47], &[1, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Board::decode(bytes), None);
        }
        let mut longer = Board::default().encode();
        longer.push(0);
        assert_eq!(Board::decode(&longer), None);
    }
}
