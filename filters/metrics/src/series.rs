//! Series with a ceiling: what does not fit goes to one overflow series, so that sums stay exact.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use portcullis_common::host::{Host, MetricId, MetricKind};
use portcullis_common::metrics::{Family, Label, Series};

use crate::registry::{Admission, Registry};

/// Every label of an overflow series but `plugin`.
pub const OVERFLOW: &str = "_overflow";

/// How many refused keys a VM remembers, so that it does not ask the registry again.
const REFUSED: usize = 1_024;

/// What went to an overflow series.
pub const OVERFLOWS: Family = Family {
    name: "portcullis_series_overflow_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Metric],
    help: "Updates that went to a metric's overflow series, because `series` allows no more.",
};

/// How many series there are.
pub const SERIES: Family = Family {
    name: "portcullis_series",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin, Label::Metric],
    help: "Series of a metric, without its overflow series.",
};

/// The ceilings, and who keeps them.
#[derive(Debug)]
pub struct Ceiling {
    /// The lists of what there may be.
    pub registry: Registry,
    plugin: Rc<str>,
    counters: usize,
    histograms: usize,
    overflows: Series<&'static str>,
    series: Series<&'static str>,
}

impl Ceiling {
    /// At most so many series of each counter and of each histogram.
    #[must_use]
    pub fn new(registry: Registry, plugin: &Rc<str>, counters: usize, histograms: usize) -> Self {
        let (overflows, series) = (Series::new(&OVERFLOWS), Series::new(&SERIES));
        Ceiling { registry, plugin: Rc::clone(plugin), counters, histograms, overflows, series }
    }
}

/// The series of one family, by a number that stands for their labels.
#[derive(Debug)]
pub struct Bounded {
    family: &'static Family,
    known: BTreeMap<u64, Option<MetricId>>,
    refused: BTreeSet<u64>,
    overflow: Option<Option<MetricId>>,
}

impl Bounded {
    /// No series yet.
    #[must_use]
    pub fn new(family: &'static Family) -> Self {
        Bounded { family, known: BTreeMap::new(), refused: BTreeSet::new(), overflow: None }
    }

    /// The series of `key`; `values` gives its labels if it is new to this VM.
    pub fn id(
        &mut self,
        ceiling: &mut Ceiling,
        host: &dyn Host,
        key: u64,
        values: impl FnOnce() -> Vec<String>,
    ) -> Option<MetricId> {
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        if !self.refused.contains(&key) {
            let values = values();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let name = self.family.series(&values);
            if self.may_be(ceiling, host, &name) {
                let id = host.define(self.family.kind, &name).ok();
                self.known.insert(key, id);
                return id;
            }
            if self.refused.len() >= REFUSED {
                self.refused.clear();
            }
            self.refused.insert(key);
        }
        let plugin = Rc::clone(&ceiling.plugin);
        ceiling.overflows.count(host, self.family.name, || vec![&*plugin, self.family.name]);
        *self.overflow.get_or_insert_with(|| {
            let values: Vec<&str> = self
                .family
                .labels
                .iter()
                .map(|label| if *label == Label::Plugin { &*plugin } else { OVERFLOW })
                .collect();
            host.define(self.family.kind, &self.family.series(&values)).ok()
        })
    }

    fn may_be(&self, ceiling: &mut Ceiling, host: &dyn Host, name: &str) -> bool {
        let most = match self.family.kind {
            MetricKind::Histogram => ceiling.histograms,
            MetricKind::Counter | MetricKind::Gauge => ceiling.counters,
        };
        match ceiling.registry.admit(host, self.family.name, name, most) {
            Admission::New => {
                let plugin = &ceiling.plugin;
                let metric = self.family.name;
                // Whoever brought a series into the list counts it: once, for the process.
                if let Some(id) = ceiling.series.id(host, metric, || vec![&**plugin, metric]) {
                    host.increment(id, 1);
                }
                true
            }
            Admission::Known => true,
            Admission::Full => false,
            // Without shared data each VM keeps the ceiling for itself.
            Admission::Unavailable => self.known.len() < most,
        }
    }

