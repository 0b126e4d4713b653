//! What the old configuration asked a token for, and the new one does not say: no later rule may grant it for less.
//!
//! There, the first rule that matches decides. Where such a rule is left out, or covers less here, its requests fall to the
//! rules behind it. Those that ask for less are left out too, and what no rule matches is refused.

use serde_json::Value;

/// Requests that had to meet a requirement.
pub struct Guard {
    /// Where they go.
    pub reach: Reach,
    /// What they had to meet; `None` if that cannot be said here, so that nothing is enough.
    pub need: Option<Value>,
    /// The rule there, as reports call it.
    pub rule: String,
}

/// Paths.
pub enum Reach {
    /// All of them, as far as anybody here can tell.
    Everywhere,
    /// Those of a template: a path, or one with `/**` behind it.
    Template(String),
    /// Those that begin with this and go on within the segment: `/api` and `/apiv2`.
    Beside(String),
}

impl Guard {
    /// Whether a rule behind it would let its requests pass for less.
    #[must_use]
    pub fn is_undercut(&self, matching: &Value, require: &Value) -> bool {
        let path = matching.get("path").and_then(Value::as_str);
        self.reach.meets(path) && !self.need.as_ref().is_some_and(|need| is_enough(require, need))
    }
}

impl Reach {
    /// Whether a rule for these paths (all, without any) can match a request of this reach.
    fn meets(&self, path: Option<&str>) -> bool {
        let Some(path) = path else { return true };
        let below = path.strip_suffix("/**");
        match self {
            Reach::Everywhere => true,
            Reach::Template(own) => {
                is_within(path.trim_end_matches("/**"), own) || is_within(own.trim_end_matches("/**"), path)
            }
            Reach::Beside(prefix) => {
                let beside = |path: &str| {
                    path.strip_prefix(prefix.as_str())
                        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                };
                beside(path) || below.is_some_and(|base| prefix.starts_with(&format!("{base}/")))
            }
        }
    }
}

fn is_within(path: &str, template: &str) -> bool {
    match template.strip_suffix("/**") {
        None => path == template,
        Some(base) => path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// Whether whoever meets `require` also meets `need`, as far as their providers tell.
pub(super) fn is_enough(require: &Value, need: &Value) -> bool {
    let names = |of: &Value, word: &str| of.get(word).and_then(Value::as_array).cloned();
    let (any, all) = (names(require, "any"), names(require, "all"));
    let each_of = |wanted: &[Value]| {
        any.as_ref().is_some_and(|any| any.iter().all(|name| wanted.contains(name)))
            || all.as_ref().is_some_and(|all| all.iter().any(|name| wanted.contains(name)))
    };
    if require == need || need == "none" {
        return true;
    }
    if let Some(wanted) = names(need, "any").or_else(|| names(need, "optional")) {
        let optional = need.get("optional").and(names(require, "optional"));
        return each_of(&wanted) || optional.is_some_and(|o| o.iter().all(|name| wanted.contains(name)));
    }
    names(need, "all")
        .is_some_and(|wanted| all.is_some_and(|all| wanted.iter().all(|name| all.contains(name))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn siblings_are_met_by_what_is_above_and_beside() {
        let reach = Reach::Beside("/api".into());
        for (path, met) in [
            (None, true),
            (Some("/**"), true),
            (Some("/apiv2"), true),
            (Some("/apiv2/**"), true),
            (Some("/api/**"), false),
            (Some("/api"), false),
            (Some("/other/**"), false),
        ] {
            assert_eq!(reach.meets(path), met, "{path:?}");
        }
        let deep = Reach::Beside("/a/b".into());
        assert!(deep.meets(Some("/a/**")) && !deep.meets(Some("/a")) && !deep.meets(Some("/a/b/**")));
        let template = Reach::Template("/a/**".into());
        assert!(template.meets(Some("/a/b")) && template.meets(Some("/**")) && !template.meets(Some("/ab")));
    }

    #[test]
    fn less_is_not_enough() {
        let (a, both, maybe) =
            (json!({"any": ["a"]}), json!({"any": ["a", "b"]}), json!({"optional": ["a"]}));
        let all = json!({"all": ["a", "b"]});
        for (require, need, enough) in [
            (&a, &a, true),
            (&a, &both, true),
            (&both, &a, false),
            (&maybe, &a, false),
            (&a, &maybe, true),
            (&json!("none"), &a, false),
            (&json!("none"), &maybe, false),
            (&all, &a, true),
            (&a, &all, false),
        ] {
            assert_eq!(is_enough(require, need), enough, "{require} for {need}");
        }
    }
}
