//! Whether the files of modules are there.

use std::path::Path;

use crate::attached::{Attached, Chain};
use crate::finding::{Finding, Severity};

/// A warning for each plugin whose file is missing from its folder. A folder that is not here is another machine's, a
/// container's, or not built yet, and nothing is said of it.
#[must_use]
pub fn missing(chain: &Chain) -> Vec<Finding> {
    let lost = |name: &str| {
        let folder = Path::new(name).parent().filter(|folder| !folder.as_os_str().is_empty());
        !Path::new(name).exists() && folder.unwrap_or(Path::new(".")).is_dir()
    };
    let named = chain.plugins.iter().filter_map(|p| p.module.as_ref().map(|(name, line)| (p, name, *line)));
    let finding = |(plugin, name, line): (&Attached, &String, usize)| {
        let problem = format!(
            "no file {name}, counted from the working directory, as Envoy does; build it, or correct the name"
        );
        plugin.place.finding(Severity::Warning, line, &plugin.name, "vm_config.code.local.filename", problem)
    };
    named.filter(|(_, name, _)| lost(name)).map(finding).collect()
}
