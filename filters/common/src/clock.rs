//! Time as an argument.
//!
//! Wall time (Unix epoch) judges what the world dates: `exp`, `nbf`, calendar quotas. Monotonic time judges what we
//! measure ourselves: buckets, deadlines, leases; it is one clock for all threads of an Envoy, and no NTP step moves
//! it. Reading either is a host call, so each is read on first use and at most once per callback.

use std::cell::Cell;
use std::time::Duration;

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// Nanoseconds since an arbitrary moment, the same for all threads of a process; never steps back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Wall {
    /// Whole seconds since the Unix epoch, as NumericDate counts them (RFC 7519, section 2).
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl Mono {
    /// This moment and `d` more, or the end of time.
    #[must_use]
    pub fn after(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(nanos(d)))
    }

    /// How long ago `earlier` was; nothing if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A span in nanoseconds, as the clocks count; one of more than five hundred years ends with them.
#[must_use]
pub fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Which of the two clocks a filter reads for every request, so that the shell times the filter by the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// [`Now::wall`].
    Wall,
    /// [`Now::mono`].
    Mono,
}

/// The present, as one callback sees it.
#[derive(Debug)]
pub struct Now {
    wall: Cell<Option<u64>>,
    mono: Cell<Option<u64>>,
    since: Since,
    read: Readers,
}

/// When the stream that this present belongs to was first looked at, if that was in an earlier callback.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    wall: Option<u64>,
    mono: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Readers {
    wall: fn() -> u64,
    mono: fn() -> u64,
}

impl Now {
    /// A present that reads each clock on first use.
    #[must_use]
    pub fn reading(wall: fn() -> u64, mono: fn() -> u64) -> Self {
        Now {
            wall: Cell::new(None),
            mono: Cell::new(None),
            since: Since::default(),
            read: Readers { wall, mono },
        }
    }

    /// A present that was written down: for tests, benches and fuzzers.
    #[must_use]
    pub fn at(wall: Wall, mono: Mono) -> Self {
        let none = || 0;
        Now {
            wall: Cell::new(Some(wall.0)),
            mono: Cell::new(Some(mono.0)),
            since: Since::default(),
            read: Readers { wall: none, mono: none },
        }
    }

    /// Takes the time that [`Now::elapsed_micros`] counts from.
    pub fn start(&self, clock: Clock) {
        match clock {
            Clock::Wall => {
                self.wall();
            }
            Clock::Mono => {
                self.mono();
            }
        }
    }

    /// A later present of the same stream: its clocks are read anew, its elapsed time still counts from the first.
    #[must_use]
    pub fn again(&self) -> Now {
        let since =
            Since { wall: self.since.wall.or(self.wall.get()), mono: self.since.mono.or(self.mono.get()) };
        Now { wall: Cell::new(None), mono: Cell::new(None), since, read: self.read }
    }

    /// Wall time.
    pub fn wall(&self) -> Wall {
        Wall(cached(&self.wall, self.read.wall))
    }

    /// Monotonic time.
    pub fn mono(&self) -> Mono {
        Mono(cached(&self.mono, self.read.mono))
    }

    /// Microseconds since the stream was first looked at, by another reading of `clock`.
    #[must_use]
    pub fn elapsed_micros(&self, clock: Clock) -> u64 {
        let (start, end) = match clock {
            Clock::Wall => (self.since.wall.unwrap_or_else(|| self.wall().0), (self.read.wall)()),
            Clock::Mono => (self.since.mono.unwrap_or_else(|| self.mono().0), (self.read.mono)()),
        };
        end.saturating_sub(start) / 1_000
    }
}

fn cached(cell: &Cell<Option<u64>>, read: fn() -> u64) -> u64 {
    cell.get().unwrap_or_else(|| {
        let value = read();
        cell.set(Some(value));
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn each_clock_is_read_once_per_callback_and_only_when_asked() {
        static WALL: AtomicU64 = AtomicU64::new(0);
        static MONO: AtomicU64 = AtomicU64::new(0);
        let now = Now::reading(
            || WALL.fetch_add(1, Ordering::Relaxed) + 7,
            || MONO.fetch_add(5_000, Ordering::Relaxed) + 5_000,
        );
        assert_eq!((now.wall(), now.wall()), (Wall(7), Wall(7)));
        assert_eq!(WALL.load(Ordering::Relaxed), 1);
        assert_eq!(MONO.load(Ordering::Relaxed), 0);
        assert_eq!(now.elapsed_micros(Clock::Mono), 5);
        let later = now.again();
        assert_eq!(later.wall(), Wall(8));
        assert_eq!(later.elapsed_micros(Clock::Mono), 10);
    }

    #[test]
    fn a_clock_that_steps_back_is_no_negative_time() {
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
        assert_eq!(Mono(u64::MAX).after(Duration::from_secs(1)), Mono(u64::MAX));
    }
}
