//! As much of the protobuf wire format as SpiceDB's calls and its stream of changes need:
//! <https://protobuf.dev/programming-guides/encoding/>.
//!
//! A generated codec would be larger than the rest of the engine's client, and would link a panicking allocator of its own.

use serde_json::{Map, Value};

/// A field's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// A varint.
    Number(u64),
    /// What has a length.
    Bytes(&'a [u8]),
    /// Of a fixed length; none of our messages has one that is read.
    Fixed,
}

/// Writes a varint.
fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Writes a number; 0 too, for a choice between fields is made by writing one.
pub fn number(out: &mut Vec<u8>, field: u32, n: u64) {
    varint(out, u64::from(field) << 3);
    varint(out, n);
}

/// Writes bytes, text or a message.
pub fn bytes(out: &mut Vec<u8>, field: u32, content: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, u64::try_from(content.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(content);
}

/// Writes a `google.protobuf.Struct`'s content.
#[must_use]
pub fn structure(map: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, json) in map {
        let mut entry = Vec::new();
        bytes(&mut entry, 1, name.as_bytes());
        bytes(&mut entry, 2, &value(json));
        bytes(&mut out, 1, &entry);
    }
    out
}

/// A `google.protobuf.Value`'s content.
fn value(json: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match json {
        Value::Null => number(&mut out, 1, 0),
        Value::Number(n) => {
            varint(&mut out, 2 << 3 | 1);
            out.extend_from_slice(&n.as_f64().unwrap_or(f64::NAN).to_le_bytes());
        }
        Value::String(text) => bytes(&mut out, 3, text.as_bytes()),
        Value::Bool(truth) => number(&mut out, 4, u64::from(*truth)),
        Value::Object(map) => bytes(&mut out, 5, &structure(map)),
        Value::Array(items) => {
            let mut list = Vec::new();
            items.iter().for_each(|item| bytes(&mut list, 1, &value(item)));
            bytes(&mut out, 6, &list);
        }
    }
    out
}

/// How many bytes [`structure`] writes.
#[must_use]
pub fn size_of_structure(map: &Map<String, Value>) -> usize {
    let entry = |(name, json): (&String, &Value)| delimited(name.len()).saturating_add(delimited(size(json)));
    map.iter().map(entry).map(delimited).fold(0, usize::saturating_add)
}

fn size(json: &Value) -> usize {
    match json {
        Value::Null | Value::Bool(_) => 2,
        Value::Number(_) => 9,
        Value::String(text) => delimited(text.len()),
        Value::Object(map) => delimited(size_of_structure(map)),
        Value::Array(items) => {
            delimited(items.iter().map(|item| delimited(size(item))).fold(0, usize::saturating_add))
        }
    }
}

/// With the field's number, which is small here, and the length in front.
fn delimited(length: usize) -> usize {
    let digits = usize::BITS.saturating_sub(length.leading_zeros()).div_ceil(7).max(1);
    usize::try_from(digits).unwrap_or(usize::MAX).saturating_add(1).saturating_add(length)
}

/// The fields of a message, in their order; an `Err` ends what is no message.
#[must_use]
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// An iterator over fields.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut n: u64 = 0;
        for at in 0..10_u32 {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if at == 9 && *byte > 1 {
                return None;
            }
            n |= part.checked_shl(at.checked_mul(7)?)?;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Field<'a>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n))?;
        let content = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            // Groups: nobody writes them any more.
            _ => return None,
        };
        Some((number, content))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_structure_is_written_as_protobuf_has_it() {
        let map = json!({"a": 1, "b": [true, null], "c": {"d": "e"}});
        let expected: Vec<u8> = [
            // a: 1.0
            &[0x0a, 14, 0x0a, 1, b'a', 0x12, 9, 0x11][..],
            &1.0_f64.to_le_bytes(),
            // b: [true, null]
            &[0x0a, 15, 0x0a, 1, b'b', 0x12, 10, 0x32, 8, 0x0a, 2, 0x20, 1, 0x0a, 2, 0x08, 0],
            // c: {d: "e"}
            &[0x0a, 17, 0x0a, 1, b'c', 0x12, 12, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'd', 0x12, 3, 0x1a, 1, b'e'],
        ]
        .concat();
        assert_eq!(structure(map.as_object().unwrap()), expected);
    }

    #[test]
    fn what_is_no_message_ends_in_an_error() {
        for bad in [
            &[0x08][..],
            &[0x0a, 5, 1],
            &[0x00, 1],
            &[0x0b],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x09, 1, 2],
        ] {
            assert_eq!(fields(bad).last(), Some(Err(Malformed)), "{bad:?}");
        }
    }

    #[test]
    fn a_structures_size_is_told_without_writing_it() {
        for text in ["", "a", &"x".repeat(127), &"x".repeat(128), &"x".repeat(20_000)] {
            let json = json!({
                text: text, "n": 0, "t": true, "no": null, "l": [[], [text, 1.5, {"": text}]], "m": {}
            });
            let map = json.as_object().unwrap();
            assert_eq!(size_of_structure(map), structure(map).len(), "{} bytes", text.len());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(parts in prop::collection::vec((1_u32..1 << 29, any::<u64>(), any::<Option<Vec<u8>>>()), 0..20)) {
            let mut message = Vec::new();
            for (field, n, content) in &parts {
                match content {
                    Some(content) => bytes(&mut message, *field, content),
                    None => number(&mut message, *field, *n),
                }
            }
            let read: Vec<_> = fields(&message).collect();
            let expected: Vec<_> = parts.iter().map(|(field, n, content)| {
                Ok((*field, content.as_ref().map_or(Field::Number(*n), |content| Field::Bytes(content))))
            }).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_come_to_an_end(message in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fields(&message).count() <= message.len());
        }
    }
}
