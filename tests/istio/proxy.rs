//! A stock Envoy in the place of Istio's proxy: it gets everything from istiod.

use std::net::{Ipv4Addr, SocketAddr};

use portcullis_tests::bootstrap;
use portcullis_tests::client::{self, Ask, Response, ask};
use portcullis_tests::engines::start::free_port;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::paths;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::process::Process;

/// What istiod takes a proxy for.
#[derive(Clone, Copy)]
pub(crate) struct Role {
    /// `router`, `sidecar` or `waypoint`.
    pub(crate) kind: &'static str,
    /// Its namespace.
    pub(crate) namespace: &'static str,
    /// One label of its pod.
    pub(crate) label: (&'static str, &'static str),
    /// The address of its pod, where nobody listens.
    pub(crate) address: &'static str,
}

/// The ingress gateway that the examples select.
pub(crate) const GATEWAY: Role =
    Role { kind: "router", namespace: "istio-ingress", label: ("istio", "ingress"), address: "10.1.2.3" };
/// A sidecar of the workload that the examples select.
pub(crate) const SIDECAR: Role =
    Role { kind: "sidecar", namespace: "orders", label: ("app", "orders"), address: "10.1.2.4" };
/// The waypoint of the examples.
pub(crate) const WAYPOINT: Role = Role {
    kind: "waypoint",
    namespace: "orders",
    label: ("gateway.networking.k8s.io/gateway-name", "waypoint"),
    address: "10.1.2.5",
};

impl Role {
    /// The name of its pod.
    pub(crate) fn pod(self) -> String {
        format!("{}-pod", self.kind)
    }

    /// The name by which istiod knows the proxy.
    pub(crate) fn node(self) -> String {
        let Role { kind, namespace, address, .. } = self;
        format!("{kind}~{address}~{}.{namespace}~{namespace}.svc.cluster.local", self.pod())
    }

    /// Its pod, and a service whose port 80 leads to `port` of it.
    fn objects(self, port: u16) -> Vec<Value> {
        let (label, value) = self.label;
        let meta =
            |name: &str, labels: Value| json!({"name": name, "namespace": self.namespace, "labels": labels});
        vec![
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": meta(&self.pod(), json!({label: value})),
                "spec": {"containers": [{"name": "istio-proxy", "image": "stock"}]}
            }),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": meta(self.kind, json!({})),
                "spec": {"selector": {label: value}, "ports": [{"name": "http", "port": 80, "targetPort": port}]}
            }),
            // No controller makes it.
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": meta(self.kind, json!({"kubernetes.io/service-name": self.kind})),
                "ports": [{"name": "http", "port": port}],
                "endpoints": [{
                    "addresses": [self.address],
                    "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "name": self.pod(), "namespace": self.namespace}
                }]
            }),
        ]
    }
}

/// A running proxy; it ends when this is dropped.
pub(crate) struct Proxy {
    pub(crate) envoy: Envoy,
    port: u16,
}

impl Proxy {
    /// Starts a proxy, whose pod istiod knows, with these environment variables; it serves on `port`.
    pub(crate) async fn start(
        plane: &ControlPlane,
        role: Role,
        port: u16,
        environment: &[(&str, &str)],
    ) -> Proxy {
        add_pod(plane, role, port).await;
        let options = Options {
            workers: 2,
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Options::default()
        };
        let envoy = Envoy::start_with(&bootstrap_of(role, plane.xds()), &options).await;
        Proxy { envoy, port }
    }

    /// A free port for a proxy.
    pub(crate) fn port() -> u16 {
        free_port()
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A request to it.
    pub(crate) fn get(&self, path: &str) -> Ask {
        ask(self.address(), "GET", path)
    }

    /// Waits until it answers `path` with `status`.
    pub(crate) async fn until(&self, path: &str, status: u16) {
        let what = format!("{path} is answered {status}");
        self.envoy
            .wait_until(&what, async || self.get(path).try_send().await.is_some_and(|r| r.status == status))
            .await;
    }

    /// Waits until the listener that serves has this many plugins: istiod may hear of a proxy before it hears of them.
    pub(crate) async fn until_plugins(&self, count: usize) {
        let ours =
            async || self.chain().await.iter().filter(|name| name.contains("/trafficextension/")).count();
        self.envoy.wait_until(&format!("{count} plugins"), async || ours().await == count).await;
    }

    /// What Envoy has of each kind of configuration.
    pub(crate) async fn config_dump(&self) -> Value {
        self.admin("/config_dump?include_eds").await.json()
    }

    /// The entries of one kind in the configuration dump, such as `EcdsConfigDump`.
    pub(crate) async fn dump(&self, kind: &str) -> Value {
        let dump = self.config_dump().await;
        let wanted = |c: &&Value| c["@type"].as_str().is_some_and(|t| t.ends_with(&format!(".{kind}")));
        dump["configs"].as_array().into_iter().flatten().find(wanted).cloned().unwrap_or_default()
    }

    /// The configuration of each plugin that came by extension discovery, in no order.
    pub(crate) async fn plugins(&self) -> Vec<Value> {
        let dump = self.dump("EcdsConfigDump").await;
        let filters = dump["ecds_filters"].as_array().cloned().unwrap_or_default();
        filters.iter().map(|f| f["ecds_filter"]["typed_config"]["config"].clone()).collect()
    }

    /// The names of the HTTP filters of the listener that serves, in order.
    pub(crate) async fn chain(&self) -> Vec<String> {
        let dump = self.dump("ListenersConfigDump").await;
        for listener in dump["dynamic_listeners"].as_array().into_iter().flatten() {
            let listener = &listener["active_state"]["listener"];
            if listener.pointer("/address/socket_address/port_value") == Some(&json!(self.port)) {
                return filters_of(listener, "http_filters");
            }
        }
        Vec::new()
    }

    /// The sum of the counters and gauges whose plain names match; 0 if there are none.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        let text = self.admin(&format!("/stats?filter=^{name}$")).await.text();
        text.lines().filter_map(|l| l.rsplit_once(": ")?.1.parse::<u64>().ok()).sum()
    }

