//! `make picture`: draws the dashboard from a real scrape.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match portcullis_tests::observability::picture::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
