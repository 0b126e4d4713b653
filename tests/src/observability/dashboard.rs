//! Grafana's dashboard, in its classic JSON: Grafana 10 and newer import it.

use serde_json::{Value, json};

/// A panel: its kind, title, unit and queries with their legends.
#[derive(Clone, Copy, Debug)]
pub struct Panel(
    pub &'static str,
    pub &'static str,
    pub &'static str,
    pub &'static [(&'static str, &'static str)],
);

/// Rows of panels, each under its heading.
pub const ROWS: [(&str, &[Panel]); 7] = [
    (
        "Overview",
        &[
            Panel(
                "stat",
                "Requests",
                "reqps",
                &[("sum(rate(portcullis_requests_total[$__rate_interval]))", "")],
            ),
            Panel(
                "stat",
                "Server errors",
                "percentunit",
                &[(
                    "(sum(rate(portcullis_requests_total{code=~\"5..\"}[$__rate_interval])) or vector(0)) / sum(rate(portcullis_requests_total[$__rate_interval]))",
                    "",
                )],
            ),
            Panel(
                "stat",
                "95th percentile",
                "ms",
                &[(
                    "histogram_quantile(0.95, sum by (le) (rate(portcullis_request_duration_milliseconds_bucket[$__rate_interval])))",
                    "",
                )],
            ),
            Panel("stat", "In flight", "none", &[("sum(portcullis_requests_in_flight)", "")]),
            Panel(
                "timeseries",
                "Requests by who answered",
                "reqps",
                &[("sum by (source) (rate(portcullis_requests_total[$__rate_interval]))", "{{source}}")],
            ),
            Panel(
                "timeseries",
                "Requests by code",
                "reqps",
                &[("sum by (code) (rate(portcullis_requests_total[$__rate_interval]))", "{{code}}")],
            ),
        ],
    ),
    (
        "By route",
        &[
            Panel(
                "timeseries",
                "Requests",
                "reqps",
                &[(
                    "sum by (route) (rate(portcullis_requests_total{route=~\"$route\"}[$__rate_interval]))",
                    "{{route}}",
                )],
            ),
            Panel(
                "timeseries",
                "Duration",
                "ms",
                &[
                    (
                        "histogram_quantile(0.5, sum by (route, le) (rate(portcullis_request_duration_milliseconds_bucket{route=~\"$route\"}[$__rate_interval])))",
                        "p50 {{route}}",
                    ),
                    (
                        "histogram_quantile(0.95, sum by (route, le) (rate(portcullis_request_duration_milliseconds_bucket{route=~\"$route\"}[$__rate_interval])))",
                        "p95 {{route}}",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (route, le) (rate(portcullis_request_duration_milliseconds_bucket{route=~\"$route\"}[$__rate_interval])))",
                        "p99 {{route}}",
                    ),
                ],
            ),
            Panel(
                "timeseries",
                "Bytes",
                "Bps",
                &[
                    (
                        "sum by (route) (rate(portcullis_request_bytes_total{route=~\"$route\"}[$__rate_interval]))",
                        "in {{route}}",
                    ),
                    (
                        "sum by (route) (rate(portcullis_response_bytes_total{route=~\"$route\"}[$__rate_interval]))",
                        "out {{route}}",
                    ),
                ],
            ),
        ],
    ),
    (
        "Promises",
        &[
            Panel(
                "timeseries",
                "Budget left of 30 days",
                "percentunit",
                &[("portcullis:slo_budget_left:ratio{route=~\"$route\"}", "{{route}} {{objective}}")],
            ),
            Panel(
                "timeseries",
                "Burn rate, 1 hour",
                "none",
                &[(
                    "portcullis:slo_bad:ratio_rate1h{route=~\"$route\"} / portcullis:slo_budget:ratio",
                    "{{route}} {{objective}}",
                )],
            ),
            Panel(
                "timeseries",
                "Apdex",
                "none",
                &[("portcullis:apdex:rate5m{route=~\"$route\"}", "{{route}}")],
            ),
        ],
    ),
    (
        "Refusals",
        &[
            Panel(
                "timeseries",
                "By reason",
                "reqps",
                &[(
                    "sum by (reason) (rate(portcullis_requests_total{reason!=\"\"}[$__rate_interval]))",
                    "{{reason}}",
                )],
            ),
            Panel(
                "timeseries",
                "By plugin",
                "reqps",
                &[(
                    "sum by (sibling, reason) (rate(portcullis_plugin_decisions_total{outcome=~\"deny|shadow_deny|error\"}[$__rate_interval]))",
                    "{{sibling}} {{reason}}",
                )],
            ),
        ],
    ),
    (
        "Consumers",
        &[
            Panel(
                "timeseries",
                "Requests",
                "reqps",
                &[(
                    "sum by (consumer, tier) (rate(portcullis_consumer_requests_total[$__rate_interval]))",
                    "{{consumer}} {{tier}}",
                )],
            ),
            Panel(
                "timeseries",
                "95th percentile",
                "ms",
                &[(
                    "histogram_quantile(0.95, sum by (consumer, le) (rate(portcullis_consumer_duration_milliseconds_bucket[$__rate_interval])))",
                    "{{consumer}}",
                )],
            ),
        ],
    ),
    (
        "Gateway",
        &[
            Panel(
                "timeseries",
                "Overhead, 95th percentile",
                "µs",
                &[(
                    "histogram_quantile(0.95, sum by (route, le) (rate(portcullis_gateway_overhead_microseconds_bucket{route=~\"$route\"}[$__rate_interval])))",
                    "{{route}}",
                )],
            ),
            Panel(
                "timeseries",
                "Plugins, 95th percentile",
                "µs",
                &[(
                    "histogram_quantile(0.95, sum by (sibling, le) (rate(portcullis_plugin_duration_microseconds_bucket[$__rate_interval])))",
                    "{{sibling}}",
                )],
            ),
        ],
    ),
    (
        "Cardinality",
        &[
            Panel("timeseries", "Series", "none", &[("sum by (metric) (portcullis_series)", "{{metric}}")]),
            Panel(
                "timeseries",
                "Updates that went to an overflow series",
                "ops",
                &[(
                    "sum by (metric) (rate(portcullis_series_overflow_total[$__rate_interval])) or vector(0)",
                    "{{metric}}",
                )],
            ),
        ],
    ),
];

/// The file.
#[must_use]
pub fn json() -> String {
    let mut panels: Vec<Value> = Vec::new();
    let (mut id, mut y) = (0, 0);
    for (title, row) in ROWS {
        id += 1;
        panels.push(json!({"id": id, "type": "row", "title": title, "collapsed": false, "panels": [], "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}}));
        y += 1;
        let mut x = 0;
        for Panel(kind, title, unit, queries) in row {
            let alike = row.iter().filter(|Panel(other, ..)| other == kind).count();
            let (width, height) = (24 / alike, if *kind == "stat" { 4 } else { 8 });
            if x + width > 24 {
                x = 0;
                y += if *kind == "stat" { 4 } else { 8 };
            }
            id += 1;
            let targets: Vec<Value> = queries
                .iter()
                .zip('A'..)
                .map(|((query, legend), name)| json!({"refId": name, "expr": query, "legendFormat": legend, "datasource": source()}))
                .collect();
            panels.push(json!({
                "id": id, "type": kind, "title": title, "datasource": source(), "targets": targets,
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "options": {},
                "gridPos": {"h": height, "w": width, "x": x, "y": y}
            }));
            x += width;
        }
        y += 8;
    }
    let route = json!({
        "name": "route", "type": "query", "datasource": source(), "includeAll": true, "multi": true, "allValue": ".*", "refresh": 2,
        "query": {"query": "label_values(portcullis_requests_total, route)", "refId": "route"}, "current": {"text": "All", "value": "$__all"}
    });
    let dashboard = json!({
        "uid": "portcullis", "title": "Portcullis", "tags": ["portcullis"], "schemaVersion": 38, "version": 1, "editable": true,
        "time": {"from": "now-1h", "to": "now"}, "refresh": "30s", "panels": panels,
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}, route]}
    });
    let mut text = serde_json::to_string_pretty(&dashboard).expect("JSON");
    text.push('\n');
    text
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A query as Grafana sends it, with all routes chosen: `window` stands for what it takes as the interval of rates.
#[must_use]
pub fn filled_in(query: &str, window: &str) -> String {
    query.replace("$__rate_interval", window).replace("$route", ".*")
}

/// All queries, with the title of their panel.
#[must_use]
pub fn queries() -> Vec<(&'static str, &'static str)> {
    let panels = ROWS.iter().flat_map(|(_, panels)| panels.iter());
    panels.flat_map(|Panel(_, title, _, queries)| queries.iter().map(|(query, _)| (*title, *query))).collect()
}