    async fn admin(&self, path: &str) -> Response {
        client::get(self.envoy.admin(), path).await.expect("the admin interface answers")
    }
}

/// Has the API know the proxy's pod, running, and a service in front of `port` of it.
pub(crate) async fn add_pod(plane: &ControlPlane, role: Role, port: u16) {
    plane.apply(&role.objects(port)).await;
    let status = json!({"status": {
        "phase": "Running", "podIP": role.address, "podIPs": [{"ip": role.address}],
        "conditions": [{"type": "Ready", "status": "True"}]
    }});
    let (pod, patch) = (role.pod(), status.to_string());
    plane
        .must(
            &[
                "patch",
                "pod",
                &pod,
                "-n",
                role.namespace,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ],
            None,
        )
        .await;
}

/// Connects a proxy that need not accept what istiod gives it; it ends when this is dropped.
pub(crate) async fn connect(plane: &ControlPlane, role: Role) -> Process {
    add_pod(plane, role, free_port()).await;
    let file = plane.folder().join("bootstrap.json");
    let mut config = bootstrap_of(role, plane.xds());
    // It would wait for the certificates of its clusters, which nobody gives it, before it asked for listeners.
    config["dynamic_resources"]["cds_config"] = Value::Null;
    std::fs::write(&file, config.to_string()).expect("a file");
    let arguments = ["-c", &file.to_string_lossy(), "--use-dynamic-base-id", "--log-level", "warning"];
    Process::start("envoy", paths::peer("envoy"), plane.folder(), &arguments.map(str::to_owned), &[])
}

/// A proxy with a listener of its own, in front of `upstream`, whose one filter comes from istiod.
pub(crate) async fn with_extension(
    plane: &ControlPlane,
    role: Role,
    filter: &str,
    upstream: &Upstream,
) -> Envoy {
    let discovered = json!({"name": filter, "config_discovery": {
        "config_source": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"]
    }});
    let listener = bootstrap::Listener::new("own").filter(discovered);
    let mut config = bootstrap::bootstrap(upstream.address(), &[listener]);
    let theirs = bootstrap_of(role, plane.xds());
    config["node"] = theirs["node"].clone();
    config["dynamic_resources"] = json!({"ads_config": theirs["dynamic_resources"]["ads_config"]});
    let clusters = config["static_resources"]["clusters"].as_array_mut().expect("clusters");
    clusters.push(theirs["static_resources"]["clusters"][0].clone());
    Envoy::start(&config).await
}

/// The names of a listener's HTTP filters, in order; the field's spelling is Envoy's or istiod's.
pub(crate) fn filters_of(listener: &Value, field: &str) -> Vec<String> {
    fn find<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
        match value {
            Value::Object(map) => map.get(name).or_else(|| map.values().find_map(|v| find(v, name))),
            Value::Array(items) => items.iter().find_map(|v| find(v, name)),
            _ => None,
        }
    }
    let filters = find(listener, field).and_then(Value::as_array).cloned().unwrap_or_default();
    filters.iter().filter_map(|f| f["name"].as_str().map(str::to_owned)).collect()
}

/// A bootstrap that knows istiod, and the labels of our metrics, as `mesh.yaml` has Istio's own bootstrap know them.
fn bootstrap_of(role: Role, xds: u16) -> Value {
    let istiod = SocketAddr::from((Ipv4Addr::LOCALHOST, xds));
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    let (label, value) = role.label;
    json!({
        "node": {
            "id": role.node(),
            "cluster": role.kind,
            "metadata": {
                "NAMESPACE": role.namespace,
                "LABELS": {label: value, "gateway.istio.io/managed": "istio.io-mesh-controller"},
                "CLUSTER_ID": "Kubernetes",
                "ISTIO_VERSION": "1.31.0",
                "INTERCEPTION_MODE": "NONE",
                "INSTANCE_IPS": role.address
            }
        },
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "stats_config": bootstrap::stats_config(),
        "stats_flush_interval": "0.1s",
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}]
            }
        },
        "static_resources": {"clusters": [bootstrap::cluster("istiod", istiod, true)]}
    })
}
