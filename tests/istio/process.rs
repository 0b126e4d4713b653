//! A program that runs beside the tests, its log kept for the one that fails.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portcullis_tests::envoy::die_with_us;

/// A running program; it ends when this is dropped.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program, whose log goes to `folder`.
    pub(crate) fn start(
        name: &'static str,
        program: impl AsRef<OsStr>,
        folder: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
    ) -> Process {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).expect("a log");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file);
        die_with_us(&mut command);
        let child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        Process { name, child, log }
    }

    /// Whether it runs still.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits a while for it: some programs end what they started only then.
    #[allow(unsafe_code, reason = "kill(2) of a child that was not waited for")]
    #[allow(clippy::disallowed_methods, reason = "it waits for a condition")]
    pub(crate) fn ask_to_end(&mut self) {
        let Ok(pid) = libc::pid_t::try_from(self.child.id()) else { return };
        // SAFETY: the process is ours, and its id is not reused before it is waited for.
        let _ = unsafe { libc::kill(pid, libc::SIGTERM) };
        for _ in 0..100 {
            if !self.is_running() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
        format!("--- {}\n{}\n", self.name, last.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
