//! A host in memory, for tests, benches and fuzzers: it keeps state, can fail and can conflict.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use crate::facts::PropertyKey;
use crate::host::{Cas, Host, HostFailure, MetricId, MetricKind, SetFailure};

/// Shared data with the rules of proxy-wasm-cpp-host: one lock; an absent key takes any version; versions come from
/// one counter for all keys. Clone it to give several hosts (several VMs) the same data.
#[derive(Clone, Debug, Default)]
pub struct SharedData {
    inner: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    values: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    next: u32,
}

impl SharedData {
    /// How many keys were ever set; keys cannot be deleted.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.lock().values.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// As [`Host::shared_get`].
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.lock().values.get(key).map(|(value, cas)| (value.clone(), Cas(*cas)))
    }

    /// As [`Host::shared_set`]. `Cas(0)` overwrites.
    ///
    /// # Errors
    /// [`SetFailure::Conflict`].
    pub fn set(&self, key: &[u8], value: &[u8], cas: Cas) -> Result<(), SetFailure> {
        let mut shared = self.lock();
        if let Some((_, current)) = shared.values.get(key)
            && cas.0 != 0
            && cas.0 != *current
        {
            return Err(SetFailure::Conflict);
        }
        shared.next = shared.next.wrapping_add(1).max(1);
        let version = shared.next;
        shared.values.insert(key.to_vec(), (value.to_vec(), version));
        Ok(())
    }
}

/// What the host was told to do wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every call to shared data fails.
    pub shared_data: bool,
    /// So many of the next sets conflict.
    pub conflicts: u32,
    /// Defining a metric fails.
    pub metrics: bool,
}

type Foreign = Box<dyn Fn(&str, &[u8]) -> Result<Vec<u8>, HostFailure>>;

/// The host.
#[derive(Default)]
pub struct MemoryHost {
    /// Shared with whoever holds a clone.
    pub shared: SharedData,
    /// What goes wrong next.
    pub faults: RefCell<Faults>,
    /// Attributes and facts, by their NUL-joined key.
    pub properties: RefCell<HashMap<Vec<u8>, Vec<u8>>>,
    metrics: RefCell<Vec<(String, i64)>>,
    foreign: RefCell<Option<Foreign>>,
    dice: RefCell<Option<u8>>,
}

impl MemoryHost {
    /// A host that shares `shared` with others.
    #[must_use]
    pub fn sharing(shared: &SharedData) -> Self {
        MemoryHost { shared: shared.clone(), ..MemoryHost::default() }
    }

    /// Sets an attribute or a fact.
    pub fn set_property(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.properties.borrow_mut().insert(key.as_bytes().to_vec(), value.into());
    }

    /// Answers [`Host::foreign`].
    pub fn on_foreign(&self, answer: impl Fn(&str, &[u8]) -> Result<Vec<u8>, HostFailure> + 'static) {
        *self.foreign.borrow_mut() = Some(Box::new(answer));
    }

    /// Every byte of [`Host::random`] from now on.
    pub fn roll(&self, byte: u8) {
        *self.dice.borrow_mut() = Some(byte);
    }

    /// The value of a metric, histograms by their number of records; 0 if it was never defined.
    #[must_use]
    pub fn metric(&self, name: &str) -> i64 {
        self.metrics.borrow().iter().filter(|(n, _)| n == name).map(|(_, v)| v).sum()
    }

    /// All metrics by name.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, i64> {
        let mut all = BTreeMap::new();
        for (name, value) in self.metrics.borrow().iter() {
            let sum: &mut i64 = all.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*value);
        }
        all
    }

    fn update(&self, metric: MetricId, change: impl FnOnce(&mut i64)) {
        if let Some((_, value)) = self.metrics.borrow_mut().get_mut(metric.0 as usize) {
            change(value);
        }
    }
}

impl Host for MemoryHost {
    fn property(&self, key: &PropertyKey) -> Option<Vec<u8>> {
        self.properties.borrow().get(&**key).cloned()
    }

    fn set_fact(&self, key: &PropertyKey, value: &[u8]) {
        self.properties.borrow_mut().insert(key.to_vec(), value.to_vec());
    }

    fn shared_get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Cas)>, HostFailure> {
        if self.faults.borrow().shared_data {
            return Err(HostFailure);
        }
        Ok(self.shared.get(key))
    }

    fn shared_set(&self, key: &[u8], value: &[u8], cas: Cas) -> Result<(), SetFailure> {
        let mut faults = self.faults.borrow_mut();
        if faults.shared_data {
            return Err(SetFailure::Host(HostFailure));
        }
        if let Some(left) = faults.conflicts.checked_sub(1) {
            faults.conflicts = left;
            return Err(SetFailure::Conflict);
        }
        self.shared.set(key, value, cas)
    }

    fn define(&self, _kind: MetricKind, name: &str) -> Result<MetricId, HostFailure> {
        if self.faults.borrow().metrics {
            return Err(HostFailure);
        }
        let mut metrics = self.metrics.borrow_mut();
        metrics.push((name.to_owned(), 0));
        u32::try_from(metrics.len().saturating_sub(1)).map(MetricId).map_err(|_| HostFailure)
    }

    fn increment(&self, metric: MetricId, by: i64) {
        self.update(metric, |value| *value = value.saturating_add(by));
    }

    fn record(&self, metric: MetricId, _value: u64) {
        self.update(metric, |value| *value = value.saturating_add(1));
    }

    fn foreign(&self, function: &str, argument: &[u8]) -> Result<Vec<u8>, HostFailure> {
        self.foreign.borrow().as_ref().ok_or(HostFailure).and_then(|f| f(function, argument))
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), HostFailure> {
        bytes.fill(self.dice.borrow().unwrap_or(7));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_key_takes_any_version_and_a_present_one_only_its_own() {
        let shared = SharedData::default();
        assert_eq!(shared.set(b"k", b"1", Cas::ABSENT), Ok(()));
        assert_eq!(shared.set(b"k", b"2", Cas::ABSENT), Err(SetFailure::Conflict));
        let (_, version) = shared.get(b"k").unwrap();
        assert_eq!(shared.set(b"k", b"2", version), Ok(()));
        assert_eq!(shared.set(b"k", b"3", version), Err(SetFailure::Conflict));
        assert_eq!(shared.set(b"k", b"3", Cas(0)), Ok(()));
        assert_eq!(shared.keys(), 1);
    }

    #[test]
    fn faults_are_what_was_ordered() {
        let host = MemoryHost::default();
        host.faults.borrow_mut().conflicts = 1;
        assert_eq!(host.shared_set(b"k", b"v", Cas::ABSENT), Err(SetFailure::Conflict));
        assert_eq!(host.shared_set(b"k", b"v", Cas::ABSENT), Ok(()));
        host.faults.borrow_mut().shared_data = true;
        assert_eq!(host.shared_get(b"k"), Err(HostFailure));
    }
}
