//! `make bench`: what a filter adds to Envoy's own CPU time per request.
//!
//! One Envoy with one worker and a listener for each variant, one upstream, one run. The variants take turns, in another
//! order each round; what counts is the difference to the listener without filters in the same round. A bar is met when the
//! upper 95 % bound of the paired difference meets it. Microseconds are those of this machine on this day: read ratios, and
//! multiples of **g**, one property getter in the same run. Before that, what a reload of tuples does to the requests beside it.

mod load;
mod reload;
mod stats;
mod variants;

use std::collections::BTreeMap;

use portcullis_tests::bootstrap;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::key_server::{Answer, KeyServer};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

use crate::stats::Samples;
use crate::variants::{Bar, GETTERS, variants};

const ROUNDS: usize = 40;
const REQUESTS: usize = 1500;

#[tokio::main]
async fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    if only.is_empty() || only.iter().any(|name| name == "reload") {
        reload::measure().await;
    }
    if only.len() == 1 && only[0] == "reload" {
        return;
    }
    let upstream = Upstream::start().await;
    let chosen = variants(&only);
    let listeners: Vec<_> = chosen.iter().map(|v| v.listener.clone()).collect();
    let mut config = bootstrap::bootstrap(upstream.address(), &listeners);
    let engine = KeyServer::start().await;
    engine.set(variants::CHECK, Answer::Json(json!({"allowed": true}), 0));
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    clusters.expect("a list of clusters").push(engine.cluster());
    let envoy = Envoy::start(&config).await;
    let mut samples: BTreeMap<&str, Samples> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for turn in stats::shuffled(chosen.len(), round) {
            let variant = &chosen[turn];
            let before = envoy.cpu_nanos();
            load::send(envoy.listener(variant.name), &variant.requests, round * REQUESTS, REQUESTS).await;
            let spent = envoy.cpu_nanos() - before;
            // The first round warms up: code is compiled on its first call.
            if round != 0 {
                samples.entry(variant.name).or_default().push(spent as f64 / REQUESTS as f64 / 1000.0);
            }
        }
    }
    for variant in &chosen {
        if let Some((series, expected)) = &variant.expects {
            let counted = envoy.metric(series).await.unwrap_or(0.0);
            let sent = ((ROUNDS + 1) * REQUESTS) as f64;
            assert!(
                (counted - sent * expected).abs() <= sent * 0.01,
                "{}: {series} is {counted}",
                variant.name
            );
        }
    }
    report(&samples, &chosen);
}

fn report(samples: &BTreeMap<&str, Samples>, chosen: &[variants::Variant]) {
    let bases: BTreeMap<&str, &str> = chosen.iter().map(|v| (v.name, v.base)).collect();
    let added = |name: &str| samples[name].minus(&samples[bases[name]]);
    let g = samples["getters"].minus(&samples["empty, lean"]).scaled(1.0 / f64::from(GETTERS));
    println!(
        "{ROUNDS} rounds of {REQUESTS} requests each, through a local upstream; Envoy's CPU time in microseconds per request"
    );
    println!("no filter: {:.1}; g (one property getter): {:.2}\n", samples["no filter"].median(), g.median());
    println!("{:<44} {:>8} {:>16} {:>7}", "variant", "added", "95 % interval", "in g");
    for variant in chosen.iter().filter(|v| v.name != v.base) {
        let added = added(variant.name);
        let (low, high) = added.interval();
        println!(
            "{:<44} {:>8.1} {:>7.1} .. {:>5.1} {:>7.1}",
            variant.name,
            added.median(),
            low,
            high,
            added.median() / g.median()
        );
    }
    println!();
    let mut missed = false;
    for Bar { name, at_most, of, plus_g } in variants::bars() {
        if !samples.contains_key(name) || !samples.contains_key(of) {
            continue;
        }
        // Met if ours - at_most x theirs - plus_g x g is below nothing, with its upper bound.
        let difference = added(name).minus(&added(of).scaled(at_most)).minus(&g.scaled(plus_g));
        let (_, high) = difference.interval();
        let met = high <= 0.0;
        missed |= !met;
        let plus = if plus_g == 0.0 { String::new() } else { format!(" + {plus_g} g") };
        println!(
            "{} {name} <= {at_most} x {of}{plus}: {:.2}x (difference {:+.1}, upper bound {high:+.1})",
            if met { "met   " } else { "MISSED" },
            added(name).median() / added(of).median(),
            difference.median(),
        );
    }
    if missed {
        std::process::exit(1);
    }
}
