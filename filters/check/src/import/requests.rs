//! Envoy's route matches, as ours.

use serde_json::{Map, Value, json};

use super::taken::Taken;
use super::{Kind, Lefts};
use crate::yaml::Node;

/// Our `match` for one of Envoy's, and where they differ.
#[derive(Debug)]
pub struct Matched {
    /// Ours.
    pub value: Value,
    /// A prefix that also begins other names there: `/api` and `/apiv2`.
    pub beside: Option<String>,
    /// Theirs is `/api/` and what is below it: ours also matches `/api`, unless it is written as [`below`] does.
    pub is_below: bool,
}

/// The templates of all that begins with `base/`: `base` itself, without a slash behind it, is none of it.
pub fn below(base: &str) -> [String; 2] {
    [format!("{base}/"), format!("{base}/{{below}}/**")]
}

/// The matches that together match what theirs does.
pub fn exactly(matched: &Matched) -> Vec<Value> {
    let path = matched.value.get("path").and_then(Value::as_str);
    let Some(base) = path.and_then(|path| path.strip_suffix("/**")).filter(|_| matched.is_below) else {
        return vec![matched.value.clone()];
    };
    let with = |path: String| {
        let mut value = matched.value.clone();
        if let Some(members) = value.as_object_mut() {
            members.insert("path".into(), path.into());
        }
        value
    };
    below(base).map(with).into()
}

/// Our `match` for one of Envoy's; `None` if it says something that ours cannot, which is reported.
pub fn matching(node: &Node, path: &str, lefts: &mut Lefts) -> Option<Matched> {
    let taken = Taken::new(node, path);
    let (mut beside, mut is_below) = (None, false);
    let mut out = Map::new();
    let before = lefts.len();
    if let Some(prefix) = taken.text("prefix") {
        if let Some(template) = template(prefix) {
            let bare = prefix.strip_suffix('/');
            is_below = bare.is_some_and(|bare| !bare.is_empty());
            beside = bare.is_none().then(|| prefix.to_owned());
            if template != "/**" || prefix != "/" {
                out.insert("path".into(), template.into());
            }
        } else {
            taken.leave(Kind::LookAt, "prefix", "no path template can say it; write match by hand", lefts);
            return None;
        }
    }
    if let Some(below) = taken.text("path_separated_prefix") {
        out.insert("path".into(), template(below)?.into());
    }
    if let Some(exact) = taken.text("path") {
        if exact.contains(['{', '}', '*', '%']) {
            taken.leave(Kind::LookAt, "path", "no path template can say it; write match by hand", lefts);
            return None;
        }
        out.insert("path".into(), exact.into());
    }
    if taken.text("case_sensitive") == Some("false") {
        taken.leave(
            Kind::LookAt,
            "case_sensitive",
            "case counts here; write the spellings that there are",
            lefts,
        );
    }
    let mut headers = Vec::new();
    for (n, header) in taken.items("headers").iter().enumerate() {
        self::header(header, &format!("{path}.headers[{n}]"), &mut out, &mut headers, lefts);
    }
    if !headers.is_empty() {
        out.insert("headers".into(), Value::Array(headers));
    }
    taken.rest(lefts);
    (lefts.len() == before).then_some(Matched { value: Value::Object(out), beside, is_below })
}

fn template(prefix: &str) -> Option<String> {
    if !prefix.starts_with('/') || prefix.contains(['{', '}', '*', '%', '?']) {
        return None;
    }
    Some(format!("{}/**", prefix.trim_end_matches('/')))
}

fn header(
    node: &Node,
    path: &str,
    out: &mut Map<String, Value>,
    headers: &mut Vec<Value>,
    lefts: &mut Lefts,
) {
    let taken = Taken::new(node, path);
    let Some(name) = taken.text("name").map(str::to_ascii_lowercase) else { return };
    let matcher = taken.take("string_match").map(|m| Taken::new(m, format!("{path}.string_match")));
    let inner = |name: &str| matcher.as_ref().and_then(|m| m.text(name));
    let exact = taken.text("exact_match").or_else(|| inner("exact"));
    let prefix = taken.text("prefix_match").or_else(|| inner("prefix"));
    let present = taken.text("present_match").map(|p| p == "true");
    let inverted = taken.is_true("invert_match");
    match (&*name, exact, prefix, present, inverted) {
        (":method", Some(method), _, _, false) => {
            out.insert("methods".into(), json!([method]));
        }
        // A port cannot be said, and a rule for all ports would be another one.
        (":authority" | "host", Some(host), _, _, false) if !host.contains(':') => {
            out.insert("hosts".into(), json!([host.to_ascii_lowercase()]));
        }
        (_, Some(value), _, _, false) if !name.starts_with(':') => {
            headers.push(json!({"name": name, "equals": value}))
        }
        (_, _, Some(value), _, false) if !name.starts_with(':') => {
            headers.push(json!({"name": name, "prefix": value}))
        }
        (name, None, None, Some(present), inverted) if present != inverted && !name.starts_with(':') => {
            headers.push(json!({"name": name, "present": true}));
        }
        (_, None, None, Some(present), inverted) if present == inverted && !name.starts_with(':') => {
            headers.push(json!({"name": name, "absent": true}))
        }
        _ => taken.say(Kind::LookAt, "", "no condition on a header can say it; write match by hand", lefts),
    }
    if let Some(matcher) = matcher {
        matcher.rest(lefts);
    }
    taken.rest(lefts);
}
