//! The program itself: its status, and readers that stop.

use std::process::{Command, Output, Stdio};

#[allow(clippy::unwrap_used, reason = "a program that cannot be started fails the test")]
fn run(arguments: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-check"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    command.stdout(stdout).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn the_status_says_what_was_checked() {
    for (file, status) in [
        ("tests/cases/beside.yaml", 0),
        ("tests/cases/broken.yaml", 1),
        ("tests/imports/istio.yaml", 2),
        ("none", 2),
    ] {
        assert_eq!(run(&[file], Stdio::piped()).status.code(), Some(status), "{file}");
    }
}

#[test]
fn without_a_file_it_says_how_to_give_one() {
    for (arguments, said) in
        [(&["--import"] as &[&str], "make import FROM=FILE"), (&[], "make check CONFIG=FILE")]
    {
        let output = run(arguments, Stdio::piped());
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
}

#[test]
fn an_import_is_written_as_it_is_asked_for() {
    for (form, said) in
        [("config", "providers:"), ("http_filters", "http_filters:"), ("wasmplugin", "kind: WasmPlugin")]
    {
        let output = run(&["--import", "--as", form, "tests/imports/istio.yaml"], Stdio::piped());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().any(|line| line == said), "{form}: {text}");
    }
    let output = run(&["--import", "--as", "toml", "tests/imports/istio.yaml"], Stdio::piped());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("write config, http_filters or wasmplugin"),
        "{output:?}"
    );
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    for arguments in
        [&["tests/cases/beside.yaml"] as &[&str], &["--import", "tests/imports/istio.yaml"], &["--help"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(arguments, writer);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    }
}
