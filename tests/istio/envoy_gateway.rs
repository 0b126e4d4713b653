//! Envoy Gateway beside the API server: it reads its objects there and writes there what it wants to run. Nothing here makes pods of that,
//! so the tests do what a kubelet would: they start the container's Envoy with the arguments, the files and the names that its pod would have.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine;
use portcullis_tests::client::{self, Ask, ask};
use portcullis_tests::paths;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apart;
use crate::control_plane::ControlPlane;
use crate::process::Process;
use portcullis_tests::engines::start::free_port;

/// The namespace that it expects its own things in.
const OWN: &str = "envoy-gateway-system";
/// Where Envoy's administration is: the bootstrap that Envoy Gateway makes has no other.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 19000);

/// A name of this machine, for the Envoy that runs beside.
pub(crate) const UPSTREAM: &str = "orders.default.svc.cluster.local";

/// A running controller; it ends when this is dropped.
pub(crate) struct EnvoyGateway {
    process: Process,
    _folder: TempDir,
}

impl EnvoyGateway {
    /// Gives the API its kinds, its namespace and its certificates, and starts it.
    pub(crate) async fn start(plane: &ControlPlane) -> EnvoyGateway {
        let crds = paths::peer("envoy-gateway-crds").to_string_lossy().into_owned();
        plane.must(&["apply", "--server-side", "-f", &crds], None).await;
        plane.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], None).await;
        plane.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN}})]).await;
        let program = paths::peer("envoy-gateway");
        let kubeconfig = plane.kubeconfig();
        let folder = TempDir::new().expect("a folder");
        let environment = [("KUBECONFIG", kubeconfig.as_str())];
        let certificates = ["certgen", "--disable-topology-injector"].map(str::to_owned);
        let mut certgen = Process::start("certgen", &program, folder.path(), &certificates, &environment);
        plane
            .until("certificates", async || {
                plane
                    .kubectl(&["get", "secret", "envoy", "envoy-gateway", "envoy-oidc-hmac", "-n", OWN], None)
                    .await
                    .is_ok()
            })
            .await;
        certgen.ask_to_end();
        put_secret(plane, &folder, "envoy-gateway").await;
        // It keeps the modules in /var/lib/eg, and wants another file system there than this machine's.
        apart::put(folder.path(), "/var/lib/eg/about", "");
        let config = json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyGateway",
            "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
            "provider": {"type": "Kubernetes", "kubernetes": {
                "leaderElection": {"disable": true},
                // It would want to be called by the API server, when a scheduler places pods.
                "proxyTopologyInjector": {"disable": true}
            }},
            // Envoy's own administration and statistics have the usual ports, for in a cluster it runs elsewhere.
            "admin": {"address": {"host": "127.0.0.1", "port": free_port()}},
            "telemetry": {"metrics": {"prometheus": {"disable": true}}},
            "extensionApis": {"enableBackend": true, "enableEnvoyPatchPolicy": true}
        });
        apart::write(&folder.path().join("config.yaml"), config.to_string());
        let arguments = ["server", "--config-path", "config.yaml"].map(str::to_owned);
        let process = apart::start("envoy-gateway", &program, folder.path(), &arguments, &environment);
        EnvoyGateway { process, _folder: folder }
    }

    /// What it says.
    pub(crate) fn tail(&self) -> String {
        self.process.tail()
    }
}

/// The Envoy that Envoy Gateway wants to run; it ends when this is dropped.
pub(crate) struct Fleet {
    process: Process,
    _folder: TempDir,
    port: u16,
}

