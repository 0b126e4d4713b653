//! What is counted of an engine outside the filter.

use std::rc::Rc;

use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{Family, Label, Series};

/// How long calls took.
pub const CALLS: Family = Family {
    name: "portcullis_rebac_engine_milliseconds",
    kind: MetricKind::Histogram,
    labels: &[Label::Plugin],
    help: "How long calls to the engine outside the filter took that were answered.",
};

/// Errors.
pub const FAULTS: Family = Family {
    name: "portcullis_rebac_engine_errors_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Cause],
    help: "Questions that an engine outside the filter did not answer: `value`, `condition`, `too_long`, `mapping`, `model`, `credentials`, `freshness`, `timeout` (no answer in time, or HTTP 504), `reset` (an answer that broke off, or is too large), `unreachable` (no way to it, or HTTP 502 or 503, by Envoy, a proxy or itself), `status` (another one that is no answer), `garbled`, `paused` (it failed so often that it was left alone), `no_token` (the token endpoint gives none).",
};

/// Where answers came from.
pub const CHECKS: Family = Family {
    name: "portcullis_rebac_checks_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Source],
    help: "Questions by where their answers came from: `engine`, `cache`, `shared` (another request asked the same just then), `stale` (remembered beyond its time, while the engine was away).",
};

/// How many questions calls carried.
pub const BATCHES: Family = Family {
    name: "portcullis_rebac_batched_checks_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin],
    help: "Questions that were asked in calls; with the number of calls in `portcullis_rebac_engine_milliseconds`, the size of a batch.",
};

/// Repeated calls.
pub const RETRIES: Family = Family {
    name: "portcullis_rebac_retries_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin],
    help: "Calls to the engine that were repeated.",
};

/// The counters.
#[derive(Debug)]
pub struct Meter {
    plugin: Rc<str>,
    calls: Series<()>,
    faults: Series<&'static str>,
    checks: Series<&'static str>,
    batches: Series<()>,
    retries: Series<()>,
}

impl Meter {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Meter {
        Meter {
            plugin: Rc::clone(plugin),
            calls: Series::new(&CALLS),
            faults: Series::new(&FAULTS),
            checks: Series::new(&CHECKS),
            batches: Series::new(&BATCHES),
            retries: Series::new(&RETRIES),
        }
    }

    /// A call was answered.
    pub fn called(&mut self, host: &dyn Host, milliseconds: u64) {
        let plugin = &self.plugin;
        if let Some(id) = self.calls.id(host, (), || vec![plugin]) {
            host.record(id, milliseconds);
        }
    }

    /// A question was not answered.
    pub fn fault(&mut self, host: &dyn Host, cause: &'static str) {
        let plugin = &self.plugin;
        self.faults.count(host, cause, || vec![&**plugin, cause]);
    }

    /// A question was answered.
    pub fn answered(&mut self, host: &dyn Host, source: &'static str) {
        let plugin = &self.plugin;
        self.checks.count(host, source, || vec![&**plugin, source]);
    }

    /// A call leaves with so many questions.
    pub fn asked(&mut self, host: &dyn Host, questions: usize) {
        let plugin = &self.plugin;
        if let Some(id) = self.batches.id(host, (), || vec![plugin]) {
            host.increment(id, i64::try_from(questions).unwrap_or(0).max(1));
        }
    }

    /// A call is repeated.
    pub fn repeated(&mut self, host: &dyn Host) {
        let plugin = &self.plugin;
        self.retries.count(host, (), || vec![plugin]);
    }
}
