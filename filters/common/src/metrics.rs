//! Names, labels and series.
//!
//! The ABI has no labels: a name is the only dimension. So labels are written into the name in the form that Istio's
//! bootstrap already takes apart, `<metric>.<label>=.=<value>;.;...`, and the bootstrap's `stats_tags` (generated
//! from [`Label::ALL`]) turn them into Prometheus labels. Both lists are closed: the dashboards, the rules, the
//! bootstrap and the docs are made from them.

use std::rc::Rc;

use crate::facts::Outcome;
use crate::host::{Host, MetricId, MetricKind};
use crate::reason::Reason;

/// A dimension. No label's name ends in another's, because the bootstrap's expressions are not anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// The name of the plugin that counts.
    Plugin,
    /// The name of a rule or limit.
    Rule,
    /// A route template of the metrics filter.
    Route,
    /// HTTP method, `_OTHER` if unknown.
    Method,
    /// HTTP status code.
    Code,
    /// gRPC status, by number.
    Grpc,
    /// Who answered: `upstream`, `gateway`, `client` (it left).
    Source,
    /// A word of [`crate::reason::Reason`].
    Reason,
    /// A word of [`crate::facts::Outcome`], or how a fetch or a wait ended.
    Outcome,
    /// Which claim, key or form of a token failed; for operators, never for clients.
    Cause,
    /// Who verifies signatures: `host` or `wasm`.
    Verifier,
    /// A gRPC method with its service, `package.Service/Method`; `rpc` would be the end of `grpc`.
    Procedure,
    /// The name of another plugin of the chain, whose verdict is counted.
    Sibling,
    /// A consumer by name; `__other__`, `_anonymous`.
    Consumer,
    /// A consumer's tier.
    Tier,
    /// What is promised: `availability`, `latency`.
    Objective,
    /// Whether a promise was kept: `good`, `bad`.
    Result,
    /// Apdex: `satisfied`, `tolerating`, `frustrated`.
    Zone,
    /// The name of a metric.
    Metric,
    /// The name of an issuer of tokens.
    Provider,
    /// What is fetched: `keys`, `deny`; what a model has: `types`, `relations`, `conditions`.
    Content,
}

impl Label {
    /// All labels.
    pub const ALL: [Label; 21] = [
        Label::Plugin,
        Label::Rule,
        Label::Route,
        Label::Method,
        Label::Code,
        Label::Grpc,
        Label::Source,
        Label::Reason,
        Label::Outcome,
        Label::Cause,
        Label::Verifier,
        Label::Procedure,
        Label::Sibling,
        Label::Consumer,
        Label::Tier,
        Label::Objective,
        Label::Result,
        Label::Zone,
        Label::Metric,
        Label::Provider,
        Label::Content,
    ];

    /// The label as Prometheus shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Label::Plugin => "plugin",
            Label::Rule => "rule",
            Label::Route => "route",
            Label::Method => "method",
            Label::Code => "code",
            Label::Grpc => "grpc",
            Label::Source => "source",
            Label::Reason => "reason",
            Label::Outcome => "outcome",
            Label::Cause => "cause",
            Label::Verifier => "verifier",
            Label::Procedure => "procedure",
            Label::Sibling => "sibling",
            Label::Consumer => "consumer",
            Label::Tier => "tier",
            Label::Objective => "objective",
            Label::Result => "result",
            Label::Zone => "zone",
            Label::Metric => "metric",
            Label::Provider => "provider",
            Label::Content => "content",
        }
    }

    /// The bootstrap's expression for this label: the first group is cut out of the name, the second is the value.
    ///
    /// Envoy files an expression that starts with `^`, a word and `\.` under that word and tries it on no other name. Without
    /// it, each of these would be tried on every statistic that Envoy makes: 90 microseconds more for each of them, which is
    /// half a minute at the start of a proxy with three thousand clusters.
    #[must_use]
    pub fn stats_tag_regex(self) -> String {
        format!(r"^wasmcustom\.portcullis_.*?({}=\.=(.*?);\.;)", self.name())
    }
}

/// A metric: all its series have this name and these labels.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name, with the prefix `portcullis_` and the unit or `_total` behind.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// The labels, in the order of the name.
    pub labels: &'static [Label],
    /// One sentence for the README.
    pub help: &'static str,
}

/// Upper bounds of duration histograms in milliseconds: OpenTelemetry's for `http.server.request.duration`.
pub const DURATION_BUCKETS_MS: [u32; 14] =
    [5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000];

/// Upper bounds of what takes less than a millisecond when all is well, in microseconds.
pub const DURATION_BUCKETS_US: [u32; 14] =
    [10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 1_000_000];

/// What became of requests, one series for each rule, outcome and reason: the same in all deciding filters.
pub const DECISIONS: Family = Family {
    name: "portcullis_decisions_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Rule, Label::Outcome, Label::Reason],
    help: "Requests, by plugin, rule, outcome and reason.",
};

