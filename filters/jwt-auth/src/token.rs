//! The compact serialization of a JWS (RFC 7515, section 7.1), read strictly: what two programs could read differently
//! is refused before any key is looked at.

use std::rc::Rc;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use portcullis_common::cache::same;
use portcullis_common::json::{self, Document, Kind};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;

/// The longest decoded header, in bytes.
const MAX_HEADER: usize = 4096;
/// The most values in a header or a payload.
const MAX_VALUES: u32 = 4096;
/// The longest key ID, in bytes.
const MAX_KID: usize = 256;

/// Why a token cannot be read. The word goes to the operator's metric, never to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// Longer than allowed.
    TooLong,
    /// Five parts: a JWE (RFC 7516), whose payload nobody here can read.
    Encrypted,
    /// The JSON serialization (RFC 7515, section 7.2), with any number of signatures.
    JsonSerialization,
    /// Not three parts, or an empty one; or characters outside the base64url alphabet.
    Shape,
    /// Not canonical base64url (RFC 7515, section 2): padding, or bits after the last byte.
    Encoding,
    /// The header is no object, or has a member twice.
    Header,
    /// `crit` names extensions that have to be understood (RFC 7515, section 4.1.11); none is.
    Critical,
    /// `b64` (RFC 7797): an unencoded payload has no place in a token.
    Unencoded,
    /// The payload is no object, or has a member twice.
    Payload,
}

impl Malformed {
    /// The word for the operator.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Malformed::TooLong => "too_long",
            Malformed::Encrypted => "encrypted",
            Malformed::JsonSerialization => "json_serialization",
            Malformed::Shape => "shape",
            Malformed::Encoding => "encoding",
            Malformed::Header => "header",
            Malformed::Critical => "critical",
            Malformed::Unencoded => "unencoded",
            Malformed::Payload => "payload",
        }
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The algorithm that it names; `None` if it is none of ours.
    pub algorithm: Option<Algorithm>,
    /// The key that it names.
    pub kid: Option<String>,
    /// The media type that it names.
    pub typ: Option<String>,
}

/// Headers that were read lately. All tokens of one key have the same; it is compared to the byte.
#[derive(Debug, Default)]
pub struct Headers {
    known: Vec<(Box<[u8]>, Rc<Header>)>,
    next: usize,
}

impl Headers {
    /// How many are remembered.
    const KEPT: usize = 16;
    /// The longest that is remembered.
    const LONGEST: usize = 512;

    fn read(&mut self, part: &str) -> Result<Rc<Header>, Malformed> {
        if let Some((_, known)) = self.known.iter().find(|(bytes, _)| same(bytes, part.as_bytes())) {
            return Ok(Rc::clone(known));
        }
        if part.len() > MAX_HEADER.saturating_mul(4) / 3 {
            return Err(Malformed::TooLong);
        }
        let header = json::object(&decode(part)?, MAX_VALUES).map_err(|_| Malformed::Header)?;
        let header = Rc::new(Header::new(&header)?);
        if part.len() <= Self::LONGEST {
            let entry = (part.as_bytes().into(), Rc::clone(&header));
            match self.known.get_mut(self.next) {
                Some(oldest) => *oldest = entry,
                None => self.known.push(entry),
            }
            self.next = self.next.saturating_add(1) % Self::KEPT;
        }
        Ok(header)
    }
}

