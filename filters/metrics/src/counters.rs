//! What metrics counts.

use std::rc::Rc;

use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{Family, Label, Series};
use portcullis_common::reason::Reason;

/// All metrics of this filter.
pub const FAMILIES: [&Family; 2] = [&REQUESTS, &DURATION];

/// Every request, however it was answered.
pub const REQUESTS: Family = Family {
    name: "portcullis_requests_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Route, Label::Code, Label::Reason],
    help: "Requests that are over, by route, status code and the reason of a refusal by a Portcullis filter.",
};

/// How long requests took.
pub const DURATION: Family = Family {
    name: "portcullis_request_duration_milliseconds",
    kind: MetricKind::Histogram,
    labels: &[Label::Plugin, Label::Route],
    help: "From the request's first byte to the response's last, in milliseconds.",
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    requests: Series<(Option<usize>, u16, Option<Reason>)>,
    durations: Series<Option<usize>>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            requests: Series::new(&REQUESTS),
            durations: Series::new(&DURATION),
        }
    }

    /// A request that is over. `code` is 0 if it was never answered.
    pub fn request(
        &mut self,
        host: &dyn Host,
        route: Option<usize>,
        name: &str,
        code: u16,
        reason: Option<Reason>,
    ) {
        let plugin = &self.plugin;
        self.requests.count(host, (route, code, reason), || {
            let reason = reason.map_or("", Reason::word);
            vec![plugin.to_string(), name.to_owned(), code.to_string(), reason.to_owned()]
        });
    }

    /// How long it took.
    pub fn duration(&mut self, host: &dyn Host, route: Option<usize>, name: &str, millis: u64) {
        let plugin = &self.plugin;
        if let Some(id) = self.durations.id(host, route, || vec![&**plugin, name]) {
            host.record(id, millis);
        }
    }
}