/// The longest label value; longer ones are cut.
const MAX_VALUE: usize = 128;

impl Family {
    /// The name of one series. `values` go with [`Family::labels`]; a value that could be taken for the encoding
    /// itself is defused.
    #[must_use]
    pub fn series(&self, values: &[&str]) -> String {
        let mut name = String::with_capacity(128);
        name.push_str(self.name);
        name.push('.');
        for (label, value) in self.labels.iter().zip(values) {
            name.push_str(label.name());
            name.push_str("=.=");
            push_clean(&mut name, value);
            name.push_str(";.;");
        }
        name
    }
}

/// Visible ASCII without `;` and `=`, at most [`MAX_VALUE`] bytes; anything else becomes `_`.
fn push_clean(name: &mut String, value: &str) {
    for c in value.chars().take(MAX_VALUE) {
        name.push(if matches!(c, '!'..='~') && c != ';' && c != '=' { c } else { '_' });
    }
}

/// The series of one family, by a key that is cheaper than its labels. Each is defined on first use and then only
/// updated; a series that the host refuses is asked for once and then left alone.
#[derive(Debug)]
pub struct Series<K> {
    family: &'static Family,
    /// In the order of their keys. A tree would be code of its own for each type of key, some kilobytes of every module.
    ids: Vec<(K, Option<MetricId>)>,
}

impl<K: Ord> Series<K> {
    /// No series yet.
    #[must_use]
    pub fn new(family: &'static Family) -> Self {
        Series { family, ids: Vec::new() }
    }

    /// The series of `key`; `values` gives its labels if it is new.
    pub fn id<V: AsRef<str>>(
        &mut self,
        host: &dyn Host,
        key: K,
        values: impl FnOnce() -> Vec<V>,
    ) -> Option<MetricId> {
        let place = match self.ids.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(place) => return self.ids.get(place).and_then(|(_, id)| *id),
            Err(place) => place,
        };
        let values = values();
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        let id = host.define(self.family.kind, &self.family.series(&values)).ok();
        self.ids.insert(place, (key, id));
        id
    }

    /// Counts one.
    pub fn count<V: AsRef<str>>(&mut self, host: &dyn Host, key: K, values: impl FnOnce() -> Vec<V>) {
        if let Some(id) = self.id(host, key, values) {
            host.increment(id, 1);
        }
    }
}

/// [`DECISIONS`] of one plugin.
#[derive(Debug)]
pub struct Decisions {
    plugin: Rc<str>,
    series: Series<(Option<usize>, Outcome, Option<Reason>)>,
}

impl Decisions {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Decisions { plugin: Rc::clone(plugin), series: Series::new(&DECISIONS) }
    }

    /// A decision of the rule at position `rule`, called `name`.
    pub fn count(
        &mut self,
        host: &dyn Host,
        rule: Option<usize>,
        name: &str,
        outcome: Outcome,
        reason: Option<Reason>,
    ) {
        let plugin = &self.plugin;
        self.series.count(host, (rule, outcome, reason), || {
            vec![&**plugin, name, outcome.word(), reason.map_or("", Reason::word)]
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryHost;

    const FAMILY: Family = Family {
        name: "portcullis_x_total",
        kind: MetricKind::Counter,
        labels: &[Label::Route, Label::Code],
        help: "",
    };

    #[test]
    fn an_expression_is_tried_on_our_own_names_alone() {
        for label in Label::ALL {
            let regex = label.stats_tag_regex();
            assert!(regex.starts_with(r"^wasmcustom\.portcullis_"), "{regex}");
        }
    }

    #[test]
    fn no_label_ends_in_another() {
        for a in Label::ALL {
            for b in Label::ALL {
                assert!(a == b || !a.name().ends_with(b.name()), "{} ends in {}", a.name(), b.name());
            }
        }
    }

    #[test]
    fn a_value_cannot_pose_as_a_label() {
        assert_eq!(
            FAMILY.series(&["/a;.;code=.=200;.;", "4 3\n"]),
            "portcullis_x_total.route=.=/a_._code_._200_._;.;code=.=4_3_;.;"
        );
        assert!(FAMILY.series(&[&"a".repeat(1000), ""]).len() < 200);
    }

    #[test]
    fn a_series_is_defined_once_and_counted_often() {
        let host = MemoryHost::default();
        let mut series = Series::new(&FAMILY);
        for _ in 0..3 {
            series.count(&host, 7_u32, || vec!["/a", "200"]);
        }
        let all = host.metrics();
        assert_eq!(all.len(), 1);
        assert_eq!(all["portcullis_x_total.route=.=/a;.;code=.=200;.;"], 3);
    }

    #[test]
    fn a_host_without_metrics_changes_nothing() {
        let host = MemoryHost::default();
        host.faults.borrow_mut().metrics = true;
        Series::new(&FAMILY).count(&host, 1_u32, || vec!["/a", "200"]);
        assert!(host.metrics().is_empty());
    }
}
