//! What lies in `envoy/observability/` and is made from the code: Prometheus' configuration and rules, Grafana's dashboard, and a
//! picture of it.
//!
//! | module | one idea |
//! |---|---|
//! | [`rules`] | recording rules and alerts |
//! | [`dashboard`] | rows of panels |
//! | [`scraper`] | a real Prometheus that scrapes a real Envoy |
//! | [`mix`] | everything that can become of a request, sent to the whole chain |
//! | [`plot`] | numbers over time as SVG |
//! | [`picture`] | the dashboard, drawn from a real scrape |

pub mod dashboard;
pub mod mix;
pub mod picture;
pub mod plot;
pub mod rules;
pub mod scraper;

/// The files that `make generate` writes, by their path in the repository.
#[must_use]
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("envoy/observability/prometheus.yaml", SCRAPE.to_owned()),
        ("envoy/observability/rules.yaml", rules::yaml()),
        ("envoy/observability/dashboard.json", dashboard::json()),
    ]
}

/// Prometheus' configuration.
pub const SCRAPE: &str = "\
# Prometheus: scrapes Envoy's admin interface and loads the rules beside this file. `make generate` writes it.
#
#   prometheus --config.file=envoy/observability/prometheus.yaml
global:
  scrape_interval: 15s
  evaluation_interval: 15s
rule_files: [rules.yaml]
scrape_configs:
- job_name: envoy
  metrics_path: /stats/prometheus
  static_configs:
  - targets: [127.0.0.1:9901]
  # Envoy has thousands of series of its own; leave this out to keep them.
  metric_relabel_configs:
  - {source_labels: [__name__], regex: portcullis_.*, action: keep}
";
