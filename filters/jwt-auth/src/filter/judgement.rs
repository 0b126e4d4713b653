//! What a request may do, or why it may not.

use std::rc::Rc;

use portcullis_common::reason::Reason;

use crate::authenticate::Refused;
use crate::claims::Cause;
use crate::identity::{Identity, Unfit};
use crate::servers::{Missing, What};

/// What a request may do, judged by one rule.
pub(super) type Judgement = Result<Pass, Rejection>;

/// A token that verified.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) identity: Rc<Identity>,
    /// The place where it was found.
    pub(super) place: usize,
    /// Whether it had been checked for an earlier request.
    pub(super) remembered: bool,
}

/// A request may pass.
pub(super) enum Pass {
    /// Nothing was asked of it.
    Unasked,
    /// Without a token, where one was optional.
    Anonymous,
    /// With this token.
    As(Shown),
    /// With these tokens; the first speaks for the request.
    AsAll(Vec<Shown>),
}

/// A request may not pass.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) reason: Reason,
    /// Which check failed, for the operator.
    pub(super) cause: Option<&'static str>,
    /// Whose valid token did not suffice.
    pub(super) who: Option<Shown>,
    /// What the token could not be checked for.
    pub(super) missing: Option<Missing>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Rejection { reason, cause: None, who: None, missing: None }
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(how) => Rejection {
                reason: Reason::TokenMalformed,
                cause: Some(how.word()),
                who: None,
                missing: None,
            },
            Refused::Missing(missing, cause) => {
                let reason = match missing.what {
                    What::Keys => Reason::KeysUnavailable,
                    What::Key(_) => Reason::TokenInvalid,
                    What::List => Reason::DenyListUnavailable,
                };
                let cause = matches!(missing.what, What::Key(_)).then(|| cause.word());
                Rejection { reason, cause, who: None, missing: Some(missing) }
            }
            Refused::Unfit(Unfit::Cause(cause)) => cause.into(),
            Refused::Unfit(Unfit::Value(failure)) => failure.reason().into(),
        }
    }
}

impl From<Cause> for Rejection {
    fn from(cause: Cause) -> Self {
        Rejection { reason: Reason::TokenInvalid, cause: Some(cause.word()), who: None, missing: None }
    }
}
