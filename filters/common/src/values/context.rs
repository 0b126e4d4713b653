//! Resolving a source against a request.

use std::borrow::Cow;

use serde_json::Value;

use super::Failure;
use super::address;
use super::params;
use super::source::Source;
use crate::facts::{self, PropertyKey};
use crate::headers::Lookup;
use crate::host::Host;
use crate::json::{Document, Kind, Ref};
use crate::matching::conditions::host_of;
use crate::matching::path::NormalPath;
use crate::matching::pattern::Pattern;
use crate::request::Request;

/// The most values in one claim; a fact holds far fewer.
const MAX_CLAIM: u32 = 16_384;

/// A source, ready to be read: the fact or attribute behind it is already named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    source: Source,
    key: Option<PropertyKey>,
}

impl Reader {
    /// Reads `source`, tokens as the jwt-auth plugin called `identity` published them.
    #[must_use]
    pub fn new(source: Source, identity: &str) -> Reader {
        let attribute = |path: &[u8]| Some(PropertyKey::from(path));
        let key = match &source {
            Source::Subject | Source::Issuer | Source::Claim(_) => {
                Some(facts::key(identity, &source.to_string()))
            }
            Source::ClientIp(_) => attribute(b"source\0address"),
            Source::PeerSpiffe => attribute(b"connection\0uri_san_peer_certificate"),
            Source::PeerSha256 => attribute(b"connection\0sha256_peer_certificate_digest"),
            _ => None,
        };
        Reader { source, key }
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The value in `context`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read<'a>(&self, context: &Context<'a>) -> Result<Cow<'a, str>, Failure> {
        let property = || self.key.as_ref().and_then(|key| context.host.property(key));
        match &self.source {
            Source::Path(name) => {
                let captured = context.pattern.zip(context.path).and_then(|(p, path)| p.capture(path, name));
                params::text(captured.ok_or(Failure::Absent)?)
            }
            Source::Query(name) => params::query_one(context.request.query(), name),
            Source::Cookie(name) => params::one(params::cookie(&context.request.headers, name)),
            Source::Header(name) => match context.request.headers.get(name.as_str()) {
                Lookup::Absent => Err(Failure::Absent),
                Lookup::One(value) => params::text(value),
                Lookup::Many => Err(Failure::Unusable),
            },
            Source::Claim(_) => {
                let json = property().ok_or(Failure::Absent)?;
                scalar(Document::parse(json, 1).map_err(|_| Failure::Unusable)?.root()).map(Cow::Owned)
            }
            Source::Subject | Source::Issuer => params::text(property().ok_or(Failure::Absent)?),
            Source::ClientIp(prefix) => {
                let ip = property().as_deref().and_then(address::parse).ok_or(Failure::Absent)?;
                let text = prefix.map_or_else(|| ip.to_string(), |prefix| address::masked(ip, prefix));
                Ok(Cow::Owned(text))
            }
            Source::PeerSpiffe => {
                let uri = validated(context.host).then(property).flatten().ok_or(Failure::Absent)?;
                if uri.starts_with(b"spiffe://") { params::text(uri) } else { Err(Failure::Absent) }
            }
            Source::PeerSha256 => {
                params::text(validated(context.host).then(property).flatten().ok_or(Failure::Absent)?)
            }
            // An upstream may read `post` as POST: a key is one and the same.
            Source::Method => params::text(context.request.method().to_ascii_uppercase()),
            Source::Host => params::text(host_of(context.request.authority()).ok_or(Failure::Unusable)?),
            Source::Route => Ok(context.pattern.map_or(facts::UNMATCHED, |p| p.text()).into()),
        }
    }
}

impl Reader {
    /// The value in `context` as JSON: a claim as it stands in the token, anything else as text.
    ///
    /// # Errors
    /// Why there is none; null is absent.
    pub fn json(&self, context: &Context<'_>) -> Result<Value, Failure> {
        match self.claim(context)? {
            Some(claim) if claim.root().is_null() => Err(Failure::Absent),
            Some(claim) => Ok(claim.root().to_value()),
            None => self.read(context).map(|text| Value::String(text.into_owned())),
        }
    }

