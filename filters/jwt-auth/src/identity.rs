//! What a verified token becomes: facts for the siblings, headers for the upstream. Made once per token, remembered with it.

use std::cell::Cell;
use std::rc::Rc;

use portcullis_common::edits::{HeaderEdit, header_value};
use portcullis_common::facts::PropertyKey;
use portcullis_common::json::{Kind, Ref};
use portcullis_common::values::context::scalar;
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;
use portcullis_common::values::{Failure, params};

use crate::claims::{self, Cause, Claims, Window};
use crate::keys::Key;
use crate::policy::{Policy, Provider};

/// A token that verified, for one provider.
#[derive(Debug)]
pub struct Identity {
    /// The provider's position.
    pub provider: usize,
    /// The fetched key that made its signature.
    pub proof: Option<Proof>,
    /// What [`crate::servers::Servers::epoch`] was when key and deny list were last looked at.
    pub epoch: Cell<u64>,
    /// When it is valid.
    pub window: Window,
    /// Its claims.
    pub claims: Claims,
    /// The subject.
    pub subject: Rc<str>,
    /// The subject and what is published.
    pub facts: Vec<(PropertyKey, Rc<[u8]>)>,
    /// The headers for the upstream.
    pub headers: Vec<HeaderEdit>,
}

/// A fetched key, and where it was fetched.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The number of the source.
    pub source: usize,
    /// The key.
    pub key: Rc<Key>,
}

/// What a header for the upstream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimHeader {
    /// Text with claims in it.
    Text(Template),
    /// The items of a list, with text between them; a single value is a list of one.
    Joined {
        /// The claim.
        from: Source,
        /// What stands between.
        by: Box<str>,
    },
    /// A claim as JSON text in ASCII.
    Json(Source),
}

/// The longest list or JSON text in a header, and the longest payload in a fact, in bytes.
const MAX_LONG: usize = 8 << 10;

/// Why a verified token has no identity here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A check that belongs to the token.
    Cause(Cause),
    /// A claim that a header needs cannot be put into one.
    Value(Failure),
}

impl Identity {
    /// The identity of `claims`, which `provider` vouches for; `payload` is the token's middle part as it came.
    ///
    /// # Errors
    /// If the subject or a header cannot be formed.
    pub fn new(
        policy: &Policy,
        position: usize,
        provider: &Provider,
        claims: Claims,
        window: Window,
        payload: &[u8],
    ) -> Result<Identity, Unfit> {
        let subject = provider
            .subject
            .fill_apart(|source| value(&claims, source, None))
            .map_err(|_| Unfit::Cause(Cause::Subject))?;
        let subject = params::text(subject.as_bytes()).map_err(|_| Unfit::Cause(Cause::Subject))?;
        let mut facts = vec![(PropertyKey::clone(&policy.subject_key), subject.as_bytes().into())];
        for (source, key) in &policy.publish {
            if let Some(fact) = fact(&claims, source) {
                facts.push((PropertyKey::clone(key), fact.into()));
            }
        }
        if let Some(key) = &policy.payload_key
            && claims.text().len() <= MAX_LONG
        {
            facts.push((PropertyKey::clone(key), claims.text().into()));
        }
        let mut headers = Vec::new();
        for (name, header) in &provider.claim_headers {
            match header.fill(&claims, &subject) {
                Ok(text) => headers.push(HeaderEdit::Set(Rc::clone(&name.0), text)),
                Err(Failure::Absent) => {}
                Err(failure) => return Err(Unfit::Value(failure)),
            }
        }
        if let Some(name) = &provider.payload_header {
            headers.push(HeaderEdit::Set(Rc::clone(&name.0), payload.into()));
        }
        let subject = subject.into();
        let (proof, epoch) = (None, Cell::new(0));
        Ok(Identity { provider: position, proof, epoch, window, claims, subject, facts, headers })
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let facts = self.facts.iter().map(|(_, v)| v.len().saturating_add(48));
        let headers = self.headers.iter().map(|h| match h {
            HeaderEdit::Set(_, v) | HeaderEdit::Add(_, v) => v.len().saturating_add(48),
            HeaderEdit::Remove(_) => 48,
        });
        facts.chain(headers).fold(self.claims.bytes().saturating_add(256), usize::saturating_add)
    }
}

