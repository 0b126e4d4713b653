//! Effects that return at once.
//!
//! What suspends a stream or ends it is a [`crate::filter::Step`]; the time is an argument. What is left is small:
//! shared data, properties, metrics, the host's own functions, randomness. [`crate::memory::MemoryHost`] is the same
//! in memory, for tests, and can be told to fail and to conflict.

use crate::facts::PropertyKey;

/// The host did not do it. Which status it gave is in the log; no filter decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFailure;

/// A compare-and-set number: which version of a value was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cas(pub u32);

impl Cas {
    /// A version that no value has. The host checks a version only where the key exists and takes any where it does not
    /// (proxy-wasm-cpp-host, `SharedData::set`), so this puts a value if it is absent, atomically; `0` would
    /// overwrite another worker's.
    pub const ABSENT: Cas = Cas(u32::MAX);
}

/// Why a shared value was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFailure {
    /// Somebody else was faster: read again.
    Conflict,
    /// The host did not do it.
    Host(HostFailure),
}

/// The kinds of metric that the ABI has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricKind {
    /// Only ever grows.
    Counter = 0,
    /// Goes up and down; one value for the whole process.
    Gauge = 1,
    /// A distribution of whole numbers.
    Histogram = 2,
}

/// A series that the host knows. Defining one costs forty times an update: define once a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricId(pub u32);

/// The host, as far as it answers at once.
pub trait Host {
    /// An attribute or a fact; `None` if there is none.
    fn property(&self, key: &PropertyKey) -> Option<Vec<u8>>;

    /// Sets a fact of the stream that is being logged; elsewhere facts are part of a step.
    fn set_fact(&self, key: &PropertyKey, value: &[u8]);

    /// A value shared by all VMs of this `vm_id`, and its version; `None` if nobody ever set it.
    ///
    /// # Errors
    /// If the host has no shared data.
    fn shared_get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Cas)>, HostFailure>;

    /// Replaces a shared value if it is still the version `cas`.
    ///
    /// # Errors
    /// [`SetFailure::Conflict`] if it is not.
    fn shared_set(&self, key: &[u8], value: &[u8], cas: Cas) -> Result<(), SetFailure>;

    /// Makes a series known.
    ///
    /// # Errors
    /// If the host refuses the name, or has no metrics.
    fn define(&self, kind: MetricKind, name: &str) -> Result<MetricId, HostFailure>;

    /// Adds to a counter (`by` > 0; the host refuses 0) or a gauge.
    fn increment(&self, metric: MetricId, by: i64);

    /// Sets a gauge, or adds a value to a histogram.
    fn record(&self, metric: MetricId, value: u64);

    /// Calls one of the host's own functions.
    ///
    /// # Errors
    /// If it does not have it, or it failed.
    fn foreign(&self, function: &str, argument: &[u8]) -> Result<Vec<u8>, HostFailure>;

    /// Fills `bytes` with what nobody can guess.
    ///
    /// # Errors
    /// If the host has no randomness to give.
    fn random(&self, bytes: &mut [u8]) -> Result<(), HostFailure>;
}
