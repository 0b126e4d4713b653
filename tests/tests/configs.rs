//! Configurations: every example starts and answers, every schema is current, and every field of every schema is refused with
//! its path and a remedy when it is wrong.

use portcullis_tests::client::ask;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wasm::{Vm, Went, World};
use portcullis_tests::{demo, paths, schema};
use serde_json::{Value, json};

const FILTERS: [&str; 4] = ["jwt-auth", "metrics", "rate-limit", "rebac"];

/// The configuration of `filter` that has every field that can stand beside the others.
fn full(filter: &str) -> Value {
    examples::read(&paths::root().join(format!("tests/tests/full/{filter}.yaml")))
}

/// That one, and those that have the fields which exclude others: `<filter>-<what>.yaml`.
fn fulls(filter: &str) -> Vec<Value> {
    let folder = paths::root().join("tests/tests/full");
    let names =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut others: Vec<String> = names.filter(|name| name.starts_with(&format!("{filter}-"))).collect();
    others.sort();
    let others = others.iter().map(|name| examples::read(&folder.join(name)));
    std::iter::once(full(filter)).chain(others).collect()
}

#[tokio::test]
async fn every_example_starts_and_answers() {
    let upstream = Upstream::start().await;
    for path in examples::all() {
        let config = examples::with_ports(examples::read(&path), Ports::free(upstream.address()));
        let envoy = Envoy::start(&config).await;
        let answer = ask(envoy.address(), "GET", "/orders/1").bearer(&demo::token("ann", 600)).send().await;
        // The issuers of these are others than the demo's, and there are no engines: tests/keycloak.rs, tests/production.rs and
        // tests/rebac_engines.rs ask real ones.
        let want = match path.file_name().and_then(|name| name.to_str()) {
            Some("keycloak.yaml" | "production.yaml") => 401,
            Some("rebac-openfga.yaml" | "rebac-spicedb.yaml") => 503,
            _ => 200,
        };
        assert_eq!(answer.status, want, "{}: {}", path.display(), answer.text());
    }
}

#[tokio::test]
async fn a_refused_configuration_keeps_envoy_from_starting_and_says_why() {
    let upstream = Upstream::start().await;
    let mut example = examples::read(&paths::root().join("envoy/rate-limit.yaml"));
    let filter = example
        .pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0")
        .unwrap();
    filter["typed_config"]["config"]["configuration"]["value"]["limits"][0]["rate"] = "fast".into();
    let config = examples::with_ports(example, Ports::free(upstream.address()));
    let refused = Envoy::try_start(&config, &Options::default()).await.map(drop).unwrap_err();
    assert!(
        refused.0.contains("rate-limit: limits[0].rate: not a rate; write a rate, such as"),
        "{}",
        refused.0
    );
}

#[test]
fn schemas_and_generated_blocks_are_current() {
    for (filter, text) in schema::all() {
        let kept = std::fs::read_to_string(paths::root().join(format!("filters/{filter}/schema.json")))
            .unwrap_or_default();
        assert!(kept == text, "filters/{filter}/schema.json: run `make generate`");
    }
    let gateway = paths::root().join(examples::GATEWAY);
    for path in examples::all().into_iter().chain([gateway]) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text == examples::with_generated(&text), "{}: run `make generate`", path.display());
    }
}

#[test]
fn the_full_configurations_have_every_field_and_load() {
    for filter in FILTERS {
        let configs = fulls(filter);
        for field in schema::fields(&schema::of(filter)) {
            // `{env: NAME}` needs an environment, and of `forwarded` there is one of two; they have tests of their own.
            let elsewhere = field.name().ends_with("secret.env")
                || field.name().ends_with("token.env")
                || field.name().starts_with("forwarded.trusted");
            if !elsewhere {
                assert!(
                    configs.iter().any(|config| !places(config, &field.path).is_empty()),
                    "{filter}: tests/full lacks {}",
                    field.name()
                );
            }
        }
        for config in &configs {
            load(filter, config).unwrap_or_else(|e| panic!("{filter}: {e}"));
        }
    }
}

#[test]
fn every_required_field_is_missed() {
    each_field(|filter, config, field, place| {
        if !field.required || !config.pointer(&parent(place)).is_some_and(Value::is_object) {
            return;
        }
        let mut without = config.clone();
        let name = place.rsplit('/').next().unwrap();
        without.pointer_mut(&parent(place)).unwrap().as_object_mut().unwrap().remove(name);
        refused(filter, &without, place, "absent");
    });
}

