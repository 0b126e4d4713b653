//! A key server: what it answers is whatever a test makes of it, and every fetch is counted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bootstrap::cluster;

/// A running server; it ends when this is dropped.
pub struct KeyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Answers by path.
    answers: Vec<(String, Answer)>,
    seen: Vec<(String, Instant)>,
    /// How often 304 was enough.
    unchanged: usize,
}

/// What a path answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This JSON, with these seconds of freshness.
    Json(Value, u64),
    /// This JSON under this `ETag`, fresh for a second; who names it is told that it has not changed.
    Tagged(Value, &'static str),
    /// This status and a page of HTML.
    Status(u16),
    /// 200 and this text.
    Text(String),
    /// This many bytes of nothing.
    Long(usize),
    /// The beginning of an answer, and then the end of the connection.
    BreaksOff,
    /// Nothing, for as long as the server runs.
    Hangs,
    /// The JSON, after this long.
    Slow(Value, Duration),
}

impl KeyServer {
    /// Starts a server on a free port, that knows nothing yet.
    ///
    /// # Panics
    /// If there is no port.
    pub async fn start() -> KeyServer {
        KeyServer::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts a server on an address, where one was before.
    ///
    /// # Panics
    /// If it cannot be had.
    pub async fn start_on(address: SocketAddr) -> KeyServer {
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                // Whoever was there before is still leaving.
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let (stop, stopped) = watch::channel(false);
        let server = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut ended = stopped.clone();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => match accepted { Ok((stream, _)) => stream, Err(_) => break },
                    _ = ended.wait_for(|stop| *stop) => break,
                };
                let (server, mut ended) = (Arc::clone(&server), stopped.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&server)));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = connection => {}
                        _ = ended.wait_for(|stop| *stop) => {}
                    }
                });
            }
        });
        KeyServer { address, shared, stop }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The cluster `keys` that leads here.
    #[must_use]
    pub fn cluster(&self) -> Value {
        cluster("keys", self.address, false)
    }

    /// What `clusters` says of this server.
    #[must_use]
    pub fn clusters(&self) -> Value {
        json!({ self.address.to_string(): "keys" })
    }

    /// Sets what a path answers from now on.
    pub fn set(&self, path: &str, answer: Answer) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers.retain(|(known, _)| known != path);
        state.answers.push((path.into(), answer));
    }

    /// Serves these keys at `/keys`, fresh for so many seconds.
    pub fn keys(&self, keys: &[Value], fresh: u64) {
        self.set("/keys", Answer::Json(json!({"keys": keys}), fresh));
    }

    /// Sets what a path answers first, and what from then on.
    pub fn set_once(&self, path: &str, first: Answer, then: Answer) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers.retain(|(known, _)| known != path);
        state.answers.extend([(path.into(), first), (path.into(), then)]);
    }

    /// How often a path was asked for.
    #[must_use]
    pub fn fetches(&self, path: &str) -> usize {
        self.times(path).len()
    }

    /// When a path was asked for.
    #[must_use]
    pub fn times(&self, path: &str) -> Vec<Instant> {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen.iter().filter(|(seen, _)| *seen == path).map(|(_, when)| *when).collect()
    }

    /// How often it was enough to say that nothing changed.
    #[must_use]
    pub fn unchanged(&self) -> usize {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).unchanged
    }

    /// Stops for good, connections and all.
    pub fn stop(&self) {
        let _ = self.stop.send(true);
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<BoxBody<Bytes, std::io::Error>>, Infallible> {
    let path = request.uri().path().to_owned();
    let answer = {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen.push((path.clone(), Instant::now()));
        let mut of_path = state.answers.iter().enumerate().filter(|(_, (known, _))| *known == path);
        let first = of_path.next().map(|(at, (_, answer))| (at, answer.clone()));
        let more = of_path.next().is_some();
        first.map(|(at, answer)| {
            if more {
                state.answers.remove(at);
            }
            answer
        })
    };
    let json = |value: &Value, fresh: u64| {
        Response::builder()
            .header("content-type", "application/json")
            .header("cache-control", format!("public, max-age={fresh}"))
            .body(full(value.to_string()))
    };
    let response = match answer {
        None => Response::builder().status(404).body(full("nothing here")),
        Some(Answer::Json(value, fresh)) => json(&value, fresh),
        Some(Answer::Tagged(_, tag))
            if request.headers().get("if-none-match").is_some_and(|known| known == tag) =>
        {
            shared.state.lock().unwrap_or_else(PoisonError::into_inner).unchanged += 1;
            Response::builder().status(304).header("etag", tag).body(full(""))
        }
        Some(Answer::Tagged(value, tag)) => Response::builder()
            .header("etag", tag)
            .header("cache-control", "max-age=1")
            .body(full(value.to_string())),
        Some(Answer::Slow(value, delay)) => {
            tokio::time::sleep(delay).await;
            json(&value, 60)
        }
        Some(Answer::Status(status)) => Response::builder().status(status).body(full("<html>no</html>")),
        Some(Answer::Text(text)) => Response::builder().body(full(text)),
        Some(Answer::Long(bytes)) => Response::builder().body(full(vec![b' '; bytes])),
        Some(Answer::BreaksOff) => {
            let (sender, receiver) = tokio::sync::mpsc::channel(2);
            tokio::spawn(async move {
                let _ = sender.send(Ok(Frame::data(Bytes::from_static(b"{\"keys\":[")))).await;
                // Long enough for the beginning to be on its way.
                tokio::time::sleep(Duration::from_millis(200)).await;
                let _ = sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).await;
            });
            Response::builder().body(StreamBody::new(Frames(receiver)).boxed())
        }
        Some(Answer::Hangs) => std::future::pending().await,
    };
    Ok(response.expect("a response"))
}

fn full(bytes: impl Into<Bytes>) -> BoxBody<Bytes, std::io::Error> {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

struct Frames(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>);

impl futures_core::Stream for Frames {
    type Item = Result<Frame<Bytes>, std::io::Error>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
