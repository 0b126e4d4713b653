//! What a filter sees of a stream.

use crate::headers::{Headers, Lookup};

/// A request as the host handed it over, minus the headers that only a plugin may set.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// All headers, pseudo-headers (`:method`, `:path`, `:authority`) among them.
    pub headers: Headers,
    /// Whether it ends with its headers: it has no body.
    pub ends: bool,
}

impl Request {
    /// The method, in the case that the client used (RFC 9110, section 9.1: methods are case-sensitive).
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.headers.method()
    }

    /// The authority as sent, with its port.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.headers.authority()
    }

    /// Path and query as sent; `None` for a CONNECT without one.
    #[must_use]
    pub fn target(&self) -> Option<&[u8]> {
        self.headers.path()
    }

    /// The path as sent, without the query.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.target().map(|t| split_query(t).0)
    }

    /// The query as sent, without its `?`; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.target().map(|t| split_query(t).1).unwrap_or_default()
    }

    /// How the client wants to be answered.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.headers.get("content-type") {
            Lookup::One(value) => Protocol::of_content_type(value),
            Lookup::Absent | Lookup::Many => Protocol::Http,
        }
    }

    /// Whether this asks what a cross-origin request may do: OPTIONS with exactly one `origin` and one
    /// `access-control-request-method` (WHATWG Fetch, "CORS-preflight request").
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        // Envoy joins some repeated headers with commas, which neither of these contains.
        let one = |name| self.headers.get(name).one().is_some_and(|value| !value.contains(&b','));
        self.method() == b"OPTIONS" && one("origin") && one("access-control-request-method")
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Request {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Request { headers: pairs.into_iter().collect(), ends: false }
    }
}

/// A response as the host handed it over.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// All headers, `:status` among them.
    pub headers: Headers,
    /// Whether nothing follows the headers.
    pub ends: bool,
}

impl Response {
    /// The status code, or 0 if there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        let digits = self.headers.get(":status").one().unwrap_or_default();
        std::str::from_utf8(digits).ok().and_then(|s| s.parse().ok()).unwrap_or(0)
    }
}

/// The three ways in which a refusal is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `application/problem+json`.
    Http,
    /// Trailers only, `grpc-status`.
    Grpc,
    /// The same in the response headers, for browsers.
    GrpcWeb,
}

impl Protocol {
    /// Media types as the gRPC and gRPC-Web protocol documents give them: `application/grpc`, with an optional
    /// `+proto`, and `application/grpc-web`, with an optional `-text` and `+proto`.
    #[must_use]
    pub fn of_content_type(value: &[u8]) -> Protocol {
        let rest = match value.get(..16) {
            Some(start) if start.eq_ignore_ascii_case(b"application/grpc") => {
                value.get(16..).unwrap_or_default()
            }
            _ => return Protocol::Http,
        };
        match rest.first() {
            None | Some(b'+' | b';') => Protocol::Grpc,
            Some(b'-') if rest.get(..4).is_some_and(|w| w.eq_ignore_ascii_case(b"-web")) => Protocol::GrpcWeb,
            Some(_) => Protocol::Http,
        }
    }
}

fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|&b| b == b'?') {
        Some(at) => {
            (target.get(..at).unwrap_or_default(), target.get(at.saturating_add(1)..).unwrap_or_default())
        }
        None => (target, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_part_at_the_first_question_mark() {
        let request: Request = [(":path", "/a?b=1?c")].into_iter().collect();
        assert_eq!(request.path(), Some(&b"/a"[..]));
        assert_eq!(request.query(), b"b=1?c");
        assert_eq!(Request::default().path(), None);
    }

    #[test]
    fn content_types_tell_the_protocol() {
        for (value, want) in [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("Application/gRPC", Protocol::Grpc),
            ("application/grpc-web", Protocol::GrpcWeb),
            ("application/grpc-web-text+proto", Protocol::GrpcWeb),
            ("application/grpcx", Protocol::Http),
            ("application/json", Protocol::Http),
            ("", Protocol::Http),
        ] {
            assert_eq!(Protocol::of_content_type(value.as_bytes()), want, "{value}");
        }
    }

    #[test]
    fn a_preflight_has_one_origin_and_one_requested_method() {
        let base =
            [(":method", "OPTIONS"), ("origin", "https://a"), ("access-control-request-method", "PUT")];
        assert!(base.into_iter().collect::<Request>().is_preflight());
        let twice = base.into_iter().chain([("origin", "https://b")]);
        assert!(!twice.collect::<Request>().is_preflight());
        assert!(![(":method", "GET"), base[1], base[2]].into_iter().collect::<Request>().is_preflight());
    }
}
