//! What the content of a source is made into: keys or a deny list.

use std::rc::Rc;

use portcullis_common::json;
use portcullis_common::mode::OnError;
use portcullis_common::snapshot::target::Target;
use portcullis_common::snapshot::{Reader, Unfit};
use serde_json::{Map, Value};

use crate::deny::Deny;
use crate::discovery::Discovery;
use crate::jwk::Unusable;
use crate::keys::{KeySet, MAX_KEYS};

/// The most values that a key set may have.
const MAX_VALUES: u32 = 16_384;

/// A key that is left out by mistake: its position in the set, and why.
pub type Mistake = (usize, Unusable);

/// What a source's content was made into.
#[derive(Debug)]
pub(super) enum Known {
    Keys {
        uses: &'static [&'static str],
        discovery: Option<Rc<Discovery>>,
        set: KeySet,
        skipped: usize,
        /// The first mistake in what was fetched last, for the log, also if nothing of it was taken.
        mistake: Option<Mistake>,
    },
    Deny {
        list: Deny,
        on_error: OnError,
    },
}

impl Known {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Known::Keys { .. } => "keys",
            Known::Deny { .. } => "deny",
        }
    }

    /// What the server's operator should mend, in words for the log that hold nothing of the key.
    pub(super) fn mistake(&self) -> Option<String> {
        match self {
            Known::Keys { mistake: Some((at, why)), .. } => Some(format!("keys[{at}].{why}")),
            _ => None,
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
            Known::Keys { uses, set, skipped, mistake, .. } => {
                *mistake = None;
                (*set, *skipped) = read_keys(content, uses, mistake)?;
            }
            Known::Deny { list, .. } => *list = Deny::read(content)?,
        }
        Ok(())
    }

    fn follow(&mut self, hop: u8, body: &[u8]) -> Result<Option<Target>, Unfit> {
        match self {
            Known::Keys { discovery: Some(discovery), mistake, .. } if hop == 0 => {
                // Of keys that were fetched before, and not why these metadata are refused.
                *mistake = None;
                discovery.follow(body).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Reads a fetched key set (RFC 7517, section 5): the keys, and how many were left out. A secret is no secret once it lay on a
/// server, so those are left out too. `mistake` becomes the first key that is left out by mistake, whether the set is taken or not.
///
/// # Errors
/// If it is no key set, or holds no key that can be used.
pub fn read_keys(
    body: &[u8],
    uses: &[&str],
    mistake: &mut Option<Mistake>,
) -> Result<(KeySet, usize), Unfit> {
    let mut document = json::object(body, MAX_VALUES).map_err(|_| Unfit("the key set is no JSON object"))?;
    let Some(Value::Array(all)) = document.remove("keys") else {
        return Err(Unfit("the key set has no list of keys"));
    };
    if all.len() > MAX_KEYS {
        return Err(Unfit("the key set has more than 256 keys"));
    }
    let count = all.len();
    let public = |(at, value): (usize, Value)| match value {
        Value::Object(jwk) if jwk.get("kty").and_then(Value::as_str) != Some("oct") => Some((at, jwk)),
        _ => None,
    };
    let (places, keys): (Vec<usize>, Vec<Map<String, Value>>) =
        all.into_iter().enumerate().filter_map(public).unzip();
    let (set, left_out) = KeySet::load_for(&keys, uses).map_err(Unfit)?;
    let mistakes = left_out.into_iter().filter(|(_, why)| why.mistake().is_some());
    *mistake = mistakes.filter_map(|(at, why)| Some((*places.get(at)?, why))).min_by_key(|(at, _)| *at);
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
        read_keys(format!(r#"{{"keys":[{keys}],"x":1}}"#).as_bytes(), &["sig"], &mut None)
            .map(|(set, n)| (set.len(), n))
    }

    #[test]
    fn a_bad_key_is_left_out_and_the_others_count() {
        assert_eq!(read(&jwk("a")), Ok((1, 0)));
        let secret = format!(r#"{{"kty":"oct","k":"{}"}}"#, "A".repeat(43));
        for bad in ["7", "null", "{}", r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, r#"{"kty":"XY"}"#, &secret] {
            assert_eq!(read(&format!("{},{bad}", jwk("a"))), Ok((1, 1)), "{bad}");
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read(&format!("{0},{0},{1}", jwk("a"), jwk("b"))),
            Ok((1, 2)),
            "neither of two by one name"
        );
    }

    #[test]
    fn the_log_names_the_first_mistake_by_its_place_in_the_set() {
        let mistake = |keys: &str| {
            let mut known = Known::Keys {
                uses: &["sig"],
                discovery: None,
                set: KeySet::default(),
                skipped: 0,
                mistake: None,
            };
            let taken = known.accept(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()).is_ok();
            (taken, known.mistake())
        };
        let (good, secret) = (jwk("a"), r#"{"kty":"oct","k":"AAAA"}"#);
        let (short, strange) = (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, r#"{"kty":"XY"}"#);
        let line = |at: usize| {
            let text =
                "n: too short, too long or even; write an odd number of 2048 to 4096 bits in base64url";
            Some(format!("keys[{at}].{text}"))
        };
        assert_eq!(mistake(&good), (true, None));
        assert_eq!(mistake(&format!("{good},{strange}")), (true, None), "keys for other uses are no mistake");
        assert_eq!(mistake(&format!("{secret},{good},{short},{{}}")), (true, line(2)));
        assert_eq!(mistake(&format!("{secret},{short}")), (false, line(1)));
        assert_eq!(mistake("7"), (false, None));
        let clusters = Rc::new(crate::discovery::Clusters::new([("id.test".into(), "id".into())].into()));
        let discovery = Discovery { issuers: vec!["https://id.test".into()], clusters, secure: true };
        let mut known = Known::Keys {
            uses: &["sig"],
            discovery: Some(Rc::new(discovery)),
            set: KeySet::default(),
            skipped: 0,
            mistake: Some((0, Unusable::Unsupported)),
        };
        assert!(known.follow(0, b"{}").is_err() && known.mistake().is_none(), "metadata have no keys");
        let same = Some("keys[1].kid: another key has the same kid; give each key its own".to_owned());
        assert_eq!(
            mistake(&format!("{0},{1},{1},{{}}", jwk("b"), good)),
            (true, same),
            "not the last of them"
        );
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let many = vec!["{}"; 257].join(",");
        for bad in
            ["", "<html></html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[],"keys":[]}"#]
        {
            assert!(read_keys(bad.as_bytes(), &["sig"], &mut None).is_err(), "{bad}");
        }
        assert!(read(&many).is_err());
    }
}
