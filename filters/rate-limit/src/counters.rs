//! What rate-limit counts.

use std::rc::Rc;

use portcullis_common::facts::Outcome;
use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{DECISIONS, Family, Label, Series};
use portcullis_common::reason::Reason;

/// All metrics of this filter.
pub const FAMILIES: [&Family; 4] = [&DECISIONS, &CONFLICTS, &EVICTIONS, &IN_FLIGHT];

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

/// Admitted requests that are not over.
pub const IN_FLIGHT: Family = Family {
    name: "portcullis_limited_requests_in_flight",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "Requests that a limit admitted and that are not over.",
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    decisions: Series<(Option<usize>, Outcome, Option<Reason>)>,
    conflicts: Series<()>,
    evictions: Series<()>,
    in_flight: Series<()>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            decisions: Series::new(&DECISIONS),
            conflicts: Series::new(&CONFLICTS),
            evictions: Series::new(&EVICTIONS),
            in_flight: Series::new(&IN_FLIGHT),
        }
    }

    /// A decision of the limit at position `limit`, called `name`.
    pub fn decision(
        &mut self,
        host: &dyn Host,
        limit: Option<usize>,
        name: &str,
        outcome: Outcome,
        reason: Option<Reason>,
    ) {
        let plugin = &self.plugin;
        self.decisions.count(host, (limit, outcome, reason), || {
            vec![&**plugin, name, outcome.word(), reason.map_or("", Reason::word)]
        });
    }

    /// Conflicts and evictions of one decision.
    pub fn store(&mut self, host: &dyn Host, conflicts: u32, evicted: bool) {
        let plugin = &self.plugin;
        if conflicts != 0
            && let Some(id) = self.conflicts.id(host, (), || vec![&**plugin])
        {
            host.increment(id, i64::from(conflicts));
        }
        if evicted {
            self.evictions.count(host, (), || vec![&**plugin]);
        }
    }

    /// A request was admitted (`1`) or is over (`-1`).
    pub fn in_flight(&mut self, host: &dyn Host, by: i64) {
        let plugin = &self.plugin;
        if let Some(id) = self.in_flight.id(host, (), || vec![&**plugin]) {
            host.increment(id, by);
        }
    }
}
