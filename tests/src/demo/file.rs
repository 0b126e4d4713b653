//! A server that answers every GET with what a file holds at that moment: tuples in docker-compose, which somebody edits.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves until the task is dropped.
///
/// # Errors
/// If the address is taken, or the file cannot be read.
pub async fn serve(address: SocketAddr, path: PathBuf) -> Result<(), String> {
    fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
    let at = listener.local_addr().map_err(|e| e.to_string())?;
    println!("{} is on http://{at}; Ctrl-C ends it", path.display());
    loop {
        let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
        let path = path.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &path);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A client that leaves in the middle is no error of ours.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, path: &Path) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), fs::read(path)) {
        (&Method::GET, Ok(body)) => (StatusCode::OK, body),
        (&Method::GET, Err(_)) => (StatusCode::NOT_FOUND, Vec::new()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, Vec::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