/// A token that was read and not yet believed.
#[derive(Clone, Debug)]
pub struct Unverified<'a> {
    /// What its header says.
    pub header: Rc<Header>,
    /// What is signed: header and payload as they came, with the dot.
    pub signed: &'a [u8],
    /// The payload as it came.
    pub payload_part: &'a [u8],
    /// The decoded payload, until [`Unverified::claims`] takes it.
    pub payload: Vec<u8>,
    /// The decoded signature.
    pub signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Reads a compact JWS of at most `max` bytes.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn parse(token: &'a [u8], max: usize, headers: &mut Headers) -> Result<Unverified<'a>, Malformed> {
        if token.len() > max {
            return Err(Malformed::TooLong);
        }
        if token.first() == Some(&b'{') {
            return Err(Malformed::JsonSerialization);
        }
        let token = std::str::from_utf8(token).map_err(|_| Malformed::Shape)?;
        let mut parts = token.splitn(7, '.');
        let (header, payload_part, signature) = match (parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(payload), Some(signature)) => (header, payload, signature),
            _ => return Err(Malformed::Shape),
        };
        match parts.count() {
            0 => {}
            2 => return Err(Malformed::Encrypted),
            _ => return Err(Malformed::Shape),
        }
        if header.is_empty() || payload_part.is_empty() || signature.is_empty() {
            return Err(Malformed::Shape);
        }
        let signed_length = token.len().saturating_sub(signature.len()).saturating_sub(1);
        Ok(Unverified {
            header: headers.read(header)?,
            signed: token.as_bytes().get(..signed_length).unwrap_or_default(),
            payload_part: payload_part.as_bytes(),
            payload: decode(payload_part)?,
            signature: decode(signature)?,
        })
    }

    /// The claims, not yet believed.
    ///
    /// # Errors
    /// If the payload is no strict JSON object.
    pub fn claims(&mut self) -> Result<Document, Malformed> {
        let payload = std::mem::take(&mut self.payload);
        let claims = Document::parse(payload, MAX_VALUES).map_err(|_| Malformed::Payload)?;
        if claims.root().kind() == Kind::Object { Ok(claims) } else { Err(Malformed::Payload) }
    }
}