    /// Counts `by`; the host refuses to count nothing.
    pub fn add(
        &mut self,
        ceiling: &mut Ceiling,
        host: &dyn Host,
        key: u64,
        by: u64,
        values: impl FnOnce() -> Vec<String>,
    ) {
        if by != 0
            && let Some(id) = self.id(ceiling, host, key, values)
        {
            host.increment(id, i64::try_from(by).unwrap_or(i64::MAX));
        }
    }

    /// Records a value.
    pub fn record(
        &mut self,
        ceiling: &mut Ceiling,
        host: &dyn Host,
        key: u64,
        value: u64,
        values: impl FnOnce() -> Vec<String>,
    ) {
        if let Some(id) = self.id(ceiling, host, key, values) {
            host.record(id, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::memory::{MemoryHost, SharedData};

    const FAMILY: Family = Family {
        name: "portcullis_x_total",
        kind: MetricKind::Counter,
        labels: &[Label::Plugin, Label::Route],
        help: "",
    };

    fn ceiling(most: usize) -> Ceiling {
        Ceiling::new(Registry::new(b"", "m"), &"m".into(), most, most)
    }

    fn count(series: &mut Bounded, ceiling: &mut Ceiling, host: &MemoryHost, key: u64) {
        series.add(ceiling, host, key, 1, || vec!["m".into(), format!("/{key}")]);
    }

    #[test]
    fn what_does_not_fit_is_counted_all_the_same() {
        let host = MemoryHost::default();
        let (mut series, mut ceiling) = (Bounded::new(&FAMILY), ceiling(10));
        for _ in 0..3 {
            for key in 0..5_000 {
                count(&mut series, &mut ceiling, &host, key);
            }
        }
        let metrics = host.metrics();
        let all: i64 = metrics.iter().filter(|(n, _)| n.starts_with(FAMILY.name)).map(|(_, v)| v).sum();
        assert_eq!(all, 15_000);
        assert_eq!(metrics.keys().filter(|n| n.starts_with(FAMILY.name)).count(), 11);
        assert_eq!(host.metric("portcullis_x_total.plugin=.=m;.;route=.=_overflow;.;"), 14_970);
        assert_eq!(
            host.metric("portcullis_series_overflow_total.plugin=.=m;.;metric=.=portcullis_x_total;.;"),
            14_970
        );
        assert_eq!(host.metric("portcullis_series.plugin=.=m;.;metric=.=portcullis_x_total;.;"), 10);
        assert!(series.known.len() == 10 && series.refused.len() <= REFUSED);
    }

    #[test]
    fn the_ceiling_is_the_processes_not_the_vms() {
        let shared = SharedData::default();
        let mut names = BTreeSet::new();
        for vm in 0..4 {
            let host = MemoryHost::sharing(&shared);
            let (mut series, mut ceiling) = (Bounded::new(&FAMILY), ceiling(10));
            for key in 0..100 {
                count(&mut series, &mut ceiling, &host, key * 7 % 100 + vm);
            }
            names.extend(host.metrics().into_keys().filter(|n| n.starts_with(FAMILY.name)));
        }
        assert_eq!(names.len(), 11, "{names:?}");
    }

    #[test]
    fn a_warm_series_is_neither_asked_for_nor_defined() {
        let host = MemoryHost::default();
        let (mut series, mut ceiling) = (Bounded::new(&FAMILY), ceiling(10));
        count(&mut series, &mut ceiling, &host, 1);
        let defined = host.metrics().len();
        host.faults.borrow_mut().shared_data = true;
        count(&mut series, &mut ceiling, &host, 1);
        assert_eq!(host.metrics().len(), defined);
        assert_eq!(host.metric("portcullis_x_total.plugin=.=m;.;route=.=/1;.;"), 2);
    }

    #[test]
    fn without_shared_data_each_vm_keeps_the_ceiling() {
        let host = MemoryHost::default();
        host.faults.borrow_mut().shared_data = true;
        let (mut series, mut ceiling) = (Bounded::new(&FAMILY), ceiling(10));
        for key in 0..100 {
            count(&mut series, &mut ceiling, &host, key);
        }
        assert_eq!(series.known.len(), 10);
    }
}
