//! The access logs of `envoy/observability/`, in a real Envoy on `envoy/envoy.yaml`.

use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, paths};
use serde_json::{Value, json};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The lines of the log that are JSON.
fn lines(envoy: &Envoy) -> Vec<Value> {
    envoy.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The outcome, reason and rule of a verdict, whose last part has to be the plugin's time, which the line also has as a number.
fn verdict(line: &Value, plugin: &str) -> String {
    let text = line["verdicts"][plugin].as_str().unwrap_or_else(|| panic!("{plugin}: no verdict in {line}"));
    let (verdict, time) = text.rsplit_once(';').unwrap();
    let time = time.parse::<u64>().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(line["plugin_us"][plugin], json!(time), "{line}");
    verdict.to_owned()
}

#[tokio::test]
async fn the_json_lines_say_what_happened_and_why() {
    let upstream = Upstream::start().await;
    let mut example = examples::read(&paths::root().join("envoy/envoy.yaml"));
    let block = examples::read(&paths::root().join("envoy/observability/access-log.yaml"));
    example.pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config").unwrap()["access_log"] =
        block["access_log"].clone();
    let envoy = Envoy::start(&examples::with_ports(example, Ports::free(upstream.address()))).await;
    let get = |path: &str| ask(envoy.address(), "GET", path).header("traceparent", TRACE);
    assert_eq!(get("/orders/1?secret=1").bearer(&demo::token("ann", 600)).send().await.status, 200);
    assert_eq!(get("/orders/1").send().await.status, 401);
    envoy.wait_until("two lines", async || lines(&envoy).len() == 2).await;
    let lines = lines(&envoy);
    let [passed, refused] = lines.as_slice() else { panic!("{lines:?}") };
    for line in &lines {
        assert_eq!((&line["method"], &line["route"]), (&json!("GET"), &json!("/orders/{id}")), "{line}");
        assert_eq!(line["traceparent"], TRACE);
        assert!(line["total_us"].is_u64() && line["response_bytes"].is_u64(), "numbers are numbers: {line}");
        assert!(verdict(line, "limit-address").starts_with("allow;;"), "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
    }
    assert_eq!((&passed["code"], &passed["subject"]), (&json!(200), &json!("ann")));
    assert_eq!(verdict(passed, "jwt-auth"), "allow;;orders");
    assert_eq!(verdict(passed, "limit-subject"), "allow;;per-user");
    assert!(passed["upstream_us"].as_u64() <= passed["total_us"].as_u64(), "{passed}");
    assert!(passed["upstream_us"].is_u64(), "{passed}");
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(401), &json!("token_missing")));
    assert_eq!((&refused["subject"], &refused["upstream_us"]), (&Value::Null, &Value::Null));
    assert_eq!(verdict(refused, "jwt-auth"), "deny;token_missing;orders");
    assert_eq!(refused["verdicts"]["limit-subject"], Value::Null, "it was never asked");
    assert_eq!(refused["plugin_us"]["limit-subject"], Value::Null, "and took no time");
}

/// Istio hands the labels of a provider to Envoy as its JSON format. It gives Envoy's expressions no functions for text, and Envoy
/// would refuse a format that uses them; so the times stand in the verdicts alone there.
#[test]
fn the_log_for_istio_is_the_same_and_is_turned_on() {
    let read = |name: &str| {
        std::fs::read_to_string(paths::root().join(format!("envoy/observability/{name}"))).unwrap()
    };
    let envoys = examples::parse(&read("access-log.yaml")).unwrap();
    let istios = read("access-log.istio.yaml");
    let documents: Vec<Value> = istios.split("\n---\n").map(|text| examples::parse(text).unwrap()).collect();
    let [mesh, telemetry] = documents.as_slice() else { panic!("{documents:?}") };
    let provider = &mesh["spec"]["meshConfig"]["extensionProviders"][0];
    let labels = &provider["envoyFileAccessLog"]["logFormat"]["labels"];
    let mut without_times = envoys["access_log"][0]["typed_config"]["log_format"]["json_format"].clone();
    without_times.as_object_mut().unwrap().remove("plugin_us").unwrap();
    assert_eq!(labels, &without_times);
    assert!(!istios.contains("CEL"), "{istios}");
    assert_eq!(telemetry["spec"]["accessLogging"][0]["providers"][0]["name"], provider["name"]);
}
