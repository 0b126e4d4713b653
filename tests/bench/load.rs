//! Sends requests over a few connections that stay open.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Version;
use portcullis_tests::client::{Connection, ask};

/// A worker that is busy: with fewer, it sleeps between requests and every variant pays for cold caches, with more noise than
/// difference.
const CONNECTIONS: usize = 64;

/// What a variant is sent: the same each time, or one after the other.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) path: &'static str,
    /// Values for `authorization`; empty for none.
    pub(crate) tokens: Arc<Vec<String>>,
}

/// Sends `count` requests, from position `from` of the tokens on.
pub(crate) async fn send(to: SocketAddr, requests: &Requests, from: usize, count: usize) {
    let tasks = (0..CONNECTIONS).map(|n| {
        let requests = requests.clone();
        tokio::spawn(async move {
            let mut connection = Connection::open(to, Version::HTTP_11).await.expect("a connection");
            for i in (n..count).step_by(CONNECTIONS) {
                let mut request =
                    ask(to, "GET", requests.path).header("user-agent", "bench").header("accept", "*/*");
                if !requests.tokens.is_empty() {
                    request = request.bearer(&requests.tokens[(from + i) % requests.tokens.len()]);
                }
                let response = connection.send(request).await.expect("an answer");
                assert_eq!(response.status, 200, "{}", response.text());
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the load is sent");
    }
}
