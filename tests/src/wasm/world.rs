//! What all VMs of a process share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_common::memory::SharedData;

/// A process. Clones are the same process.
#[derive(Clone, Default)]
pub struct World {
    /// Shared data, with the rules of Envoy's.
    pub shared: SharedData,
    metrics: Arc<Mutex<BTreeMap<String, i64>>>,
    clocks: Arc<Clocks>,
    seeds: Arc<AtomicU64>,
}

struct Clocks {
    wall: AtomicU64,
    mono: AtomicU64,
}

impl Default for Clocks {
    fn default() -> Self {
        // 2026-01-01, and a machine that has been up for an hour.
        Clocks { wall: AtomicU64::new(1_767_225_600_000_000_000), mono: AtomicU64::new(3_600_000_000_000) }
    }
}

impl World {
    /// Lets time pass on both clocks.
    pub fn advance(&self, nanos: u64) {
        self.clocks.wall.fetch_add(nanos, Ordering::SeqCst);
        self.clocks.mono.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as NTP does.
    pub fn set_wall_seconds(&self, seconds: u64) {
        self.clocks.wall.store(seconds * 1_000_000_000, Ordering::SeqCst);
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn wall_seconds(&self) -> u64 {
        self.wall() / 1_000_000_000
    }

    /// Where a VM's randomness begins: elsewhere for each.
    pub(super) fn seed(&self) -> u8 {
        u8::try_from(self.seeds.fetch_add(16, Ordering::SeqCst) % 256).unwrap_or(0)
    }

    pub(super) fn wall(&self) -> u64 {
        self.clocks.wall.load(Ordering::SeqCst)
    }

    pub(super) fn mono(&self) -> u64 {
        self.clocks.mono.load(Ordering::SeqCst)
    }

    /// All metrics by their full name; a histogram is the number of its records.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, i64> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The sum of all metrics whose full name contains each of `parts`.
    #[must_use]
    pub fn metric(&self, parts: &[&str]) -> i64 {
        self.metrics().iter().filter(|(name, _)| parts.iter().all(|p| name.contains(p))).map(|(_, v)| v).sum()
    }

    pub(super) fn update_metric(&self, name: &str, change: impl FnOnce(&mut i64)) {
        change(
            self.metrics.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default(),
        );
    }
}
