//! The requests that two matches both match, as far as the import writes matches.

use serde_json::{Map, Value, json};

/// The match of all that both match; `None` if no request meets both.
#[must_use]
pub fn both(a: &Value, b: &Value) -> Option<Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        out.extend(value.map(|value| (name.to_owned(), value)));
    };
    put("hosts", lists(a, b, "hosts", host)?);
    put("methods", lists(a, b, "methods", |a, b| (a == b).then(|| a.to_owned()))?);
    put("path", paths(a, b)?);
    put("headers", headers(a, b)?);
    Some(Value::Object(out))
}

/// What two lists have in common, where one that is missing is everything; `None` if that is nothing.
fn lists(
    a: &Value,
    b: &Value,
    name: &str,
    meet: impl Fn(&str, &str) -> Option<String>,
) -> Option<Option<Value>> {
    let (a, b) = match (a.get(name), b.get(name)) {
        (None, other) | (other, None) => return Some(other.cloned()),
        (Some(a), Some(b)) => (a.as_array()?, b.as_array()?),
    };
    let texts =
        |list: &Vec<Value>| list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let mut common: Vec<String> = Vec::new();
    for a in texts(a) {
        common.extend(
            texts(b).iter().filter_map(|b| meet(&a, b)).filter(|c| !common.contains(c)).collect::<Vec<_>>(),
        );
    }
    (!common.is_empty()).then(|| Some(json!(common)))
}

/// The narrower of two hosts, one of which may be `*.suffix`.
fn host(a: &str, b: &str) -> Option<String> {
    let within =
        |host: &str, of: &str| host == of || of.strip_prefix('*').is_some_and(|end| host.ends_with(end));
    if within(a, b) { Some(a.to_owned()) } else { within(b, a).then(|| b.to_owned()) }
}

fn paths(a: &Value, b: &Value) -> Option<Option<Value>> {
    let text = |of: &Value| of.get("path").and_then(Value::as_str).map(str::to_owned);
    match (text(a), text(b)) {
        (None, other) | (other, None) => Some(other.map(Value::from)),
        (Some(a), Some(b)) => Some(Some(templates(&a, &b)?.into())),
    }
}

/// The template of the paths that both match.
fn templates(a: &str, b: &str) -> Option<String> {
    let split = |template: &str| -> (Vec<String>, bool) {
        let below = template.strip_suffix("/**");
        let segments = below.unwrap_or(template).split('/').skip(1).map(str::to_owned);
        (segments.collect(), below.is_some())
    };
    let ((first, first_rest), (second, second_rest)) = (split(a), split(b));
    let (longer, shorter, open) = if first.len() >= second.len() {
        (&first, &second, second_rest)
    } else {
        (&second, &first, first_rest)
    };
    if longer.len() > shorter.len() && !open {
        // A path with a slash at its end is below, too.
        return None;
    }
    let is_capture = |segment: &str| segment.starts_with('{');
    let mut out: Vec<String> = Vec::new();
    for (n, segment) in longer.iter().enumerate() {
        let other = shorter.get(n).unwrap_or(segment);
        let met = match (is_capture(segment), is_capture(other)) {
            (false, false) if segment != other => return None,
            (true, false) if other.is_empty() => return None,
            (false, true) if segment.is_empty() => return None,
            (true, false) => other.clone(),
            (true, true) if out.contains(segment) => format!("{{s{n}}}"),
            _ => segment.clone(),
        };
        out.push(met);
    }
    let rest = first_rest && second_rest;
    let end = if rest { "/**" } else { "" };
    Some(format!("/{}{end}", out.join("/")).replacen("//**", "/**", 1))
}

/// The conditions of both, unless they contradict each other.
fn headers(a: &Value, b: &Value) -> Option<Option<Value>> {
    let listed = |of: &Value| of.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = listed(a);
    for header in listed(b) {
        let same =
            |name: &str| all.iter().any(|h| h.get("name") == header.get("name") && h.get(name).is_some());
        let wants = |name: &str| header.get(name).is_some();
        let equals = |other: &Value| {
            other.get("name") == header.get("name")
                && other.get("equals").zip(header.get("equals")).is_some_and(|(a, b)| a != b)
        };
        let is_absent = same("absent") && !wants("absent")
            || wants("absent") && (same("equals") || same("prefix") || same("present"));
        if is_absent || all.iter().any(equals) {
            return None;
        }
        if !all.contains(&header) {
            all.push(header);
        }
    }
    Some((!all.is_empty()).then_some(Value::Array(all)))
}

/// Whether `wide` matches whatever `narrow` does.
#[must_use]
pub fn covers(wide: &Value, narrow: &Value) -> bool {
    both(narrow, wide).is_some_and(|met| met == *narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_match_is_a_match() {
        for (a, b, met) in [
            (json!({}), json!({"path": "/a"}), Some(json!({"path": "/a"}))),
            (json!({"path": "/a/**"}), json!({"path": "/a"}), Some(json!({"path": "/a"}))),
            (json!({"path": "/a/**"}), json!({"path": "/a/"}), Some(json!({"path": "/a/"}))),
            (json!({"path": "/**"}), json!({"path": "/a/{b}/**"}), Some(json!({"path": "/a/{b}/**"}))),
            (json!({"path": "/a/{p}"}), json!({"path": "/{q}/b"}), Some(json!({"path": "/a/b"}))),
            (
                json!({"path": "/a/{p}/**"}),
                json!({"path": "/a/x/{p}/**"}),
                Some(json!({"path": "/a/x/{p}/**"})),
            ),
            (json!({"path": "/a/{p}"}), json!({"path": "/a/"}), None),
            (json!({"path": "/a"}), json!({"path": "/a/b"}), None),
            (json!({"path": "/a/**"}), json!({"path": "/b/**"}), None),
            (
                json!({"methods": ["GET", "PUT"]}),
                json!({"methods": ["PUT"]}),
                Some(json!({"methods": ["PUT"]})),
            ),
            (json!({"methods": ["GET"]}), json!({"methods": ["PUT"]}), None),
            (
                json!({"hosts": ["*.a.test"]}),
                json!({"hosts": ["b.a.test", "c.test"]}),
                Some(json!({"hosts": ["b.a.test"]})),
            ),
            (
                json!({"headers": [{"name": "x", "equals": "1"}]}),
                json!({"headers": [{"name": "x", "equals": "2"}]}),
                None,
            ),
            (
                json!({"headers": [{"name": "x", "equals": "1"}]}),
                json!({"headers": [{"name": "y", "present": true}]}),
                Some(json!({"headers": [{"name": "x", "equals": "1"}, {"name": "y", "present": true}]})),
            ),
            (
                json!({"headers": [{"name": "x", "absent": true}]}),
                json!({"headers": [{"name": "x", "prefix": "2"}]}),
                None,
            ),
        ] {
            assert_eq!(both(&a, &b), met, "{a} and {b}");
            assert_eq!(both(&b, &a).is_some(), met.is_some(), "{b} and {a}");
        }
        assert!(covers(&json!({}), &json!({"path": "/a"})) && !covers(&json!({"path": "/a"}), &json!({})));
        assert!(covers(&json!({"path": "/a/**"}), &json!({"path": "/a/{b}", "methods": ["HEAD"]})));
    }
}
