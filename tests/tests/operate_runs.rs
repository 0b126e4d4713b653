//! What `envoy/guides/operate.md` says of upgrades, restarts and sizes, and no other test shows.

use std::fs;
use std::path::Path;

use portcullis_tests::bootstrap::{Listener, Plugin, WatchedListener, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::markdown::Page;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, paths};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The chain of `envoy/envoy.yaml` with `other` modules in the place of some, and a limit that gives nothing back while the test runs.
fn chain(upstream: &Upstream, other: &[(&str, &Path)]) -> Value {
    let example = examples::read(&paths::root().join("envoy/envoy.yaml"));
    let mut config = examples::with_ports(example, Ports::free(upstream.address()));
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
    for filter in config.pointer_mut(place).and_then(Value::as_array_mut).unwrap() {
        if filter["name"] == "limit-subject" {
            let limit = &mut filter["typed_config"]["config"]["configuration"]["value"]["limits"][0];
            limit["rate"] = "6/hour".into();
            limit["burst"] = 100.into();
        }
        if let Some((_, module)) = other.iter().find(|(name, _)| filter["name"] == *name) {
            filter["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] =
                module.to_string_lossy().into();
        }
    }
    config
}

/// Another build of a module: a custom section more (WebAssembly core specification, section 5.5.3), which changes nothing but the bytes.
fn another_build(of: &str, to: &Path) {
    let mut bytes = fs::read(paths::module(of)).unwrap();
    bytes.extend([0, 6, 5, b'o', b't', b'h', b'e', b'r']);
    fs::write(to, bytes).unwrap();
}

#[tokio::test]
async fn another_build_of_one_module_takes_over_and_gives_back() {
    let (upstream, folder) = (Upstream::start().await, TempDir::new().unwrap());
    let (limit, auth) = (folder.path().join("rate-limit-2.wasm"), folder.path().join("jwt-auth-2.wasm"));
    another_build("rate-limit", &limit);
    another_build("jwt-auth", &auth);
    let (watched, config) = WatchedListener::new(chain(&upstream, &[]));
    let envoy = Envoy::start(&config).await;
    let token = demo::token("ann", 600);
    let left = async || {
        let answer = ask(envoy.address(), "GET", "/orders/1").bearer(&token).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["headers"]["x-user"][0], "ann");
        let text = answer.header("ratelimit");
        let left: i64 = text.split("r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
        left
    };
    assert_eq!(left().await, 99);
    let steps: [&[(&str, &Path)]; 3] =
        [&[("limit-subject", &limit)], &[("limit-subject", &limit), ("jwt-auth", &auth)], &[]];
    for (n, step) in (1..).zip(steps) {
        watched.put(&chain(&upstream, step));
        let updated = format!("envoy_listener_manager_listener_in_place_updated{{}} {n}");
        envoy
            .wait_until(&updated, async || envoy.prometheus().await.lines().any(|line| line == updated))
            .await;
        // A store that began afresh would say 99 again.
        assert_eq!((left().await, left().await), (99 - 2 * n + 1, 99 - 2 * n), "step {n}");
    }
}

/// A module, and one limit whose bucket gives nothing back while the test runs.
fn limiter(module: &str) -> Listener {
    let config = json!({"limits": [{"name": "all", "key": ["everyone"], "rate": "1/hour", "burst": 3}]});
    Listener::new("l").plugin(&Plugin::new(module, config))
}

async fn statuses(envoy: &Envoy, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(ask(envoy.address(), "GET", "/").send().await.status);
    }
    statuses
}

#[tokio::test]
async fn a_restart_of_envoy_begins_the_counts_afresh() {
    let upstream = Upstream::start().await;
    let config = bootstrap(upstream.address(), &[limiter("rate-limit")]);
    for _ in 0..2 {
        let envoy = Envoy::start(&config).await;
        assert_eq!(statuses(&envoy, 4).await, [200, 200, 200, 429]);
    }
}

