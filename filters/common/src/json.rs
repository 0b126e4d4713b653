//! JSON that says one thing only: no duplicate members, bounded depth and size.
//!
//! RFC 7515, section 4, and RFC 7519, section 4, let a parser take the last of two members of one name; then two
//! programs read two tokens out of one. Here it is refused, at every depth, after unescaping.
//!
//! serde_json reads; what it reads is kept as one list of nodes over the text, not as a tree of allocations: a token's claims are
//! read once, looked at a few times and then remembered.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may nest.
const MAX_DEPTH: u8 = 32;
/// From how many members on names are looked up in a set; below, a comparison with each is cheaper.
const MANY_MEMBERS: usize = 32;

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
        let text = text.into();
        let mut builder = Builder {
            text: &text,
            unescaped: String::new(),
            nodes: Vec::with_capacity(64),
            names: Vec::new(),
            left: max,
        };
        let mut json = serde_json::Deserializer::from_slice(&text);
        Seed { builder: &mut builder, depth: MAX_DEPTH }.deserialize(&mut json)?;
        json.end()?;
        let Builder { unescaped, nodes, .. } = builder;
        Ok(Document { text, unescaped, nodes })
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

struct Builder<'t> {
    text: &'t [u8],
    unescaped: String,
    nodes: Vec<Node>,
    /// The names of the objects that are being read, innermost last.
    names: Vec<Node>,
    left: u32,
}

impl Builder<'_> {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len().saturating_sub(1)
    }

    /// A string that stands in the text as it is, or had to be unescaped.
    fn string(&mut self, string: &str, borrowed: bool) -> Node {
        let length = narrow(string.len());
        if borrowed {
            let at = (string.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
            return Node::Text { at: narrow(at), length };
        }
        let at = narrow(self.unescaped.len());
        self.unescaped.push_str(string);
        Node::Unescaped { at, length }
    }

    fn bytes(&self, node: Node) -> &[u8] {
        let (bytes, at, length) = match node {
            Node::Text { at, length } => (self.text, at, length),
            Node::Unescaped { at, length } => (self.unescaped.as_bytes(), at, length),
            _ => return b"",
        };
        let from = at as usize;
        bytes.get(from..from.saturating_add(length as usize)).unwrap_or_default()
    }

    /// The names of the object whose first name is number `from`, if one of them stands twice.
    fn repeated(&self, from: usize) -> Option<&[u8]> {
        let names = self.names.get(from..).unwrap_or_default();
        if names.len() > MANY_MEMBERS {
            let mut seen = HashSet::with_capacity(names.len());
            return names.iter().map(|n| self.bytes(*n)).find(|n| !seen.insert(*n));
        }
        names.iter().enumerate().find_map(|(at, name)| {
            let name = self.bytes(*name);
            let before = names.get(..at).unwrap_or_default();
            before.iter().any(|other| self.bytes(*other) == name).then_some(name)
        })
    }
}

/// Positions fit 32 bits: texts are bounded far below.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

struct Seed<'b, 't> {
    builder: &'b mut Builder<'t>,
    depth: u8,
}

impl Seed<'_, '_> {
    fn below<E: Error>(&self) -> Result<u8, E> {
        self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.builder.left =
            self.builder.left.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.builder.push(Node::Null);
        Ok(())
    }

    fn visit_bool<E>(self, b: bool) -> Result<(), E> {
        self.builder.push(Node::Bool(b));
        Ok(())
    }

    fn visit_u64<E>(self, n: u64) -> Result<(), E> {
        self.builder.push(Node::Unsigned(n));
        Ok(())
    }

    fn visit_i64<E>(self, n: i64) -> Result<(), E> {
        self.builder.push(Node::Signed(n));
        Ok(())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<(), E> {
        if !n.is_finite() {
            return Err(E::custom("not a finite number"));
        }
        self.builder.push(Node::Float(n));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, s: &'de str) -> Result<(), E> {
        let node = self.builder.string(s, true);
        self.builder.push(node);
        Ok(())
    }

    fn visit_str<E>(self, s: &str) -> Result<(), E> {
        let node = self.builder.string(s, false);
        self.builder.push(node);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.below()?;
        let builder = self.builder;
        let array = builder.push(Node::Array { end: 0 });
        while seq.next_element_seed(Seed { builder, depth })?.is_some() {}
        let end = narrow(builder.nodes.len());
        if let Some(node) = builder.nodes.get_mut(array) {
            *node = Node::Array { end };
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let depth = self.below()?;
        let builder = self.builder;
        let object = builder.push(Node::Object { end: 0 });
        let first = builder.names.len();
        while access.next_key_seed(Name(builder))?.is_some() {
            access.next_value_seed(Seed { builder, depth })?;
        }
        if let Some(name) = builder.repeated(first) {
            return Err(A::Error::custom(format!("`{}` stands twice", String::from_utf8_lossy(name))));
        }
        builder.names.truncate(first);
        let end = narrow(builder.nodes.len());
        if let Some(node) = builder.nodes.get_mut(object) {
            *node = Node::Object { end };
        }
        Ok(())
    }
}

/// A member's name.
struct Name<'b, 't>(&'b mut Builder<'t>);

impl Name<'_, '_> {
    fn note(self, name: &str, borrowed: bool) {
        let node = self.0.string(name, borrowed);
        self.0.push(node);
        self.0.names.push(node);
    }
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, s: &'de str) -> Result<(), E> {
        self.note(s, true);
        Ok(())
    }

    fn visit_str<E>(self, s: &str) -> Result<(), E> {
        self.note(s, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
        super::object(bytes, 4096)
    }

    #[test]
    fn a_member_stands_once_at_every_depth_and_in_every_spelling() {
        assert!(object(br#"{"a":{"b":[1,2.5,-3,null,true,"x"]}}"#).is_ok());
        let many = (0..50).map(|n| format!(r#""m{n}":{n},"#)).collect::<String>();
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"b":{"a":1},"b":2}"#,
            &format!(r#"{{{many}"m7":0}}"#),
            "[]",
            "1",
            "",
            "{} {}",
            r#"{"a":1e999}"#,
            r#"{"a":NaN}"#,
        ] {
            assert!(object(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
        assert!(object(br#"{"a":{"a":1},"b":{"a":2}}"#).is_ok(), "the same name in two objects");
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert!(object(nested(31).as_bytes()).is_ok());
        assert!(object(nested(32).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
        let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(5_000));
        assert!(object(wide.as_bytes()).is_err());
    }

    #[test]
    fn values_are_found_without_a_tree() {
        let document =
            Document::parse(&br#"{"a":[{"b":"x\ty"},[],{}],"c":{"d":-1},"e":null,"\u0066":2.5}"#[..], 99)
                .unwrap();
        let root = document.root();
        let items: Vec<_> = root.get("a").unwrap().items().collect();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0].get("b").unwrap().text(), Some("x\ty"));
        assert_eq!(root.get("c").unwrap().get("d").unwrap().kind(), Kind::Signed(-1));
        assert!(root.get("e").unwrap().is_null());
        assert_eq!(root.get("f").unwrap().kind(), Kind::Float(2.5));
        assert!(root.get("b").is_none());
        assert_eq!(root.get("a").unwrap().to_json(), r#"[{"b":"x\ty"},[],{}]"#);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(
            text in r#"\{"a":(1|-2|3\.5|"x"|"\\n\\u00e9"|\[1,\["y"\],\{\}\]|\{"b":null,"d":\[\]\})(,"c":(true|0))?\}"#
        ) {
            let loose: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), loose);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Document::parse(bytes, 4096).map(|d| d.root().to_json());
        }
    }
}
