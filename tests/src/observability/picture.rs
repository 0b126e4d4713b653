//! `make picture`: the dashboard as it looks after a few minutes of mixed load, drawn from what a real Prometheus scraped.
//!
//! The load is that of a small shop: users with plans, a crowd, somebody who tries tokens, and an upstream that is slow and
//! fails for a while in the middle.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::dashboard::{self, Panel, ROWS};
use super::plot::{self, Frame, Line};
use super::scraper::{Answer, Prometheus};
use crate::client::{Ask, ask};
use crate::demo;
use crate::envoy::{Envoy, Options};
use crate::examples::{self, Ports};
use crate::paths;
use crate::upstream::Upstream;

/// Where it is kept.
pub const FILE: &str = "envoy/observability/dashboard.svg";

const SECONDS: u64 = 180;
/// When the upstream is slow and fails.
const INCIDENT: std::ops::Range<u64> = 80..115;
/// When somebody tries tokens.
const GUESSING: std::ops::Range<u64> = 135..150;
const WINDOW: &str = "12s";
const STEP: f64 = 2.0;
const WIDTH: f64 = 1_280.0;
const GAP: f64 = 10.0;

/// Runs the load, draws, and writes the file.
///
/// # Errors
/// What stands in the way, in one sentence.
///
/// # Panics
/// If Envoy or Prometheus do not start; shows their logs.
pub async fn run() -> Result<(), String> {
    let upstream = Upstream::start().await;
    let example = examples::read(&paths::root().join("envoy/envoy.yaml"));
    let mut config = examples::with_ports(example, Ports::free(upstream.address()));
    // All users of this load share one address.
    lift(&mut config);
    let envoy = Envoy::start_with(&config, &Options { workers: 2, ..Options::default() }).await;
    let prometheus = Prometheus::start(&envoy, "1s").await;
    let prometheus =
        prometheus.ok_or("Debian's package prometheus is not installed; make peers-system installs it")?;
    prometheus.next_scrape(&envoy).await;
    let begun = prometheus.last_scrape().await;
    println!("{SECONDS} seconds of mixed load");
    load(&envoy).await;
    prometheus.next_scrape(&envoy).await;
    let svg = draw(&prometheus, begun, begun + SECONDS as f64).await;
    let file = paths::root().join(FILE);
    fs::write(&file, &svg).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("{FILE}: {} bytes", svg.len());
    Ok(())
}

