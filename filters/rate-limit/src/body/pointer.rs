//! `/usage/output_tokens`: a JSON pointer (RFC 6901).

use std::rc::Rc;

use portcullis_common::config::from_text;
use serde::{Deserialize, Deserializer};

/// How many names it may have.
const MAX_NAMES: usize = 8;
/// How long it may be, in bytes.
const MAX_LENGTH: usize = 256;

/// A pointer to a value below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Rc<[Box<[u8]>]>);

impl Pointer {
    /// Reads `/a/b`.
    ///
    /// # Errors
    /// If it is none, or longer than anybody needs.
    pub fn parse(text: &str) -> Result<Pointer, String> {
        let rest = text.strip_prefix('/').ok_or("not a JSON pointer")?;
        let names: Vec<Box<[u8]>> = rest.split('/').map(name).collect::<Result<_, _>>()?;
        if names.len() > MAX_NAMES || text.len() > MAX_LENGTH {
            return Err(format!("longer than {MAX_NAMES} names or {MAX_LENGTH} bytes"));
        }
        Ok(Pointer(names.into()))
    }

    /// How many names it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: the root is no number in an answer that has others.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name at this depth.
    #[must_use]
    pub fn name(&self, depth: usize) -> Option<&[u8]> {
        self.0.get(depth).map(|name| &**name)
    }

    /// Whether the name at this depth is this place in an array.
    #[must_use]
    pub fn is_index(&self, depth: usize, index: usize) -> bool {
        let Some(name) = self.name(depth).and_then(|n| std::str::from_utf8(n).ok()) else { return false };
        // One way to write each number.
        let plain = name == "0" || name.starts_with(|c: char| ('1'..='9').contains(&c));
        plain && name.parse() == Ok(index)
    }
}

/// `~1` is a slash, `~0` a tilde.
fn name(text: &str) -> Result<Box<[u8]>, String> {
    let escaped = text.split('~').skip(1);
    if escaped.clone().any(|after| !after.starts_with(['0', '1'])) {
        return Err("not a JSON pointer: ~ is written ~0 and / is ~1".into());
    }
    Ok(text.replace("~1", "/").replace("~0", "~").into_bytes().into())
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a JSON pointer, such as \"/usage/output_tokens\"", Pointer::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Pointer {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pointer".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "maxLength": MAX_LENGTH, "pattern": "^(/([^/~]|~[01])*)+$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_rfc_6901_has_them() {
        let pointer = Pointer::parse("/a~1b/m~0n/0/").unwrap();
        assert_eq!(pointer.len(), 4);
        assert_eq!(
            (pointer.name(0), pointer.name(1), pointer.name(3)),
            (Some(&b"a/b"[..]), Some(&b"m~n"[..]), Some(&b""[..]))
        );
        assert!(pointer.is_index(2, 0) && !pointer.is_index(2, 1) && !pointer.is_index(0, 0));
        assert_eq!(Pointer::parse("/~01").unwrap().name(0), Some(&b"~1"[..]));
        let index = Pointer::parse("/12/01/+1").unwrap();
        assert!(index.is_index(0, 12) && !index.is_index(1, 1) && !index.is_index(2, 1));
        let (deep, long) = ("/a".repeat(9), format!("/{}", "a".repeat(300)));
        for bad in ["", "usage", "#/usage", "/a~", "/a~2", &deep, &long] {
            assert!(Pointer::parse(bad).is_err(), "{bad}");
        }
    }
}
