//! Real OpenFGA and SpiceDB servers, on ports of their own, with their data in memory. Nothing but the standard library: rebac's own
//! tests include this file.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// How often it is asked whether it is ready, ten times a second.
const PATIENCE: u32 = 600;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OpenFGA. It takes whatever token it is shown.
    Openfga,
    /// SpiceDB, with this preshared key.
    Spicedb(&'static str),
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    binary: PathBuf,
    more: Vec<String>,
    child: Child,
    /// Where it speaks HTTP.
    pub http: u16,
    /// Where it speaks gRPC.
    pub grpc: u16,
}

impl Server {
    /// Starts one, with these options besides.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(kind: Kind, binary: &Path, more: &[&str]) -> Server {
        let more: Vec<String> = more.iter().map(|option| (*option).to_owned()).collect();
        // Somebody may take a port between our look and its start.
        for _ in 0..5 {
            let (http, grpc) = (free_port(), free_port());
            let child = spawn(kind, binary, &more, http, grpc);
            let mut server =
                Server { kind, binary: binary.to_owned(), more: more.clone(), child, http, grpc };
            if server.becomes_ready() {
                return server;
            }
        }
        panic!("{kind:?} ends as soon as it is started");
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same ports, with nothing in its memory.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.kind, &self.binary, &self.more, self.http, self.grpc);
        assert!(self.becomes_ready(), "{:?} does not start again", self.kind);
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it answers; `false` if it ended.
    #[allow(clippy::disallowed_methods, reason = "it waits for another process")]
    fn becomes_ready(&mut self) -> bool {
        for _ in 0..PATIENCE {
            if answers(self.kind, self.http) {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{:?} does not answer", self.kind);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(kind: Kind, binary: &Path, more: &[String], http: u16, grpc: u16) -> Child {
    let mut command = Command::new(binary);
    let places = [format!("--http-addr=127.0.0.1:{http}"), format!("--grpc-addr=127.0.0.1:{grpc}")];
    match kind {
        Kind::Openfga => {
            command.args([
                "run",
                "--playground-enabled=false",
                "--metrics-enabled=false",
                "--log-level=none",
            ]);
        }
        Kind::Spicedb(key) => {
            command.args(["serve", "--datastore-engine=memory", "--http-enabled", "--metrics-enabled=false"]);
            command.args(["--telemetry-endpoint=", "--skip-release-check", "--log-level=error"]);
            command.arg(format!("--grpc-preshared-key={key}"));
        }
    }
    command.args(places).args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|e| panic!("{}: {e}", binary.display()))
}

/// Whether the server itself answers, not the front of it.
fn answers(kind: Kind, port: u16) -> bool {
    let request = match kind {
        Kind::Openfga => "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        Kind::Spicedb(key) => format!(
            "POST /v1/schema/read HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        ),
    };
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut answer = String::new();
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    // SpiceDB without a schema says so: 404.
    answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 404")
}

/// A port for a server that cannot choose one, below those that the system hands out by itself: it takes a moment until the server
/// listens, and by then somebody else would have it. Processes that run beside each other begin far from each other.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() * 61 % 12_000).unwrap_or_default();
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 8_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
