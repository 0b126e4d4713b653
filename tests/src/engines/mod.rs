//! Real engines of relationships, filled and asked beside the gateway.
//!
//! | module | one idea |
//! |---|---|
//! | this one | a server that is killed, frozen and started again |
//! | [`openfga`] | stores, models, tuples and checks of OpenFGA |
//! | [`spicedb`] | schemas, relationships and checks of SpiceDB |
//! | [`start`] | starting them |

pub mod openfga;
pub mod spicedb;
pub mod start;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Response, ask};
use crate::paths;
use start::{Kind, Server};

/// A server.
pub struct Engine(Server);

impl Engine {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be had, or does not become ready.
    #[must_use]
    pub fn start(kind: Kind, more: &[&str]) -> Engine {
        let name = match kind {
            Kind::Openfga => "openfga",
            Kind::Spicedb(_) => "spicedb",
        };
        Engine(Server::start(kind, &paths::peer(name), more))
    }

    /// Where it speaks HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.0.http))
    }

    /// Where it speaks gRPC.
    #[must_use]
    pub fn grpc(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.0.grpc))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again on the same ports, with nothing in its memory.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// It keeps its connections and does nothing any more.
    ///
    /// # Panics
    /// If it goes on.
    pub async fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        // The thread that takes the signal stops the others, and on a busy machine it may have to wait for its turn.
        for _ in 0..3_000 {
            if self.is_frozen() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not stop");
    }

    fn is_frozen(&self) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.0.pid())) else { return false };
        tasks
            .filter_map(Result::ok)
            .all(|task| fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") T ")))
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    #[allow(unsafe_code, reason = "kill(2)")]
    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.0.pid()).expect("a process");
        // SAFETY: no memory is touched; the process is a child that was not waited for.
        unsafe { libc::kill(pid, signal) };
    }

    /// Sends JSON to it.
    async fn post(&self, path: &str, token: Option<&str>, body: &serde_json::Value) -> Response {
        let request = ask(self.http(), "POST", path).header("content-type", "application/json");
        let request = match token {
            Some(token) => request.bearer(token),
            None => request,
        };
        request.body(body.to_string()).send().await
    }
}
