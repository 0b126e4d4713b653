//! The vocabulary of sources.

use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Deserializer};

use crate::config::{HeaderName, from_text};
use crate::matching::pattern::Pattern;

/// Names one value of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `path.NAME`: a capture of the matched rule.
    Path(Rc<str>),
    /// `query.NAME`
    Query(Rc<str>),
    /// `header.NAME`
    Header(HeaderName),
    /// `cookie.NAME`
    Cookie(Rc<str>),
    /// `claim.a.b` or `claim["https://x/roles"]`: the keys from the outermost in.
    Claim(Rc<[Box<str>]>),
    /// `subject`
    Subject,
    /// `issuer`
    Issuer,
    /// `client.ip`, or `client.ip/24,48`: prefix lengths for IPv4 and IPv6.
    ClientIp(Option<(u8, u8)>),
    /// `peer.spiffe`: the SPIFFE ID of a validated client certificate.
    PeerSpiffe,
    /// `peer.sha256`: the SHA-256 of a validated client certificate, in hexadecimal digits.
    PeerSha256,
    /// `method`
    Method,
    /// `host`
    Host,
    /// `route`: the template that the reader itself matched.
    Route,
}

const WHAT: &str = "a source: path.NAME, query.NAME, header.NAME, cookie.NAME, claim.NAME, claim[\"NAME\"], subject, issuer, \
                    client.ip, client.ip/24,48, peer.spiffe, peer.sha256, method, host or route";

impl Source {
    /// Reads a source.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Source, String> {
        let unknown = || format!("`{text}` is no source");
        match text {
            "subject" => return Ok(Source::Subject),
            "issuer" => return Ok(Source::Issuer),
            "client.ip" => return Ok(Source::ClientIp(None)),
            "peer.spiffe" => return Ok(Source::PeerSpiffe),
            "peer.sha256" => return Ok(Source::PeerSha256),
            "method" => return Ok(Source::Method),
            "host" => return Ok(Source::Host),
            "route" => return Ok(Source::Route),
            _ => {}
        }
        if let Some(prefixes) = text.strip_prefix("client.ip/") {
            let (v4, v6) = prefixes.split_once(',').ok_or_else(unknown)?;
            let length = |t: &str, max: u8| t.parse::<u8>().ok().filter(|n| (1..=max).contains(n));
            let both = length(v4, 32).zip(length(v6, 128));
            return both.map(|p| Source::ClientIp(Some(p))).ok_or_else(unknown);
        }
        if let Some(keys) = text.strip_prefix("claim") {
            return claim(keys).map(|keys| Source::Claim(keys.into())).ok_or_else(unknown);
        }
        let (kind, name) = text.split_once('.').ok_or_else(unknown)?;
        if name.is_empty()
            || name.len() > 128
            || name.chars().any(|c| c.is_control() || "{}[]\" ".contains(c))
        {
            return Err(unknown());
        }
        match kind {
            "path" => Ok(Source::Path(name.into())),
            "query" => Ok(Source::Query(name.into())),
            "cookie" => Ok(Source::Cookie(name.into())),
            "header" => HeaderName::parse(name).map(Source::Header).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }

    /// Whether this is a capture that the path template of its reader does not have, so that it never has a value.
    #[must_use]
    pub fn is_uncaptured(&self, pattern: Option<&Pattern>) -> bool {
        let Source::Path(name) = self else { return false };
        !pattern.is_some_and(|p| p.captures().any(|c| c == name))
    }

    /// Whether a client can set this to anything it likes.
    #[must_use]
    pub fn is_from_client(&self) -> bool {
        matches!(self, Source::Header(_) | Source::Query(_) | Source::Cookie(_))
    }

    /// Whether jwt-auth has to publish this for a sibling to read it.
    #[must_use]
    pub fn is_from_token(&self) -> bool {
        matches!(self, Source::Claim(_) | Source::Subject | Source::Issuer)
    }
}

/// The keys of `.a.b` or `["a"].b`.
fn claim(mut text: &str) -> Option<Vec<Box<str>>> {
    let mut keys: Vec<Box<str>> = Vec::new();
    while !text.is_empty() {
        if text.starts_with('[') {
            let inner = text.strip_prefix('[')?;
            let mut stream = serde_json::Deserializer::from_str(inner).into_iter::<String>();
            keys.push(stream.next()?.ok()?.into());
            text = inner.get(stream.byte_offset()..)?.strip_prefix(']')?;
        } else {
            let rest = text.strip_prefix('.')?;
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let key = rest.get(..end)?;
            if key.is_empty() || !key.bytes().all(is_plain) {
                return None;
            }
            keys.push(key.into());
            text = rest.get(end..)?;
        }
    }
    if keys.is_empty() || keys.len() > 8 { None } else { Some(keys) }
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

/// As it is written, with each claim key in the short form where it has one: two spellings of a source print alike.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(name) => write!(f, "path.{name}"),
            Source::Query(name) => write!(f, "query.{name}"),
            Source::Header(name) => write!(f, "header.{}", name.as_str()),
            Source::Cookie(name) => write!(f, "cookie.{name}"),
            Source::Claim(keys) => {
                f.write_str("claim")?;
                for key in keys.iter() {
                    if !key.is_empty() && key.bytes().all(is_plain) {
                        write!(f, ".{key}")?;
                    } else {
                        write!(f, "[{}]", serde_json::Value::from(&**key))?;
                    }
                }
                Ok(())
            }
            Source::Subject => f.write_str("subject"),
            Source::Issuer => f.write_str("issuer"),
            Source::ClientIp(None) => f.write_str("client.ip"),
            Source::ClientIp(Some((v4, v6))) => write!(f, "client.ip/{v4},{v6}"),
            Source::PeerSpiffe => f.write_str("peer.spiffe"),
            Source::PeerSha256 => f.write_str("peer.sha256"),
            Source::Method => f.write_str("method"),
            Source::Host => f.write_str("host"),
            Source::Route => f.write_str("route"),
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, WHAT, Source::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Source {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(path\\..+|query\\..+|header\\..+|cookie\\..+|claim[.\\[].+|subject|issuer|client\\.ip(/[0-9]+,[0-9]+)?|peer\\.(spiffe|sha256)|method|host|route)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_prints_in_one_canonical_form() {
        for (text, want) in [
            ("path.id", "path.id"),
            ("header.X-Plan", "header.x-plan"),
            ("claim.org.id", "claim.org.id"),
            (r#"claim["org"]["id"]"#, "claim.org.id"),
            (r#"claim["https://x/roles"]"#, r#"claim["https://x/roles"]"#),
            (r#"claim.a["b c"].d"#, r#"claim.a["b c"].d"#),
            ("subject", "subject"),
            ("client.ip/24,48", "client.ip/24,48"),
            ("cookie.a.b", "cookie.a.b"),
        ] {
            let source = Source::parse(text).unwrap();
            assert_eq!(source.to_string(), want);
            assert_eq!(Source::parse(want).unwrap(), source);
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for bad in [
            "",
            "path",
            "path.",
            "claim",
            "claim.",
            "claim..a",
            "claim.a.",
            "claim[a]",
            r#"claim["a""#,
            r#"claim["a"]b"#,
            "claims.a",
            "header.a b",
            "header.:path",
            "client.ip/33,64",
            "client.ip/24",
            "client.ip/0,64",
            "client.ip/24,129",
            "body.a",
            "sub",
            "query.a{b}",
            "envoy_route",
        ] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }
}
