//! Very many requests in little time: written as bytes, many under way at once on each connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 8;
/// Requests under way at once on a connection: without them the client's part would be most of the run.
const PIPELINED: usize = 50;

/// Writes request number `n`.
pub type Write = Arc<dyn Fn(usize) -> String + Send + Sync>;

/// A bootstrap that takes pipelined requests. Envoy closes a connection with more than two answers in its queue; with one request
/// a turn it sends each at once.
#[must_use]
pub fn pipelined(mut bootstrap: Value) -> Value {
    let turns = json!({"http.max_requests_per_io_cycle": 1});
    bootstrap["layered_runtime"] = json!({"layers": [{"name": "turns", "static_layer": turns}]});
    bootstrap
}

/// Sends the requests of a range, and counts the answers by status.
///
/// # Panics
/// If an answer fails to come.
pub async fn send(to: SocketAddr, range: Range<usize>, write: &Write) -> BTreeMap<u16, usize> {
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (range, write) = (range.clone(), Arc::clone(write));
            tokio::spawn(async move {
                let mut connected = Flood::open(to).await;
                let numbers: Vec<usize> = range.skip(connection).step_by(CONNECTIONS).collect();
                for batch in numbers.chunks(PIPELINED) {
                    let requests: String = batch.iter().map(|n| write(*n)).collect();
                    connected.send(&requests, batch.len()).await;
                }
                connected.statuses
            })
        })
        .collect();
    let mut all = BTreeMap::new();
    for task in tasks {
        for (status, count) in task.await.expect("all answers") {
            *all.entry(status).or_default() += count;
        }
    }
    all
}

/// A connection, and what came over it.
struct Flood {
    stream: TcpStream,
    unread: Vec<u8>,
    statuses: BTreeMap<u16, usize>,
}

impl Flood {
    async fn open(to: SocketAddr) -> Flood {
        let stream = TcpStream::connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Flood { stream, unread: Vec::new(), statuses: BTreeMap::new() }
    }

    async fn send(&mut self, requests: &str, count: usize) {
        self.stream.write_all(requests.as_bytes()).await.expect("Envoy reads");
        let (mut left, mut chunk) = (count, [0; 16_384]);
        while left != 0 {
            let read = self.stream.read(&mut chunk).await.expect("Envoy answers");
            assert_ne!(read, 0, "Envoy closed: {}", String::from_utf8_lossy(&self.unread));
            self.unread.extend_from_slice(&chunk[..read]);
            let mut at = 0;
            while let Some((status, length)) = answer(&self.unread[at..]) {
                *self.statuses.entry(status).or_default() += 1;
                at += length;
                left -= 1;
            }
            self.unread.drain(..at);
        }
    }
}

/// The status and the length of the answer that these bytes begin with, if all of it is here.
fn answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]);
    let status = text.split(' ').nth(1)?.parse().expect("a status");
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let whole = head + length.unwrap_or(0);
    (bytes.len() >= whole).then_some((status, whole))
}
