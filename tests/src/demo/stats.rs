//! `make stats`: what was counted so far, by route.

use std::collections::BTreeSet;
use std::env;
use std::net::{Ipv4Addr, SocketAddr};

use crate::client;
use crate::prometheus::{self, Sample, quantile, sum};

const REQUESTS: &str = "portcullis_requests_total";
const DURATION: &str = "portcullis_request_duration_milliseconds";

/// Asks Envoy's admin interface and prints a table.
///
/// # Errors
/// If nobody answers there.
pub async fn stats() -> Result<(), String> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the verbs of the Makefile hand their options over in the environment"
    )]
    let port = env::var("ADMIN_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(9_901);
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let answer = client::get(admin, "/stats/prometheus").await;
    let text = answer.ok_or_else(|| format!("no Envoy answers on {admin}; start one with make run"))?.text();
    let samples = prometheus::parse(&text);
    if !samples.iter().any(|s| s.name == REQUESTS) {
        return Err(format!(
            "the Envoy on {admin} has counted no requests: it has no plugin metrics (filters/metrics), or none was sent yet"
        ));
    }
    print!("{}", table(&samples));
    Ok(())
}

/// Requests, quantiles in milliseconds, and refusals, one line for each route.
#[must_use]
pub fn table(samples: &[Sample]) -> String {
    let routes: BTreeSet<&str> =
        samples.iter().filter(|s| s.name == REQUESTS).map(|s| s.label("route")).collect();
    let mut out = format!(
        "{:<32} {:>8} {:>8} {:>8} {:>8}  refused\n",
        "route", "requests", "p50 ms", "p95 ms", "p99 ms"
    );
    for route in routes {
        let of = [("route", route)];
        let time =
            |share| quantile(samples, DURATION, &of, share).map_or("-".into(), |ms| format!("{ms:.1}"));
        let reasons: BTreeSet<&str> =
            samples.iter().filter(|s| s.is(REQUESTS, &of)).map(|s| s.label("reason")).collect();
        let count = |reason: &str| sum(samples, REQUESTS, &[of[0], ("reason", reason)]);
        let refused: Vec<String> =
            reasons.into_iter().filter(|r| !r.is_empty()).map(|r| format!("{r} {}", count(r))).collect();
        out.push_str(&format!(
            "{route:<32} {:>8} {:>8} {:>8} {:>8}  {}\n",
            sum(samples, REQUESTS, &of),
            time(0.5),
            time(0.95),
            time(0.99),
            refused.join(", ")
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_line_with_its_quantiles_and_refusals() {
        let text = "portcullis_requests_total{route=\"/a\",reason=\"\"} 8\n\
                    portcullis_requests_total{route=\"/a\",reason=\"token_missing\"} 2\n\
                    portcullis_request_duration_milliseconds_bucket{route=\"/a\",le=\"10\"} 10\n\
                    portcullis_request_duration_milliseconds_bucket{route=\"/a\",le=\"+Inf\"} 10\n";
        let table = table(&prometheus::parse(text));
        let line: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["/a", "10", "5.0", "9.5", "9.9", "token_missing", "2"]);
    }
}
