//! What rate-limit counts.

use std::rc::Rc;

use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{DECISIONS, Decisions, Family, Label, Series};
use portcullis_common::table::{Unavailable, Update};

/// All metrics of this filter.
pub const FAMILIES: [&Family; 7] =
    [&DECISIONS, &CONFLICTS, &EVICTIONS, &FAILURES, &LOAD, &IN_FLIGHT, &SETTLED];

/// Decisions that another worker overtook.
pub const CONFLICTS: Family = Family {
    name: "portcullis_store_conflicts_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin],
    help: "Decisions that were made anew because another worker was faster.",
};

/// Debts that had to go.
pub const EVICTIONS: Family = Family {
    name: "portcullis_store_evictions_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin],
    help: "Clients that gave their place to another while they still owed something. More than a few: `store.size` is too small.",
};

/// Decisions that could not be made.
pub const FAILURES: Family = Family {
    name: "portcullis_store_failures_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Cause],
    help: "Decisions that the store could not answer: `contended` (32 conflicts in a row), `full` (a page without room), `host`.",
};

/// How full the table is.
pub const LOAD: Family = Family {
    name: "portcullis_store_load_percent",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "The share of the store's slots that say something, from a sample of its pages. Above 50: `store.size` is too small.",
};

/// Requests that hold a place.
pub const IN_FLIGHT: Family = Family {
    name: "portcullis_limited_requests_in_flight",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin, Label::Rule],
    help: "Requests that a limit with `in_flight` admitted and that are not over.",
};

/// What answers turned out to cost.
pub const SETTLED: Family = Family {
    name: "portcullis_settled_cost_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Rule],
    help: "What answers turned out to cost, by limits with `settle`.",
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    /// What became of requests.
    pub decisions: Decisions,
    conflicts: Series<()>,
    evictions: Series<()>,
    failures: Series<&'static str>,
    load: Series<()>,
    in_flight: Series<usize>,
    settled: Series<usize>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            decisions: Decisions::new(plugin),
            conflicts: Series::new(&CONFLICTS),
            evictions: Series::new(&EVICTIONS),
            failures: Series::new(&FAILURES),
            load: Series::new(&LOAD),
            in_flight: Series::new(&IN_FLIGHT),
            settled: Series::new(&SETTLED),
        }
    }

    /// What one exchange with the store took.
    pub fn store<T>(&mut self, host: &dyn Host, update: &Update<T>) {
        let plugin = &self.plugin;
        if update.conflicts != 0
            && let Some(id) = self.conflicts.id(host, (), || vec![&**plugin])
        {
            host.increment(id, i64::from(update.conflicts));
        }
        if update.evicted != 0
            && let Some(id) = self.evictions.id(host, (), || vec![&**plugin])
        {
            host.increment(id, i64::from(update.evicted));
        }
    }

    /// The store could not answer.
    pub fn failure(&mut self, host: &dyn Host, failure: Unavailable) {
        let plugin = &self.plugin;
        let cause = match failure {
            Unavailable::Contended => "contended",
            Unavailable::Full => "full",
            Unavailable::Host => "host",
        };
        self.failures.count(host, cause, || vec![&**plugin, cause]);
    }

    /// How full the table is.
    pub fn load(&mut self, host: &dyn Host, percent: u64) {
        let plugin = &self.plugin;
        if let Some(id) = self.load.id(host, (), || vec![&**plugin]) {
            host.record(id, percent);
        }
    }

    /// A request took a place of the limit (`1`) or gave it back (`-1`).
    pub fn in_flight(&mut self, host: &dyn Host, limit: usize, name: &str, by: i64) {
        let plugin = &self.plugin;
        if let Some(id) = self.in_flight.id(host, limit, || vec![&**plugin, name]) {
            host.increment(id, by);
        }
    }

    /// An answer turned out to cost so much.
    pub fn settled(&mut self, host: &dyn Host, limit: usize, name: &str, cost: u64) {
        let plugin = &self.plugin;
        if cost != 0
            && let Some(id) = self.settled.id(host, limit, || vec![&**plugin, name])
        {
            host.increment(id, i64::try_from(cost).unwrap_or(i64::MAX));
        }
    }
}
