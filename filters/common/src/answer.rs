//! The one way to refuse.
//!
//! HTTP gets `application/problem+json` (RFC 9457), gRPC a trailers-only answer, gRPC-Web the same in its
//! response headers. Envoy itself turns a local reply to a gRPC request into trailers, with the body as
//! `grpc-message`; gRPC-Web it does not know, so those answers are spelled out here.

use std::rc::Rc;

use crate::facts::{Outcome, Verdict};
use crate::reason::{Reason, Spec};
use crate::request::Protocol;

/// A finished answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// The gRPC status for the host to put into trailers, where the request was gRPC.
    pub grpc: Option<u8>,
    /// Headers, sent with this answer and no other.
    pub headers: Vec<(Rc<str>, Vec<u8>)>,
    /// Body.
    pub body: Vec<u8>,
    /// Envoy's response-code details: the reason's word, for a refusal.
    pub details: &'static str,
    /// The verdict fact; `None` where no plugin name is known.
    pub verdict: Option<Verdict>,
}

impl Reply {
    /// A document that the filter itself serves; `details` says which.
    #[must_use]
    pub fn document(details: &'static str, media_type: &str, body: Vec<u8>, verdict: Verdict) -> Reply {
        let headers = vec![("content-type".into(), media_type.as_bytes().to_vec())];
        Reply { status: 200, grpc: None, headers, body, details, verdict: Some(verdict) }
    }
}

/// A refusal in the making: a reason, and what makes this one special.
#[derive(Clone, Debug)]
pub struct Refusal {
    reason: Reason,
    spec: Spec,
    kind: Option<&'static str>,
    members: Vec<(&'static str, String)>,
    headers: Vec<(Rc<str>, Vec<u8>)>,
}

impl Refusal {
    /// A refusal for `reason`, with that reason's status codes and sentence.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Refusal { reason, spec: reason.spec(), kind: None, members: Vec::new(), headers: Vec::new() }
    }

    /// Another pair of status codes than the reason's own.
    #[must_use]
    pub fn status(mut self, http: u16, grpc: u8) -> Self {
        self.spec.status = http;
        self.spec.grpc = grpc;
        self
    }

    /// A header that goes out with the refusal. Bytes that could end the line are escaped.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let escaped = value.bytes().all(|b| matches!(b, b' '..=b'~'));
        let value = if escaped {
            value.as_bytes().to_vec()
        } else {
            crate::edits::header_value(value.as_bytes()).to_vec()
        };
        self.headers.push((name.into(), value));
        self
    }

    /// A problem type other than `about:blank` (RFC 9457, section 3.1.1).
    #[must_use]
    pub fn kind(mut self, uri: &'static str) -> Self {
        self.kind = Some(uri);
        self
    }

    /// An extension member of the problem (RFC 9457, section 3.2); `json` is its value as JSON text.
    #[must_use]
    pub fn member(mut self, name: &'static str, json: String) -> Self {
        self.members.push((name, json));
        self
    }

    /// The answer, in the way the client speaks, decided by `rule`.
    #[must_use]
    pub fn reply(self, protocol: Protocol, rule: Option<Rc<str>>) -> Reply {
        let Refusal { reason, spec, mut headers, .. } = self;
        let details = spec.word;
        let verdict = rule.map(|rule| Verdict { outcome: Outcome::Deny, reason: Some(reason), rule });
        match protocol {
            Protocol::Http => {
                headers.push(("content-type".into(), b"application/problem+json".to_vec()));
                let body = problem(&spec, self.kind, &self.members);
                Reply { status: spec.status, grpc: None, headers, body, details, verdict }
            }
            Protocol::Grpc => {
                let body = spec.word.as_bytes().to_vec();
                Reply { status: spec.status, grpc: Some(spec.grpc), headers, body, details, verdict }
            }
            Protocol::GrpcWeb => {
                headers.push(("content-type".into(), b"application/grpc-web+proto".to_vec()));
                headers.push(("grpc-status".into(), spec.grpc.to_string().into_bytes()));
                headers.push(("grpc-message".into(), spec.word.as_bytes().to_vec()));
                Reply { status: 200, grpc: None, headers, body: Vec::new(), details, verdict }
            }
        }
    }
}

fn problem(spec: &Spec, kind: Option<&str>, members: &[(&'static str, String)]) -> Vec<u8> {
    let mut body = format!(
        r#"{{"type":"{}","title":"{}","status":{},"detail":"{}","reason":"{}""#,
        kind.unwrap_or("about:blank"),
        title(spec.status),
        spec.status,
        spec.detail,
        spec.word
    );
    for (name, json) in members {
        body.push_str(&format!(r#","{name}":{json}"#));
    }
    body.push_str("}\n");
    body.into_bytes()
}

/// RFC 9457, section 4.2.1: with `about:blank`, the title is the status code's own phrase.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_gets_a_problem_with_the_reason_in_it() {
        let reply = Refusal::new(Reason::TokenMissing)
            .header("www-authenticate", "Bearer")
            .member("policies", "[\"a\"]".into())
            .reply(Protocol::Http, Some("r".into()));
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 401);
        assert_eq!(body["reason"], "token_missing");
        assert_eq!(body["title"], "Unauthorized");
        assert_eq!(body["policies"][0], "a");
        assert_eq!(reply.verdict, Some(Verdict::deny(Reason::TokenMissing, "r".into())));
    }

    #[test]
    fn every_reason_is_a_well_formed_problem() {
        for reason in Reason::ALL {
            let reply = Refusal::new(reason).reply(Protocol::Http, None);
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(body["status"], reply.status);
            assert_ne!(body["title"], "Refused", "{reason:?}");
        }
    }

    #[test]
    fn grpc_gets_a_status_and_grpc_web_gets_it_in_headers() {
        let refusal = Refusal::new(Reason::RateLimited);
        let grpc = refusal.clone().reply(Protocol::Grpc, None);
        assert_eq!((grpc.grpc, &grpc.body[..]), (Some(8), &b"rate_limited"[..]));
        let web = refusal.reply(Protocol::GrpcWeb, None);
        assert_eq!(web.status, 200);
        assert!(web.headers.contains(&("grpc-status".into(), b"8".to_vec())));
    }

    #[test]
    fn a_header_value_stays_on_its_line() {
        let reply = Refusal::new(Reason::Unmatched).header("x", "a\r\nb: c").reply(Protocol::Http, None);
        assert_eq!(reply.headers[0].1, b"a%0D%0Ab: c");
    }
}
