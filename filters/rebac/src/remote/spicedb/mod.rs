//! SpiceDB's CheckPermission and CheckBulkPermissions, by gRPC and by its HTTP gateway.

mod json;
mod message;

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::filter::{Answer, Callout};
use serde_json::{Map, Value};

use super::Outcome;
use super::fault::{self, Fault, Why};
use crate::policy::remote::Spicedb;
use crate::question::Question;

/// The most questions of one bulk call. SpiceDB takes 10,000; so many fit into one message whatever their values.
pub const BATCH: usize = 50;

const SERVICE: &str = "authzed.api.v1.PermissionsService";

/// From which revision an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// One that SpiceDB chooses for speed.
    MinimizeLatency,
    /// At least this one.
    AtLeast(Rc<str>),
    /// The newest.
    Full,
}

/// An object or a subject, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts<'a> {
    kind: &'a str,
    id: &'a str,
    relation: &'a str,
}

fn parts(text: &str) -> Parts<'_> {
    let (object, relation) = text.split_once('#').unwrap_or((text, ""));
    let (kind, id) = object.split_once(':').unwrap_or((object, ""));
    Parts { kind, id, relation }
}

/// A call that asks these questions; `more` are further headers.
#[must_use]
pub fn call(
    engine: &Spicedb,
    questions: &[&Question],
    consistency: &Consistency,
    more: &[(String, String)],
    timeout: Duration,
) -> Callout {
    let Some(target) = &engine.grpc else {
        let (path, body) = json::ask(questions, consistency);
        return super::post(&engine.place, path, Some(engine.bearer.expose()), more, body, timeout);
    };
    let (method, message) = message::ask(questions, consistency);
    let bearer = ("authorization".to_owned(), engine.bearer.expose().as_bytes().to_vec());
    let more = more.iter().map(|(name, value)| (name.clone(), value.as_bytes().to_vec()));
    let metadata = std::iter::once(bearer).chain(more).collect();
    Callout::Grpc { target: target.clone(), service: SERVICE, method, metadata, message, timeout }
}

/// What an answer says to these questions. `with_token` says whether the client's token was sent along.
#[must_use]
pub fn read(answer: &Answer, questions: &[&Question], with_token: bool) -> Vec<Outcome> {
    let all = |fault: Fault| vec![Err(fault); questions.len()];
    let read = match answer {
        Answer::Grpc { status: 0, message } if message.len() <= super::MAX_ANSWER => {
            message::read(message, questions, with_token)
        }
        Answer::Grpc { status: 0, .. } => return all(Fault::Unavailable(Why::TooLarge)),
        Answer::Grpc { status, message } => {
            return all(fault::of_grpc(u64::from(*status), message, with_token));
        }
        other => match super::http(other) {
            Err(fault) => return all(fault),
            Ok((200, body)) => json::read(body, questions, with_token),
            Ok((status, body)) => return all(refused(status, body, with_token)),
        },
    };
    read.unwrap_or_else(|| all(Fault::Unavailable(Why::Garbled)))
}

/// A refusal of the gateway: its body has the code of gRPC. What comes from a proxy in front has none.
fn refused(status: u16, body: &[u8], with_token: bool) -> Fault {
    let json = super::object(body);
    let code = json.as_ref().and_then(|j| j.get("code")).and_then(Value::as_u64);
    match (code, status) {
        (Some(code @ 1..=16), 400..) => fault::of_grpc(code, said(json.as_ref()), with_token),
        (_, 401 | 403) => Fault::Credentials,
        _ => fault::of_status(status),
    }
}

/// The text of an error.
fn said(error: Option<&Map<String, Value>>) -> &[u8] {
    error.and_then(|e| e.get("message")).and_then(Value::as_str).unwrap_or_default().as_bytes()
}

const HAS: u64 = 2;
const HAS_NOT: u64 = 1;
const CONDITIONAL: u64 = 3;

fn outcome(permissionship: u64, missing: &[&str]) -> Option<Outcome> {
    match permissionship {
        HAS => Some(Ok(true)),
        HAS_NOT => Some(Ok(false)),
        CONDITIONAL => Some(Err(Fault::Condition(missing.join(" ").into()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::question;

    pub(super) const TIMEOUT: Duration = Duration::from_millis(200);

    pub(super) fn grpc(status: u32, message: &[u8]) -> Answer {
        Answer::Grpc { status, message: message.to_vec() }
    }

    #[test]
    fn answers_by_grpc() {
        let one = question("user:ann", "view", "document:1");
        let asked = [&one];
        let read_one = |message: &[u8]| read(&grpc(0, message), &asked, false);
        assert_eq!(read_one(b"\x0a\x02\x0a\x00\x10\x02"), [Ok(true)]);
        assert_eq!(read_one(b"\x10\x01"), [Ok(false)]);
        assert_eq!(read_one(b"\x10\x03\x1a\x06\x0a\x01a\x0a\x01b"), [Err(Fault::Condition("a b".into()))]);
        for bad in [
            &b""[..],
            b"\x10\x00",
            b"\x10\x04",
            b"\x10",
            b"\xff\xff",
            b"\x10\x01\x10\x02",
            b"\x10\x02\x12\x00",
        ] {
            assert_eq!(read_one(bad), [Err(Fault::Unavailable(Why::Garbled))], "{bad:?}");
        }
        let deep =
            b"the check request has exceeded the allowable maximum depth of 50: this usually indicates";
        for (status, said, fault) in [
            (9, &deep[..], Fault::TooLong),
            (9, b"max depth exceeded: this usually indicates a recursive or too deep data", Fault::TooLong),
            (9, b"object definition `x` not found", Fault::Mapping),
            (
                3,
                b"type error for parameters for caveat `lvl`: could not convert",
                Fault::Condition("".into()),
            ),
            (3, b"evaluation error for caveat dv: division by zero", Fault::Condition("".into())),
            (3, b"invalid CheckPermissionRequest.Resource", Fault::Value),
            (14, b"upstream request timeout", Fault::Unavailable(Why::Timeout)),
            (14, b"no healthy upstream", Fault::Unavailable(Why::Unreachable)),
        ] {
            assert_eq!(read(&grpc(status, said), &asked, false), [Err(fault)], "{status}");
        }
        let caveat = b"evaluation error for caveat mp: no such key: k";
        assert_eq!(read(&grpc(3, caveat), &asked, true), [Err(Fault::Condition("".into()))]);
        for (status, with_token, fault) in [
            (3, false, Fault::Value),
            (3, true, Fault::Freshness),
            (11, true, Fault::Freshness),
            (4, false, Fault::Unavailable(Why::Timeout)),
            (7, false, Fault::Credentials),
            (8, false, Fault::TooLong),
            (9, false, Fault::Mapping),
            (13, false, Fault::Unavailable(Why::Status)),
            (14, false, Fault::Unavailable(Why::Unreachable)),
            (16, false, Fault::Credentials),
            (99, false, Fault::Unavailable(Why::Status)),
        ] {
            assert_eq!(read(&grpc(status, b""), &asked, with_token), [Err(fault)], "{status}");
        }
    }
}
