//! The Istio ring: the files of `envoy/istio/`, applied with kubectl to a real API server, attached by a real istiod to stock Envoys.
//!
//! | module | one idea |
//! |---|---|
//! | [`process`] | a program beside the tests |
//! | [`control_plane`] | etcd, kube-apiserver, istiod; kubectl and istioctl |
//! | [`apart`] | programs that know places as in a container |
//! | [`agent`] | Istio's agent, which fetches images, and its Envoy |
//! | [`proxy`] | a stock Envoy in the place of Istio's proxy |
//! | [`envoy_gateway`] | Envoy Gateway and the Envoy that it wants to run |
//! | [`manifests`] | the files, with the modules of this build |
//! | [`cases`] | what is tested |
//!
//! The cases run one after the other on one control plane, so this target has its own runner. It prints what cargo's would, and takes a
//! part of a name as cargo's does: `cargo test -p portcullis-tests --features peers --test istio gateway`.

mod agent;
mod apart;
mod cases;
mod control_plane;
mod envoy_gateway;
mod manifests;
mod process;
mod proxy;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;

use cases::{envoy_gateway as other, files, gateway, images, sidecar, update, waypoint};
use control_plane::ControlPlane;
use tokio::task::LocalSet;

/// A name, and what is run.
type Case = (&'static str, fn(Rc<ControlPlane>) -> Pin<Box<dyn Future<Output = ()>>>);

const CASES: &[Case] = &[
    ("files_are_accepted_by_istioctl", |p| Box::pin(files::are_accepted_by_istioctl(p))),
    ("gateway_serves_the_chain_in_order_of_phases", |p| {
        Box::pin(gateway::serves_the_chain_in_order_of_phases(p))
    }),
    ("gateway_serves_traffic_extensions_alike", |p| Box::pin(gateway::serves_traffic_extensions_alike(p))),
    ("gateway_keeps_two_limiters_apart", |p| Box::pin(gateway::keeps_two_limiters_apart(p))),
    ("gateway_fetches_keys_through_a_service_entry", |p| {
        Box::pin(gateway::fetches_keys_through_a_service_entry(p))
    }),
    ("gateway_serves_the_chain_for_production", |p| Box::pin(gateway::serves_the_chain_for_production(p))),
    ("gateway_asks_openfga_for_production", |p| Box::pin(gateway::asks_openfga_for_production(p))),
    ("gateway_asks_spicedb_for_production", |p| Box::pin(gateway::asks_spicedb_for_production(p))),
    ("gateway_has_a_cluster_for_an_external_host", |p| {
        Box::pin(gateway::has_a_cluster_for_an_external_host(p))
    }),
    ("sidecar_verifies_with_a_secret_of_its_environment", |p| {
        Box::pin(sidecar::verifies_with_a_secret_of_its_environment(p))
    }),
    ("waypoint_has_the_plugin_in_its_listener", |p| Box::pin(waypoint::has_the_plugin_in_its_listener(p))),
    ("images_are_fetched_by_the_agent", |p| Box::pin(images::are_fetched_by_the_agent(p))),
    ("images_that_cannot_be_had_let_nobody_in", |p| Box::pin(images::that_cannot_be_had_let_nobody_in(p))),
    ("images_of_a_closed_registry_want_a_pull_secret", |p| {
        Box::pin(images::of_a_closed_registry_want_a_pull_secret(p))
    }),
    ("images_that_are_bare_modules_come_by_https", |p| {
        Box::pin(images::that_are_bare_modules_come_by_https(p))
    }),
    ("update_loses_no_request", |p| Box::pin(update::loses_no_request(p))),
    ("update_keeps_the_counts", |p| Box::pin(update::keeps_the_counts(p))),
    ("update_that_is_bad_keeps_the_last_good_one", |p| {
        Box::pin(update::that_is_bad_keeps_the_last_good_one(p))
    }),
    ("update_that_is_bad_from_the_start_serves_nothing", |p| {
        Box::pin(update::that_is_bad_from_the_start_serves_nothing(p))
    }),
    // The last one, for it adds kinds to the API.
    ("envoy_gateway_attaches_the_chain", |p| Box::pin(other::attaches_the_chain(p))),
];

/// The kinds of cases whose programs know places as in a container.
const APART: [&str; 2] = ["images_", "envoy_gateway_"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    if let Some(reason) = control_plane::missing() {
        println!("SKIPPED istio: {reason}");
        return ExitCode::SUCCESS;
    }
    let plane = Rc::new(ControlPlane::start().await);
    let mut chosen: Vec<&Case> = CASES.iter().filter(|(name, _)| name.contains(&wanted)).collect();
    if let Some(reason) = apart::missing() {
        println!("SKIPPED mounts: {reason}");
        chosen.retain(|(name, _)| !APART.iter().any(|kind| name.starts_with(kind)));
    }
    println!("\nrunning {} tests", chosen.len());
    let mut failed = 0_usize;
    for (name, case) in &chosen {
        let run = case(Rc::clone(&plane));
        // A task of its own, so that a failed assertion ends this case and no other.
        let ended = LocalSet::new().run_until(async { tokio::task::spawn_local(run).await }).await;
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        if ended.is_err() {
            failed = failed.saturating_add(1);
            eprintln!("{}", plane.tails());
        }
        plane.clean().await;
    }
    let passed = chosen.len().saturating_sub(failed);
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {outcome}. {passed} passed; {failed} failed; 0 ignored\n");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