impl ClaimHeader {
    fn fill(&self, claims: &Claims, subject: &str) -> Result<Rc<[u8]>, Failure> {
        let claim = |source: &Source| match source {
            Source::Claim(keys) => claims::at(claims, keys).filter(|v| !v.is_null()).ok_or(Failure::Absent),
            _ => Err(Failure::Absent),
        };
        let bounded = |text: String| if text.len() <= MAX_LONG { Ok(text) } else { Err(Failure::Unusable) };
        match self {
            ClaimHeader::Text(template) => {
                let text = template.fill(|source| value(claims, source, Some(subject)))?;
                Ok(header_value(text.as_bytes()))
            }
            ClaimHeader::Joined { from, by } => {
                let text = bounded(joined(claim(from)?, by)?)?;
                Ok(header_value(text.as_bytes()))
            }
            // JSON escapes what could end the line, and here all that is not ASCII.
            ClaimHeader::Json(from) => Ok(bounded(ascii(&claim(from)?.to_json()))?.into_bytes().into()),
        }
    }
}

/// Items with `by` between them. An item with `by` in it would be two to whoever takes the header apart.
fn joined(claim: Ref<'_>, by: &str) -> Result<String, Failure> {
    if claim.kind() != Kind::Array {
        return item(claim, by);
    }
    let items: Vec<String> = claim.items().map(|value| item(value, by)).collect::<Result<_, _>>()?;
    if items.is_empty() { Err(Failure::Absent) } else { Ok(items.join(by)) }
}

fn item(value: Ref<'_>, by: &str) -> Result<String, Failure> {
    let text = scalar(value).map_err(|_| Failure::Unusable)?;
    if text.contains(by) { Err(Failure::Unusable) } else { Ok(text) }
}

/// JSON text with everything outside of ASCII escaped (RFC 8259, section 7).
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// A value from the token, for a template; the subject where it is known already.
///
/// # Errors
/// If the token has none, or none that is one value.
pub fn value(claims: &Claims, source: &Source, subject: Option<&str>) -> Result<String, Failure> {
    match source {
        Source::Claim(keys) => scalar(claims::at(claims, keys).ok_or(Failure::Absent)?),
        Source::Issuer => claims::issuer(claims).map(str::to_owned).ok_or(Failure::Absent),
        Source::Subject => subject.map(str::to_owned).ok_or(Failure::Absent),
        _ => Err(Failure::Absent),
    }
}

/// A claim as JSON text, the issuer as it is; `None` if the token has none.
fn fact(claims: &Claims, source: &Source) -> Option<Vec<u8>> {
    match source {
        Source::Issuer => claims::issuer(claims).map(|i| i.as_bytes().to_vec()),
        Source::Claim(keys) => {
            let value = claims::at(claims, keys).filter(|v| !v.is_null())?;
            Some(value.to_json().into_bytes())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::json::Document;

    fn fill(header: &ClaimHeader, json: &str) -> Result<String, Failure> {
        let claims = Document::parse(json.as_bytes(), 99).unwrap();
        header.fill(&claims, "ann").map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_list_is_joined_and_never_reads_as_another() {
        let joined = ClaimHeader::Joined { from: Source::parse("claim.r").unwrap(), by: ",".into() };
        for (json, want) in [
            (r#"{"r":["a","b"]}"#, Ok("a,b")),
            (r#"{"r":["a"]}"#, Ok("a")),
            (r#"{"r":"a"}"#, Ok("a")),
            (r#"{"r":[1,true]}"#, Ok("1,true")),
            (r#"{"r":["a,b"]}"#, Err(Failure::Unusable)),
            (r#"{"r":[["a"]]}"#, Err(Failure::Unusable)),
            (r#"{"r":[null]}"#, Err(Failure::Unusable)),
            (r#"{"r":[]}"#, Err(Failure::Absent)),
            (r#"{"r":null}"#, Err(Failure::Absent)),
            ("{}", Err(Failure::Absent)),
        ] {
            assert_eq!(fill(&joined, json).as_deref(), want.as_ref().map(|s| *s), "{json}");
        }
        let long = format!(r#"{{"r":["{}"]}}"#, vec!["x".repeat(200); 50].join("\",\""));
        assert_eq!(fill(&joined, &long), Err(Failure::Unusable));
    }

    #[test]
    fn json_stays_ascii_and_on_its_line() {
        let header = ClaimHeader::Json(Source::parse("claim.o").unwrap());
        assert_eq!(
            fill(&header, r#"{"o":{"a":["\n","é😀"]}}"#).unwrap(),
            r#"{"a":["\n","\u00e9\ud83d\ude00"]}"#
        );
    }
}