    /// The values in `context`: each item of a claim that is a list, anything else alone.
    ///
    /// # Errors
    /// Why there are none, or why one of them is none.
    pub fn list(&self, context: &Context<'_>) -> Result<Vec<String>, Failure> {
        match self.claim(context)? {
            Some(claim) if claim.root().kind() == Kind::Array => {
                let item = |item| scalar(item).map_err(|_| Failure::Unusable);
                claim.root().items().map(item).collect()
            }
            Some(claim) => scalar(claim.root()).map(|text| vec![text]),
            None => self.read(context).map(|text| vec![text.into_owned()]),
        }
    }

    /// A claim with all that is in it; `None` if the source is none.
    fn claim(&self, context: &Context<'_>) -> Result<Option<Document>, Failure> {
        let Source::Claim(_) = self.source else { return Ok(None) };
        let json = self.key.as_ref().and_then(|key| context.host.property(key)).ok_or(Failure::Absent)?;
        Document::parse(json, MAX_CLAIM).map(Some).map_err(|_| Failure::Unusable)
    }
}

/// What a source is resolved against.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The request.
    pub request: &'a Request,
    /// Its path in the form that rules were matched with.
    pub path: Option<&'a NormalPath<'a>>,
    /// The template of the rule that matched.
    pub pattern: Option<&'a Pattern>,
    /// Facts and attributes.
    pub host: &'a dyn Host,
}

/// A claim as a value: text as it is, whole numbers, `true` and `false`; null is absent.
///
/// # Errors
/// [`Failure::Unusable`] for arrays, objects and numbers with a fraction.
pub fn scalar(value: Ref<'_>) -> Result<String, Failure> {
    match value.kind() {
        Kind::Null => Err(Failure::Absent),
        Kind::Bool(b) => Ok(if b { "true" } else { "false" }.to_owned()),
        Kind::Unsigned(n) => Ok(n.to_string()),
        Kind::Signed(n) => Ok(n.to_string()),
        // 2^53: beyond it a double no longer tells neighbours apart.
        Kind::Float(n) if n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0 => {
            Ok((n as i64).to_string())
        }
        Kind::Text(s) => params::text(s.as_bytes()).map(Cow::into_owned),
        Kind::Float(_) | Kind::Array | Kind::Object => Err(Failure::Unusable),
    }
}

/// Whether the peer's certificate was validated. `connection.mtls` alone says that there was one.
fn validated(host: &dyn Host) -> bool {
    let key: PropertyKey = PropertyKey::from(&b"connection\0peer_certificate_valid"[..]);
    host.property(&key).is_some_and(|v| v == [1])
}

#[cfg(test)]
mod tests {
    use super::super::super::matching::path::EncodedSlash;
    use super::*;
    use crate::memory::MemoryHost;

    fn read(source: &str, host: &MemoryHost, request: &Request) -> Result<String, Failure> {
        let pattern = Pattern::parse("/d/{id}").unwrap();
        let target = request.path().unwrap_or(b"/").to_vec();
        let path = NormalPath::new(&target, EncodedSlash::Refuse).unwrap();
        let context = Context { request, path: Some(&path), pattern: Some(&pattern), host };
        Reader::new(Source::parse(source).unwrap(), "jwt-auth").read(&context).map(Cow::into_owned)
    }

