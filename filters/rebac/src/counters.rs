//! What rebac counts.

use std::rc::Rc;

use portcullis_common::facts::Outcome;
use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{DECISIONS, Family, Label, Series};
use portcullis_common::reason::Reason;

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
    decisions: Series<(Option<usize>, Outcome, Option<Reason>)>,
    tuples: Series<()>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            decisions: Series::new(&DECISIONS),
            tuples: Series::new(&TUPLES),
        }
    }

    /// A decision of the rule at position `rule`, called `name`.
    pub fn decision(
        &mut self,
        host: &dyn Host,
        rule: Option<usize>,
        name: &str,
        outcome: Outcome,
        reason: Option<Reason>,
    ) {
        let plugin = &self.plugin;
        self.decisions.count(host, (rule, outcome, reason), || {
            vec![&**plugin, name, outcome.word(), reason.map_or("", Reason::word)]
        });
    }

    /// How many tuples there are.
    pub fn tuples(&mut self, host: &dyn Host, tuples: usize) {
        let plugin = &self.plugin;
        if let Some(gauge) = self.tuples.id(host, (), || vec![plugin]) {
            host.record(gauge, u64::try_from(tuples).unwrap_or(u64::MAX));
        }
    }
}
