//! Engines outside the filter.
//!
//! A question is looked up in [`memory`]; what is not there is asked, all questions of a request in one call, and what is asked
//! already by another stream is waited for.
//!
//! | module | one idea |
//! |---|---|
//! | [`client`] | from the questions of a request to their answers |
//! | [`errand`] | the questions of one request |
//! | [`flight`] | questions on their way, which others wait for |
//! | [`openfga`], [`spicedb`] | what the engines are told, and what their answers mean |
//! | [`grammar`] | what they take for an id |
//! | [`fault`] | why there is no answer |
//! | [`key`] | every input of a decision, in one key |
//! | [`memory`] | decisions that are remembered |
//! | [`epoch`] | what a watch of changes tells the memory |
//! | [`freshness`] | how new an answer has to be |
//! | [`breaker`] | leaving an engine alone that fails |
//! | [`tokens`] | what an engine is shown, where it has to be fetched |
//! | [`meter`] | metrics |
//! | [`remarks`] | what the log is told |

pub mod breaker;
pub mod client;
pub mod epoch;
pub mod errand;
pub mod fault;
pub mod flight;
pub mod freshness;
pub mod grammar;
pub mod key;
pub mod memory;
pub mod meter;
pub mod openfga;
pub mod remarks;
pub mod spicedb;
pub mod tokens;

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::filter::{Answer, Callout};
use portcullis_common::json;
use serde_json::{Map, Value};

use self::fault::{Fault, Why};
use crate::policy::remote::Place;

/// What an engine says to a question.
pub type Outcome = Result<bool, Fault>;

/// The longest answer that is looked at. Fifty answers with their questions have less.
pub const MAX_ANSWER: usize = 1 << 20;

/// How many values an answer holds at most: fifty questions come back with the values that went with them.
const VALUES: u32 = 200_000;

/// An answer's object. One with a member twice says two things, of which another reader may take the other: it is none.
fn object(body: &[u8]) -> Option<Map<String, Value>> {
    json::object(body, VALUES).ok()
}

/// A call with a body of JSON. `bearer` is the value of `authorization`, `more` are further headers.
fn post(
    place: &Place,
    path: &str,
    bearer: Option<&str>,
    more: &[(String, String)],
    body: Map<String, Value>,
    timeout: Duration,
) -> Callout {
    let own = [
        (":method", "POST"),
        (":path", path),
        (":authority", &*place.authority),
        ("content-type", "application/json"),
        ("accept", "application/json"),
    ];
    let authorization = bearer.map(|bearer| ("authorization", bearer));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let headers = own.into_iter().chain(authorization).map(owned).chain(more.iter().cloned()).collect();
    let body = Value::Object(body).to_string().into_bytes();
    Callout::Http { cluster: Rc::clone(&place.cluster), headers, body, timeout }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The status and the body of an HTTP answer.
fn http(answer: &Answer) -> Result<(u16, &[u8]), Fault> {
    let why = match answer {
        Answer::Http { status, body, .. } if body.len() <= MAX_ANSWER => return Ok((*status, body)),
        Answer::Http { .. } => Why::TooLarge,
        Answer::Reset => Why::Reset,
        Answer::Timeout => Why::Timeout,
        Answer::Refused => Why::Unreachable,
        Answer::Grpc { .. } | Answer::Woken => Why::Garbled,
    };
    Err(Fault::Unavailable(why))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::policy::remote::{Bearer, Credentials, Openfga, Place, Spicedb};
    use crate::question::Question;
    use portcullis_common::filter::{Callout, GrpcTarget};

    pub(crate) fn question(subject: &str, relation: &str, object: &str) -> Question {
        Question {
            subject: subject.to_owned(),
            relation: relation.into(),
            object: object.to_owned(),
            tuples: Vec::new(),
            context: serde_json::Map::new(),
        }
    }

    fn place() -> Place {
        Place { cluster: "engine".into(), authority: "engine.test".into() }
    }

    pub(crate) fn openfga() -> Openfga {
        let credentials = Credentials::None;
        Openfga { place: place(), store: "S".into(), model: "M".into(), credentials, always_fresh: false }
    }

    pub(crate) fn spicedb(grpc: bool) -> Spicedb {
        let grpc = grpc.then(|| GrpcTarget::new("engine", "engine.test").unwrap());
        Spicedb { place: place(), grpc, bearer: Bearer::new(b"key").unwrap(), always_fresh: false }
    }

    pub(crate) fn ok(body: &str) -> Answer {
        Answer::Http { response: Vec::new(), status: 200, body: body.as_bytes().to_vec() }
    }

    pub(crate) fn body(callout: &Callout) -> Value {
        let Callout::Http { body, .. } = callout else { panic!("{callout:?}") };
        serde_json::from_slice(body).unwrap()
    }
}