#[test]
fn every_field_of_the_wrong_type_is_refused() {
    each_field(|filter, config, field, place| {
        let value = config.pointer(place).unwrap();
        for wrong in [json!(7), json!("\u{1}"), json!([]), json!({"zz": 1}), json!(true)] {
            if same_type(&wrong, value) || accepts(&field.schema, &wrong) {
                continue;
            }
            refused(filter, &with(config, place, wrong.clone()), place, &format!("{wrong}"));
        }
    });
}

#[test]
fn every_object_refuses_a_field_that_it_does_not_have() {
    each_field(|filter, config, _, place| {
        let object = parent(place);
        let is_struct = config.pointer(&object).is_some_and(Value::is_object) && !is_map(&object);
        if is_struct {
            let unknown = format!("{object}/zz_unknown");
            let mut with = config.clone();
            with.pointer_mut(&object).unwrap()["zz_unknown"] = 1.into();
            refused(filter, &with, &unknown, "an unknown sibling");
        }
    });
}

#[test]
fn every_field_that_may_not_be_empty_is_refused_empty() {
    each_field(|filter, config, field, place| {
        let value = config.pointer(place).unwrap();
        let schema = &field.schema;
        let empty = match value {
            Value::String(_)
                if schema["pattern"].is_string()
                    || schema["minLength"].is_u64()
                    || schema["enum"].is_array() =>
            {
                json!("")
            }
            Value::Array(_) if schema["minItems"].is_u64() => json!([]),
            Value::Object(_) if schema["minProperties"].is_u64() || schema["required"].is_array() => {
                json!({})
            }
            _ => return,
        };
        refused(filter, &with(config, place, empty), place, "empty");
    });
}

#[test]
fn every_number_has_its_range_and_may_be_a_double() {
    let mut seen = 0;
    each_field(|filter, config, field, place| {
        if config.pointer(place).unwrap().is_u64() {
            seen += 1;
            for (bound, off) in [("minimum", -1.0), ("maximum", 1.0)] {
                if let Some(bound) = field.schema[bound].as_f64() {
                    refused(filter, &with(config, place, json!(bound + off)), place, "out of range");
                }
            }
            if !field.schema["type"].to_string().contains("\"number\"") {
                refused(filter, &with(config, place, json!(1.5)), place, "a fraction");
            }
            let whole = field.schema["maximum"].as_f64().unwrap_or(20.0).min(20.0);
            load(filter, &with(config, place, json!(whole)))
                .unwrap_or_else(|e| panic!("{filter}: {place} as {whole:?}: {e}"));
        }
    });
    assert_ne!(seen, 0, "no number was looked at");
    for (filter, place, value) in [
        ("jwt-auth", "/providers/corp/clock_skew", "11m"),
        ("jwt-auth", "/providers/corp/clock_skew", "400d"),
        ("jwt-auth", "/providers/corp/max_lifetime", "0s"),
        ("jwt-auth", "/max_token", "0B"),
        ("jwt-auth", "/providers/fetched/keys/jwks_url", "keys.test/a"),
        ("jwt-auth", "/providers/fetched/keys/jwks_url", "https://u@keys.test/a"),
        ("jwt-auth", "/providers/fetched/keys/discovery", "https://elsewhere.test/a"),
        ("jwt-auth", "/providers/fetched/keys/min_fresh", "999ms"),
        ("jwt-auth", "/providers/fetched/keys/max_fresh", "29s"),
        ("jwt-auth", "/providers/fetched/keys/timeout", "61s"),
        ("jwt-auth", "/providers/fetched/keys/timeout", "0s"),
        ("jwt-auth", "/providers/fetched/keys/refetch_interval", "0s"),
        ("jwt-auth", "/providers/fetched/keys/wait", "2m"),
        ("jwt-auth", "/providers/fetched/keys/max_size", "0B"),
        ("jwt-auth", "/providers/fetched/keys/max_size", "5MiB"),
        ("jwt-auth", "/providers/fetched/deny/list/url", "/list"),
        ("jwt-auth", "/providers/fetched/deny/list/interval", "0s"),
        ("jwt-auth", "/providers/fetched/deny/list/max_size", "5MiB"),
        ("jwt-auth", "/max_token", "65KiB"),
        ("jwt-auth", "/cache/size", "257MiB"),
        ("jwt-auth", "/realm", "a\"b"),
        ("rate-limit", "/store/size", "1KiB"),
        ("rate-limit", "/store/size", "2GiB"),
        ("rate-limit", "/settle_window", "1B"),
        ("rate-limit", "/settle_window", "2GiB"),
        ("rate-limit", "/limits/3/settle/json/0", "usage"),
        ("rate-limit", "/limits/3/settle/json/0", "/a/b/c/d/e/f/g/h/i"),
        ("rate-limit", "/limits/0/rate", "0/minute"),
        ("rate-limit", "/limits/0/rate", "1/400d"),
    ] {
        refused(filter, &with(&full(filter), place, json!(value)), place, value);
    }
}

