//! Envoy on `envoy/envoy.yaml`, a small upstream, and curls to paste, until Ctrl-C.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::signal::unix::{SignalKind, signal};

use super::curls::curls;
use super::token;
use crate::envoy::{Envoy, Options, Refused};
use crate::examples::{self, Ports};
use crate::paths;
use crate::upstream::Upstream;

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// What stands in the way, in one sentence.
pub async fn run() -> Result<(), String> {
    let ports = Ports {
        listener: port("PORT", 10_000)?,
        admin: port("ADMIN_PORT", 9_901)?,
        upstream: port("UPSTREAM_PORT", 8_080)?,
    };
    for (name, port) in
        [("PORT", ports.listener), ("ADMIN_PORT", ports.admin), ("UPSTREAM_PORT", ports.upstream)]
    {
        if port != 0 && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return Err(format!(
                "port {port} is taken; choose another: make run {name}={}",
                port.saturating_add(1)
            ));
        }
    }
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let upstream = Upstream::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, ports.upstream))).await;
    let upstream = upstream.map_err(|e| format!("the demo upstream does not start: {e}"))?;
    let ports = Ports { upstream: upstream.address().port(), ..ports };
    let example = examples::read(&paths::root().join("envoy/envoy.yaml"));
    let (config, options) =
        (examples::with_ports(example, ports), Options { workers: 2, ..Options::default() });
    let envoy = tokio::select! {
        started = Envoy::try_start(&config, &options) => started.map_err(|Refused(log)| format!("Envoy does not start:\n{log}"))?,
        _ = interrupted.recv() => return Ok(()),
        _ = terminated.recv() => return Ok(()),
    };
    println!("{}", welcome(&envoy));
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        () = ended(&envoy) => return Err(format!("Envoy ended by itself:\n{}", envoy.log())),
    }
    drop(envoy);
    println!("stopped; nothing is left behind");
    Ok(())
}

/// Waits until the process is gone.
async fn ended(envoy: &Envoy) {
    while envoy.is_running() {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// What is printed once the chain answers.
fn welcome(envoy: &Envoy) -> String {
    let base = format!("http://{}", envoy.address());
    let admin = format!("http://{}", envoy.admin());
    let mut text =
        format!("Portcullis answers on {base} (Envoy's admin interface: {admin}). Ctrl-C ends it.\n");
    for curl in curls(&base) {
        text.push_str(&format!("\n# {} -> {}, {}\n{}\n", curl.what, curl.status, curl.holds, curl.command));
    }
    text.push_str(&format!(
        "\n# too many at once -> 200 ten times, then 429\nfor i in $(seq 12); do curl -s -o /dev/null -w '%{{http_code}} ' {base}/orders/1 -H 'Authorization: Bearer {}'; done; echo\n",
        token("bob", 3600)
    ));
    text.push_str(&format!("\n# what was counted\ncurl -s {admin}/stats/prometheus | grep portcullis_\n\n# p50, p95, p99 and refusals by route\nmake stats ADMIN_PORT={}\n", envoy.admin().port()));
    text.push_str("\n# Prometheus' rules and Grafana's dashboard: envoy/observability/\n");
    text
}

#[allow(
    clippy::disallowed_methods,
    reason = "the verbs of the Makefile hand their options over in the environment"
)]
fn port(name: &str, default: u16) -> Result<u16, String> {
    match env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|_| format!("{name}={text} is no port; write a number from 0 to 65535"))
        }
        _ => Ok(default),
    }
}
