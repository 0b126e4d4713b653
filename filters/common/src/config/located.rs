//! A deserializer over JSON whose errors know their path and say what to write instead.
//!
//! `serde_path_to_error` does the first half, at 45 KiB a filter: it wraps every visitor of every type. Here the path is
//! put together while an error passes up, by the one deserializer that there is.

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// A value to deserialize from.
#[derive(Clone, Copy)]
pub(super) struct Located<'v>(pub(super) &'v Value);

/// What is wrong, and where. Behind a pointer, for it passes through every reader of every field.
#[derive(Debug)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    path: String,
    text: String,
}

impl Problem {
    #[cold]
    #[inline(never)]
    fn new(text: String) -> Problem {
        Problem(Box::new(Inner { path: String::new(), text }))
    }

    #[cold]
    #[inline(never)]
    fn at(mut self, place: &str) -> Problem {
        let path = &self.0.path;
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        self.0.path = format!("{place}{dot}{path}");
        self
    }

    #[cold]
    #[inline(never)]
    fn at_item(self, at: usize) -> Problem {
        self.at(&format!("[{at}]"))
    }

    /// The path, and what is wrong there.
    pub(super) fn into_parts(self) -> (String, String) {
        (self.0.path, self.0.text)
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.path, self.0.text)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: Display>(message: T) -> Self {
        Problem::new(message.to_string())
    }

    #[cold]
    #[inline(never)]
    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        match found {
            // What stands where it should not may be a secret.
            Unexpected::Str(_) => Self::custom(format_args!("text does not fit; write {wanted}")),
            // The words of YAML's users, not serde's.
            Unexpected::Seq => Self::custom(format_args!("a list does not fit; write {wanted}")),
            Unexpected::Map => Self::custom(format_args!("an object does not fit; write {wanted}")),
            found => Self::custom(format_args!("{found} does not fit; write {wanted}")),
        }
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn invalid_length(length: usize, wanted: &dyn Expected) -> Self {
        Self::custom(format_args!("{length} items do not fit; write {wanted}"))
    }

    #[cold]
    #[inline(never)]
    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!("`{variant}` does not fit; write one of {}", known.join(", ")))
    }

    #[cold]
    #[inline(never)]
    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!("no such field; the fields here are {}", known.join(", "))).at(field)
    }

    #[cold]
    #[inline(never)]
    fn missing_field(field: &'static str) -> Self {
        Self::custom("missing; it is required, the README's table says what it takes").at(field)
    }
}

/// What a reader asks for is all that it is given: one that wants a map never meets a list, so that the code which serde derives
/// for lists is not even linked.
impl<'de> Deserializer<'de> for Located<'_> {
    type Error = Problem;

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Bool(b) => visitor.visit_bool(*b),
            other => Err(mismatch(other, &visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::String(s) => visitor.visit_str(s),
            other => Err(mismatch(other, &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), at: 0 }),
            other => Err(de::Error::invalid_type(unexpected(other), &"a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Members { members: members.iter(), value: None }),
            other => Err(mismatch(other, &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Members { members: members.iter(), value: None }),
            other => Err(no_object(other, fields, &visitor)),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(n), _, _) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (_, _, n) => visitor.visit_f64(n.unwrap_or(f64::NAN)),
            },
            Value::String(s) => visitor.visit_str(s),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), at: 0 }),
            Value::Object(members) => visitor.visit_map(Members { members: members.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        struct Text;
        impl Expected for Text {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
        }
        match self.0 {
            Value::String(s) => {
                let variant: StrDeserializer<'_, Problem> = s.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            other => Err(de::Error::invalid_type(unexpected(other), &Text)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

#[cold]
#[inline(never)]
fn mismatch(found: &Value, wanted: &dyn Expected) -> Problem {
    de::Error::invalid_type(unexpected(found), wanted)
}

/// serde's own word for an object is the name of a type of ours, which tells nobody anything.
#[cold]
#[inline(never)]
fn no_object(found: &Value, fields: &[&str], wanted: &dyn Expected) -> Problem {
    if wanted.to_string().starts_with("struct ") {
        let fields = format!("an object with {}", fields.join(", "));
        return de::Error::invalid_type(unexpected(found), &fields.as_str());
    }
    mismatch(found, wanted)
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(b) => Unexpected::Bool(*b),
        Value::Number(n) => n.as_u64().map_or(Unexpected::Other("a number"), Unexpected::Unsigned),
        Value::String(s) => Unexpected::Str(s),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

struct Items<'v> {
    items: std::slice::Iter<'v, Value>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.at;
        self.at = at.saturating_add(1);
        seed.deserialize(Located(item)).map(Some).map_err(|p| p.at_item(at))
    }
}

struct Members<'v> {
    members: serde_json::map::Iter<'v>,
    value: Option<(&'v str, &'v Value)>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        self.value = Some((name, value));
        let key: StrDeserializer<'_, Problem> = name.as_str().into_deserializer();
        let named = |p: Problem| if p.0.path.is_empty() { p.at(name) } else { p };
        seed.deserialize(key).map(Some).map_err(named)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let Some((name, value)) = self.value.take() else {
            return Err(de::Error::custom("a value without its name"));
        };
        seed.deserialize(Located(value)).map_err(|p| p.at(name))
    }
}
