//! The closed list of reasons for which a filter refuses.
//!
//! One word per reason. The same word stands in the answer's body, in Envoy's response-code details, in the metric
//! label, in the verdict fact and in the log, so that a line in one of them can be looked up in all the others. Every
//! word has a row in the README of the filter that gives it; a test keeps the rows complete.

/// Why a request was refused (or would have been, in shadow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The plugin has no valid configuration. The operator's fault.
    ConfigInvalid,
    /// The host did not hand over what it must (its request headers, say).
    HostError,
    /// The path can be read in two ways; see [`crate::matching::path`].
    AmbiguousPath,
    /// The authority names a user (`user@host`): two servers may read two hosts.
    AmbiguousHost,
    /// The method has a letter in lower case: one server reads another method, and the next one reads POST.
    AmbiguousMethod,
    /// A header that a rule matches on came more than once.
    AmbiguousHeader,
    /// No rule matches, and the configuration says `unmatched: deny`.
    Unmatched,
    /// A value that the rule needs is absent.
    ValueMissing,
    /// A value that the rule needs is empty, repeated, too long, or not of a form that can be used.
    ValueInvalid,
    /// No credential where the rule wants one.
    TokenMissing,
    /// More than one credential: RFC 6750, section 2, allows one method per request.
    TokenAmbiguous,
    /// Not a compact JWS within the limits.
    TokenMalformed,
    /// A JWS that does not verify, or whose claims do not hold: RFC 6750's `invalid_token`, and no more than that.
    TokenInvalid,
    /// A valid token without the scopes that the rule asks for.
    ScopeInsufficient,
    /// A valid token whose claims do not meet the rule's requirement.
    ClaimsInsufficient,
    /// Over the limit.
    RateLimited,
    /// The limiter's store could not answer.
    StoreUnavailable,
    /// On a list of those who are refused.
    Denied,
    /// The subject does not have the relation that the rule asks for.
    RelationDenied,
    /// As [`Reason::RelationDenied`], where not even the object's existence may show.
    NotFound,
    /// The rule asks about a verified subject, and there is none.
    SubjectMissing,
    /// A condition lacks a value, and nothing else grants.
    ConditionUnresolved,
    /// The answer took more steps than it may.
    CheckTooLong,
    /// The keys to check a token with could not be fetched.
    KeysUnavailable,
    /// The list of refused tokens could not be fetched.
    DenyListUnavailable,
    /// The tuples could not be fetched.
    TuplesUnavailable,
    /// The token gives more tuples than one question may have.
    TooManyTuples,
    /// What the filter itself answers is asked for by another method.
    MethodNotAllowed,
    /// There is no engine to ask.
    EngineUnavailable,
    /// The engine refuses the gateway's own credentials.
    CredentialsRefused,
    /// The engine has no such store or model.
    ModelRefused,
    /// The engine knows nothing of what the rule asks about.
    MappingRefused,
    /// The token by which the client asks for a fresh answer is none.
    FreshnessInvalid,
    /// More fresh answers are asked for than the gateway fetches.
    FreshnessLimited,
}

/// How a reason is put to a client.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The word.
    pub word: &'static str,
    /// HTTP status code.
    pub status: u16,
    /// gRPC status code.
    pub grpc: u8,
    /// One sentence for a person; constant, so that it reveals nothing about the request.
    pub detail: &'static str,
}

impl Reason {
    /// All reasons, in the order of their definition.
    pub const ALL: [Reason; 34] = [
        Reason::ConfigInvalid,
        Reason::HostError,
        Reason::AmbiguousPath,
        Reason::AmbiguousHost,
        Reason::AmbiguousMethod,
        Reason::AmbiguousHeader,
        Reason::Unmatched,
        Reason::ValueMissing,
        Reason::ValueInvalid,
        Reason::TokenMissing,
        Reason::TokenAmbiguous,
        Reason::TokenMalformed,
        Reason::TokenInvalid,
        Reason::ScopeInsufficient,
        Reason::ClaimsInsufficient,
        Reason::RateLimited,
        Reason::StoreUnavailable,
        Reason::Denied,
        Reason::RelationDenied,
        Reason::NotFound,
        Reason::SubjectMissing,
        Reason::ConditionUnresolved,
        Reason::CheckTooLong,
        Reason::KeysUnavailable,
        Reason::DenyListUnavailable,
        Reason::TuplesUnavailable,
        Reason::TooManyTuples,
        Reason::MethodNotAllowed,
        Reason::EngineUnavailable,
        Reason::CredentialsRefused,
        Reason::ModelRefused,
        Reason::MappingRefused,
        Reason::FreshnessInvalid,
        Reason::FreshnessLimited,
    ];