/// Lifts the limit by address.
fn lift(config: &mut serde_json::Value) {
    match config {
        serde_json::Value::Object(fields) => {
            if fields.get("name") == Some(&json!("per-address")) {
                fields.insert("rate".into(), json!("60000/minute"));
                fields.insert("burst".into(), json!(1000));
            }
            fields.values_mut().for_each(lift);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(lift),
        _ => {}
    }
}

/// Numbers that look random, the same in every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

async fn load(envoy: &Envoy) {
    let to = envoy.address();
    let token = |n: u64| match n {
        0 => demo::token_with("ann", 3600, &json!({"plan": "gold"})),
        1 => demo::token_with("bob", 3600, &json!({"plan": "free"})),
        n => demo::token_with(&format!("user-{n}"), 3600, &json!({"plan": "free"})),
    };
    let tokens: Arc<Vec<String>> = Arc::new((0..40).map(token).collect());
    let mut numbers = Numbers(7);
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    let mut under_way = Vec::new();
    for turn in 0..SECONDS * 50 {
        clock.tick().await;
        // Between 10 and 30 requests a second, in waves of a minute and a half.
        let wave = (turn as f64 / 50.0 / 90.0 * std::f64::consts::TAU).sin();
        if numbers.below(100) as f64 >= 40.0 + 20.0 * wave {
            continue;
        }
        let request = one(&mut numbers, turn / 50, &tokens, to);
        under_way.push(tokio::spawn(request.try_send()));
    }
    for request in under_way {
        let _ = request.await;
    }
}

/// One request at this second.
fn one(numbers: &mut Numbers, second: u64, tokens: &[String], to: std::net::SocketAddr) -> Ask {
    let incident = INCIDENT.contains(&second);
    if GUESSING.contains(&second) && numbers.below(3) == 0 {
        return ask(to, "GET", "/orders/1").bearer("bm90aGluZw.bm90aGluZw.bm90aGluZw");
    }
    let user = match numbers.below(100) {
        0..12 => 0,
        12..20 => 1,
        n => n as usize % tokens.len(),
    };
    let id = numbers.below(1_000);
    let request = match numbers.below(100) {
        0..8 => ask(to, "GET", "/health"),
        8..26 => ask(to, "GET", &format!("/catalog/{id}")),
        26..31 => ask(to, "GET", &format!("/reports/{id}")).bearer(&tokens[user]),
        31..33 => ask(to, "GET", &format!("/orders/{id}")),
        33..34 => ask(to, "GET", "/admin").bearer(&tokens[user]),
        34..35 => ask(to, "GET", "/orders/1;a=b").bearer(&tokens[user]),
        35..55 => ask(to, "POST", &format!("/orders/{id}")).bearer(&tokens[user]).body("x".repeat(400)),
        _ => ask(to, "GET", &format!("/orders/{id}")).bearer(&tokens[user]),
    };
    let failing = numbers.below(1_000) < if incident { 80 } else { 1 };
    let status = match numbers.below(100) {
        _ if failing => "503",
        0..3 => "404",
        _ => "200",
    };
    let usual = 4 + numbers.below(30) + if numbers.below(20) == 0 { numbers.below(120) } else { 0 };
    let millis = if incident { usual * 6 } else { usual };
    request.header("x-answer-after", millis.to_string()).header("x-answer-status", status)
}

async fn draw(prometheus: &Prometheus, begun: f64, ended: f64) -> String {
    let (mut body, mut y) = (String::new(), GAP);
    for (title, panels) in ROWS {
        body.push_str(&plot::heading(GAP, y + 18.0, title));
        y += 28.0;
        let (mut x, mut tallest) = (GAP, 0.0);
        for Panel(kind, title, unit, queries) in panels {
            let alike = panels.iter().filter(|Panel(other, ..)| other == kind).count() as f64;
            let width = (WIDTH - GAP * (alike + 1.0)) / alike;
            let height = if *kind == "stat" { 92.0 } else { 236.0 };
            if x + width > WIDTH {
                (x, y) = (GAP, y + tallest + GAP);
            }
            tallest = height;
            let mut lines = Vec::new();
            for (query, legend) in *queries {
                let query = dashboard::filled_in(query, WINDOW);
                let answers = prometheus.range(&query, begun, ended, STEP).await;
                lines.extend(
                    answers
                        .into_iter()
                        .map(|answer| Line { name: named(legend, &answer), points: answer.values }),
                );
            }
            let frame = Frame { x, y, width, height };
            body.push_str(&if *kind == "stat" {
                let last = lines.first().and_then(|l| l.points.last());
                plot::tile(frame, title, unit, last.map(|(_, value)| *value))
            } else {
                plot::chart(frame, title, unit, (begun, ended), &lines)
            });
            x += width + GAP;
        }
        y += tallest + GAP;
    }
    format!("{}{body}{}", plot::begin(WIDTH, y), plot::end())
}

/// A legend with the labels filled in, as Grafana does it.
fn named(legend: &str, answer: &Answer) -> String {
    let mut name = legend.to_owned();
    for (label, value) in &answer.labels {
        name = name.replace(&format!("{{{{{label}}}}}"), value);
    }
    // A series without the label.
    if name.contains("{{") { "none".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legend_names_the_series() {
        let answer = Answer { labels: [("route".into(), "/a".into())].into(), values: Vec::new() };
        assert_eq!(named("p50 {{route}}", &answer), "p50 /a");
        assert_eq!(named("{{metric}}", &answer), "none");
    }
}
