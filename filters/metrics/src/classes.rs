//! The closed sets that labels are drawn from: whatever else a client or an upstream makes up becomes `_OTHER`.

use portcullis_common::reason::Reason;

/// What is in none of the sets.
pub const OTHER: &str = "_OTHER";

/// Methods as OpenTelemetry knows them, with QUERY; methods are case-sensitive (RFC 9110, section 9.1).
pub const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "QUERY", "CONNECT", "TRACE"];

/// The position of a method in [`METHODS`]; the length of the list for any other.
#[must_use]
pub fn method(method: &[u8]) -> u8 {
    let found = METHODS.iter().position(|m| m.as_bytes() == method);
    u8::try_from(found.unwrap_or(METHODS.len())).unwrap_or(u8::MAX)
}

/// The word of [`method`].
#[must_use]
pub fn method_word(method: u8) -> &'static str {
    METHODS.get(usize::from(method)).copied().unwrap_or(OTHER)
}

/// A status code; 1 stands for what is none, 0 for a request that was never answered.
#[must_use]
pub fn code(code: u64) -> u16 {
    match u16::try_from(code) {
        Ok(code) if code == 0 || (100..600).contains(&code) => code,
        _ => 1,
    }
}

/// The word of [`code`].
#[must_use]
pub fn code_word(code: u16) -> String {
    if code == 1 { OTHER.to_owned() } else { code.to_string() }
}

/// The highest gRPC status, UNAUTHENTICATED; 17 stands for what is none, 18 for a request that is no gRPC.
const GRPC_LAST: u8 = 16;
/// No gRPC.
pub const NO_GRPC: u8 = 18;

/// A gRPC status.
#[must_use]
pub fn grpc(status: u64) -> u8 {
    u8::try_from(status).ok().filter(|s| *s <= GRPC_LAST).unwrap_or(17)
}

/// The word of [`grpc`].
#[must_use]
pub fn grpc_word(status: u8) -> String {
    match status {
        NO_GRPC => String::new(),
        17 => OTHER.to_owned(),
        status => status.to_string(),
    }
}

/// Whether a gRPC status is the server's fault: the six that OpenTelemetry counts as errors of servers (UNKNOWN,
/// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS).
#[must_use]
pub fn is_grpc_fault(status: u8) -> bool {
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Source {
    /// The upstream.
    Upstream,
    /// Envoy or one of its filters.
    Gateway,
    /// Nobody: the client left before the answer was complete.
    Client,
}

impl Source {
    /// The word in labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Source::Upstream => "upstream",
            Source::Gateway => "gateway",
            Source::Client => "client",
        }
    }
}

/// Why a stream did not end with the upstream's whole answer: a Portcullis reason, or one of Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It did.
    Nothing,
    /// A Portcullis filter refused it.
    Refused(Reason),
    /// Envoy says so in its response flags; the position in [`CAUSES`].
    Envoy(u8),
    /// The gateway answered with an error that none of the above explains.
    Other,
}

impl Why {
    /// The word in labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Why::Nothing => "",
            Why::Refused(reason) => reason.word(),
            Why::Envoy(cause) => CAUSES.get(usize::from(cause)).map_or(OTHER, |c| c.word),
            Why::Other => OTHER,
        }
    }

    /// A number of its own.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Why::Nothing => 0,
            Why::Other => 1,
            Why::Envoy(cause) => u64::from(cause).saturating_add(2),
            Why::Refused(reason) => (reason as u64).saturating_add(64),
        }
    }
}

/// What Envoy says of a stream by one of its response flags.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// The flag, by its bit in `response.flags` (Envoy's `StreamInfo::CoreResponseFlag`).
    bit: u8,
    /// The word in labels.
    pub word: &'static str,
    /// Whether an upstream was asked, so that the time cannot be split without its answer.
    asked: bool,
}

/// The flags that explain an end, the more telling ones first.
pub const CAUSES: [Cause; 23] = [
    Cause { bit: 14, word: "client_gone", asked: true },
    Cause { bit: 28, word: "client_reset", asked: true },
    Cause { bit: 18, word: "client_protocol", asked: false },
    Cause { bit: 8, word: "no_route", asked: false },
    Cause { bit: 24, word: "no_cluster", asked: false },
    Cause { bit: 1, word: "no_healthy_upstream", asked: false },
    Cause { bit: 2, word: "upstream_timeout", asked: true },
    Cause { bit: 19, word: "stream_too_long", asked: true },
    Cause { bit: 16, word: "idle_timeout", asked: true },
    Cause { bit: 22, word: "duration_timeout", asked: true },
    Cause { bit: 5, word: "upstream_unreachable", asked: true },
    Cause { bit: 6, word: "upstream_reset", asked: true },
    Cause { bit: 4, word: "upstream_reset", asked: true },
    Cause { bit: 3, word: "gateway_reset", asked: true },
    Cause { bit: 23, word: "upstream_protocol", asked: true },
    Cause { bit: 7, word: "upstream_overflow", asked: false },
    Cause { bit: 25, word: "gateway_overloaded", asked: false },
    Cause { bit: 11, word: "envoy_rate_limit", asked: false },
    Cause { bit: 12, word: "envoy_ext_authz", asked: false },
    Cause { bit: 10, word: "fault_injected", asked: false },
    Cause { bit: 26, word: "upstream_unreachable", asked: false },
    Cause { bit: 27, word: "gateway_overloaded", asked: false },
    Cause { bit: 15, word: "retries_exhausted", asked: true },
];

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Who answered.
    pub source: Source,
    /// Why not the upstream, or why not wholly.
    pub why: Why,
    /// Whether an upstream was asked that did not answer to the end.
    pub upstream_failed: bool,
}

