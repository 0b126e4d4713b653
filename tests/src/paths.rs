//! Where modules, examples and peers lie.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// A module: `jwt-auth` is `dist/jwt-auth.wasm`; `probe`, `verifier`, `empty-...` and `...-trap` are the tests' own.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn module(name: &str) -> PathBuf {
    let own = ["probe", "verifier"].contains(&name) || name.starts_with("empty-") || name.ends_with("-trap");
    let folder = if own { root().join("target/test-modules") } else { root().join("dist") };
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not there: run `make build`", path.display());
    path
}

/// A peer, fetched or built if this machine does not have it yet.
///
/// # Panics
/// If it cannot be had.
#[must_use]
pub fn peer(name: &str) -> PathBuf {
    let output =
        Command::new(root().join("tests/engines/get")).arg(name).output().expect("tests/engines/get runs");
    assert!(output.status.success(), "tests/engines/get {name}: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}
