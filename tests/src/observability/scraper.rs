//! A real Prometheus (Debian's package `prometheus`) on the files of `envoy/observability/`, in a folder and on a port of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{SCRAPE, rules};
use crate::client;
use crate::envoy::{Envoy, die_with_us};

/// A running Prometheus; it ends when this is dropped.
pub struct Prometheus {
    process: Child,
    folder: TempDir,
    address: SocketAddr,
}

/// One series of an answer: its labels, and its values by the second.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and the value then.
    pub values: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts one that scrapes `envoy` and evaluates the rules every `interval`; `None` if the package is not installed.
    ///
    /// # Panics
    /// If it does not start; shows its log.
    pub async fn start(envoy: &Envoy, interval: &str) -> Option<Prometheus> {
        let folder = TempDir::new().expect("a temporary folder");
        // The very files that users load; only where Envoy is and how often it is asked differ.
        let config = SCRAPE.replace("15s", interval).replace("127.0.0.1:9901", &envoy.admin().to_string());
        fs::write(folder.path().join("prometheus.yaml"), config).expect("the configuration is written");
        fs::write(folder.path().join("rules.yaml"), rules::yaml()).expect("the rules are written");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new("prometheus");
        command
            .args([
                "--config.file=prometheus.yaml",
                "--storage.tsdb.path=data",
                "--web.listen-address=127.0.0.1:0",
            ])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        die_with_us(&mut command);
        let process = command.spawn().ok()?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut prometheus = Prometheus { process, folder, address: nowhere };
        envoy.wait_until("Prometheus listens", async || prometheus.listens_on().is_some()).await;
        prometheus.address = prometheus.listens_on().expect("it listens");
        envoy
            .wait_until("Prometheus answers", async || {
                client::get(prometheus.address, "/-/ready").await.is_some_and(|answer| answer.status == 200)
            })
            .await;
        Some(prometheus)
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The port that it chose, by its log.
    fn listens_on(&self) -> Option<SocketAddr> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("Listening on"))?;
        line.split_once("address=")?.1.split_whitespace().next()?.parse().ok()
    }

    /// Asks its HTTP interface.
    ///
    /// # Panics
    /// If it refuses; shows what it says.
    pub async fn get(&self, path: &str) -> Value {
        let answer = client::get(self.address, path).await.expect("Prometheus answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["data"].clone()
    }

    /// What a query gives now.
    pub async fn query(&self, query: &str) -> Vec<Answer> {
        answers(&self.get(&format!("/api/v1/query?query={}", escaped(query))).await)
    }

    /// What a query gave from `start` to `end`, every `step` seconds.
    pub async fn range(&self, query: &str, start: f64, end: f64, step: f64) -> Vec<Answer> {
        let query = escaped(query);
        answers(
            &self
                .get(&format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}"))
                .await,
        )
    }

    /// When Envoy was scraped last, in seconds since 1970; 0 if it never was.
    pub async fn last_scrape(&self) -> f64 {
        let answers = self.query("timestamp(up)").await;
        answers.first().and_then(|a| a.values.first()).map_or(0.0, |(_, time)| *time)
    }

    /// Waits until Envoy was scraped once more.
    pub async fn next_scrape(&self, envoy: &Envoy) {
        let before = self.last_scrape().await;
        envoy.wait_until("Prometheus scrapes", async || self.last_scrape().await > before).await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- Prometheus' log\n{}---", self.log());
        }
    }
}

/// Series of a vector or of a matrix; a number is a series without labels.
fn answers(data: &Value) -> Vec<Answer> {
    let pair = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
    if data["resultType"] == "scalar" {
        return vec![Answer { labels: BTreeMap::new(), values: pair(&data["result"]).into_iter().collect() }];
    }
    let series = |series: &Value| {
        let labels = series["metric"].as_object().into_iter().flatten();
        let labels =
            labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let values = series["values"].as_array().into_iter().flatten().chain(series.get("value"));
        Answer { labels: labels.collect(), values: values.filter_map(pair).collect() }
    };
    data["result"].as_array().into_iter().flatten().map(series).collect()
}

/// Text as it stands in a query parameter (RFC 3986).
fn escaped(text: &str) -> String {
    let byte = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_have_labels_and_values() {
        let vector = json!({"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1.5, "2"]}]});
        let matrix =
            json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"], [2, "NaN"]]}]});
        let scalar = json!({"resultType": "scalar", "result": [1, "3"]});
        assert_eq!(
            answers(&vector),
            [Answer { labels: [("a".into(), "b".into())].into(), values: vec![(1.5, 2.0)] }]
        );
        assert_eq!(answers(&matrix)[0].values.len(), 2);
        assert_eq!(answers(&scalar)[0].values, [(1.0, 3.0)]);
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(escaped("a{b=\"c\"}+1"), "a%7Bb%3D%22c%22%7D%2B1");
    }
}
