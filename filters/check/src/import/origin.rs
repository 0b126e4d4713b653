//! Where a rule comes from, until it is known whether it is of any use.

use serde_json::{Value, json};

/// The member of a rule that says it, until [`take`] takes it out.
const KEPT: &str = "origin";

/// The place of the original.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The line.
    pub line: usize,
    /// What reports call it.
    pub field: String,
    /// Whether a request that meets any rule passes there; else the first one that matches decides.
    pub any: bool,
}

/// Notes where the rule comes from.
#[must_use]
pub fn mark(mut rule: Value, origin: &Origin) -> Value {
    if let Some(members) = rule.as_object_mut() {
        members.insert(KEPT.into(), json!([origin.line, origin.field, origin.any]));
    }
    rule
}

/// Where the rule comes from, which it then says no more.
pub fn take(rule: &mut Value) -> Option<Origin> {
    let kept = rule.as_object_mut()?.remove(KEPT)?;
    let line = usize::try_from(kept.get(0)?.as_u64()?).ok()?;
    Some(Origin { line, field: kept.get(1)?.as_str()?.to_owned(), any: kept.get(2)?.as_bool()? })
}

/// Where the rule comes from.
#[must_use]
pub fn of(rule: &Value) -> Option<Origin> {
    take(&mut rule.clone())
}
