//! A real Envoy, on ports of its own, in a folder of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{client, paths};

/// A running Envoy; it ends when this is dropped.
pub struct Envoy {
    process: Child,
    folder: TempDir,
    admin: SocketAddr,
    listeners: Vec<(String, SocketAddr)>,
}

/// Envoy ended before it was ready; its log.
#[derive(Debug)]
pub struct Refused(pub String);

/// How Envoy is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads.
    pub workers: u32,
    /// Log level of the component `wasm`; everything else logs warnings.
    pub wasm_log: &'static str,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options { workers: 1, wasm_log: "info", environment: Vec::new() }
    }
}

/// How long anything may take before a test fails; generous, for the machine is shared.
const PATIENCE: Duration = Duration::from_secs(60);

impl Envoy {
    /// Starts Envoy on `config`, whose ports should be 0.
    ///
    /// # Panics
    /// If it does not become ready; shows its log.
    pub async fn start(config: &Value) -> Envoy {
        Envoy::start_with(config, &Options::default()).await
    }

    /// As [`Envoy::start`], with options.
    ///
    /// # Panics
    /// If it does not become ready; shows its log.
    pub async fn start_with(config: &Value, options: &Options) -> Envoy {
        match Envoy::try_start(config, options).await {
            Ok(envoy) => envoy,
            Err(Refused(log)) => panic!("Envoy did not start:\n{log}"),
        }
    }

    /// Starts Envoy, or says why it refused.
    ///
    /// # Errors
    /// Its log, if it ended before it was ready.
    ///
    /// # Panics
    /// If it neither ends nor becomes ready.
    pub async fn try_start(config: &Value, options: &Options) -> Result<Envoy, Refused> {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("envoy.json");
        fs::write(&file, serde_json::to_vec(config).expect("JSON")).expect("the configuration is written");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(paths::peer("envoy"));
        command
            .arg("-c")
            .arg(&file)
            .arg("--admin-address-path")
            .arg(folder.path().join("admin"))
            .args([
                "--use-dynamic-base-id",
                "--log-level",
                "warning",
                "--file-flush-interval-msec",
                "50",
                "--concurrency",
            ])
            .arg(options.workers.to_string())
            .arg("--component-log-level")
            .arg(format!("wasm:{}", options.wasm_log))
            .envs(options.environment.iter().cloned())
            // Examples name their modules relative to the repository.
            .current_dir(paths::root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        die_with_us(&mut command);
        let process = command.spawn().expect("Envoy starts");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Envoy { process, folder, admin: nowhere, listeners: Vec::new() };
        let begun = now();
        loop {
            if let Ok(Some(_)) = envoy.process.try_wait() {
                return Err(Refused(envoy.log()));
            }
            if let Some(admin) =
                fs::read_to_string(envoy.folder.path().join("admin")).ok().and_then(|a| a.parse().ok())
            {
                envoy.admin = admin;
                if client::get(admin, "/ready").await.is_some_and(|r| r.text() == "LIVE\n") {
                    break;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "Envoy is not ready:\n{}", envoy.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        envoy.read_listeners().await;
        Ok(envoy)
    }

    async fn read_listeners(&mut self) {
        let listeners =
            client::get(self.admin, "/listeners?format=json").await.expect("the listeners").json();
        self.listeners = listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|l| {
                let socket = &l["local_address"]["socket_address"];
                let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
                Some((l["name"].as_str()?.to_owned(), SocketAddr::from(([127, 0, 0, 1], port))))
            })
            .collect();
    }

    /// The address of the first listener.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners.first().expect("a listener").1
    }

    /// The address of a listener.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.listeners.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no listener {name}")).1
    }

    /// The address of the admin interface.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Whether the process is there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // Its state; a process that ended and was not waited for is a zombie.
        fs::read_to_string(format!("/proc/{}/stat", self.pid())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// What Envoy has written so far, access log included where it goes to stdout.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A folder that lives as long as this Envoy.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the log holds `text`.
    ///
    /// # Panics
    /// If it never does.
    pub async fn wait_for_log(&self, text: &str) {
        self.wait_until(&format!("{text:?} in the log"), async || self.log().contains(text)).await;
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// If it never does; shows the log.
    pub async fn wait_until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let begun = now();
        while !condition().await {
            assert!(begun.elapsed() < PATIENCE, "never: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `condition` holds twenty times in a row: one that asks on a connection of its own meets every worker then, each of
    /// which hears in its own tick of what another one fetched or heard.
    ///
    /// # Panics
    /// If it never does; shows the log.
    pub async fn wait_until_all(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let all = async || {
            for _ in 0..20 {
                if !condition().await {
                    return false;
                }
            }
            true
        };
        self.wait_until(&format!("{what}, by all workers"), all).await;
    }

    /// Prometheus' view of the metrics.
    ///
    /// # Panics
    /// If the admin interface does not answer.
    pub async fn prometheus(&self) -> String {
        client::get(self.admin, "/stats/prometheus").await.expect("the statistics").text()
    }

    /// The value of one series, as Prometheus shows it: `name{label="value",...}`; `None` if there is no such series.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.prometheus().await;
        let mut lines = text.lines().filter_map(|l| l.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        lines.next()
    }

    /// CPU time of the whole process so far, in nanoseconds.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn cpu_nanos(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process lives");
        let spent = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.filter_map(Result::ok).filter_map(spent).sum()
    }

    /// Resident memory, in bytes.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process lives");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- Envoy's log\n{}---", self.log());
        }
    }
}

/// The process ends when this thread does, however it ends.
#[allow(unsafe_code, reason = "prctl, between fork and exec")]
pub fn die_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is async-signal-safe and touches nothing of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// Tests wait for conditions; only how long they are willing to is measured.
#[allow(clippy::disallowed_methods, reason = "a test has no clock of its own to be given")]
fn now() -> Instant {
    Instant::now()
}