/// What Envoy was told to read it reads when a VM is made for another configuration, and not before.
#[tokio::test]
async fn a_module_that_is_written_over_is_read_with_the_next_configuration() {
    let (upstream, folder) = (Upstream::start().await, TempDir::new().unwrap());
    let module = folder.path().join("rate-limit.wasm");
    fs::copy(paths::module("rate-limit"), &module).unwrap();
    let code = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config/vm_config/code/local/filename";
    let mut first = bootstrap(upstream.address(), &[limiter("rate-limit")]);
    *first.pointer_mut(code).unwrap() = module.to_string_lossy().into();
    let (watched, config) = WatchedListener::new(first.clone());
    let envoy = Envoy::start(&config).await;
    assert_eq!(statuses(&envoy, 1).await, [200]);
    fs::write(&module, "no module").unwrap();
    assert_eq!(statuses(&envoy, 1).await, [200]);
    let mut next = first;
    let limit = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config/configuration/value/limits/0/burst";
    *next.pointer_mut(limit).unwrap() = 4.into();
    watched.put(&next);
    let rejected = "envoy_listener_manager_lds_update_rejected{} 1";
    envoy.wait_until(rejected, async || envoy.prometheus().await.lines().any(|l| l == rejected)).await;
    // The old one serves on, with what it counted.
    assert_eq!(statuses(&envoy, 2).await, [200, 429]);
}

/// The figures in the row of `Sizing` that starts so, in megabytes.
fn megabytes(row: &str) -> Vec<f64> {
    let page = Page::read("envoy/guides/operate.md");
    let rows = page.rows("Sizing");
    let row = rows.iter().find(|r| r[0].starts_with(row)).expect("the row");
    let figures = row[1].split(", ").map(|f| f.trim_end_matches(" MB").parse().expect("a figure in MB"));
    figures.collect()
}

#[tokio::test]
async fn an_idle_envoy_takes_what_the_page_says() {
    let upstream = Upstream::start().await;
    let bare = bootstrap(upstream.address(), &[Listener::new("l")]);
    let example = examples::read(&paths::root().join("envoy/production.yaml"));
    let chain = || examples::with_ports(example.clone(), Ports::free(upstream.address()));
    let said = [megabytes("memory of an idle Envoy"), megabytes("the same with the chain")].concat();
    assert_eq!(said.len(), 3, "{said:?}");
    let mut taken = Vec::new();
    for ((config, workers), said) in [(bare, 1), (chain(), 1), (chain(), 4)].into_iter().zip(said) {
        let envoy = Envoy::start_with(&config, &Options { workers, ..Options::default() }).await;
        // The measurement is of whatever machine this is: a figure that is wrong by half is wrong.
        #[allow(clippy::cast_precision_loss, reason = "megabytes")]
        let measured = envoy.resident_bytes() as f64 / 1e6;
        let heap = envoy.metric("envoy_server_memory_heap_size{}").await.expect("Envoy's own heap") / 1e6;
        eprintln!("{workers} workers: {measured:.0} MB, {heap:.0} MB of them Envoy's heap");
        taken.push((measured, heap));
        assert!(
            measured > said / 1.5 && measured < said * 1.5,
            "{workers} workers: {measured} MB, not {said}"
        );
    }
    // The modules and their memory are not in the heap that the monitor `fixed_heap` looks at: 30 MB of them on the day of writing.
    let besides = |(measured, heap): (f64, f64)| measured - heap;
    assert!(besides(taken[1]) > besides(taken[0]) + 10.0, "resident and heap in MB: {taken:?}");
}

#[test]
fn the_cost_of_a_request_is_that_of_the_first_page() {
    let page = Page::read("envoy/guides/operate.md");
    let first = Page::read("README.md").text().replace('\n', " ");
    let rows = page.rows("Sizing");
    let row = rows.iter().find(|r| r[0].starts_with("CPU")).expect("the row");
    let figures = row[1].split(" us").next().unwrap().split(", ");
    let sentences =
        ["an empty WebAssembly filter alone is", "and jwt-auth", "and rate-limit", "metrics added"];
    for (figure, sentence) in figures.zip(sentences) {
        assert!(first.contains(&format!("{sentence} {figure} us")), "README.md: {sentence} {figure} us");
    }
}
