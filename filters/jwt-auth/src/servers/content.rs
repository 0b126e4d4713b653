//! What the content of a source is made into: keys or a deny list.

use std::rc::Rc;

use portcullis_common::json;
use portcullis_common::mode::OnError;
use portcullis_common::snapshot::target::Target;
use portcullis_common::snapshot::{Reader, Unfit};
use serde_json::{Map, Value};

use super::list;
use crate::deny::Deny;
use crate::discovery::Discovery;
use crate::keys::{KeySet, MAX_KEYS};

/// The most values that a key may have.
const MAX_VALUES: u32 = 256;

/// What a source's content was made into.
#[derive(Debug)]
pub(super) enum Known {
    Keys { uses: &'static [&'static str], discovery: Option<Rc<Discovery>>, set: KeySet, skipped: usize },
    Deny { list: Deny, on_error: OnError },
}

impl Known {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Known::Keys { .. } => "keys",
            Known::Deny { .. } => "deny",
        }
    }

    /// What is held, and what was left out.
    pub(super) fn counts(&self) -> (usize, usize) {
        match self {
            Known::Keys { set, skipped, .. } => (set.len(), *skipped),
            Known::Deny { list, .. } => (list.len(), 0),
        }
    }
}

impl Reader for Known {
    fn accept(&mut self, content: &[u8]) -> Result<(), Unfit> {
        match self {
            Known::Keys { uses, set, skipped, .. } => {
                (*set, *skipped) = read_keys(content, uses)?;
            }
            Known::Deny { list, .. } => *list = Deny::read(content)?,
        }
        Ok(())
    }

    fn follow(&mut self, hop: u8, body: &[u8]) -> Result<Option<Target>, Unfit> {
        match self {
            Known::Keys { discovery: Some(discovery), .. } if hop == 0 => discovery.follow(body).map(Some),
            _ => Ok(None),
        }
    }
}

/// Reads a fetched key set (RFC 7517, section 5): the keys, and how many were left out. A secret is no secret once it lay on a
/// server, so those are left out too.
///
/// # Errors
/// If it is no key set, or holds no key that can be used.
pub fn read_keys(body: &[u8], uses: &[&str]) -> Result<(KeySet, usize), Unfit> {
    let all = list::items(body, "keys", MAX_KEYS)
        .ok_or(Unfit("the key set is no JSON object with one list of keys"))?;
    if all.len() > MAX_KEYS {
        return Err(Unfit("the key set has more than 256 keys"));
    }
    let count = all.len();
    // Each by itself: one that says two things, or is no key at all, is left out, and the others are not to blame.
    let public = |text: &[u8]| match json::object(text, MAX_VALUES) {
        Ok(jwk) if jwk.get("kty").and_then(Value::as_str) != Some("oct") => Some(jwk),
        _ => None,
    };
    let keys: Vec<Map<String, Value>> = all.into_iter().filter_map(public).collect();
    let (set, _) = KeySet::load_for(&keys, uses).map_err(Unfit)?;
    if set.is_empty() {
        return Err(Unfit("the key set has no key that can be used"));
    }
    let skipped = count.saturating_sub(set.len());
    Ok((set, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::known_answers as known;

    fn jwk(kid: &str) -> String {
        format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{}","e":"AQAB"}}"#, known::RSA_N)
    }

    fn read(keys: &str) -> Result<(usize, usize), Unfit> {
        read_keys(format!(r#"{{"keys":[{keys}],"x":1}}"#).as_bytes(), &["sig"]).map(|(set, n)| (set.len(), n))
    }

    #[test]
    fn a_bad_key_is_left_out_and_the_others_count() {
        assert_eq!(read(&jwk("a")), Ok((1, 0)));
        let secret = format!(r#"{{"kty":"oct","k":"{}"}}"#, "A".repeat(43));
        let deep = format!(r#"{{"kty":"RSA","x":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
        let twice = jwk("b").replace("}", r#","k\u0069d":"c"}"#);
        let number = jwk("b").replace("}", r#","nbf":1e999}"#);
        let long = jwk("b").replace("}", &format!(r#","x5c":[{}1]}}"#, "1,".repeat(256)));
        for bad in [&deep, &twice, &number, &long] {
            assert_eq!(read(&format!("{},{bad},{}", jwk("a"), jwk("z"))), Ok((2, 1)), "{bad}");
        }
        for bad in ["7", "null", "{}", r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, r#"{"kty":"XY"}"#, &secret] {
            assert_eq!(read(&format!("{},{bad}", jwk("a"))), Ok((1, 1)), "{bad}");
            assert!(read(bad).is_err(), "{bad}");
        }
        let other = jwk("a").replace("}", r#","alg":"RS256"}"#);
        let two = format!("{},{other},{}", jwk("a"), jwk("b"));
        assert_eq!(read(&two), Ok((1, 2)), "neither of two by one name");
        assert_eq!(read(&format!("{0},{0},{1}", jwk("a"), jwk("b"))), Ok((2, 1)), "the same key twice");
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let many = vec!["{}"; 257].join(",");
        for bad in
            ["", "<html></html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[],"keys":[]}"#]
        {
            assert!(read_keys(bad.as_bytes(), &["sig"]).is_err(), "{bad}");
        }
        assert!(read(&many).is_err());
    }
}
