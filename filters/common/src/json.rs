//! JSON that says one thing only: no duplicate members, bounded depth.
//!
//! RFC 7515, section 4, and RFC 7519, section 4, let a parser take the last of two members of one name; then two
//! programs read two tokens out of one. Here it is refused, at every depth, after unescaping.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may nest.
const MAX_DEPTH: u8 = 32;

/// Reads an object of at most `max` values, all arrays, objects and their contents counted.
///
/// # Errors
/// If it is none, has a member twice anywhere, nests deeper than 32, holds more values, or is followed by anything.
pub fn object(bytes: &[u8], max: u32) -> Result<Map<String, Value>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut left = max;
    let value = Strict { depth: MAX_DEPTH, left: &mut left }.deserialize(&mut json)?;
    json.end()?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(serde_json::Error::custom("not an object")),
    }
}

struct Strict<'a> {
    depth: u8,
    left: &'a mut u32,
}

impl Strict<'_> {
    fn below<E: Error>(&mut self) -> Result<Strict<'_>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Strict { depth, left: self.left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(Value::Number(n.into()))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Number(n.into()))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        Number::from_f64(n).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::String(s.to_owned()))
    }

    fn visit_string<E>(self, s: String) -> Result<Value, E> {
        Ok(Value::String(s))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.below()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(self.below()?)?;
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` stands twice")));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use super::*;

    fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
        super::object(bytes, 4096)
    }

    #[test]
    fn a_member_stands_once_at_every_depth_and_in_every_spelling() {
        assert!(object(br#"{"a":{"b":[1,2.5,-3,null,true,"x"]}}"#).is_ok());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
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

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(text in r#"\{"a":(1|-2|3\.5|"x"|\[1,"y"\]|\{"b":null\})(,"c":(true|0))?\}"#) {
            let loose: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), loose);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = object(&bytes);
        }
    }
}
