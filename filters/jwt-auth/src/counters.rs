//! What jwt-auth counts.

use std::rc::Rc;

use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{DECISIONS, Decisions, Family, Label, Series};

/// All metrics of this filter.
pub const FAMILIES: [&Family; 13] = [
    &DECISIONS, &FAILURES, &VERIFIED, &VERIFIER, &DEMO_KEYS, &FETCHES, &AGE, &HELD, &SKIPPED, &REFETCHES,
    &MISSES, &WAITS, &WAITING,
];

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

/// How fetches ended.
pub const FETCHES: Family = Family {
    name: "portcullis_fetches_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Provider, Label::Content, Label::Outcome],
    help: "Fetches of keys and deny lists, by provider and by how they ended.",
};

/// How old content is.
pub const AGE: Family = Family {
    name: "portcullis_fetched_age_seconds",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin, Label::Provider, Label::Content],
    help: "How long ago the keys or the deny list in use were fetched.",
};

/// How much content there is.
pub const HELD: Family = Family {
    name: "portcullis_fetched_entries",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin, Label::Provider, Label::Content],
    help: "How many fetched keys, or entries of the deny list, are in use.",
};

/// Keys that were left out.
pub const SKIPPED: Family = Family {
    name: "portcullis_fetched_skipped",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin, Label::Provider, Label::Content],
    help: "How many keys of the fetched set are not used: weak, malformed, double, or for another use.",
};

/// Fetches for unknown keys.
pub const REFETCHES: Family = Family {
    name: "portcullis_key_refetches_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Provider],
    help: "Fetches of keys out of turn, because a token named a key that was not known.",
};

/// Requests for unknown keys.
pub const MISSES: Family = Family {
    name: "portcullis_key_misses_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Provider],
    help: "Requests whose token named a key that was not known, and that waited for a new fetch.",
};

/// Requests that waited.
pub const WAITS: Family = Family {
    name: "portcullis_key_waits_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Outcome],
    help: "Waits of requests for keys or a deny list, by how they ended: `woken`, `timeout`, or `refused` for want of room.",
};

/// Requests that wait now.
pub const WAITING: Family = Family {
    name: "portcullis_key_requests_waiting",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "Requests that wait for keys or a deny list now, of all workers.",
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    /// What became of requests.
    pub decisions: Decisions,
    failures: Series<&'static str>,
    verified: Series<()>,
    verifier: Series<&'static str>,
    demo_keys: Series<()>,
    fetches: Series<(Rc<str>, &'static str, &'static str)>,
    age: Series<(Rc<str>, &'static str)>,
    held: Series<(Rc<str>, &'static str)>,
    skipped: Series<(Rc<str>, &'static str)>,
    refetches: Series<Rc<str>>,
    misses: Series<Rc<str>>,
    waits: Series<&'static str>,
    waiting: Series<()>,
    /// What of the gauge is this VM's.
    told: i64,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            decisions: Decisions::new(plugin),
            failures: Series::new(&FAILURES),
            verified: Series::new(&VERIFIED),
            verifier: Series::new(&VERIFIER),
            demo_keys: Series::new(&DEMO_KEYS),
            fetches: Series::new(&FETCHES),
            age: Series::new(&AGE),
            held: Series::new(&HELD),
            skipped: Series::new(&SKIPPED),
            refetches: Series::new(&REFETCHES),
            misses: Series::new(&MISSES),
            waits: Series::new(&WAITS),
            waiting: Series::new(&WAITING),
            told: 0,
        }
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

    /// A fetch ended.
    pub fn fetched(
        &mut self,
        host: &dyn Host,
        provider: &Rc<str>,
        content: &'static str,
        outcome: &'static str,
    ) {
        let plugin = &self.plugin;
        let key = (Rc::clone(provider), content, outcome);
        self.fetches.count(host, key, || vec![&**plugin, provider, content, outcome]);
    }

    /// How old content is, in seconds.
    pub fn age(&mut self, host: &dyn Host, provider: &Rc<str>, content: &'static str, seconds: u64) {
        set(&mut self.age, host, &self.plugin, provider, content, seconds);
    }

    /// How much content there is, and how much was left out.
    pub fn held(
        &mut self,
        host: &dyn Host,
        provider: &Rc<str>,
        content: &'static str,
        (kept, skipped): (usize, usize),
    ) {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        set(&mut self.held, host, &self.plugin, provider, content, number(kept));
        set(&mut self.skipped, host, &self.plugin, provider, content, number(skipped));
    }

    /// Keys are fetched out of turn.
    pub fn refetched(&mut self, host: &dyn Host, provider: &Rc<str>) {
        let plugin = &self.plugin;
        self.refetches.count(host, Rc::clone(provider), || vec![&**plugin, provider]);
    }

    /// A request waits for a key that was not known.
    pub fn missed(&mut self, host: &dyn Host, provider: &Rc<str>) {
        let plugin = &self.plugin;
        self.misses.count(host, Rc::clone(provider), || vec![&**plugin, provider]);
    }

    /// A wait ended.
    pub fn waited(&mut self, host: &dyn Host, outcome: &'static str) {
        let plugin = &self.plugin;
        self.waits.count(host, outcome, || vec![&**plugin, outcome]);
    }

    /// So many requests wait in this VM. The gauge is the whole process's, so it is told the difference.
    pub fn waiting(&mut self, host: &dyn Host, requests: usize) {
        let now = i64::try_from(requests).unwrap_or(i64::MAX);
        let change = now.saturating_sub(self.told);
        if change == 0 {
            return;
        }
        let plugin = &self.plugin;
        if let Some(gauge) = self.waiting.id(host, (), || vec![plugin]) {
            host.increment(gauge, change);
        }
        self.told = now;
    }
}

fn set(
    gauge: &mut Series<(Rc<str>, &'static str)>,
    host: &dyn Host,
    plugin: &str,
    provider: &Rc<str>,
    content: &'static str,
    value: u64,
) {
    if let Some(id) = gauge.id(host, (Rc::clone(provider), content), || vec![plugin, provider, content]) {
        host.record(id, value);
    }
}
