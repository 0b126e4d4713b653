//! etcd, kube-apiserver and istiod on free ports, in a folder of their own.

use std::cell::RefCell;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use portcullis_tests::client::{self, Response};
use portcullis_tests::engines::start::free_port;
use portcullis_tests::paths;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

/// How often a condition is looked at before it counts as never met: a minute and more.
const TRIES: u32 = 900;

/// A Kubernetes API with Istio's control plane; it ends when this is dropped.
pub(crate) struct ControlPlane {
    // Dropped in this order: who asks before who answers.
    processes: RefCell<Vec<Process>>,
    folder: TempDir,
    tools: Tools,
    xds: u16,
    debug: u16,
    monitoring: u16,
}

/// The programs that only this ring needs.
struct Tools {
    kubectl: PathBuf,
    istioctl: PathBuf,
}

/// Why the control plane cannot be started on this machine; nothing of it is wrong.
pub(crate) fn missing() -> Option<String> {
    let absent = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    };
    if absent("etcd") {
        return Some("Debian's etcd-server is not here: make peers-system".into());
    }
    let go = Command::new("go").arg("version").stdout(Stdio::null()).status();
    go.is_err().then(|| "Go is not here, which builds the API server and istiod".into())
}

impl ControlPlane {
    /// Starts everything and waits until the API serves Istio's kinds and istiod is ready.
    pub(crate) async fn start() -> ControlPlane {
        let folder = TempDir::new().expect("a folder");
        let (etcd, peer, api, xds, debug, monitoring) =
            (free_port(), free_port(), free_port(), free_port(), free_port(), free_port());
        write_secrets(folder.path(), api);
        let tools = Tools { kubectl: paths::peer("kubectl"), istioctl: paths::peer("istioctl") };
        let plane = ControlPlane { processes: RefCell::default(), folder, tools, xds, debug, monitoring };
        plane.run("etcd", Path::new("etcd"), &etcd_arguments(etcd, peer), &[]);
        plane.until("etcd serves", async || client_is_up(etcd, "/health", "true").await).await;
        plane.run("kube-apiserver", &paths::peer("kube-apiserver"), &api_arguments(etcd, api), &[]);
        plane
            .until("the API serves", async || {
                plane.kubectl(&["get", "--raw", "/readyz"], None).await.is_ok_and(|o| o == "ok")
            })
            .await;
        for crds in ["istio-crds", "gateway-api-crds"] {
            let file = paths::peer(crds).to_string_lossy().into_owned();
            // They are too long for the annotation that apply on the client's side keeps.
            plane.must(&["apply", "--server-side", "-f", &file], None).await;
        }
        plane.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], None).await;
        for namespace in ["istio-system", "istio-ingress", "orders"] {
            plane.must(&["create", "namespace", namespace], None).await;
        }
        let istiod = plane.istiod((xds, debug, monitoring), &[]);
        plane.processes.borrow_mut().insert(0, istiod);
        plane.until_istiod(debug).await;
        plane
    }

    /// Another istiod beside the first, which wants to know who a proxy is, and gives a secret to none that does not say. It ends with
    /// what this gives; with it the port on which it serves proxies, in clear text.
    pub(crate) async fn istiod_that_asks_who(&self) -> (Process, u16) {
        let (xds, debug, monitoring) = (free_port(), free_port(), free_port());
        let process = self.istiod((xds, debug, monitoring), &[("XDS_AUTH_PLAINTEXT", "true")]);
        self.until_istiod(debug).await;
        (process, xds)
    }

    fn istiod(&self, (xds, debug, monitoring): (u16, u16, u16), more: &[(&str, &str)]) -> Process {
        // The stock Envoy lacks what Istio's own build adds: the metadata exchange, the ALPN filter.
        let environment = [
            ("ENABLE_CA_SERVER", "false"),
            ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
            ("PILOT_ENABLE_ALPN_FILTER", "false"),
            ("INJECT_ENABLED", "false"),
            ("PILOT_ENABLE_ANALYSIS", "false"),
            ("PILOT_DEBOUNCE_AFTER", "20ms"),
            ("PILOT_DEBOUNCE_MAX", "200ms"),
            ("POD_NAMESPACE", "istio-system"),
            ("POD_NAME", "istiod"),
        ];
        let environment = [&environment, more].concat();
        let arguments = istiod_arguments(xds, debug, monitoring);
        Process::start("istiod", paths::peer("istiod"), self.folder.path(), &arguments, &environment)
    }

    async fn until_istiod(&self, debug: u16) {
        let page = async || client::get((Ipv4Addr::LOCALHOST, debug).into(), "/ready").await;
        self.until("istiod is ready", async || page().await.is_some_and(|r| r.status == 200)).await;
    }

    fn run(&self, name: &'static str, program: &Path, arguments: &[String], environment: &[(&str, &str)]) {
        let process = Process::start(name, program, self.folder.path(), arguments, environment);
        self.processes.borrow_mut().insert(0, process);
    }

    /// The port on which istiod serves proxies, in clear text.
    pub(crate) fn xds(&self) -> u16 {
        self.xds
    }

    /// A folder that lives as long as this.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One of istiod's own pages.
    pub(crate) async fn debug(&self, path: &str) -> Response {
        client::get((Ipv4Addr::LOCALHOST, self.debug).into(), path).await.expect("istiod answers")
    }

    /// istiod's counters about proxies.
    pub(crate) async fn metrics(&self) -> String {
        let text = client::get((Ipv4Addr::LOCALHOST, self.monitoring).into(), "/metrics")
            .await
            .expect("istiod answers")
            .text();
        text.lines().filter(|l| l.starts_with("pilot_")).map(|l| format!("{l}\n")).collect()
    }

    /// The last words of every process.
    pub(crate) fn tails(&self) -> String {
        self.processes.borrow().iter().map(Process::tail).collect()
    }

    /// Runs kubectl with these objects, if any, on its standard input.
    pub(crate) async fn kubectl(&self, arguments: &[&str], input: Option<&Value>) -> Result<String, String> {
        run_tool(&self.tools.kubectl, &self.kubeconfig(), arguments, input.map(Value::to_string)).await
    }

    /// Runs kubectl, which has to succeed.
    pub(crate) async fn must(&self, arguments: &[&str], input: Option<&Value>) -> String {
        self.kubectl(arguments, input).await.unwrap_or_else(|e| panic!("kubectl {arguments:?}: {e}"))
    }

    /// `kubectl apply` of these objects.
    pub(crate) async fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.must(&["apply", "-f", "-"], Some(&list)).await;
    }

    /// Runs istioctl.
    pub(crate) async fn istioctl(&self, arguments: &[&str]) -> Result<String, String> {
        run_tool(&self.tools.istioctl, &self.kubeconfig(), arguments, None).await
    }

    /// Deletes what the cases create.
    pub(crate) async fn clean(&self) {
        let kinds = [
            "wasmplugins,trafficextensions,gateways.networking.istio.io,virtualservices,sidecars,serviceentries",
            "destinationrules,peerauthentications,authorizationpolicies,envoyfilters,networkpolicies,gateways.gateway.networking.k8s.io,pods,endpointslices",
        ]
        .join(",");
        self.must(&["delete", &kinds, "--all", "--all-namespaces", "--force", "--grace-period=0"], None)
            .await;
        self.must(&["delete", "services", "--all", "--namespace", "istio-ingress"], None).await;
        self.must(&["delete", "services", "--all", "--namespace", "orders"], None).await;
    }

    /// Where the file is that says how to reach the API.
    pub(crate) fn kubeconfig(&self) -> String {
        self.folder.path().join("kubeconfig").to_string_lossy().into_owned()
    }

    /// Waits until `condition` holds; shows what the processes say if it never does.
    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        for _ in 0..TRIES {
            if condition().await {
                return;
            }
            let ended = self.processes.borrow_mut().iter_mut().any(|p| !p.is_running());
            assert!(!ended, "never: {what}; a process ended\n{}", self.tails());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {what}\n{}", self.tails());
    }
}

