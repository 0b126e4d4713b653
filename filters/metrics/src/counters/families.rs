//! The names, labels and meanings of what is counted.

use portcullis_common::host::MetricKind;
use portcullis_common::metrics::{Family, Label};

use crate::series::{OVERFLOWS, SERIES};

/// All metrics of this filter.
pub const FAMILIES: [&Family; 19] = [
    &REQUESTS,
    &DURATION,
    &UPSTREAM_DURATION,
    &OVERHEAD,
    &REQUEST_BYTES,
    &RESPONSE_BYTES,
    &IN_FLIGHT,
    &PROCEDURES,
    &PROCEDURE_DURATION,
    &PLUGIN_DECISIONS,
    &PLUGIN_DURATION,
    &CONSUMERS,
    &CONSUMER_DURATION,
    &SLO_EVENTS,
    &SLO_OBJECTIVE,
    &SLO_THRESHOLD,
    &APDEX,
    &SERIES,
    &OVERFLOWS,
];

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind: MetricKind::Counter, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind: MetricKind::Histogram, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind: MetricKind::Gauge, labels, help }
}

/// Every request, however it was answered.
pub const REQUESTS: Family = counter(
    "portcullis_requests_total",
    &[Label::Plugin, Label::Route, Label::Method, Label::Code, Label::Grpc, Label::Source, Label::Reason],
    "Requests that are over, however they were answered.",
);

/// How long requests took.
pub const DURATION: Family = histogram(
    "portcullis_request_duration_milliseconds",
    &[Label::Plugin, Label::Route],
    "From the request's first byte to the response's last. Tunnels are left out.",
);

/// How long upstreams took.
pub const UPSTREAM_DURATION: Family = histogram(
    "portcullis_upstream_duration_milliseconds",
    &[Label::Plugin, Label::Route],
    "From the first byte sent to the upstream to the last one from it, of requests that an upstream answered.",
);

/// How long the gateway took.
pub const OVERHEAD: Family = histogram(
    "portcullis_gateway_overhead_microseconds",
    &[Label::Plugin, Label::Route],
    "The whole time without the upstream's. Left out where an upstream was asked and did not answer to the end.",
);

/// Bodies of requests.
pub const REQUEST_BYTES: Family =
    counter("portcullis_request_bytes_total", &[Label::Plugin, Label::Route], "Bytes of request bodies.");

/// Bodies of responses.
pub const RESPONSE_BYTES: Family =
    counter("portcullis_response_bytes_total", &[Label::Plugin, Label::Route], "Bytes of response bodies.");

/// Requests that are not over.
pub const IN_FLIGHT: Family = gauge(
    "portcullis_requests_in_flight",
    &[Label::Plugin],
    "Requests that are not over, a quarter of a second ago.",
);

/// gRPC calls by method.
pub const PROCEDURES: Family = counter(
    "portcullis_grpc_calls_total",
    &[Label::Plugin, Label::Procedure, Label::Grpc],
    "gRPC calls by method and status; methods that are not in `grpc_methods` are `_OTHER`.",
);

/// How long gRPC calls took.
pub const PROCEDURE_DURATION: Family = histogram(
    "portcullis_grpc_call_duration_milliseconds",
    &[Label::Plugin, Label::Procedure],
    "The whole time of gRPC calls.",
);

/// What the plugins of the chain made of requests.
pub const PLUGIN_DECISIONS: Family = counter(
    "portcullis_plugin_decisions_total",
    &[Label::Plugin, Label::Sibling, Label::Outcome, Label::Reason],
    "Verdicts of the plugins listed in `plugins`, as they left them with each request.",
);

/// How long the plugins of the chain took.
pub const PLUGIN_DURATION: Family = histogram(
    "portcullis_plugin_duration_microseconds",
    &[Label::Plugin, Label::Sibling],
    "How long the plugins listed in `plugins` took, what they waited for included.",
);

/// Requests by consumer.
pub const CONSUMERS: Family = counter(
    "portcullis_consumer_requests_total",
    &[Label::Plugin, Label::Consumer, Label::Tier, Label::Code],
    "Requests by consumer, tier and status code.",
);

/// How long requests of consumers took.
pub const CONSUMER_DURATION: Family = histogram(
    "portcullis_consumer_duration_milliseconds",
    &[Label::Plugin, Label::Consumer, Label::Tier],
    "The whole time of requests, by consumer.",
);

/// Good and bad requests.
pub const SLO_EVENTS: Family = counter(
    "portcullis_slo_events_total",
    &[Label::Plugin, Label::Route, Label::Objective, Label::Result],
    "Requests that kept or broke a promise of `slos`.",
);

/// The promised share.
pub const SLO_OBJECTIVE: Family = gauge(
    "portcullis_slo_objective_ppm",
    &[Label::Plugin, Label::Route, Label::Objective],
    "The promised share of good requests, in parts per million.",
);

/// The promised time.
pub const SLO_THRESHOLD: Family = gauge(
    "portcullis_slo_threshold_milliseconds",
    &[Label::Plugin, Label::Route],
    "How long an answer may take, for promises about latency.",
);

/// Apdex.
pub const APDEX: Family = counter(
    "portcullis_apdex_total",
    &[Label::Plugin, Label::Route, Label::Zone],
    "Requests by Apdex' zones. The score is (satisfied + tolerating / 2) / all.",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_their_unit() {
        for family in FAMILIES {
            let unit = match family.kind {
                MetricKind::Counter => family.name.ends_with("_total"),
                MetricKind::Histogram => {
                    family.name.ends_with("_milliseconds") || family.name.ends_with("_microseconds")
                }
                MetricKind::Gauge => !family.name.ends_with("_total"),
            };
            assert!(unit && family.name.starts_with("portcullis_"), "{}", family.name);
            assert_eq!(family.labels.first(), Some(&Label::Plugin), "{}", family.name);
        }
    }
}
