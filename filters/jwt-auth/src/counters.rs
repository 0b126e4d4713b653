//! What jwt-auth counts.

use std::rc::Rc;

use portcullis_common::facts::Outcome;
use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{DECISIONS, Family, Label, Series};
use portcullis_common::reason::Reason;

/// All metrics of this filter.
pub const FAMILIES: [&Family; 5] = [&DECISIONS, &FAILURES, &VERIFIED, &VERIFIER, &DEMO_KEYS];

/// For operators: which check failed. Clients see `token_malformed` and `token_invalid`.
pub const FAILURES: Family = Family {
    name: "portcullis_token_failures_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Cause],
    help: "Tokens that were refused, by plugin and by the check that failed.",
};

/// Tokens that were not remembered.
pub const VERIFIED: Family = Family {
    name: "portcullis_token_verifications_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin],
    help: "Tokens that had to be read and checked, because they were not remembered.",
};

/// Who verifies.
pub const VERIFIER: Family = Family {
    name: "portcullis_signature_verifier",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin, Label::Verifier],
    help: "1 for each place where signatures are verified: `host` (Envoy's own verifier) or `wasm`.",
};

/// The public demo key in use.
pub const DEMO_KEYS: Family = Family {
    name: "portcullis_demo_keys_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin],
    help: "How often the public demo key (`demo-do-not-use`) was loaded. Anything but 0 is an open door.",
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    decisions: Series<(Option<usize>, Outcome, Option<Reason>)>,
    failures: Series<&'static str>,
    verified: Series<()>,
    verifier: Series<&'static str>,
    demo_keys: Series<()>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            decisions: Series::new(&DECISIONS),
            failures: Series::new(&FAILURES),
            verified: Series::new(&VERIFIED),
            verifier: Series::new(&VERIFIER),
            demo_keys: Series::new(&DEMO_KEYS),
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

    /// A refused token.
    pub fn failure(&mut self, host: &dyn Host, cause: &'static str) {
        let plugin = &self.plugin;
        self.failures.count(host, cause, || vec![&**plugin, cause]);
    }

    /// A token that was checked.
    pub fn verified(&mut self, host: &dyn Host) {
        let plugin = &self.plugin;
        self.verified.count(host, (), || vec![plugin]);
    }

    /// Where signatures are verified.
    pub fn verifier(&mut self, host: &dyn Host, verifier: &'static str) {
        let plugin = &self.plugin;
        if let Some(gauge) = self.verifier.id(host, verifier, || vec![&**plugin, verifier]) {
            host.record(gauge, 1);
        }
    }

    /// The demo key was loaded.
    pub fn demo_key(&mut self, host: &dyn Host) {
        let plugin = &self.plugin;
        self.demo_keys.count(host, (), || vec![plugin]);
    }
}