async fn client_is_up(port: u16, path: &str, holds: &str) -> bool {
    client::get((Ipv4Addr::LOCALHOST, port).into(), path).await.is_some_and(|r| r.text().contains(holds))
}

/// The tests' own thread goes on meanwhile: it serves the upstream and sends the load.
async fn run_tool(
    program: &Path,
    kubeconfig: &str,
    arguments: &[&str],
    input: Option<String>,
) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", Path::new(kubeconfig).parent().unwrap_or(Path::new("/")))
        .current_dir(paths::root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.unwrap_or_default().as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = tokio::task::spawn_blocking(run).await.expect("a thread").map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

/// The key that signs service accounts' tokens, the token of the one user, how to reach the API, the mesh's settings.
fn write_secrets(folder: &Path, api: u16) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    let key = base64::engine::general_purpose::STANDARD.encode(include_bytes!("../keys/rsa-2048.pk8"));
    write("accounts.pem", &format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"));
    write("tokens.csv", "admin,admin,admin,system:masters\n");
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": format!("https://127.0.0.1:{api}"), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "admin", "user": {"token": "admin"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        "current-context": "here"
    });
    write("kubeconfig", &kubeconfig.to_string());
    // What the stock Envoy has no certificates or no extensions for.
    let mesh = json!({
        "rootNamespace": "istio-system",
        "enableAutoMtls": false,
        "enablePrometheusMerge": false,
        "enableTracing": false,
        "accessLogFile": "/dev/stdout",
        "defaultProviders": {"metrics": []},
        "defaultConfig": {"discoveryAddress": "127.0.0.1:15010"}
    });
    write("mesh", &mesh.to_string());
}

fn etcd_arguments(client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    [
        "--data-dir=etcd-data",
        "--unsafe-no-fsync",
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=default={peer}"),
    ]
    .map(str::to_owned)
    .to_vec()
}

fn api_arguments(etcd: u16, api: u16) -> Vec<String> {
    [
        &format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        &format!("--secure-port={api}"),
        "--bind-address=127.0.0.1",
        "--cert-dir=certificates",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=accounts.pem",
        "--service-account-signing-key-file=accounts.pem",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=RBAC",
        // No controller makes the accounts that pods would run as.
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
        // Debian's etcd is too old for it, and the log would be full of that.
        "--feature-gates=SizeBasedListCostEstimate=false",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn istiod_arguments(xds: u16, debug: u16, monitoring: u16) -> Vec<String> {
    [
        "discovery",
        "--kubeconfig=kubeconfig",
        "--meshConfig=mesh",
        "--registries=Kubernetes",
        "--clusterID=Kubernetes",
        &format!("--grpcAddr=127.0.0.1:{xds}"),
        "--secureGRPCAddr=",
        &format!("--httpAddr=127.0.0.1:{debug}"),
        "--httpsAddr=",
        &format!("--monitoringAddr=127.0.0.1:{monitoring}"),
        "--ctrlz_port=0",
    ]
    .map(str::to_owned)
    .to_vec()
}
