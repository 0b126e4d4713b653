//! `envoy/observability/`: current, and right by promtool.

use std::fs;
use std::io::Write;
use std::process::{Command, Output};

use portcullis_metrics::counters::FAMILIES;
use portcullis_tests::observability::{self, dashboard, rules};
use portcullis_tests::paths;

#[test]
fn generated_files_are_current() {
    for (name, text) in observability::files() {
        let kept = fs::read_to_string(paths::root().join(name)).unwrap_or_default();
        assert!(kept == text, "{name}: run `make generate`");
    }
}

/// The names in a query that start like ours, histograms without what Prometheus puts behind.
fn names(query: &str) -> Vec<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let ours = query.split(word).filter(|w| w.starts_with("portcullis"));
    ours.map(|w| w.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn queries_name_metrics_and_rules_that_there_are() {
    let rules = rules::yaml();
    let queries = dashboard::queries();
    assert!(queries.len() > 20);
    let expressions = rules.lines().filter_map(|l| l.trim().strip_prefix("expr: "));
    for query in queries.iter().map(|(_, query)| *query).chain(expressions) {
        for name in names(query) {
            let known =
                FAMILIES.iter().any(|f| f.name == name) || rules.contains(&format!("record: {name}\n"));
            assert!(known, "{name} in {query}");
        }
    }
}

/// promtool's answer; `None` where Debian's package `prometheus` is not installed.
fn promtool(arguments: &[&str]) -> Option<Output> {
    let output = Command::new("promtool").args(arguments).current_dir(paths::root()).output();
    if output.is_err() {
        // Past the test's capture, for tests/tally reads it.
        let line =
            "SKIPPED promtool: not installed; `make peers-system` installs Debian's package prometheus\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    output.ok()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    for arguments in [
        &["check", "rules", "envoy/observability/rules.yaml"][..],
        &["check", "config", "envoy/observability/prometheus.yaml"],
        &["test", "rules", "envoy/observability/rules.test.yaml"],
    ] {
        let Some(output) = promtool(arguments) else { return };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}