impl Fleet {
    /// Waits for the deployment for this Gateway, and starts the Envoy in it. It is to listen on `port`.
    pub(crate) async fn start(
        plane: &ControlPlane,
        controller: &EnvoyGateway,
        gateway: &str,
        port: u16,
    ) -> Fleet {
        let selector = format!("gateway.envoyproxy.io/owning-gateway-name={gateway}");
        let list = async || {
            let listed =
                plane.must(&["get", "deployments", "-n", OWN, "-l", &selector, "-o", "json"], None).await;
            let list: Value = serde_json::from_str(&listed).expect("a list");
            list["items"].as_array().cloned().unwrap_or_default()
        };
        for _ in 0..300 {
            if !list().await.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        let found = list().await;
        let deployment = found.first().unwrap_or_else(|| panic!("no deployment\n{}", controller.tail()));
        let pod = &deployment["spec"]["template"]["spec"];
        let containers = pod["containers"].as_array().expect("containers");
        let envoy = containers.iter().find(|c| c["name"] == "envoy").expect("Envoy's container");
        let folder = TempDir::new().expect("a folder");
        put_secret(plane, &folder, "envoy").await;
        put_config(plane, &folder, pod).await;
        let service = format!("envoy-gateway.{OWN}.svc.cluster.local");
        // Some names are asked for with the dot of the root behind them.
        let hosts = format!("127.0.0.1 localhost {service} {service}. {UPSTREAM} {UPSTREAM}.\n");
        apart::put(folder.path(), "/etc/hosts", hosts);
        let given = envoy["args"].as_array().expect("arguments").iter().filter_map(Value::as_str);
        let mut arguments: Vec<String> = given
            .map(|a| a.replace("$(ENVOY_POD_NAME)", "edge-0").replace("$(ENVOY_POD_NAMESPACE)", OWN))
            .collect();
        arguments.extend(["--use-dynamic-base-id", "--concurrency", "2"].map(str::to_owned));
        arguments.retain(|a| a != "--cpuset-threads");
        let process = apart::start("envoy", &paths::peer("envoy"), folder.path(), &arguments, &[]);
        Fleet { process, _folder: folder, port }
    }

    /// A request to it.
    pub(crate) fn get(&self, path: &str) -> Ask {
        ask((Ipv4Addr::LOCALHOST, self.port).into(), "GET", path)
    }

    /// Waits until `condition` holds; shows what Envoy and Envoy Gateway say if it never does.
    pub(crate) async fn until(
        &self,
        controller: &EnvoyGateway,
        what: &str,
        condition: impl AsyncFn() -> bool,
    ) {
        for _ in 0..600 {
            if condition().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("never: {what}\n{}{}", controller.tail(), self.process.tail());
    }

    /// What its administration says.
    pub(crate) async fn admin(&self, path: &str) -> String {
        client::get(ADMIN, path).await.map(|r| r.text()).unwrap_or_default()
    }
}

/// The files of a secret, where pods have them.
async fn put_secret(plane: &ControlPlane, folder: &TempDir, name: &str) {
    let text = plane.must(&["get", "secret", name, "-n", OWN, "-o", "json"], None).await;
    let secret: Value = serde_json::from_str(&text).expect("a secret");
    for (file, value) in secret["data"].as_object().expect("data") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().expect("text"));
        apart::put(folder.path(), &format!("/certs/{file}"), bytes.expect("base64"));
    }
}

/// The files that a pod has from a ConfigMap: where its certificates are.
async fn put_config(plane: &ControlPlane, folder: &TempDir, pod: &Value) {
    let volumes = pod["volumes"].as_array().expect("volumes");
    let source = volumes.iter().map(|v| &v["configMap"]).find(|m| m.is_object()).expect("a ConfigMap");
    let name = source["name"].as_str().expect("a name");
    let text = plane.must(&["get", "configmap", name, "-n", OWN, "-o", "json"], None).await;
    let map: Value = serde_json::from_str(&text).expect("a ConfigMap");
    for item in source["items"].as_array().expect("items") {
        let (key, place) = (item["key"].as_str().expect("a key"), item["path"].as_str().expect("a path"));
        apart::put(folder.path(), &format!("/sds/{place}"), map["data"][key].as_str().expect("text"));
    }
}
