//! Captures that a rule's checks name, held to the rule's path: one that it does not have would refuse every request.

use portcullis_common::config::ConfigError;
use portcullis_common::matching::pattern::Pattern;

use super::error;
use super::rules::{Check, Checks, Filled};

/// Refuses a capture that the path of the rule at `rule` does not have.
///
/// # Errors
/// The first one, and where it stands.
pub(super) fn held(rule: &str, checks: &Checks, pattern: Option<&Pattern>) -> Result<(), ConfigError> {
    let (group, checks) = checks.group();
    for (n, check) in checks.iter().enumerate() {
        for (field, filled) in templates(check) {
            if let Some(source) = filled.template.sources().find(|s| s.is_uncaptured(pattern)) {
                let problem = format!(
                    "{source} is no capture of this rule's path; add {{NAME}} to match.path, or correct it"
                );
                return Err(error(format!("{rule}.checks.{group}[{n}].{field}"), problem));
            }
        }
    }
    Ok(())
}

/// The templates of a check, and their fields.
fn templates(check: &Check) -> Vec<(String, &Filled)> {
    let mut all = vec![("subject".to_owned(), &check.subject), ("object".to_owned(), &check.object)];
    for (n, own) in check.tuples.iter().enumerate() {
        all.push((format!("tuples[{n}].user"), &own.subject));
        all.push((format!("tuples[{n}].object"), &own.object));
    }
    all.extend(check.context.iter().map(|(name, filled)| (format!("context.{name}"), filled)));
    all
}
