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
    /// The answer broke off, or was too large.
    Reset,
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
                Why::Reset => "reset",
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

    /// Whether asking again may help: the question did not reach the engine, or the engine says so.
    #[must_use]
    pub fn may_be_repeated(&self) -> bool {
        matches!(self, Fault::Unavailable(Why::Reset | Why::Unreachable | Why::Status))
    }
}

/// What SpiceDB says of a way that is too long, under a code that it has for what the schema lacks too.
const TOO_DEEP: &[u8] = b"exceeded the allowable maximum depth";

/// The canonical codes of gRPC, which SpiceDB answers with by either protocol; `said` is the text beside it.
#[must_use]
pub fn of_grpc(code: u64, said: &[u8], with_token: bool) -> Fault {
    match code {
        // What a token can cause, where there is one: ids were held to the engine's grammar before.
        3 | 11 if with_token => Fault::Freshness,
        3 => Fault::Value,
        4 => Fault::Unavailable(Why::Timeout),
        9 if said.windows(TOO_DEEP.len()).any(|text| text == TOO_DEEP) => Fault::TooLong,
        5 | 9 => Fault::Mapping,
        // The wrong key. It says nothing about the subject.
        7 | 16 => Fault::Credentials,
        8 => Fault::TooLong,
        _ => Fault::Unavailable(Why::Status),
    }
}
