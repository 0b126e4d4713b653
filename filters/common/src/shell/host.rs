//! The host's effects for the core.

use super::calls;
use crate::facts::PropertyKey;
use crate::host::{Cas, Host, HostFailure, MetricId, MetricKind, SetFailure};

/// The proxy that this module runs in.
pub(super) struct Proxy;

impl Host for Proxy {
    fn property(&self, key: &PropertyKey) -> Option<Vec<u8>> {
        calls::property(key)
    }

    fn set_fact(&self, key: &PropertyKey, value: &[u8]) {
        if calls::set_property(key, value).is_err() {
            log::error!("the host did not take a fact");
        }
    }

    fn shared_get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Cas)>, HostFailure> {
        Ok(calls::shared(key)?.map(|(value, cas)| (value, Cas(cas))))
    }

    fn shared_set(&self, key: &[u8], value: &[u8], cas: Cas) -> Result<(), SetFailure> {
        match calls::set_shared(key, value, cas.0) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SetFailure::Conflict),
            Err(failure) => Err(SetFailure::Host(failure)),
        }
    }

    fn define(&self, kind: MetricKind, name: &str) -> Result<MetricId, HostFailure> {
        calls::define_metric(kind as u32, name).map(MetricId)
    }

    fn increment(&self, metric: MetricId, by: i64) {
        calls::increment(metric.0, by);
    }

    fn record(&self, metric: MetricId, value: u64) {
        calls::record(metric.0, value);
    }

    fn foreign(&self, function: &str, argument: &[u8]) -> Result<Vec<u8>, HostFailure> {
        calls::foreign(function, argument)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), HostFailure> {
        calls::random(bytes)
    }
}
