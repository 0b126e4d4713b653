//! `envoy/gateway/`, in a real Envoy Gateway of its own: the controller in standalone mode reads the files, pulls the images that this build
//! packed from a real registry, and runs a stock Envoy that gets everything from it.
//!
//! What is other than in a cluster, and why: the service `orders` is a Backend on this machine; the gateway's port is a free one; and Envoy
//! finds the controller, which serves the modules, under this machine's address and with certificates from files, where a pod has a name
//! service and a mounted secret. The API server has no part in it: the controller reads files instead.
//!
//! `egctl` translates everything but the modules: it has no place to put them, and refuses every policy that has one. A test holds that.

#[path = "../istio/process.rs"]
mod process;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis_tests::client::{self, Response, ask};
use portcullis_tests::demo;
use portcullis_tests::engines::start::free_port;
use portcullis_tests::registry::{Registry, pack, printed};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wasm::{Vm, World};
use portcullis_tests::{examples, paths};
use process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The policies: each file, and the plugins in it, in their order.
const POLICIES: [(&str, &[&str]); 5] = [
    ("chain.yaml", &["metrics", "limit-address", "jwt-auth", "rebac", "limit-subject"]),
    ("jwt-auth.yaml", &["jwt-auth"]),
    ("metrics.yaml", &["metrics"]),
    ("rate-limit.yaml", &["limit-address", "jwt-auth", "limit-subject"]),
    ("rebac.yaml", &["jwt-auth", "rebac"]),
];

/// The version that Envoy Gateway is told; it looks for a binary under that name before it would fetch one.
const ENVOY: &str = "1.40.0";

fn folder() -> PathBuf {
    paths::root().join("envoy/gateway")
}

fn named<'a>(objects: &'a mut [Value], kind: &str) -> &'a mut Value {
    objects.iter_mut().find(|o| o["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn every_policy_loads_and_none_fails_open() {
    let mut files: Vec<String> =
        fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let listed: Vec<&str> = POLICIES.iter().map(|(file, _)| *file).collect();
    files.retain(|file| file != "gateway.yaml");
    assert_eq!(files, listed);
    for (file, plugins) in POLICIES {
        let objects = examples::documents(&folder().join(file));
        let [policy] = objects.as_slice() else { panic!("{file}: one policy") };
        let entries = policy["spec"]["wasm"].as_array().unwrap();
        let names: Vec<&str> = entries.iter().filter_map(|e| e["name"].as_str()).collect();
        assert_eq!(names, plugins, "{file}");
        let mut images: Vec<&str> = Vec::new();
        for entry in entries {
            assert_eq!(entry["failOpen"], false, "{file}: {}", entry["name"]);
            let url = &entry["code"]["image"]["url"];
            Vm::new(&World::default(), &examples::module_of(url))
                .configure(entry["config"].to_string())
                .map(drop)
                .unwrap_or_else(|e| panic!("{file}: {}: {e}", entry["name"]));
            images.push(url.as_str().unwrap());
        }
        images.sort_unstable();
        let count = images.len();
        images.dedup();
        assert_eq!(
            images.len(),
            count,
            "{file}: Envoy refuses a second plugin while it fetches that module for the first"
        );
    }
}

/// What egctl makes of the files: everything but the modules.
#[test]
fn egctl_translates_all_but_the_modules() {
    let scratch = TempDir::new().unwrap();
    let file = scratch.path().join("all.yaml");
    let read = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
    fs::write(&file, format!("{}---\n{}", read("gateway.yaml"), read("chain.yaml"))).unwrap();
    let text = printed(
        Command::new(paths::peer("egctl"))
            .args([
                "x",
                "translate",
                "--from",
                "gateway-api",
                "--to",
                "gateway-api,xds",
                "--add-missing-resources",
            ])
            .args(["--output", "json", "--file"])
            .arg(&file)
            .env("HOME", scratch.path()),
    );
    let translated: Value = serde_json::from_str(&text).unwrap();
    let condition = |kind: &str| translated[kind][0]["status"]["ancestors"][0]["conditions"][0].clone();
    for kind in ["clientTrafficPolicies", "envoyPatchPolicies"] {
        assert_eq!(condition(kind)["status"], "True", "{kind}: {}", condition(kind));
    }
    let refused = condition("envoyExtensionPolicies");
    assert_eq!(
        (&refused["status"], &refused["message"]),
        (&json!("False"), &json!("Wasm: wasm cache is not initialized."))
    );
    let xds = translated["xds"]["default/edge"].to_string();
    for part in [
        r#""tag_name":"reason""#,
        "wasmcustom.portcullis_request_duration_milliseconds",
        r#""max_concurrent_streams":100"#,
        r#""path_with_escaped_slashes_action":"REJECT_REQUEST""#,
        r#""use_remote_address":true"#,
    ] {
        let plain =
            xds.replace("tagName", "tag_name").replace("maxConcurrentStreams", "max_concurrent_streams");
        let plain = plain.replace("pathWithEscapedSlashesAction", "path_with_escaped_slashes_action");
        let plain = plain.replace("useRemoteAddress", "use_remote_address");
        assert!(plain.contains(part), "{part} is not in {plain:.4000}");
    }
}

/// The controller's own configuration.
fn controller(scratch: &Path) -> Value {
    let at = |name: &str| scratch.join(name);
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        "provider": {"type": "Custom", "custom": {
            "resource": {"type": "File", "file": {"paths": [at("objects")]}},
            "infrastructure": {"type": "Host", "host": {
                "configHome": at("config"), "dataHome": at("data"), "stateHome": at("state"), "runtimeDir": at("runtime")
            }}
        }},
        "extensionApis": {"enableBackend": true, "enableEnvoyPatchPolicy": true}
    })
}

