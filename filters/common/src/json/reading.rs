//! From text to nodes, by way of serde_json, in one pass.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Document, Node};

/// How deep arrays and objects may nest.
const MAX_DEPTH: u8 = 32;
/// From how many members on names are looked up in a set; below, a comparison with each is cheaper.
const MANY_MEMBERS: usize = 32;

/// Reads a value of at most `max` values in all; the errors are those of [`Document::parse`].
pub(super) fn read(text: Box<[u8]>, max: u32) -> Result<Document, serde_json::Error> {
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
