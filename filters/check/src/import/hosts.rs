//! Hosts are compared here without port, case and a dot at the end, and byte by byte there: another spelling meets a rule here that it
//! does not meet there.

use serde_json::Value;

use super::guard::is_enough;
use super::origin;
use super::overlap::both;
use super::{Kind, Left, Lefts};

/// Says which rules for hosts ask those spellings for something else than the rules behind them do. `complete` is whether these are all
/// rules that there are.
pub fn compare(rules: &[Value], complete: bool, lefts: &mut Lefts) {
    for (at, rule) in rules.iter().enumerate() {
        let Some(hosts) = rule.get("match").and_then(|m| m.get("hosts")) else { continue };
        let host = hosts.get(0).and_then(Value::as_str).unwrap_or_default();
        let (less, other) = beside(rule, rules.get(at.saturating_add(1)..).unwrap_or_default(), complete);
        let place = origin::of(rule).unwrap_or_default();
        let mut say = |kind, more: &str| {
            let why = format!(
                "{host}:8080 and {host} in capitals or with a dot at its end are this host here and another one there, where the rules behind \
                 decide and ask for {more}"
            );
            lefts.push(Left { kind, line: place.line, field: format!("{}.match.headers", place.field), why });
        };
        if less {
            say(Kind::Weaker, "more: write a rule that may hold for every spelling");
        } else if other {
            say(Kind::Stricter, "something else");
        }
    }
}

/// Whether the rules behind ask the same requests at other hosts for more, and whether for something else.
fn beside(rule: &Value, behind: &[Value], complete: bool) -> (bool, bool) {
    let Some(asked) = rule.get("require") else { return (false, false) };
    let (mut less, mut other) = (false, false);
    let mut rest = rule.get("match").cloned().unwrap_or_default();
    if let Some(members) = rest.as_object_mut() {
        members.remove("hosts");
    }
    for later in behind {
        let (Some(own), Some(require)) = (later.get("match"), later.get("require")) else { continue };
        let Some(met) = both(&rest, own) else { continue };
        less |= !is_enough(asked, require);
        other |= asked != require;
        if met == rest {
            return (less, other);
        }
    }
    (less || !complete, other || asked != "none")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_spelling_is_asked_for() {
        let host = |require: Value| json!({"match": {"hosts": ["a.test"], "path": "/a"}, "require": require});
        let all = |require: Value| json!({"match": {}, "require": require});
        let token = || json!({"any": ["p"]});
        for (rules, complete, kind) in [
            (vec![host("none".into()), all(token())], true, Some(Kind::Weaker)),
            (vec![host(token()), all("none".into())], true, Some(Kind::Stricter)),
            (vec![host(token()), all(token())], true, None),
            (vec![host("none".into())], true, None),
            (vec![host("none".into())], false, Some(Kind::Weaker)),
            (vec![host(token())], true, Some(Kind::Stricter)),
            (vec![host("none".into()), json!({"match": {"path": "/b"}, "require": token()})], true, None),
        ] {
            let mut lefts = Lefts::new();
            compare(&rules, complete, &mut lefts);
            assert_eq!(lefts.first().map(|left| left.kind), kind, "{rules:?}");
        }
    }
}
