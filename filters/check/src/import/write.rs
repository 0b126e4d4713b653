//! JSON as YAML that every reader takes for the same.

use serde_json::Value;

/// The value as YAML.
#[must_use]
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                indent(depth, out);
                out.push_str(&text(name));
                out.push(':');
                below(value, depth.saturating_add(1), out);
            }
        }
        Value::Array(items) => {
            for item in items {
                indent(depth, out);
                out.push('-');
                below(item, depth.saturating_add(1), out);
            }
        }
        scalar => {
            out.push_str(&flow(scalar));
            out.push('\n');
        }
    }
}

/// What stands behind a name or a dash: on the same line if it fits.
fn below(value: &Value, depth: usize, out: &mut String) {
    let line = flow(value);
    let is_scalar = !(value.is_object() || value.is_array());
    if is_scalar || line.len() <= 96 {
        out.push(' ');
        out.push_str(&line);
        out.push('\n');
        return;
    }
    out.push('\n');
    block(value, depth, out);
}

fn indent(depth: usize, out: &mut String) {
    (0..depth).for_each(|_| out.push_str("  "));
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(n, v)| format!("{}: {}", text(n), flow(v))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(s) => text(s),
        other => other.to_string(),
    }
}

/// Text in quotes, unless nobody could take it for anything else.
fn text(s: &str) -> String {
    let plain = s.starts_with(|c: char| c.is_ascii_alphabetic())
        && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&&*s.to_ascii_lowercase());
    if plain { s.to_owned() } else { Value::from(s).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Dialect, documents};
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back_by_every_reader() {
        let value = json!({
            "y": "no", "a": [{"b": "{x}", "c": 1}, "1", true, null, "https://a.test/"],
            "long": (0..40).map(|n| format!("item-{n}")).collect::<Vec<_>>(),
            "deep": {"er": {"x".repeat(50): "y".repeat(60), "quote": "a\"b\\c\n"}}
        });
        let text = yaml(&value);
        for dialect in [Dialect::Envoy, Dialect::Kubernetes] {
            assert_eq!(documents(&text).unwrap().remove(0).json(dialect), value, "{text}");
        }
    }
}
