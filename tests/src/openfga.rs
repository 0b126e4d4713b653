//! A real OpenFGA, on a port of its own, its data in memory.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis_rebac::model::{json, parser};
use serde_json::{Value, json};

use crate::client::{self, Response, ask};
use crate::envoy::die_with_us;
use crate::paths;

/// How many times it is asked whether it is ready, ten times a second.
const PATIENCE: u32 = 600;

/// A running OpenFGA; it ends when this is dropped.
pub struct OpenFga {
    process: Child,
    address: SocketAddr,
}

impl OpenFga {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start() -> OpenFga {
        let binary = paths::peer("openfga");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let (address, grpc) = (free(), free());
        let mut command = Command::new(binary);
        command
            .args(["run", "--playground-enabled=false", "--metrics-enabled=false", "--log-level=none"])
            .arg(format!("--http-addr={address}"))
            .arg(format!("--grpc-addr={grpc}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        die_with_us(&mut command);
        let process = command.spawn().expect("OpenFGA starts");
        let mut server = OpenFga { process, address };
        for _ in 0..PATIENCE {
            let ended = server.process.try_wait();
            assert!(matches!(ended, Ok(None)), "OpenFGA ended");
            if client::get(address, "/healthz").await.is_some_and(|answer| answer.status == 200) {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("OpenFGA is not ready");
    }

    /// Where its HTTP interface listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends JSON.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let request = ask(self.address, method, path).header("content-type", "application/json");
        request.header("host", self.address.to_string()).body(body.to_string()).send().await
    }

    /// A new store with this model (as text) and these tuples (as its interface has them): its id.
    ///
    /// # Panics
    /// If the server refuses one of them.
    pub async fn store(&self, model: &str, tuples: &[Value]) -> String {
        let done = async |path: &str, body: &Value| {
            let answer = self.send("POST", path, body).await;
            assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.text());
            answer.json()
        };
        let store = done("/stores", &json!({"name": "portcullis"})).await;
        let store = store["id"].as_str().expect("an id").to_owned();
        let model = json::print(&parser::parse(model).expect("a model"));
        done(&format!("/stores/{store}/authorization-models"), &model).await;
        // A hundred at a time are its limit.
        for tuples in tuples.chunks(100) {
            let path = format!("/stores/{store}/write");
            done(&path, &json!({"writes": {"tuple_keys": tuples}})).await;
        }
        store
    }
}

impl Drop for OpenFga {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