/// Reads an end from Envoy's response-code details and response flags.
#[must_use]
pub fn end(code: u16, details: &[u8], flags: u64) -> End {
    let set = |cause: &&(u8, &Cause)| flags >> cause.1.bit & 1 == 1;
    let cause = if flags == 0 { None } else { (0_u8..).zip(CAUSES.iter()).find(|c| set(&c)) };
    let answered = details == b"via_upstream" || details.starts_with(b"upstream_reset_after");
    let left = matches!(cause, Some((0 | 1, _)));
    let source = if left {
        Source::Client
    } else if answered {
        Source::Upstream
    } else {
        Source::Gateway
    };
    let refused = || std::str::from_utf8(details).ok().and_then(Reason::from_word);
    let why = match cause {
        // A Portcullis filter writes its reason into the details; a client that leaves takes nothing of it back.
        _ if !answered && refused().is_some() => refused().map_or(Why::Other, Why::Refused),
        Some((number, _)) => Why::Envoy(number),
        None if !answered && (code >= 400 || code <= 1) => Why::Other,
        None => Why::Nothing,
    };
    End { source, why, upstream_failed: cause.is_some_and(|(_, c)| c.asked) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NR: u64 = 1 << 8;
    const DC: u64 = 1 << 14;
    const UC: u64 = 1 << 6;
    const UF_URX: u64 = 1 << 5 | 1 << 15;

    #[test]
    fn an_end_has_one_source_and_one_reason() {
        for (code, details, flags, source, why) in [
            (200, "via_upstream", 0, Source::Upstream, ""),
            (503, "via_upstream", 0, Source::Upstream, ""),
            (401, "token_missing", 0, Source::Gateway, "token_missing"),
            (404, "route_not_found", NR, Source::Gateway, "no_route"),
            (
                503,
                "upstream_reset_before_response_started{connection_termination}",
                UC,
                Source::Gateway,
                "upstream_reset",
            ),
            (
                200,
                "upstream_reset_after_response_started{connection_termination}",
                UC,
                Source::Upstream,
                "upstream_reset",
            ),
            (
                503,
                "upstream_reset_before_response_started{connection_failure}",
                UF_URX,
                Source::Gateway,
                "upstream_unreachable",
            ),
            (0, "downstream_remote_disconnect", DC, Source::Client, "client_gone"),
            (200, "via_upstream", DC, Source::Client, "client_gone"),
            (403, "rbac_access_denied_matched_policy[none]", 0, Source::Gateway, "_OTHER"),
            (200, "direct_response", 0, Source::Gateway, ""),
            (101, "via_upstream", 0, Source::Upstream, ""),
        ] {
            let end = end(code, details.as_bytes(), flags);
            assert_eq!((end.source, end.why.word()), (source, why), "{code} {details} {flags:#x}");
        }
    }

    #[test]
    fn an_upstream_that_calls_itself_a_reason_is_not_believed() {
        assert_eq!(end(401, b"via_upstream", 0).why, Why::Nothing);
    }

    #[test]
    fn what_is_in_no_set_is_other() {
        assert_eq!(method_word(method(b"GET")), "GET");
        for odd in [&b"get"[..], b"", b"BREW", b"\xff"] {
            assert_eq!(method_word(method(odd)), OTHER);
        }
        for (given, word) in
            [(0, "0"), (200, "200"), (599, "599"), (1, OTHER), (99, OTHER), (600, OTHER), (1 << 40, OTHER)]
        {
            assert_eq!(code_word(code(given)), word);
        }
        for (given, word) in [(0, "0"), (16, "16"), (17, OTHER), (u64::MAX, OTHER)] {
            assert_eq!(grpc_word(grpc(given)), word);
        }
        assert_eq!(grpc_word(NO_GRPC), "");
    }

    #[test]
    fn numbers_of_reasons_are_their_own() {
        let all = (0..).take(CAUSES.len()).map(Why::Envoy).chain([Why::Nothing, Why::Other]);
        let all: Vec<u64> = all.chain(Reason::ALL.map(Why::Refused)).map(Why::number).collect();
        let different: std::collections::BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|n| *n < 256));
    }
}
