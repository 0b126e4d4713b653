//! Files in, findings out.

use std::path::Path;

use crate::attached::{Chain, Which};
use crate::cross;
use crate::find::{self, File};
use crate::finding::{Finding, Severity};
use crate::load::{self, Loaded};
use crate::modules;

/// What was found.
pub struct Report {
    /// What is wrong, by file and line.
    pub findings: Vec<Finding>,
    /// The chains, each with its plugins as far as they load.
    pub chains: Vec<(Chain, Vec<Option<Loaded>>)>,
}

impl Report {
    /// Whether anything is an error.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.count(Severity::Error) != 0
    }

    /// Whether there was no plugin to check, and nothing that kept it from being found.
    #[must_use]
    pub fn is_about_nothing(&self) -> bool {
        self.chains.is_empty() && self.findings.iter().all(|f| f.problem == find::NOTHING)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// One line that sums it up.
    #[must_use]
    pub fn summary(&self) -> String {
        let plugins = self.chains.iter().map(|(chain, _)| chain.plugins.len()).fold(0, usize::saturating_add);
        let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!(
            "{} in {}: {}, {}",
            some(plugins, "plugin"),
            some(self.chains.len(), "chain"),
            some(self.count(Severity::Error), "error"),
            some(self.count(Severity::Warning), "warning")
        )
    }
}

/// Checks files. `bare` says which filter a configuration is of that stands alone.
#[must_use]
pub fn check(files: &[File], bare: Option<Which>) -> Report {
    let find::Found { chains, mut findings } = find::find(files, bare);
    let load_all = |chain: Chain| {
        let loaded: Vec<Option<Loaded>> =
            chain.plugins.iter().map(|p| load::load(p, &mut findings)).collect();
        let plugins: Vec<cross::Plugin<'_>> =
            chain.plugins.iter().zip(loaded.iter().map(Option::as_ref)).collect();
        findings.extend(cross::check(&chain, &plugins));
        findings.extend(modules::missing(&chain));
        (chain, loaded)
    };
    let chains: Vec<_> = chains.into_iter().map(load_all).collect();
    findings.sort();
    findings.dedup();
    Report { findings, chains }
}

/// The files that a name stands for: itself, what a folder has, or for `-` what stands on `stdin`.
///
/// # Errors
/// What cannot be read, as a finding: file, line and why.
pub fn read(name: &str, stdin: impl FnOnce() -> std::io::Result<Vec<u8>>) -> Result<Vec<File>, String> {
    if name == "-" {
        return Ok(vec![text("stdin", stdin())?]);
    }
    let path = Path::new(name);
    if !path.is_dir() {
        return Ok(vec![text(name, std::fs::read(path))?]);
    }
    let entries = std::fs::read_dir(path).map_err(|e| format!("{name}:1: error: {e}"))?;
    let known = |p: &std::path::PathBuf| {
        let named = p.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        named && p.is_file()
    };
    let mut found: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).filter(known).collect();
    found.sort();
    if found.is_empty() {
        return Err(format!("{name}:1: error: no .yaml, .yml or .json file in this folder"));
    }
    found.into_iter().map(|path| text(&path.display().to_string(), std::fs::read(&path))).collect()
}

fn text(name: &str, content: std::io::Result<Vec<u8>>) -> Result<File, String> {
    let bytes = content.map_err(|e| format!("{name}:1: error: {e}"))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let before = e.as_bytes().iter().take(e.utf8_error().valid_up_to());
        let line = before.filter(|byte| **byte == b'\n').count().saturating_add(1);
        format!("{name}:{line}: error: not UTF-8; save the file as UTF-8")
    })?;
    Ok(File { name: name.into(), text })
}
