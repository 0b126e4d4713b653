//! A real Prometheus scrapes a real Envoy with the whole chain: what it has is what the client sent, the rules are healthy, and
//! every query of the dashboard gives numbers.

use std::io::Write;

use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::observability::dashboard;
use portcullis_tests::observability::mix::{Mix, Tally};
use portcullis_tests::observability::scraper::Prometheus;
use portcullis_tests::paths;
use portcullis_tests::upstream::Upstream;

/// Requests by code and reason, as Prometheus has them.
async fn counted(prometheus: &Prometheus) -> Tally {
    let answers = prometheus.query("sum by (code, reason) (portcullis_requests_total)").await;
    let label = |labels: &std::collections::BTreeMap<String, String>, name| {
        labels.get(name).cloned().unwrap_or_default()
    };
    answers.iter().map(|a| ((label(&a.labels, "code"), label(&a.labels, "reason")), a.values[0].1)).collect()
}

/// The queries of the dashboard that give no number.
async fn silent(prometheus: &Prometheus) -> Vec<String> {
    let mut silent = Vec::new();
    for (title, query) in dashboard::queries() {
        let answers = prometheus.query(&dashboard::filled_in(query, "10s")).await;
        if !answers.iter().any(|a| a.values.iter().any(|(_, value)| value.is_finite())) {
            silent.push(format!("{title}: {query}"));
        }
    }
    silent
}

#[tokio::test]
async fn what_is_scraped_is_what_was_sent_and_every_query_gives_numbers() {
    let upstream = Upstream::start().await;
    let example = examples::read(&paths::root().join("envoy/envoy.yaml"));
    let mut config = examples::with_ports(example, Ports::free(upstream.address()));
    config["stats_flush_interval"] = "0.1s".into();
    let envoy = Envoy::start_with(&config, &Options { workers: 2, ..Options::default() }).await;
    let Some(prometheus) = Prometheus::start(&envoy, "500ms").await else {
        // Past the test's capture, for tests/tally reads it.
        let line =
            "SKIPPED prometheus: not installed; `make peers-system` installs Debian's package prometheus\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    let mut mix = Mix::new(envoy.address());
    mix.leave(&upstream).await;
    mix.burst().await;
    let mut silent_queries = Vec::new();
    for _ in 0..20 {
        mix.round().await;
        prometheus.next_scrape(&envoy).await;
        silent_queries = silent(&prometheus).await;
        if silent_queries.is_empty() {
            break;
        }
    }
    assert!(silent_queries.is_empty(), "no numbers from\n{}", silent_queries.join("\n"));

    // Some limit or other was met; nothing more is sent now.
    let sent: f64 = mix.tally.values().sum();
    let all = async || counted(&prometheus).await.values().sum::<f64>() >= sent;
    envoy.wait_until("everything is scraped", all).await;
    assert_eq!(counted(&prometheus).await, mix.tally);
    for code in ["0", "200", "400", "401", "403", "404", "429", "503"] {
        assert!(mix.tally.keys().any(|(c, _)| c == code), "{code} is not in {:?}", mix.tally);
    }

    let groups = prometheus.get("/api/v1/rules").await["groups"].clone();
    let rules: Vec<_> =
        groups.as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 25, "{groups}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    // Of the promised 99.9 %, the mix keeps far less.
    let alert = "ALERTS{alertname=\"PortcullisBudgetBurn\", severity=\"page\", objective=\"availability\"}";
    envoy.wait_until("the alert fires", async || !prometheus.query(alert).await.is_empty()).await;
    // What the dashboard's list of routes is filled from.
    let routes = prometheus.get("/api/v1/label/route/values").await;
    assert!(routes.as_array().unwrap().contains(&"/orders/{id}".into()), "{routes}");
}
