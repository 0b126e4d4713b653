//! `demo run` starts the whole chain, `demo token [SUBJECT [KEY ISSUER AUDIENCE]]` prints a token, `demo jwk KEY` a public key, `demo stats` what was counted, `demo upstream [ADDRESS]` is a server that answers
//! with what it received, `demo file ADDRESS PATH` one that answers with a file, `demo compose` writes what docker-compose mounts.

use std::net::SocketAddr;
use std::process::ExitCode;

use portcullis_tests::demo::own::OwnKey;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{compose, demo};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["run"] => demo::run::run().await,
        ["token"] => print_token("ann"),
        ["token", subject] => print_token(subject),
        ["token", subject, key, issuer, audience] => own_token(subject, key, issuer, audience),
        ["jwk", key] => own_jwk(key),
        ["stats"] => demo::stats::stats().await,
        ["upstream"] => upstream("127.0.0.1:8080").await,
        ["upstream", address] => upstream(address).await,
        ["file", address, path] => file(address, path).await,
        ["compose"] => compose::write(),
        _ => Err(
            "usage: demo run | token [SUBJECT [KEY ISSUER AUDIENCE]] | jwk KEY | stats | upstream [ADDRESS] | file ADDRESS PATH | compose"
                .into(),
        ),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn print_token(subject: &str) -> Result<(), String> {
    println!("{}", demo::token(subject, 3600));
    Ok(())
}

fn own_token(subject: &str, key: &str, issuer: &str, audience: &str) -> Result<(), String> {
    println!("{}", OwnKey::read(key)?.token(subject, issuer, audience)?);
    Ok(())
}

fn own_jwk(key: &str) -> Result<(), String> {
    println!("{}", OwnKey::read(key)?.jwk());
    Ok(())
}

async fn file(address: &str, path: &str) -> Result<(), String> {
    let address: SocketAddr = address.parse().map_err(|e| format!("{address}: {e}"))?;
    tokio::select! {
        ended = demo::file::serve(address, path.into()) => ended,
        pressed = tokio::signal::ctrl_c() => pressed.map_err(|e| e.to_string()),
    }
}

async fn upstream(address: &str) -> Result<(), String> {
    let address: SocketAddr = address.parse().map_err(|e| format!("{address}: {e}"))?;
    let server = Upstream::start_on(address).await.map_err(|e| format!("{address}: {e}"))?;
    println!("answering on http://{}; Ctrl-C ends it", server.address());
    tokio::signal::ctrl_c().await.map_err(|e| e.to_string())
}