    #[test]
    fn each_source_reads_its_own_place() {
        let host = MemoryHost::default();
        host.set_property("portcullis.jwt-auth.subject", "ann");
        host.set_property("portcullis.jwt-auth.claim.plan", "\"gold\"");
        host.set_property("portcullis.jwt-auth.claim.n", "7");
        host.set_property("portcullis.jwt-auth.claim.list", "[1]");
        host.set_property("source\0address", "192.0.2.7:99");
        let request: Request = [
            (":method", "GET"),
            (":authority", "API.example.com:80"),
            (":path", "/d/a%20b?q=1&r=1&r=2&s=1;q2=2"),
            ("x-plan", "silver"),
            ("cookie", "sid=9"),
        ]
        .into_iter()
        .collect();
        for (source, want) in [
            ("subject", Ok("ann")),
            ("issuer", Err(Failure::Absent)),
            ("claim.plan", Ok("gold")),
            ("claim.n", Ok("7")),
            ("claim.list", Err(Failure::Unusable)),
            ("client.ip", Ok("192.0.2.7")),
            ("client.ip/24,48", Ok("192.0.2.0/24")),
            ("path.id", Ok("a b")),
            ("query.q", Ok("1")),
            ("query.r", Err(Failure::Unusable)),
            ("query.q2", Err(Failure::Unusable)),
            ("header.x-plan", Ok("silver")),
            ("cookie.sid", Ok("9")),
            ("method", Ok("GET")),
            ("host", Ok("api.example.com")),
            ("route", Ok("/d/{id}")),
        ] {
            assert_eq!(read(source, &host, &request).as_deref(), want.as_ref().map(|s| *s), "{source}");
        }
    }

    #[test]
    fn a_claim_is_handed_on_as_it_stands_or_item_by_item() {
        let host = MemoryHost::default();
        let request = Request::default();
        let context = Context { request: &request, path: None, pattern: None, host: &host };
        let reader = Reader::new(Source::parse("claim.x").unwrap(), "jwt-auth");
        assert_eq!(reader.json(&context), Err(Failure::Absent));
        for (claim, json, list) in [
            ("null", Err(Failure::Absent), Err(Failure::Absent)),
            ("true", Ok("true"), Ok("true")),
            ("1.5", Ok("1.5"), Err(Failure::Unusable)),
            ("\"a\"", Ok("\"a\""), Ok("a")),
            ("[]", Ok("[]"), Ok("")),
            ("[\"a\",7]", Ok("[\"a\",7]"), Ok("a|7")),
            ("[\"a\",null]", Ok("[\"a\",null]"), Err(Failure::Unusable)),
            ("[[]]", Ok("[[]]"), Err(Failure::Unusable)),
            ("{\"b\":[1]}", Ok("{\"b\":[1]}"), Err(Failure::Unusable)),
            ("{\"b\":1,\"b\":2}", Err(Failure::Unusable), Err(Failure::Unusable)),
        ] {
            host.set_property("portcullis.jwt-auth.claim.x", claim);
            assert_eq!(reader.json(&context).map(|v| v.to_string()), json.map(str::to_owned), "{claim}");
            assert_eq!(reader.list(&context).map(|l| l.join("|")), list.map(str::to_owned), "{claim}");
        }
        let method = Reader::new(Source::Host, "jwt-auth");
        let request: Request = [(":authority", "true")].into_iter().collect();
        let context = Context { request: &request, ..context };
        assert_eq!(method.json(&context), Ok(Value::String("true".into())));
        assert_eq!(method.list(&context), Ok(vec!["true".into()]));
    }

    #[test]
    fn a_peer_counts_only_if_its_certificate_was_validated() {
        let host = MemoryHost::default();
        host.set_property("connection\0uri_san_peer_certificate", "spiffe://td/ns/a");
        assert_eq!(read("peer.spiffe", &host, &Request::default()), Err(Failure::Absent));
        host.set_property("connection\0peer_certificate_valid", [1]);
        assert_eq!(read("peer.spiffe", &host, &Request::default()).unwrap(), "spiffe://td/ns/a");
        host.set_property("connection\0uri_san_peer_certificate", "https://td/ns/a");
        assert_eq!(read("peer.spiffe", &host, &Request::default()), Err(Failure::Absent));
    }

    #[test]
    fn a_claim_is_one_value_or_none() {
        let scalar = |json: &str| super::scalar(Document::parse(json.as_bytes(), 9).unwrap().root());
        assert_eq!(scalar("2.0").unwrap(), "2");
        assert_eq!(scalar("-3").unwrap(), "-3");
        assert_eq!(scalar("true").unwrap(), "true");
        assert_eq!(scalar("null"), Err(Failure::Absent));
        for bad in ["1.5", "[]", "{}", "\"\"", "\"a\\nb\"", "1e300"] {
            assert_eq!(scalar(bad), Err(Failure::Unusable), "{bad}");
        }
    }
}
