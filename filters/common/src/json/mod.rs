//! JSON that says one thing only: no duplicate members, bounded depth and size.
//!
//! RFC 7515, section 4, and RFC 7519, section 4, let a parser take the last of two members of one name; then two
//! programs read two tokens out of one. Here it is refused, at every depth, after unescaping.
//!
//! serde_json reads; what it reads is kept as one list of nodes over the text, not as a tree of allocations: a token's claims are
//! read once, looked at a few times and then remembered.

mod reading;
#[cfg(test)]
mod tests;

use serde::de::Error;
use serde_json::{Map, Number, Value};

/// A parsed text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    text: Box<[u8]>,
    /// Strings that had escapes in them, one after the other.
    unescaped: String,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Of the text.
    Text {
        at: u32,
        length: u32,
    },
    /// Of what was unescaped.
    Unescaped {
        at: u32,
        length: u32,
    },
    /// The items follow, up to the node `end`.
    Array {
        end: u32,
    },
    /// The members follow, names and values by turns, up to the node `end`.
    Object {
        end: u32,
    },
}

/// A value of a document.
#[derive(Clone, Copy)]
pub struct Ref<'a> {
    document: &'a Document,
    at: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are JSON's")]
pub enum Kind<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Array,
    Object,
}

impl Document {
    /// Reads a value of at most `max` values in all, members' names not counted.
    ///
    /// # Errors
    /// If it is no JSON, has a member twice anywhere, nests deeper than 32, holds more values, or is followed by anything.
    pub fn parse(text: impl Into<Box<[u8]>>, max: u32) -> Result<Document, serde_json::Error> {
        reading::read(text.into(), max)
    }

    /// The whole.
    #[must_use]
    pub fn root(&self) -> Ref<'_> {
        Ref { document: self, at: 0 }
    }

    /// The text as it came.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let nodes = self.nodes.len().saturating_mul(size_of::<Node>());
        nodes.saturating_add(self.text.len()).saturating_add(self.unescaped.len())
    }

    fn bytes_of(&self, node: Node) -> Option<&[u8]> {
        let (bytes, at, length) = match node {
            Node::Text { at, length } => (&*self.text, at, length),
            Node::Unescaped { at, length } => (self.unescaped.as_bytes(), at, length),
            _ => return None,
        };
        let from = at as usize;
        bytes.get(from..from.checked_add(length as usize)?)
    }

    fn string(&self, node: Node) -> Option<&str> {
        // Both were UTF-8 when they were read, and are cut where a string began and ended.
        std::str::from_utf8(self.bytes_of(node)?).ok()
    }
}

/// Reads an object as a tree.
///
/// # Errors
/// As [`Document::parse`], and if it is no object.
pub fn object(bytes: &[u8], max: u32) -> Result<Map<String, Value>, serde_json::Error> {
    match Document::parse(bytes, max)?.root().to_value() {
        Value::Object(map) => Ok(map),
        _ => Err(serde_json::Error::custom("not an object")),
    }
}

impl<'a> Ref<'a> {
    fn node(self) -> Node {
        self.document.nodes.get(self.at).copied().unwrap_or(Node::Null)
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind<'a> {
        match self.node() {
            Node::Null => Kind::Null,
            Node::Bool(b) => Kind::Bool(b),
            Node::Unsigned(n) => Kind::Unsigned(n),
            Node::Signed(n) => Kind::Signed(n),
            Node::Float(n) => Kind::Float(n),
            node @ (Node::Text { .. } | Node::Unescaped { .. }) => {
                Kind::Text(self.document.string(node).unwrap_or_default())
            }
            Node::Array { .. } => Kind::Array,
            Node::Object { .. } => Kind::Object,
        }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        self.document.string(self.node())
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(self.node(), Node::Null)
    }

    /// The member called `name`, if it is an object and has one.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Ref<'a>> {
        let named = |(n, _): &(Ref<'a>, Ref<'a>)| self.document.bytes_of(n.node()) == Some(name.as_bytes());
        self.pairs().find(named).map(|(_, value)| value)
    }

    /// The members of an object; none of anything else.
    pub fn members(self) -> impl Iterator<Item = (&'a str, Ref<'a>)> {
        self.pairs().map(|(name, value)| (name.text().unwrap_or_default(), value))
    }

    fn pairs(self) -> impl Iterator<Item = (Ref<'a>, Ref<'a>)> {
        let end = if let Node::Object { end } = self.node() { end as usize } else { 0 };
        let mut at = self.at.saturating_add(1);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let name = Ref { document: self.document, at };
            let value = Ref { document: self.document, at: at.saturating_add(1) };
            at = value.after();
            Some((name, value))
        })
    }

    /// The items of an array; none of anything else.
    pub fn items(self) -> impl Iterator<Item = Ref<'a>> {
        let end = if let Node::Array { end } = self.node() { end as usize } else { 0 };
        let mut at = self.at.saturating_add(1);
        std::iter::from_fn(move || {
            let item = Ref { document: self.document, at };
            (at < end).then(|| {
                at = item.after();
                item
            })
        })
    }

    /// The node behind this value and all that is in it.
    fn after(self) -> usize {
        match self.node() {
            Node::Array { end } | Node::Object { end } => end as usize,
            _ => self.at.saturating_add(1),
        }
    }

    /// As a tree.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self.kind() {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(b),
            Kind::Unsigned(n) => Value::Number(n.into()),
            Kind::Signed(n) => Value::Number(n.into()),
            Kind::Float(n) => Number::from_f64(n).map_or(Value::Null, Value::Number),
            Kind::Text(s) => Value::String(s.to_owned()),
            Kind::Array => Value::Array(self.items().map(Ref::to_value).collect()),
            Kind::Object => {
                Value::Object(self.members().map(|(n, v)| (n.to_owned(), v.to_value())).collect())
            }
        }
    }

    /// As compact JSON text.
    #[must_use]
    pub fn to_json(self) -> String {
        self.to_value().to_string()
    }
}
