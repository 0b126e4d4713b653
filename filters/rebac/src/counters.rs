//! What rebac counts.

use std::rc::Rc;

use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{DECISIONS, Decisions, Family, Label, Series};

use crate::remote::meter::{BATCHES, CALLS, CHECKS, FAULTS, RETRIES};
use crate::watching::{BREAKS, CHANGES, LAG, UP};

/// All metrics of this filter.
pub const FAMILIES: [&Family; 17] = [
    &DECISIONS, &ERRORS, &MODEL, &TUPLES, &FETCHES, &AGE, &WAITS, &CALLS, &FAULTS, &CHECKS, &BATCHES,
    &RETRIES, &COMPARED, &UP, &LAG, &CHANGES, &BREAKS,
];

/// Questions that have no answer.
pub const ERRORS: Family = Family {
    name: "portcullis_rebac_errors_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Cause],
    help: "Requests whose question could not be asked or has no answer: `value` (a value of the request is missing, or cannot be used), `tuples` (claims give more than 100), `condition` (a condition has no answer), `too_long` (more than `max_steps`, or than 25 tuples), `unavailable` (there are no tuples that may be used).",
};

/// What the model has.
pub const MODEL: Family = Family {
    name: "portcullis_rebac_model_entries",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin, Label::Content],
    help: "What the model has: `types`, `relations`, `conditions`.",
};

/// How many tuples there are.
pub const TUPLES: Family = Family {
    name: "portcullis_rebac_tuples",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "Tuples that the engine inside the filter holds.",
};

/// How fetches ended.
pub const FETCHES: Family = Family {
    name: "portcullis_rebac_tuple_fetches_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Outcome],
    help: "Fetches of tuples by how they ended: `new`, `same`, `invalid`, `too_large`, `status`, `reset`, `unreachable`, `timeout`.",
};

/// How old tuples are.
pub const AGE: Family = Family {
    name: "portcullis_rebac_tuples_age_seconds",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "How long ago the tuples were fetched.",
};

/// Requests that waited.
pub const WAITS: Family = Family {
    name: "portcullis_rebac_waits_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Outcome],
    help: "Requests that waited for tuples: `woken` (in time, or in vain), `timeout`, `refused` (too many waited already).",
};

/// Comparisons.
pub const COMPARED: Family = Family {
    name: "portcullis_rebac_compared_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Outcome],
    help: "Answers of the engine outside the filter that were compared with the one inside: `same`, `different`.",
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    /// What became of requests.
    pub decisions: Decisions,
    errors: Series<&'static str>,
    model: Series<&'static str>,
    tuples: Series<()>,
    fetches: Series<&'static str>,
    age: Series<()>,
    waits: Series<&'static str>,
    compared: Series<&'static str>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            decisions: Decisions::new(plugin),
            errors: Series::new(&ERRORS),
            model: Series::new(&MODEL),
            tuples: Series::new(&TUPLES),
            fetches: Series::new(&FETCHES),
            age: Series::new(&AGE),
            waits: Series::new(&WAITS),
            compared: Series::new(&COMPARED),
        }
    }

    /// A question without an answer.
    pub fn error(&mut self, host: &dyn Host, cause: &'static str) {
        let plugin = &self.plugin;
        self.errors.count(host, cause, || vec![&**plugin, cause]);
    }

    /// How many types, relations and conditions the model has.
    pub fn model(&mut self, host: &dyn Host, counts: [(&'static str, usize); 3]) {
        let plugin = &self.plugin;
        for (content, count) in counts {
            if let Some(gauge) = self.model.id(host, content, || vec![&**plugin, content]) {
                host.record(gauge, number(count));
            }
        }
    }

    /// How many tuples there are.
    pub fn tuples(&mut self, host: &dyn Host, tuples: usize) {
        let plugin = &self.plugin;
        if let Some(gauge) = self.tuples.id(host, (), || vec![plugin]) {
            host.record(gauge, number(tuples));
        }
    }

    /// A fetch ended.
    pub fn fetched(&mut self, host: &dyn Host, outcome: &'static str) {
        let plugin = &self.plugin;
        self.fetches.count(host, outcome, || vec![&**plugin, outcome]);
    }

    /// How old the tuples are, in seconds.
    pub fn age(&mut self, host: &dyn Host, seconds: u64) {
        let plugin = &self.plugin;
        if let Some(gauge) = self.age.id(host, (), || vec![plugin]) {
            host.record(gauge, seconds);
        }
    }

    /// Two engines were compared.
    pub fn compared(&mut self, host: &dyn Host, outcome: &'static str) {
        let plugin = &self.plugin;
        self.compared.count(host, outcome, || vec![&**plugin, outcome]);
    }

    /// A wait ended.
    pub fn waited(&mut self, host: &dyn Host, outcome: &'static str) {
        let plugin = &self.plugin;
        self.waits.count(host, outcome, || vec![&**plugin, outcome]);
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
