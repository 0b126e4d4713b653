//! `make check`'s program, built with the tests, so that the READMEs' commands need not build it.

fn main() -> std::process::ExitCode {
    portcullis_check::cli::main(std::env::args().skip(1))
}
