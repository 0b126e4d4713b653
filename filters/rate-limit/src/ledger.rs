//! What starts afresh after a change of the configuration, said in the log.
//!
//! State is found by names (see [`crate::policy::budget`]); whatever a name holds cannot change and keep its state. The ledger is a
//! line for each limit with a hash of that, left in shared data by the configuration before.

use std::collections::BTreeMap;

use portcullis_common::host::{Cas, Host};

use crate::policy::Policy;

/// Compares with what the configuration before left, logs what starts afresh, and leaves its own.
pub(crate) fn compare(host: &dyn Host, name: &[&str], policy: &Policy) {
    let key = [b"portcullis ledger ", name.join("\0").as_bytes()].concat();
    let now = lines(policy);
    // Another worker may write the same at the same time; whichever is last is as good.
    let before = host.shared_get(&key).ok().flatten();
    let (text, cas) = before.map_or((Vec::new(), Cas::ABSENT), |(bytes, cas)| (bytes, cas));
    let fresh: String = now.iter().map(|(name, what)| format!("{name} {what}\n")).collect();
    if text == fresh.as_bytes() {
        return;
    }
    for changed in changes(&text, &now) {
        log::warn!(
            "{}: {changed} starts afresh: what it counted before cannot be taken over",
            policy.plugin.name
        );
    }
    let _ = host.shared_set(&key, fresh.as_bytes(), cas);
}

fn lines(policy: &Policy) -> BTreeMap<String, String> {
    let limits = policy.limits.iter().map(|l| (l.name.to_string(), l.identity.to_string()));
    limits.chain([("store.size".to_owned(), policy.store.to_string())]).collect()
}

/// The names of what was there before, and was something else.
fn changes(before: &[u8], now: &BTreeMap<String, String>) -> Vec<String> {
    let before = String::from_utf8_lossy(before);
    let known = before.lines().filter_map(|line| line.split_once(' '));
    known
        .filter(|(name, what)| now.get(*name).is_some_and(|n| n != what))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_and_is_something_else_starts_afresh() {
        let now: BTreeMap<String, String> =
            [("a", "1"), ("b", "2"), ("new", "3")].map(|(n, w)| (n.to_owned(), w.to_owned())).into();
        assert_eq!(changes(b"a 1\nb 7\ngone 9\n", &now), ["b"]);
        assert!(changes(b"", &now).is_empty());
        assert!(changes(b"\xff\n", &now).is_empty());
    }
}
