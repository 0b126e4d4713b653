//! A mapping that knows which of its fields were looked at.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{Kind, Left, Lefts};
use crate::yaml::Node;

/// A mapping.
pub struct Taken<'n> {
    node: &'n Node,
    path: String,
    seen: RefCell<BTreeSet<&'n str>>,
}

impl<'n> Taken<'n> {
    /// The mapping `node`, called `path` in reports.
    pub fn new(node: &'n Node, path: impl Into<String>) -> Taken<'n> {
        Taken { node, path: path.into(), seen: RefCell::new(["@type"].into()) }
    }

    /// The field `name`.
    pub fn take(&self, name: &str) -> Option<&'n Node> {
        let found = self.node.get(name)?;
        let member = self.node.members().iter().find(|m| std::ptr::eq(&m.value, found))?;
        self.seen.borrow_mut().insert(&member.name);
        Some(found)
    }

    /// The text of the field `name`.
    pub fn text(&self, name: &str) -> Option<&'n str> {
        self.take(name).and_then(Node::text)
    }

    /// Whether the field `name` is true.
    pub fn is_true(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// The items of the field `name`.
    pub fn items(&self, name: &str) -> &'n [Node] {
        self.take(name).map(Node::items).unwrap_or_default()
    }

    /// Reports the field `name`, if it is there.
    pub fn leave(&self, kind: Kind, name: &str, why: &str, lefts: &mut Lefts) {
        if let Some(node) = self.take(name) {
            lefts.push(Left {
                kind,
                line: node.line,
                field: format!("{}.{name}", self.path),
                why: why.to_owned(),
            });
        }
    }

    /// Reports something about the whole mapping, or about a `field` that it may lack.
    pub fn say(&self, kind: Kind, field: &str, why: &str, lefts: &mut Lefts) {
        lefts.push(Left {
            kind,
            line: self.node.line,
            field: if field.is_empty() { self.path.clone() } else { format!("{}.{field}", self.path) },
            why: why.to_owned(),
        });
    }

    /// Reports every field that was not looked at.
    pub fn rest(self, lefts: &mut Lefts) {
        let seen = self.seen.into_inner();
        for member in self.node.members().iter().filter(|m| !seen.contains(m.name.as_str())) {
            let field = format!("{}.{}", self.path, member.name);
            let why = "there is nothing for it here".into();
            lefts.push(Left { kind: Kind::LookAt, line: member.line, field, why });
        }
    }
}
