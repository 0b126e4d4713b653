//! Istio's own agent beside the stock Envoy that it starts: it stands between Envoy and istiod, fetches the modules of plugins that name an
//! image, and gives Envoy the files. Its bootstrap is the one of Istio's proxy image.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use portcullis_tests::client::{self, Ask, ask};
use portcullis_tests::paths;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apart;
use crate::control_plane::ControlPlane;
use crate::process::Process;
use crate::proxy::{Role, add_pod};
use portcullis_tests::engines::start::free_port;

/// What an agent is told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told<'a> {
    /// The port of another istiod.
    pub(crate) xds: Option<u16>,
    /// The token of a service account, by which it says who it is.
    pub(crate) token: Option<&'a str>,
    /// The certificates of the authorities that it trusts, in place of the machine's.
    pub(crate) authorities: Option<&'a str>,
}

/// A running agent with its Envoy; both end when this is dropped.
pub(crate) struct Agent {
    process: Process,
    folder: TempDir,
    admin: SocketAddr,
    port: u16,
}

impl Agent {
    /// Starts an agent, whose pod istiod knows. It asks a registry on a loopback address in clear text without being told to.
    pub(crate) async fn start(plane: &ControlPlane, role: Role) -> Agent {
        Agent::start_told(plane, role, Told::default()).await
    }

    /// As [`Agent::start`], with what this one is told besides.
    pub(crate) async fn start_told(plane: &ControlPlane, role: Role, told: Told<'_>) -> Agent {
        let xds = told.xds.unwrap_or_else(|| plane.xds());
        let (serving, admin, prometheus, status) = (free_port(), free_port(), free_port(), free_port());
        add_pod(plane, role, serving).await;
        let folder = TempDir::new().expect("a folder");
        let (label, value) = role.label;
        // What a pod is told about its own labels.
        apart::write(&folder.path().join("etc/istio/pod/labels"), format!("{label}=\"{value}\"\n"));
        if let Some(token) = told.token {
            apart::write(&folder.path().join("var/run/secrets/tokens/istio-token"), token);
        }
        // Where the agent keeps the modules is not to be chosen.
        fs::create_dir_all(folder.path().join("over/var/lib/istio/data")).expect("a folder");
        let template = paths::peer("istio-bootstrap").to_string_lossy().into_owned();
        let settings = json!({
            "binaryPath": paths::peer("envoy"),
            "configPath": "./etc/istio/proxy",
            "controlPlaneAuthPolicy": "NONE",
            "discoveryAddress": format!("127.0.0.1:{xds}"),
            "proxyAdminPort": admin,
            "concurrency": 2,
            "statusPort": status,
            "terminationDrainDuration": "1s"
        });
        let arguments = [
            "proxy".to_owned(),
            role.kind.to_owned(),
            format!("--domain={}.svc.cluster.local", role.namespace),
            format!("--templateFile={template}"),
        ];
        let pod = role.pod();
        let (prometheus, health) = (prometheus.to_string(), free_port().to_string());
        let settings = settings.to_string();
        let environment = [
            ("PROXY_CONFIG", settings.as_str()),
            ("POD_NAME", &pod),
            ("POD_NAMESPACE", role.namespace),
            ("INSTANCE_IP", role.address),
            ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            ("ISTIO_META_ISTIO_VERSION", "1.31.0"),
            ("ISTIO_META_INTERCEPTION_MODE", "NONE"),
            ("ENVOY_PROMETHEUS_PORT", &prometheus),
            ("ENVOY_STATUS_PORT", &health),
            // Nobody issues certificates here, and no cloud is asked where this runs.
            ("FILE_MOUNTED_CERTS", "true"),
            ("CLOUD_PLATFORM", "none"),
            ("MINIMUM_DRAIN_DURATION", "1s"),
        ];
        let authorities = told.authorities.map(|file| ("SSL_CERT_FILE", file));
        let environment: Vec<_> = environment.into_iter().chain(authorities).collect();
        let program = paths::peer("istio-agent");
        let process = apart::start("istio-agent", &program, folder.path(), &arguments, &environment);
        Agent { process, folder, admin: (Ipv4Addr::LOCALHOST, admin).into(), port: serving }
    }

    /// A request to its Envoy.
    pub(crate) fn get(&self, path: &str) -> Ask {
        ask((Ipv4Addr::LOCALHOST, self.port).into(), "GET", path)
    }

    /// Waits until `path` is answered with `status`.
    pub(crate) async fn until(&self, path: &str, status: u16) {
        let what = format!("{path} is answered {status}");
        self.until_it(&what, async || self.get(path).try_send().await.is_some_and(|r| r.status == status))
            .await;
    }

    /// Waits until `condition` holds; shows what the agent says if it never does.
    pub(crate) async fn until_it(&self, what: &str, condition: impl AsyncFn() -> bool) {
        for _ in 0..600 {
            if condition().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("never: {what}\n{}", self.process.tail());
    }

    /// The configuration of each plugin that its Envoy got by extension discovery, in no order.
    pub(crate) async fn extensions(&self) -> Vec<Value> {
        let Some(answer) = client::get(self.admin, "/config_dump").await else { return Vec::new() };
        let dump = answer.json();
        let kind = |c: &&Value| c["@type"].as_str().is_some_and(|t| t.ends_with(".EcdsConfigDump"));
        let found = dump["configs"].as_array().into_iter().flatten().find(kind).cloned().unwrap_or_default();
        let filters = found["ecds_filters"].as_array().cloned().unwrap_or_default();
        filters.iter().map(|f| f["ecds_filter"]["typed_config"].clone()).collect()
    }

    /// The module in a file, of which Envoy was told.
    pub(crate) fn module(&self, file: &str) -> Vec<u8> {
        let place = self.folder.path().join("over").join(file.trim_start_matches('/'));
        fs::read(&place).unwrap_or_else(|e| panic!("{}: {e}", place.display()))
    }

    /// What the agent and its Envoy said last.
    pub(crate) fn tail(&self) -> String {
        self.process.tail()
    }
}