/// `gateway.yaml`, for this machine.
fn settings(port: u16, upstream: &Upstream, certificates: &Path) -> String {
    let mut objects = examples::documents(&folder().join("gateway.yaml"));
    named(&mut objects, "Gateway")["spec"]["listeners"][0]["port"] = port.into();
    named(&mut objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"] =
        json!([{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "orders"}]);
    named(&mut objects, "EnvoyProxy")["spec"]["provider"] =
        json!({"type": "Host", "host": {"envoyVersion": ENVOY}});
    let cluster = |operation: Value| json!({"type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "wasm_cluster", "operation": operation});
    let tls = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{
                "certificate_chain": {"filename": certificates.join("tls.crt")},
                "private_key": {"filename": certificates.join("tls.key")}
            }],
            "validation_context": {"trusted_ca": {"filename": certificates.join("ca.crt")}}
        }
    }});
    let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
    let patches = named(&mut objects, "EnvoyPatchPolicy")["spec"]["jsonPatches"].as_array_mut().unwrap();
    patches.push(cluster(json!({"op": "replace", "path": address, "value": "127.0.0.1"})));
    patches.push(cluster(json!({"op": "replace", "path": "/transport_socket", "value": tls})));
    objects.push(json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "Backend",
        "metadata": {"name": "orders", "namespace": "default"},
        "spec": {"endpoints": [{"ip": {"address": "127.0.0.1", "port": upstream.address().port()}}]}
    }));
    objects.iter().map(|o| format!("{o}\n")).collect::<Vec<_>>().join("---\n")
}

/// A running controller with the Envoy that it started; both end when this is dropped.
struct Gateway {
    process: Process,
    registry: Registry,
    scratch: TempDir,
    listener: SocketAddr,
}

impl Gateway {
    /// With this policy in force.
    async fn start(upstream: &Upstream, policy: &str) -> Gateway {
        let scratch = TempDir::new().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let registry = Registry::start().await;
        for image in pack(&at("images")) {
            registry.push(&at("images"), &image);
        }
        let port = free_port();
        let binaries = at(&format!("data/envoy-versions/{ENVOY}/bin"));
        for folder in [&at("objects"), &binaries] {
            fs::create_dir_all(folder).unwrap();
        }
        std::os::unix::fs::symlink(paths::peer("envoy"), binaries.join("envoy")).unwrap();
        fs::write(at("config.yaml"), controller(scratch.path()).to_string()).unwrap();
        fs::write(at("objects/gateway.yaml"), settings(port, upstream, &at("config/certs/envoy"))).unwrap();
        let program = paths::peer("envoy-gateway");
        let home = scratch.path().to_string_lossy().into_owned();
        let certificates = ["certgen", "--local", "--config-home", &format!("{home}/config")];
        let _ = printed(Command::new(&program).args(certificates).env("HOME", &home));
        let arguments = ["server".to_owned(), "--config-path".to_owned(), format!("{home}/config.yaml")];
        let listener = (Ipv4Addr::LOCALHOST, port).into();
        // The first translation is to have the policy in it.
        place(scratch.path(), &registry, policy);
        let process =
            Process::start("envoy-gateway", program, scratch.path(), &arguments, &[("HOME", &home)]);
        Gateway { process, registry, scratch, listener }
    }

