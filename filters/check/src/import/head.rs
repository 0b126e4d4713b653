//! GET covers HEAD here, and not there: what the rules behind it said of HEAD is written in front.

use serde_json::{Value, json};

use super::origin;
use super::overlap::{both, covers};

/// The rules, with those for HEAD in front of each one for GET that would answer it otherwise. `rest` is asked of requests that no rule
/// matches.
#[must_use]
pub fn apart(rules: Vec<Value>, rest: &Value) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let pieces = pieces(rule, rules.get(at..).unwrap_or_default(), rest);
        let asked = rule.get("require");
        if pieces.iter().any(|piece| piece.get("require") != asked) {
            for piece in pieces {
                // What stands in front decides already.
                let decided = |earlier: &Value| meets_head(earlier) && is_covered(earlier, &piece);
                if !out.iter().any(decided) {
                    out.push(piece);
                }
            }
        }
        out.push(rule.clone());
    }
    out
}

/// A requirement that nobody meets: every token that verifies has an issuer.
#[must_use]
pub fn nobody(names: &[String]) -> Value {
    json!({"any": names, "claims": [{"value": "issuer", "forbidden": true}]})
}

/// For a rule about GET and not about HEAD: what it and the rules behind it say of its HEAD requests.
fn pieces(rule: &Value, from: &[Value], rest: &Value) -> Vec<Value> {
    let Some(matching) = rule.get("match").filter(|m| is_get(m)) else { return Vec::new() };
    let place = origin::of(rule).unwrap_or_default();
    let mut head = matching.clone();
    if let Some(members) = head.as_object_mut() {
        members.insert("methods".into(), json!(["HEAD"]));
    }
    let piece = |matching: Value, require: &Value| {
        origin::mark(json!({"match": matching, "require": require}), &place)
    };
    let mut pieces = Vec::new();
    for later in from.iter().filter(|later| meets_head(later)) {
        let (Some(own), Some(require)) = (later.get("match"), later.get("require")) else { continue };
        let Some(met) = both(&head, own) else { continue };
        let whole = met == head;
        pieces.push(piece(met, require));
        if whole {
            return pieces;
        }
    }
    pieces.push(piece(head, rest));
    pieces
}

fn methods(matching: &Value) -> Option<&Vec<Value>> {
    matching.get("methods")?.as_array()
}

fn is_get(matching: &Value) -> bool {
    methods(matching).is_some_and(|m| m.contains(&json!("GET")) && !m.contains(&json!("HEAD")))
}

/// Whether the rule was about HEAD there.
fn meets_head(rule: &Value) -> bool {
    rule.get("match").is_some_and(|m| methods(m).is_none_or(|m| m.contains(&json!("HEAD"))))
}

fn is_covered(by: &Value, rule: &Value) -> bool {
    by.get("match").zip(rule.get("match")).is_some_and(|(by, own)| covers(by, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(matching: Value, require: &str) -> Value {
        json!({"match": matching, "require": require})
    }

    fn shown(rules: Vec<Value>) -> Vec<Value> {
        apart(rules, &json!("rest"))
            .into_iter()
            .map(|mut rule| {
                origin::take(&mut rule);
                rule
            })
            .collect()
    }

    #[test]
    fn head_is_asked_for_what_the_rules_behind_ask() {
        let get = json!({"methods": ["GET"], "path": "/a/**"});
        let head = |path: &str| json!({"methods": ["HEAD"], "path": path});
        let all = rule(json!({}), "token");
        assert_eq!(
            shown(vec![rule(get.clone(), "none"), all.clone()]),
            [rule(head("/a/**"), "token"), rule(get.clone(), "none"), all.clone()]
        );
        let inner = rule(json!({"path": "/a/b"}), "other");
        assert_eq!(
            shown(vec![rule(get.clone(), "none"), inner.clone()]),
            [rule(head("/a/b"), "other"), rule(head("/a/**"), "rest"), rule(get.clone(), "none"), inner]
        );
        let same = vec![rule(get.clone(), "token"), all.clone()];
        assert_eq!(shown(same.clone()), same);
        let decided =
            vec![rule(json!({"path": "/a/**", "methods": ["HEAD"]}), "x"), rule(get.clone(), "none"), all];
        assert_eq!(shown(decided.clone()), decided);
        let both = vec![rule(json!({"methods": ["GET", "HEAD"]}), "none")];
        assert_eq!(shown(both.clone()), both);
    }
}
