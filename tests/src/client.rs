//! Clients: HTTP/1.1, HTTP/2 and gRPC, and raw bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailers.
    pub trailers: HeaderMap,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The first value of a header; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).unwrap_or_default()
    }

    /// The reason in a refusal's body; empty if there is none.
    #[must_use]
    pub fn reason(&self) -> String {
        let body: Option<Value> = serde_json::from_slice(&self.body).ok();
        body.and_then(|b| b["reason"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// gRPC's status, from trailers or from the headers of a trailers-only answer.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u32> {
        let value = self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"))?;
        value.to_str().ok()?.parse().ok()
    }
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Ask {
    to: SocketAddr,
    method: Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    version: Version,
}

/// A request to `to`.
#[must_use]
pub fn ask(to: SocketAddr, method: &str, path: &str) -> Ask {
    let method = method.parse().expect("a method");
    Ask { to, method, path: path.into(), headers: Vec::new(), body: Vec::new(), version: Version::HTTP_11 }
}

/// `GET path`; `None` if nobody answers.
pub async fn get(to: SocketAddr, path: &str) -> Option<Response> {
    ask(to, "GET", path).try_send().await
}

impl Ask {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Adds `authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Ask {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Ask {
        self.body = body.into();
        self
    }

    /// Speaks HTTP/2 with prior knowledge.
    #[must_use]
    pub fn http2(mut self) -> Ask {
        self.version = Version::HTTP_2;
        self
    }

    /// A unary gRPC call with this message.
    #[must_use]
    pub fn grpc(self, message: &[u8]) -> Ask {
        let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        let framed = [&[0], &length[..], message].concat();
        self.http2().header("content-type", "application/grpc").header("te", "trailers").body(framed)
    }

    /// Sends it on a connection of its own.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn send(self) -> Response {
        let what = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|| panic!("no answer to {what}"))
    }

    /// Sends it on a connection of its own; `None` if nobody answers.
    pub async fn try_send(self) -> Option<Response> {
        tokio::time::timeout(PATIENCE, async {
            let mut connection = Connection::open(self.to, self.version).await?;
            connection.send(self).await
        })
        .await
        .ok()?
    }

    fn request(self) -> Option<Request<Full<Bytes>>> {
        let mut uri = Uri::builder().path_and_query(self.path.as_str());
        let host = self
            .headers
            .iter()
            .find(|(n, _)| n == "host")
            .map(|(_, v)| String::from_utf8_lossy(v).into_owned());
        let host = host.unwrap_or_else(|| self.to.to_string());
        if self.version == Version::HTTP_2 {
            uri = uri.scheme("http").authority(host.as_str());
        }
        let mut request = Request::builder().method(self.method).uri(uri.build().ok()?).version(self.version);
        if self.version != Version::HTTP_2 {
            request = request.header("host", host);
        }
        for (name, value) in self.headers.iter().filter(|(n, _)| n != "host") {
            request = request.header(name, http::HeaderValue::from_bytes(value).ok()?);
        }
        request.body(Full::new(self.body.into())).ok()
    }
}

/// A connection that serves many requests, one after the other.
pub enum Connection {
    /// HTTP/1.1
    One(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects.
    pub async fn open(to: SocketAddr, version: Version) -> Option<Connection> {
        let stream = TcpStream::connect(to).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let io = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
            tokio::spawn(connection);
            Some(Connection::Two(sender))
        } else {
            let (sender, connection) = http1::Builder::new().max_headers(2_000).handshake(io).await.ok()?;
            tokio::spawn(connection);
            Some(Connection::One(sender))
        }
    }

    /// The same HTTP/2 connection once more, for a request beside those under way; one worker serves them all. None for HTTP/1.1.
    #[must_use]
    pub fn beside(&self) -> Option<Connection> {
        match self {
            Connection::One(_) => None,
            Connection::Two(sender) => Some(Connection::Two(sender.clone())),
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, ask: Ask) -> Option<Response> {
        let request = ask.request()?;
        let response = match self {
            Connection::One(sender) => {
                sender.ready().await.ok()?;
                sender.send_request(request).await.ok()?
            }
            Connection::Two(sender) => {
                sender.ready().await.ok()?;
                sender.send_request(request).await.ok()?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.ok()?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Some(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }
}

/// Sends bytes as they are and gives back all that comes until the peer closes or says nothing for a while.
///
/// # Panics
/// If there is no connection.
pub async fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    // A server that answers early may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(Ok(n @ 1..)) = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut chunk)).await {
        answer.extend_from_slice(&chunk[..n]);
        if is_complete(&answer) {
            break;
        }
    }
    answer
}

/// Whether these bytes are an HTTP/1 response with all of its body.
fn is_complete(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) => answer.len() >= end + 4 + length,
        None => head.starts_with("http/1.1 1") || head.starts_with("http/1.1 204"),
    }
}
