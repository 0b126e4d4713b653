//! What `envoy/guides/operate.md` and `security.md` promise: that the tests which they name are there, that every alarm has its section, and
//! what no other test shows: another build of one filter beside the others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use portcullis_tests::bootstrap::WatchedListener;
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::markdown::{Page, codes};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, paths};
use serde_json::Value;
use tempfile::TempDir;

/// The names of all tests of the repository.
fn tests() -> BTreeSet<String> {
    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut marked = path.parent().is_some_and(|p| p.ends_with("istio/cases"));
                let case = marked;
                for line in text.lines().map(str::trim) {
                    if line.contains("fn ") && marked {
                        let name = line
                            .split("fn ")
                            .nth(1)
                            .unwrap_or_default()
                            .split('(')
                            .next()
                            .unwrap_or_default();
                        found.insert(name.to_owned());
                        marked = case;
                    }
                    marked |= line == "#[test]" || line.starts_with("#[tokio::test");
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    for folder in ["tests/tests", "tests/istio/cases", "filters"] {
        collect(&paths::root().join(folder), &mut found);
    }
    assert!(found.len() > 300, "the tests were not found: {}", found.len());
    found
}

fn is_test_name(code: &str) -> bool {
    code.matches('_').count() >= 2
        && !code.starts_with("portcullis_")
        && !code.starts_with("envoy_")
        && code.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
}

#[test]
fn every_test_that_a_guide_names_is_there() {
    let known = tests();
    for guide in ["envoy/guides/operate.md", "envoy/guides/security.md"] {
        let page = Page::read(guide);
        let named: BTreeSet<&str> = codes(page.text()).filter(|code| is_test_name(code)).collect();
        assert!(named.len() > 20, "{guide}: {named:?}");
        let unknown: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{guide}: no test is called {unknown:?}");
    }
}

#[test]
fn every_row_about_behaviour_names_its_test() {
    let operate = ["Upgrades and rollback", "When things break"];
    let rows = operate.iter().map(|section| ("envoy/guides/operate.md", *section));
    for (guide, section) in rows.chain([("envoy/guides/security.md", "What happens to attacks")]) {
        let page = Page::read(guide);
        let rows = page.rows(section);
        assert!(rows.len() >= 5, "{guide}: {section}");
        for row in rows {
            let cell = row.last().unwrap();
            assert!(codes(cell).any(is_test_name), "{guide}: {section}: no test in {row:?}");
        }
    }
}

#[test]
fn every_alarm_has_a_section_and_every_section_an_alarm() {
    let rules = examples::read(&paths::root().join("envoy/observability/rules.yaml"));
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let alarms: BTreeSet<&str> = rules.filter_map(|rule| rule["alert"].as_str()).collect();
    let page = Page::read("envoy/guides/operate.md");
    let sections: BTreeSet<&str> = page.headings().filter(|h| h.starts_with("Portcullis")).collect();
    assert!(!alarms.is_empty());
    assert_eq!(alarms, sections);
}

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