/// Calls `check` for each place of the full configuration that a field of the schema stands in.
fn each_field(mut check: impl FnMut(&str, &Value, &schema::Field, &str)) {
    for filter in FILTERS {
        let configs = fulls(filter);
        let mut looked_at = 0;
        for field in schema::fields(&schema::of(filter)) {
            for config in &configs {
                for place in places(config, &field.path) {
                    looked_at += 1;
                    check(filter, config, &field, &place);
                }
            }
        }
        assert_ne!(looked_at, 0, "{filter}: no field was looked at");
    }
}

/// The JSON pointers at which a field stands.
fn places(config: &Value, path: &[String]) -> Vec<String> {
    fn walk(value: &Value, path: &[String], at: &str, found: &mut Vec<String>) {
        let Some((first, rest)) = path.split_first() else {
            found.push(at.to_owned());
            return;
        };
        match (first.as_str(), value) {
            ("*", Value::Object(map)) => {
                map.iter().for_each(|(k, v)| walk(v, rest, &format!("{at}/{k}"), found))
            }
            ("[]", Value::Array(items)) => {
                items.iter().enumerate().for_each(|(n, v)| walk(v, rest, &format!("{at}/{n}"), found));
            }
            (name, Value::Object(map)) => {
                if let Some(value) = map.get(name) {
                    walk(value, rest, &format!("{at}/{name}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(config, path, "", &mut found);
    found
}

fn parent(pointer: &str) -> String {
    pointer.rsplit_once('/').map_or_else(String::new, |(front, _)| front.to_owned())
}

/// Objects whose names are the operator's own: there, any name is known.
fn is_map(pointer: &str) -> bool {
    pointer == "/providers"
        || [
            "/claim_headers",
            "/clusters",
            "/issuer_values",
            "/when",
            "/plans/tiers",
            "/overrides/values",
            "/context",
            "/relation",
        ]
        .iter()
        .any(|map| pointer.ends_with(map))
        || pointer.contains("/jwks/keys/")
}

fn with(config: &Value, place: &str, value: Value) -> Value {
    let mut changed = config.clone();
    *changed.pointer_mut(place).unwrap() = value;
    changed
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Whether the schema of a field has room for a value of this type.
fn accepts(schema: &Value, value: &Value) -> bool {
    let kind = match value {
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Null => "null",
    };
    let one = |s: &Value| {
        s["type"] == kind
            || s["type"].as_array().is_some_and(|t| t.iter().any(|t| t == kind))
            || s == &json!(true)
    };
    one(schema) || schema["anyOf"].as_array().into_iter().flatten().any(one)
}

/// The module that takes every field of a filter.
fn module(filter: &str) -> &str {
    if filter == "rate-limit" { "rate-limit-body" } else { filter }
}

/// Loads a configuration into the module.
fn load(filter: &str, config: &Value) -> Result<(), String> {
    Vm::new(&World::default(), module(filter)).configure(config.to_string()).map(drop)
}

/// The configuration is refused, in one critical line that has the place and a remedy, and lets nobody through.
fn refused(filter: &str, config: &Value, place: &str, how: &str) {
    let vm = Vm::new(&World::default(), module(filter));
    let outcome = vm.configure(config.to_string());
    assert!(outcome.is_err(), "{filter}: {place}: {how} was accepted");
    let lines = vm.critical();
    let [line] = lines.as_slice() else { panic!("{filter}: {place}: {how}: {lines:?}") };
    let path = dotted(place);
    // What is missing in an object, or stands where it should not, is named by the object or by a field of it.
    let named = line.starts_with(&format!("{filter}: {path}"))
        || line.starts_with(&format!("{filter}: {}", dotted(&parent(place))));
    assert!(named, "{filter}: {path}: {how}: the line does not name it: {line}");
    let (_, problem) = line.split_once(": ").unwrap();
    assert!(problem.contains("; "), "{filter}: {path}: {how}: no remedy: {line}");
    if filter != "metrics" {
        let (_, went) = vm.plugin().request("GET", "/health", &[]);
        let Went::Answered(reply) = went else { panic!("{filter}: {path}: {how}: a request went {went:?}") };
        assert_eq!((reply.status, reply.reason().as_str()), (500, "config_invalid"));
    }
}

/// `/rules/0/match` as errors have it: `rules[0].match`.
fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            out.push_str(&format!("[{part}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(part);
        }
    }
    out
}