impl Header {
    /// `alg`, `kid` and `typ`. `jku`, `x5u`, `jwk` and `x5c` are not even looked at: a key that the token brings along proves
    /// nothing (RFC 8725, section 3.10).
    fn new(header: &Map<String, Value>) -> Result<Header, Malformed> {
        if header.contains_key("crit") {
            return Err(Malformed::Critical);
        }
        if header.contains_key("b64") {
            return Err(Malformed::Unencoded);
        }
        if header.contains_key("enc") || header.contains_key("zip") {
            return Err(Malformed::Encrypted);
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(s)) if s.len() <= MAX_KID => Ok(Some(s.clone())),
            Some(_) => Err(Malformed::Header),
        };
        let algorithm = text("alg")?.ok_or(Malformed::Header)?;
        Ok(Header { algorithm: Algorithm::from_name(&algorithm), kid: text("kid")?, typ: text("typ")? })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|error| match error {
        DecodeError::InvalidByte(..) => Malformed::Shape,
        _ => Malformed::Encoding,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 16 << 10;

    fn b64(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn parse(token: &str) -> Result<Unverified<'_>, Malformed> {
        Unverified::parse(token.as_bytes(), MAX, &mut Headers::default())
    }

    fn with_header(header: &str) -> Result<(), Malformed> {
        parse(&format!("{}.{}.c2ln", b64(header), b64("{}"))).map(drop)
    }

    #[test]
    fn a_compact_jws_has_three_parts_and_its_signed_bytes_are_untouched() {
        let token = format!("{}.{}.c2ln", b64(r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#), b64(r#"{"a":1}"#));
        let mut read = parse(&token).unwrap();
        assert_eq!(read.header.algorithm, Some(Algorithm::ES256));
        assert_eq!((read.header.kid.as_deref(), read.header.typ.as_deref()), (Some("k"), Some("JWT")));
        assert_eq!(read.signed, token.rsplit_once('.').unwrap().0.as_bytes());
        assert_eq!(read.signature, b"sig");
        assert_eq!(read.claims().unwrap().root().to_json(), r#"{"a":1}"#);
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let h = b64(r#"{"alg":"ES256"}"#);
        for (token, want) in [
            (String::new(), Malformed::Shape),
            ("a.b".into(), Malformed::Shape),
            (format!("{h}.e30."), Malformed::Shape),
            (format!(".{h}.e30"), Malformed::Shape),
            (format!("{h}..c2ln"), Malformed::Shape),
            (format!("{h}.e30.c2ln."), Malformed::Shape),
            (format!("{h}.e30.c2ln.a.b.c"), Malformed::Shape),
            (format!("{h}.e30.c2ln.a.b"), Malformed::Encrypted),
            (format!("{h}.e30.c2ln "), Malformed::Shape),
            (format!("{h}.e30.c2l+"), Malformed::Shape),
            (format!("{h}.e30.c2ln="), Malformed::Shape),
            (format!("{h}.e31.c2ln"), Malformed::Encoding),
            (format!("{h}.e30.c"), Malformed::Encoding),
            (r#"{"payload":"e30"}"#.into(), Malformed::JsonSerialization),
            (format!("{h}.e30.{}", "A".repeat(MAX)), Malformed::TooLong),
            (format!("{}.e30.c2ln", "A".repeat(8 << 10)), Malformed::TooLong),
        ] {
            assert_eq!(parse(&token).map(drop), Err(want), "{token:.60}");
        }
    }

    #[test]
    fn headers_that_ask_for_more_are_refused() {
        for (header, want) in [
            (r#"{"alg":"ES256","crit":["exp"]}"#, Malformed::Critical),
            (r#"{"alg":"ES256","crit":[]}"#, Malformed::Critical),
            (r#"{"alg":"ES256","b64":false}"#, Malformed::Unencoded),
            (r#"{"alg":"RSA-OAEP","enc":"A128GCM"}"#, Malformed::Encrypted),
            (r#"{"alg":"ES256","alg":"none"}"#, Malformed::Header),
            (r#"{"alg":"ES256","\u0061lg":"none"}"#, Malformed::Header),
            (r#"{"kid":"k"}"#, Malformed::Header),
            (r#"{"alg":["ES256"]}"#, Malformed::Header),
            (r#"{"alg":"ES256","kid":7}"#, Malformed::Header),
            (&format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257)), Malformed::Header),
            ("[]", Malformed::Header),
        ] {
            assert_eq!(with_header(header), Err(want), "{header:.60}");
        }
        assert_eq!(with_header(r#"{"alg":"none"}"#), Ok(()), "readable, and no key is for it");
        assert_eq!(parse(&format!("{}.e30.c2ln", b64(r#"{"alg":"none"}"#))).unwrap().header.algorithm, None);
    }

    #[test]
    fn a_remembered_header_is_compared_to_the_byte() {
        let mut headers = Headers::default();
        let mut read = |header: &str| {
            let token = format!("{}.e30.c2ln", b64(header));
            Unverified::parse(token.as_bytes(), MAX, &mut headers).map(|t| t.header.kid.clone())
        };
        for n in 0..100 {
            let header = format!(r#"{{"alg":"ES256","kid":"k{n}"}}"#);
            assert_eq!(read(&header), Ok(Some(format!("k{n}"))));
            assert_eq!(read(&header), Ok(Some(format!("k{n}"))));
            assert_eq!(
                read(r#"{"alg":"ES256","crit":["x"]}"#),
                Err(Malformed::Critical),
                "refusals are not remembered"
            );
        }
        assert!(headers.known.len() <= Headers::KEPT);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            let _ = Unverified::parse(&bytes, MAX, &mut Headers::default()).map(|mut t| t.claims().map(drop));
        }

        #[test]
        fn there_is_one_token_for_one_content(flip in 0_usize..40, bit in 0_u8..8) {
            let token = format!("{}.{}.c2ln", b64(r#"{"alg":"ES256"}"#), b64(r#"{"a":1}"#));
            let mut other = token.clone().into_bytes();
            let at = flip % other.len();
            other[at] ^= 1 << bit;
            let read = parse(&token).unwrap();
            if let Ok(changed) = Unverified::parse(&other, MAX, &mut Headers::default()) {
                prop_assert!(changed.signed != read.signed || changed.signature != read.signature);
            }
        }
    }
}
