//! Why an engine outside the filter gave no answer.

use std::rc::Rc;

use portcullis_common::reason::Reason;

/// Why there is no answer. None of these is ever remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The engine refuses a value of the request.
    Value,
    /// A condition lacks values: their names, as far as the engine says them.
    Condition(Rc<str>),
    /// The engine gave up: the way is too long, or there are too many.
    TooLong,
    /// The engine knows no such type, relation or permission: the rules do not fit its model.
    Mapping,
    /// The engine has no such store or model.
    Model,
    /// The engine refuses the filter's own credentials.
    Credentials,
    /// The engine cannot use the token by which the client asks for a fresh answer.
    Freshness,
    /// There is nobody to answer.
    Unavailable(Why),
}

/// Why there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It took too long.
    Timeout,
    /// The answer broke off.
    Reset,
    /// The answer is too large: the same again.
    TooLarge,
    /// There is no way to the engine.
    Unreachable,
    /// The engine says that it cannot.
    Status,
    /// The answer is none.
    Garbled,
    /// It failed so often that it is left alone for a while.
    Paused,
    /// The token endpoint gives no token.
    NoToken,
}

impl Fault {
    /// The reason to refuse with.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Fault::Value => Reason::ValueInvalid,
            Fault::Condition(_) => Reason::ConditionUnresolved,
            Fault::TooLong => Reason::CheckTooLong,
            Fault::Mapping => Reason::MappingRefused,
            Fault::Model => Reason::ModelRefused,
            Fault::Credentials => Reason::CredentialsRefused,
            Fault::Freshness => Reason::FreshnessInvalid,
            Fault::Unavailable(_) => Reason::EngineUnavailable,
        }
    }

    /// The word in metrics and the log.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Fault::Value => "value",
            Fault::Condition(_) => "condition",
            Fault::TooLong => "too_long",
            Fault::Mapping => "mapping",
            Fault::Model => "model",
            Fault::Credentials => "credentials",
            Fault::Freshness => "freshness",
            Fault::Unavailable(why) => match why {
                Why::Timeout => "timeout",
                Why::Reset | Why::TooLarge => "reset",
                Why::Unreachable => "unreachable",
                Why::Status => "status",
                Why::Garbled => "garbled",
                Why::Paused => "paused",
                Why::NoToken => "no_token",
            },
        }
    }

    /// Whether the operator has to mend something.
    #[must_use]
    pub fn is_operators(&self) -> bool {
        matches!(self, Fault::Mapping | Fault::Model | Fault::Credentials)
    }

    /// Whether the engine is away, as opposed to having said something.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Fault::Unavailable(_))
    }

    /// Whether asking again may help: the question did not reach the engine, or its answer not us.
    #[must_use]
    pub fn may_be_repeated(&self) -> bool {
        matches!(self, Fault::Unavailable(Why::Timeout | Why::Reset | Why::Unreachable))
    }
}

/// What SpiceDB says of a way that is too long, under a code that it has for what the schema lacks too: the first of a direct
/// question, the second of a way through others.
const TOO_DEEP: [&[u8]; 2] = [b"exceeded the allowable maximum depth", b"max depth exceeded"];
/// What it says of a caveat whose values do not fit or have no result, under a code that it has for questions that are none too.
const CAVEAT: [&[u8]; 2] = [b"type error for parameters for caveat", b"evaluation error for caveat"];
/// What Envoy says of a call that took too long, under a code that it has for an engine that is not there too.
const TIMEOUT: [&[u8]; 1] = [b"upstream request timeout"];

/// A status of HTTP that is neither an answer nor a refusal. What Envoy and other proxies say of an engine that they do not reach
/// is told from what one says of itself.
#[must_use]
pub fn of_status(status: u16) -> Fault {
    Fault::Unavailable(match status {
        502 | 503 => Why::Unreachable,
        504 => Why::Timeout,
        _ => Why::Status,
    })
}

/// The canonical codes of gRPC, which SpiceDB answers with by either protocol; `said` is the text beside it.
#[must_use]
pub fn of_grpc(code: u64, said: &[u8], with_token: bool) -> Fault {
    let says = |texts: &[&[u8]]| texts.iter().any(|text| said.windows(text.len()).any(|part| part == *text));
    match code {
        3 if says(&CAVEAT) => Fault::Condition(Rc::from("")),
        // What a token can cause, where there is one: ids were held to the engine's grammar before.
        3 | 11 if with_token => Fault::Freshness,
        3 => Fault::Value,
        4 => Fault::Unavailable(Why::Timeout),
        9 if says(&TOO_DEEP) => Fault::TooLong,
        5 | 9 => Fault::Mapping,
        // The wrong key. It says nothing about the subject.
        7 | 16 => Fault::Credentials,
        8 => Fault::TooLong,
        14 if says(&TIMEOUT) => Fault::Unavailable(Why::Timeout),
        14 => Fault::Unavailable(Why::Unreachable),
        _ => Fault::Unavailable(Why::Status),
    }
}
