//! Everything that can become of a request, sent to the chain of `envoy/envoy.yaml` by several users.
//!
//! The client keeps its own tally, by what it can see: the status code, and the reason of a refusal.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Ask, Response, ask};
use crate::demo;
use crate::upstream::Upstream;

/// Requests by status code and reason, as the labels `code` and `reason` name them.
pub type Tally = BTreeMap<(String, String), f64>;

/// Who asks: name, and plan.
const USERS: [(&str, &str); 4] = [("ann", "gold"), ("bob", "free"), ("cid", "free"), ("dan", "none")];

/// One request: method, path, whose token (a number of a user), and a header that tells the upstream what to answer.
struct Line(&'static str, &'static str, Option<usize>, Option<(&'static str, &'static str)>);

const LINES: [Line; 15] = [
    Line("GET", "/health", None, None),
    Line("GET", "/orders/1", Some(0), None),
    Line("GET", "/orders/2", Some(1), None),
    Line("GET", "/orders/3", Some(2), None),
    Line("PUT", "/orders/4", Some(0), None),
    Line("POST", "/orders/5", Some(3), None),
    Line("GET", "/orders/6", None, None),
    Line("GET", "/reports/7", Some(1), None),
    Line("GET", "/admin", Some(0), None),
    Line("GET", "/orders/..%2f", Some(0), None),
    Line("GET", "/orders/8;a=b", Some(0), None),
    Line("GET", "/orders/9", Some(0), Some(("x-answer-status", "404"))),
    Line("GET", "/orders/10", Some(1), Some(("x-answer-status", "503"))),
    Line("DELETE", "/orders/11", Some(2), Some(("x-answer-reset", "1"))),
    Line("GET", "/catalog/12", None, None),
];

/// A client with tokens of several users.
pub struct Mix {
    to: SocketAddr,
    tokens: Vec<String>,
    /// What it saw so far.
    pub tally: Tally,
}

impl Mix {
    /// A client of the Envoy at `to`.
    #[must_use]
    pub fn new(to: SocketAddr) -> Mix {
        let token = |(user, plan)| demo::token_with(user, 3600, &json!({"plan": plan}));
        Mix { to, tokens: USERS.map(token).to_vec(), tally: Tally::new() }
    }

    /// Request number `n`.
    fn request(&self, n: usize) -> Ask {
        let Line(method, path, user, told) = &LINES[n];
        let request = ask(self.to, method, path).body("an order");
        let request = user.iter().fold(request, |request, user| request.bearer(&self.tokens[*user]));
        told.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Takes an answer into the tally.
    fn note(&mut self, answer: &Response) {
        let mut reason = answer.reason();
        // Envoy's own words for an upstream that breaks off.
        if answer.status == 503 && answer.text().starts_with("upstream connect error") {
            reason = "upstream_reset".into();
        }
        if answer.status == 400 && answer.body.is_empty() {
            reason = "_OTHER".into();
        }
        *self.tally.entry((answer.status.to_string(), reason)).or_default() += 1.0;
    }

    /// Sends each request once.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn round(&mut self) {
        self.send(0..LINES.len()).await;
    }

    /// Sends more than one user may have at once.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn burst(&mut self) {
        self.send([1; 12]).await;
    }

    async fn send(&mut self, numbers: impl IntoIterator<Item = usize>) {
        let answers = numbers.into_iter().map(|n| tokio::spawn(self.request(n).send())).collect::<Vec<_>>();
        for answer in answers {
            self.note(&answer.await.expect("an answer"));
        }
    }

    /// Asks, and leaves before there is an answer.
    ///
    /// # Panics
    /// If the upstream never gets the request.
    pub async fn leave(&mut self, upstream: &Upstream) {
        let before = upstream.seen();
        let mut stream = TcpStream::connect(self.to).await.expect("a connection");
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nx-answer-hold: 1\r\n\r\n")
            .await
            .expect("it takes requests");
        while upstream.seen() == before {
            tokio::task::yield_now().await;
        }
        *self.tally.entry(("0".into(), "client_gone".into())).or_default() += 1.0;
    }
}
