//! What rebac counts.

use std::rc::Rc;

use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{DECISIONS, Decisions, Family, Label, Series};

/// All metrics of this filter.
pub const FAMILIES: [&Family; 2] = [&DECISIONS, &TUPLES];

/// How many tuples there are.
pub const TUPLES: Family = Family {
    name: "portcullis_rebac_tuples",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "Tuples that the engine inside the filter holds.",
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    /// What became of requests.
    pub decisions: Decisions,
    tuples: Series<()>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            decisions: Decisions::new(plugin),
            tuples: Series::new(&TUPLES),
        }
    }

    /// How many tuples there are.
    pub fn tuples(&mut self, host: &dyn Host, tuples: usize) {
        let plugin = &self.plugin;
        if let Some(gauge) = self.tuples.id(host, (), || vec![plugin]) {
            host.record(gauge, u64::try_from(tuples).unwrap_or(u64::MAX));
        }
    }
}