    /// The word and what goes with it.
    #[must_use]
    pub const fn spec(self) -> Spec {
        const INVALID_ARGUMENT: u8 = 3;
        const NOT_FOUND: u8 = 5;
        const PERMISSION_DENIED: u8 = 7;
        const RESOURCE_EXHAUSTED: u8 = 8;
        const UNIMPLEMENTED: u8 = 12;
        const INTERNAL: u8 = 13;
        const UNAVAILABLE: u8 = 14;
        const UNAUTHENTICATED: u8 = 16;
        let (word, status, grpc, detail) = match self {
            Reason::ConfigInvalid => (
                "config_invalid",
                500,
                INTERNAL,
                "This gateway's configuration was refused; its log says why.",
            ),
            Reason::HostError => ("host_error", 500, INTERNAL, "This gateway could not read the request."),
            Reason::AmbiguousPath => {
                ("ambiguous_path", 400, INVALID_ARGUMENT, "The path can be read in more than one way.")
            }
            Reason::AmbiguousHost => {
                ("ambiguous_host", 400, INVALID_ARGUMENT, "The host can be read in more than one way.")
            }
            Reason::AmbiguousMethod => {
                ("ambiguous_method", 400, INVALID_ARGUMENT, "The method can be read in more than one way.")
            }
            Reason::AmbiguousHeader => (
                "ambiguous_header",
                400,
                INVALID_ARGUMENT,
                "A header that decides about this request is repeated.",
            ),
            Reason::Unmatched => ("unmatched", 403, PERMISSION_DENIED, "No rule allows this request."),
            Reason::ValueMissing => {
                ("value_missing", 403, PERMISSION_DENIED, "A value that this request needs is missing.")
            }
            Reason::ValueInvalid => {
                ("value_invalid", 403, PERMISSION_DENIED, "A value that this request needs cannot be used.")
            }
            Reason::TokenMissing => ("token_missing", 401, UNAUTHENTICATED, "This request needs a token."),
            Reason::TokenAmbiguous => {
                ("token_ambiguous", 400, INVALID_ARGUMENT, "This request carries more than one credential.")
            }
            Reason::TokenMalformed => (
                "token_malformed",
                401,
                UNAUTHENTICATED,
                "The token is not a JSON Web Token that can be read here.",
            ),
            Reason::TokenInvalid => ("token_invalid", 401, UNAUTHENTICATED, "The token is not valid here."),
            Reason::ScopeInsufficient => (
                "scope_insufficient",
                403,
                PERMISSION_DENIED,
                "The token lacks a scope that this request needs.",
            ),
            Reason::ClaimsInsufficient => {
                ("claims_insufficient", 403, PERMISSION_DENIED, "The token does not grant this request.")
            }
            Reason::RateLimited => ("rate_limited", 429, RESOURCE_EXHAUSTED, "Too many requests."),
            Reason::StoreUnavailable => {
                ("store_unavailable", 503, UNAVAILABLE, "The limit could not be checked just now.")
            }
            Reason::Denied => ("denied", 403, PERMISSION_DENIED, "This client is refused here."),
            Reason::RelationDenied => {
                ("relation_denied", 403, PERMISSION_DENIED, "You may not do this to this object.")
            }
            Reason::NotFound => ("not_found", 404, NOT_FOUND, "There is nothing here for you."),
            Reason::SubjectMissing => {
                ("subject_missing", 401, UNAUTHENTICATED, "This request needs to say who asks.")
            }
            Reason::ConditionUnresolved => (
                "condition_unresolved",
                403,
                PERMISSION_DENIED,
                "A condition of this permission lacks a value.",
            ),
            Reason::CheckTooLong => {
                ("check_too_long", 503, UNAVAILABLE, "This permission could not be decided here.")
            }
            Reason::KeysUnavailable => {
                ("keys_unavailable", 503, UNAVAILABLE, "Tokens cannot be checked just now.")
            }
            Reason::DenyListUnavailable => (
                "deny_list_unavailable",
                503,
                UNAVAILABLE,
                "Whether the token was withdrawn cannot be checked just now.",
            ),
            Reason::TuplesUnavailable => {
                ("tuples_unavailable", 503, UNAVAILABLE, "Permissions cannot be checked just now.")
            }
            Reason::TooManyTuples => (
                "too_many_tuples",
                403,
                PERMISSION_DENIED,
                "The token gives more tuples than one question may have.",
            ),
            Reason::MethodNotAllowed => {
                ("method_not_allowed", 405, UNIMPLEMENTED, "This is answered to GET and HEAD alone.")
            }
            Reason::EngineUnavailable => {
                ("engine_unavailable", 503, UNAVAILABLE, "Permissions cannot be checked just now.")
            }
            Reason::CredentialsRefused => {
                ("credentials_refused", 503, UNAVAILABLE, "This gateway may not check permissions just now.")
            }
            Reason::ModelRefused => {
                ("model_refused", 500, INTERNAL, "This gateway asks about permissions that are not there.")
            }
            Reason::MappingRefused => {
                ("mapping_refused", 500, INTERNAL, "This gateway asks about permissions that are not there.")
            }
            Reason::FreshnessInvalid => {
                ("freshness_invalid", 400, INVALID_ARGUMENT, "The token of an earlier write cannot be used.")
            }
            Reason::FreshnessLimited => {
                ("freshness_limited", 429, RESOURCE_EXHAUSTED, "Too many requests ask for fresh answers.")
            }
        };
        Spec { word, status, grpc, detail }
    }

    /// Whether somebody who has to be asked could not be: what `on_error` decides about.
    #[must_use]
    pub const fn is_dependency(self) -> bool {
        matches!(
            self,
            Reason::StoreUnavailable
                | Reason::KeysUnavailable
                | Reason::DenyListUnavailable
                | Reason::TuplesUnavailable
                | Reason::EngineUnavailable
        )
    }

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.spec().word
    }

    /// The reason that a word names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|r| r.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_and_each_word_stands_once() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{reason:?} is out of order");
            assert_eq!(Reason::from_word(reason.word()), Some(reason));
            assert!(reason.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{reason:?}");
            assert!((400..600).contains(&reason.spec().status));
        }
    }
}
