//! Programs that know places as in a container: `tests/istio/apart` shows them a file system with what a pod would have mounted there.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::paths;

use crate::process::Process;

/// Why no program can be started like that on this machine; nothing of the program is wrong.
pub(crate) fn missing() -> Option<String> {
    let folder = tempfile::TempDir::new().expect("a folder");
    let tried = Command::new(script()).arg(folder.path()).arg("true").output();
    let why = match tried {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    Some(format!("no file system of its own can be given to a program: {why}"))
}

/// Starts a program in `folder`, for which a file that was [put](put) there stands at the top.
pub(crate) fn start(
    name: &'static str,
    program: &Path,
    folder: &Path,
    arguments: &[String],
    environment: &[(&str, &str)],
) -> Process {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let before = [text(folder), text(program)];
    Process::start(name, script(), folder, &[&before, arguments].concat(), environment)
}

/// Has the program that runs in `folder` see this file. What stands in `/var/lib`, `/etc/hosts` and in new folders at the top can be other
/// than on this machine.
pub(crate) fn put(folder: &Path, place: &str, bytes: impl AsRef<[u8]>) {
    write(&folder.join("over").join(place.trim_start_matches('/')), bytes);
}

/// Writes a file, in folders that need not be there.
pub(crate) fn write(file: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, bytes).expect("a file");
}

fn script() -> std::path::PathBuf {
    paths::root().join("tests/istio/apart")
}