    /// Puts another policy in the place of the one before.
    fn apply(&self, policy: &str) {
        place(self.scratch.path(), &self.registry, policy);
    }

    fn get(&self, path: &str) -> client::Ask {
        ask(self.listener, "GET", path)
    }

    async fn try_get(&self, path: &str) -> Option<Response> {
        self.get(path).try_send().await
    }

    /// The plugins in the running Envoy, in their order: the name and the failure policy of each.
    async fn plugins(&self) -> Option<Vec<(String, String)>> {
        let dump: Value = serde_json::from_str(&self.admin("/config_dump").await?).ok()?;
        let configs = dump["configs"].as_array()?;
        let listeners = configs
            .iter()
            .find(|c| c["@type"].as_str().is_some_and(|t| t.ends_with("ListenersConfigDump")))?;
        let listener =
            listeners["dynamic_listeners"].as_array()?.iter().find(|l| l["name"] == "default/edge/http")?;
        let chain = &listener["active_state"]["listener"]["default_filter_chain"];
        let filters = chain["filters"][0]["typed_config"]["http_filters"].as_array()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let plugins =
            filters.iter().map(|f| &f["typed_config"]["config"]).filter(|c| c["vm_config"].is_object());
        Some(plugins.map(|c| (text(&c["name"]), text(&c["failure_policy"]))).collect())
    }

    async fn admin(&self, path: &str) -> Option<String> {
        let runs = fs::read_dir(self.scratch.path().join("runtime")).ok()?;
        let admin = runs
            .filter_map(|run| fs::read_to_string(run.ok()?.path().join("admin-address.txt")).ok())
            .next()?;
        Some(client::get(admin.trim().parse().ok()?, path).await?.text())
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        for _ in 0..600 {
            if condition().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {what}\n{}", self.process.tail());
    }
}

/// A policy as it stands in its file, but for the registry.
fn place(scratch: &Path, registry: &Registry, policy: &str) {
    let text = fs::read_to_string(folder().join(policy)).unwrap();
    let here = text.replace("registry.example.com", &registry.address().to_string());
    assert_ne!(here, text);
    let fresh = scratch.join("policy.new");
    fs::write(&fresh, here).unwrap();
    fs::rename(fresh, scratch.join("objects/policy.yaml")).unwrap();
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It ends its Envoy when it is asked to end, and only then.
        self.process.ask_to_end();
    }
}

#[tokio::test]
async fn the_chain_serves_and_another_policy_takes_its_place() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream, "chain.yaml").await;
    gateway
        .until("/health", async || gateway.try_get("/health").await.is_some_and(|r| r.status == 200))
        .await;
    let get = async |subject: &str| gateway.get("/orders/1").bearer(&demo::token(subject, 600)).send().await;
    let (ann, bob) = (get("ann").await, get("bob").await);
    assert_eq!((ann.status, &ann.json()["headers"]["x-user"]), (200, &json!(["ann"])));
    assert!(ann.header("ratelimit").starts_with("\"per-user\";r=9"), "{:?}", ann.headers);
    assert_eq!((bob.status, bob.reason().as_str()), (403, "relation_denied"));
    let nobody = gateway.get("/orders/1").send().await;
    assert_eq!((nobody.status, nobody.reason().as_str()), (401, "token_missing"));
    let forged = gateway.get("/orders/1").header("x-user", "ann").bearer("a.b.c").send().await;
    assert_eq!(forged.status, 401);
    for path in ["/orders/..%2f1", "/orders/1;x"] {
        assert_eq!(gateway.get(path).send().await.status, 400, "{path}");
    }
    // The labels are those of the bootstrap.
    let series = r#"portcullis_decisions_total{plugin="jwt-auth",rule="rule-1",reason="token_missing",outcome="deny"} "#;
    gateway
        .until(series, async || {
            gateway.admin("/stats/prometheus").await.is_some_and(|text| text.contains(series))
        })
        .await;
    for (policy, plugins) in POLICIES {
        gateway.apply(policy);
        let wanted: Vec<(String, String)> =
            plugins.iter().map(|name| ((*name).to_owned(), "FAIL_RELOAD".to_owned())).collect();
        gateway.until(policy, async || gateway.plugins().await.as_ref() == Some(&wanted)).await;
        gateway
            .until(policy, async || gateway.try_get("/health").await.is_some_and(|r| r.status == 200))
            .await;
        let answer = gateway.get("/orders/1").send().await;
        let guarded = plugins.contains(&"jwt-auth");
        assert_eq!(answer.status, if guarded { 401 } else { 200 }, "{policy}: {}", answer.text());
    }
}
