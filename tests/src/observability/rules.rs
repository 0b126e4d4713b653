//! Recording rules and alerts: error budgets by the multi-window, multi-burn-rate method of Google's SRE workbook (chapter
//! "Alerting on SLOs"), and quantiles.
//!
//! The filter exports each objective as a gauge, so that one file of rules serves every configuration.

/// The windows that bad requests are counted over.
const WINDOWS: [&str; 8] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"];

/// An alert: how much faster than the budget allows, over a long and a short window, and who is told.
const BURNS: [(&str, &str, &str, &str); 4] = [
    ("14.4", "1h", "5m", "page"),
    ("6", "6h", "30m", "page"),
    ("3", "1d", "2h", "ticket"),
    ("1", "3d", "6h", "ticket"),
];

/// Histograms by name, with the labels that are kept.
const HISTOGRAMS: [(&str, &str); 5] = [
    ("portcullis_request_duration_milliseconds", "plugin, route"),
    ("portcullis_upstream_duration_milliseconds", "plugin, route"),
    ("portcullis_gateway_overhead_microseconds", "plugin, route"),
    ("portcullis_plugin_duration_microseconds", "plugin, sibling"),
    ("portcullis_consumer_duration_milliseconds", "plugin, consumer, tier"),
];

/// The file.
#[must_use]
pub fn yaml() -> String {
    let mut out = String::from(
        "# Recording rules and alerts for the metrics of Portcullis. `make generate` writes this file.\n\
         #\n\
         # The objectives are those of `slos` in the filter's configuration: it exports them. Burn rates and windows are those of\n\
         # Google's SRE workbook for a budget of 30 days.\n\
         groups:\n- name: portcullis-slo\n  rules:\n",
    );
    let record = |out: &mut String, name: &str, expression: &str| {
        out.push_str(&format!("  - record: {name}\n    expr: {expression}\n"));
    };
    for window in WINDOWS {
        let by = "sum by (plugin, route, objective)";
        let bad = format!("{by} (rate(portcullis_slo_events_total{{result=\"bad\"}}[{window}]))");
        let all = format!("{by} (rate(portcullis_slo_events_total[{window}]))");
        record(&mut out, &format!("portcullis:slo_bad:ratio_rate{window}"), &format!("{bad} / {all}"));
    }
    let budget = "1 - max by (plugin, route, objective) (portcullis_slo_objective_ppm) / 1000000";
    record(&mut out, "portcullis:slo_budget:ratio", budget);
    let left = "1 - portcullis:slo_bad:ratio_rate30d / portcullis:slo_budget:ratio";
    record(&mut out, "portcullis:slo_budget_left:ratio", left);
    let apdex = "sum by (plugin, route) (rate(portcullis_apdex_total{zone=\"satisfied\"}[5m]) or rate(portcullis_apdex_total{zone=\"tolerating\"}[5m]) / 2) \
                 / sum by (plugin, route) (rate(portcullis_apdex_total[5m]))";
    record(&mut out, "portcullis:apdex:rate5m", apdex);
    out.push_str("- name: portcullis-quantiles\n  rules:\n");
    for (name, labels) in HISTOGRAMS {
        for (quantile, share) in [("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99")] {
            let expression =
                format!("histogram_quantile({share}, sum by ({labels}, le) (rate({name}_bucket[5m])))");
            record(
                &mut out,
                &format!("portcullis:{}:{quantile}", name.trim_start_matches("portcullis_")),
                &expression,
            );
        }
    }
    out.push_str("- name: portcullis-alerts\n  rules:\n");
    for (burn, long, short, severity) in BURNS {
        let over = |window: &str| {
            format!(
                "portcullis:slo_bad:ratio_rate{window} > on (plugin, route, objective) ({burn} * portcullis:slo_budget:ratio)"
            )
        };
        out.push_str(&format!(
            "  - alert: PortcullisBudgetBurn\n    expr: ({}) and ({})\n    labels: {{severity: {severity}, burn: \"{burn}\", window: {long}}}\n    annotations:\n      summary: \"{{{{ $labels.route }}}}: the {{{{ $labels.objective }}}} budget burns more than {burn} times too fast\"\n",
            over(long),
            over(short)
        ));
    }
    out.push_str(
        "  - alert: PortcullisSeriesOverflow\n    expr: sum by (plugin, metric) (rate(portcullis_series_overflow_total[10m])) > 0\n    for: 10m\n    labels: {severity: ticket}\n    annotations:\n      summary: \"{{ $labels.metric }} has more series than `series` allows; the rest is in its overflow series\"\n",
    );
    out
}
