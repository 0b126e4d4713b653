//! A server that answers with what it received. HTTP/1.1 and HTTP/2 with prior knowledge, gRPC included.
//!
//! | request | answer |
//! |---|---|
//! | any | 200 and JSON: method, path, headers (each a list), body |
//! | `x-answer-status: 503` | that status |
//! | `x-answer-header: NAME=VALUE` | that header too |
//! | `x-answer-type: TYPE` | the request's body as it is, as this type, in pieces of 64 bytes |
//! | path `/quiet` | 200 and `ok`: for benches, which want the same answer to every request |
//! | `x-answer-reset` | none: the connection breaks off |
//! | `upgrade: websocket` | 101, and then the end of the tunnel |
//! | `x-answer-grpc: 5` on a gRPC call | that status |
//! | `x-answer-after: 40` | the same, so many milliseconds later: for load, not for tests |
//! | `x-answer-hold` | nothing, until [`Upstream::release`] |
//! | `content-type: application/grpc` | the same message back, `grpc-status: 0` |
//! | a gRPC method called `Watch` | the message three times, then an open stream |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

type Body = BoxBody<Bytes, Infallible>;

/// A running server; it ends when this is dropped.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<AtomicU64>,
    release: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    /// Starts a server on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start() -> Upstream {
        Upstream::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port")
    }

    /// Starts a server on this address.
    ///
    /// # Errors
    /// If it is taken.
    pub async fn start_on(address: SocketAddr) -> std::io::Result<Upstream> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(AtomicU64::new(0));
        let (release, held) = watch::channel(false);
        let counter = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counter, held) = (Arc::clone(&counter), held.clone());
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        counter.fetch_add(1, Ordering::SeqCst);
                        answer(request, held.clone())
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http1().max_headers(2_000);
                    // A client that leaves in the middle is no error of ours.
                    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Upstream { address, seen, release, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has received.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// Lets go of the requests that were held, and holds none from now on.
    pub fn release(&self) {
        let _ = self.release.send(true);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    mut held: watch::Receiver<bool>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    if text("x-answer-reset").is_some() {
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    if text("upgrade").as_deref() == Some("websocket") {
        let switching =
            Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        return Ok(switching.body(full(Bytes::new())).expect("a response"));
    }
    if text("x-answer-hold").is_some() {
        let _ = held.wait_for(|go| *go).await;
    }
    if let Some(millis) = text("x-answer-after").and_then(|m| m.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    if text("content-type").is_some_and(|t| t.starts_with("application/grpc")) {
        let status = text("x-answer-grpc").unwrap_or_else(|| "0".into());
        return Ok(grpc(body, head.uri.path().ends_with("/Watch"), &status));
    }
    if head.uri.path() == "/quiet" {
        return Ok(Response::new(full(Bytes::from_static(b"ok"))));
    }
    let more = text("x-answer-header");
    let more = more.as_deref().and_then(|h| h.split_once('='));
    if let Some(kind) = text("x-answer-type") {
        let mut response = Response::builder().header("content-type", kind);
        if let Some((name, value)) = more {
            response = response.header(name, value);
        }
        let pieces: Vec<Bytes> = body.chunks(64).map(Bytes::copy_from_slice).collect();
        return Ok(response.body(streamed(pieces)).expect("a response"));
    }
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let value = Value::from(String::from_utf8_lossy(value.as_bytes()));
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        values.as_array_mut().expect("a list").push(value);
    }
    let seen = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("", |p| p.as_str()),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let status = text("x-answer-status").and_then(|s| s.parse::<u16>().ok()).unwrap_or(200);
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if let Some((name, value)) = more {
        response = response.header(name, value);
    }
    let mut bytes = serde_json::to_vec_pretty(&seen).expect("JSON");
    // For the terminals that it is shown in.
    bytes.push(b'\n');
    Ok(response.body(full(bytes.into())).expect("a response"))
}

/// A body of unknown length.
fn streamed(pieces: Vec<Bytes>) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        for piece in pieces {
            let _ = sender.send(Ok(Frame::data(piece))).await;
        }
    });
    StreamBody::new(Frames(receiver)).boxed()
}

fn full(bytes: Bytes) -> Body {
    http_body_util::Full::new(bytes).boxed()
}

fn grpc(message: Bytes, watch: bool, status: &str) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().expect("a value"));
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(8);
    tokio::spawn(async move {
        for _ in 0..if watch { 3 } else { 1 } {
            let _ = sender.send(Ok(Frame::data(message.clone()))).await;
        }
        if watch {
            sender.closed().await;
        } else {
            let _ = sender.send(Ok(Frame::trailers(trailers))).await;
        }
    });
    let frames = Frames(receiver);
    Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(frames).boxed())
        .expect("a response")
}

struct Frames(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl futures_core::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
