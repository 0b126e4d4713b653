//! `portcullis-check`: checks configurations, and says what a request would get.

fn main() -> std::process::ExitCode {
    portcullis_check::cli::main(std::env::args().skip(1))
}
