//! The rules of jwt_authn, in their order. What cannot be written is guarded.

use serde_json::{Map, Value, json};

use super::differs;
use super::guard::{Guard, Reach};
use super::origin::{self, Origin};
use super::per_route::PerRoute;
use super::requests::{Matched, exactly, matching};
use super::taken::Taken;
use super::{Kind, Left, Lefts};
use crate::yaml::Node;

/// Our rules, while they are made.
pub struct Rules<'a> {
    all: &'a [String],
    map: Option<&'a Node>,
    providers: &'a mut Map<String, Value>,
    guards: Vec<Guard>,
    out: Written,
}

/// Our rules.
#[derive(Default)]
pub struct Written {
    /// The rules.
    pub rules: Vec<Value>,
    /// Whether they say all that the others said.
    pub complete: bool,
    /// Whether a provider was written twice.
    pub cloned: bool,
}

impl<'a> Rules<'a> {
    /// No rules yet. `all` are the names of all providers, `map` the requirements with names.
    pub fn new(all: &'a [String], map: Option<&'a Node>, providers: &'a mut Map<String, Value>) -> Rules<'a> {
        let out = Written { complete: true, ..Written::default() };
        Rules { all, map, providers, guards: Vec::new(), out }
    }

    /// The rules.
    pub fn written(self) -> Written {
        self.out
    }

    /// A requirement of requests that no rule matches, as filter_state_rules are; no rule here says it.
    pub fn protect_the_rest(&mut self) {
        self.out.complete = false;
    }

    /// What a route asks for itself.
    pub fn protect(&mut self, asked: &PerRoute<'_>, lefts: &mut Lefts) {
        let path = format!("{} of {}", asked.field, asked.place);
        let Some(name) = asked.requirement else {
            let why = "there jwt_authn is off in this place; here the rules hold for it: write one with require: none in front, \
                       with its match";
            return lefts.push(Left { kind: Kind::Stricter, line: asked.line, field: path, why: why.into() });
        };
        let need = self.map.and_then(|map| map.get(name)).and_then(|node| self.require(node, &path, lefts));
        let matched = asked.route.and_then(|route| matching(route, "match", &mut Lefts::new()));
        let why = format!(
            "{name} is asked for in this place, whatever the rules say; here the rules alone decide, so those that ask for less are left out \
             and what no rule matches is refused: write a rule in front, with its match"
        );
        lefts.push(Left { kind: Kind::Stricter, line: asked.line, field: path.clone(), why });
        self.guard(matched.as_ref(), need, &path);
    }

    /// Adds the rule, or says why not.
    pub fn take(&mut self, rule: &Node, n: usize, lefts: &mut Lefts) {
        let path = format!("rules[{n}]");
        let taken = Taken::new(rule, path.clone());
        let matched = match taken.take("match") {
            Some(node) => matching(node, &format!("{path}.match"), lefts),
            None => Some(Matched { value: json!({}), beside: None, is_below: false }),
        };
        let name = taken.text("requirement_name");
        let named = name.and_then(|name| self.map?.get(name));
        let require = match taken.take("requires").or(named) {
            None if name.is_some() => None,
            None => Some("none".into()),
            Some(node) => self.require(node, &format!("{path}.requires"), lefts),
        };
        taken.rest(lefts);
        let mut left = |why: String| {
            lefts.push(Left { kind: Kind::Stricter, line: rule.line, field: path.clone(), why });
        };
        let (Some(found), Some(asked)) = (&matched, &require) else {
            left("this rule is left out: write it by hand, at its place".into());
            return self.guard(matched.as_ref(), require, &path);
        };
        if let Some(guard) = self.guards.iter().find(|guard| guard.is_undercut(&found.value, asked)) {
            let rule = &guard.rule;
            left(format!(
                "this rule is left out: requests that {rule} protected there would pass for less here; write both by hand, {rule} in front"
            ));
            return self.guard(matched.as_ref(), require, &path);
        }
        if let Some(prefix) = &found.beside {
            if asked == "none" {
                left(format!(
                    "{prefix}x and the like pass there; here this rule is for {prefix} and what is below it"
                ));
            } else {
                left(format!(
                    "{prefix} also begins {prefix}x there, which this rule protected; here it protects {prefix} and what is below it. {prefix}x \
                     is refused unless a later rule asks for as much"
                ));
                self.beside(prefix, asked.clone(), &path);
            }
        }
        let origin = Origin { line: rule.line, field: path, any: false };
        for matching in exactly(found) {
            self.out.rules.push(origin::mark(json!({"match": matching, "require": asked}), &origin));
        }
    }

    /// Remembers what a rule asked that is not written.
    fn guard(&mut self, matched: Option<&Matched>, need: Option<Value>, path: &str) {
        self.out.complete = false;
        let template = matched.and_then(|m| m.value.get("path")).and_then(Value::as_str);
        let reach = template.map_or(Reach::Everywhere, |template| Reach::Template(template.to_owned()));
        self.guards.push(Guard { reach, need: need.clone(), rule: path.to_owned() });
        if let (Some(prefix), Some(need)) = (matched.and_then(|m| m.beside.as_ref()), need) {
            self.beside(prefix, need, path);
        }
    }

    fn beside(&mut self, prefix: &str, need: Value, path: &str) {
        self.out.complete = false;
        let reach = Reach::Beside(prefix.to_owned());
        self.guards.push(Guard { reach, need: Some(need), rule: path.to_owned() });
    }

    fn known(&self, name: &str) -> Option<String> {
        self.all.iter().find(|known| *known == name).cloned()
    }

    /// The provider that an entry names; a second one if it wants other audiences.
    fn named(&mut self, taken: &Taken<'_>, lefts: &mut Lefts) -> Option<Option<String>> {
        if let Some(name) = taken.text("provider_name") {
            return Some(self.known(name));
        }
        let both = taken.take("provider_and_audiences")?;
        let audiences = both.get("audiences").map(Node::items).unwrap_or_default();
        let audiences: Vec<&str> = audiences.iter().filter_map(Node::text).collect();
        let name = both.text_at(&["provider_name"]).and_then(|name| self.known(name));
        let audiences = differs::audiences(&audiences, taken, lefts);
        Some(name.filter(|_| !audiences.is_empty()).and_then(|name| self.for_audiences(&name, &audiences)))
    }

    fn for_audiences(&mut self, name: &str, audiences: &[String]) -> Option<String> {
        let mut second = self.providers.get(name)?.clone();
        second.as_object_mut()?.insert("audiences".into(), json!(audiences));
        if self.providers.get(name) == Some(&second) {
            return Some(name.to_owned());
        }
        let names = (2_usize..).map(|n| format!("{name}-{n}"));
        let free = names.into_iter().find(|n| self.providers.get(n).is_none_or(|other| *other == second))?;
        self.providers.insert(free.clone(), second);
        self.out.cloned = true;
        Some(free)
    }

    fn require(&mut self, node: &Node, path: &str, lefts: &mut Lefts) -> Option<Value> {
        let taken = Taken::new(node, path);
        let failed = "an invalid token is refused here, whatever may be missing";
        let mut names = Vec::new();
        let mut optional = false;
        let all = self.all;
        if let Some(name) = self.named(&taken, lefts) {
            return Some(json!({"any": [name?]}));
        }
        if taken.take("allow_missing").is_some() {
            return Some(json!({"optional": all}));
        }
        if taken.take("allow_missing_or_failed").is_some() {
            taken.leave(Kind::Stricter, "allow_missing_or_failed", failed, lefts);
            return Some(json!({"optional": all}));
        }
        for (field, word) in [("requires_any", "any"), ("requires_all", "all")] {
            let Some(list) = taken.take(field) else { continue };
            for item in list.get("requirements").map(Node::items).unwrap_or_default() {
                let item = Taken::new(item, format!("{path}.{field}"));
                if let Some(name) = self.named(&item, lefts) {
                    names.push(name?);
                } else if item.take("allow_missing").is_some() {
                    optional = true;
                } else if item.take("allow_missing_or_failed").is_some() {
                    item.leave(Kind::Stricter, "allow_missing_or_failed", failed, lefts);
                    optional = true;
                } else {
                    item.say(
                        Kind::Stricter,
                        "",
                        "requirements within requirements have no counterpart",
                        lefts,
                    );
                    return None;
                }
            }
            return Some(json!({if optional { "optional" } else { word }: names}));
        }
        taken.leave(
            Kind::Stricter,
            "extract_only_without_validation",
            "a token is verified or not looked at",
            lefts,
        );
        None
    }
}
