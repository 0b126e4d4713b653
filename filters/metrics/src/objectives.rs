//! Promises: was this request a good one?
//!
//! Good and bad requests are counted in the filter, so that a promise about latency needs no histogram and no bucket
//! at its threshold: the counts are exact.

use crate::classes::{self, End, Source};

/// What is promised of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// The share of requests without a fault of the server, in parts per million.
    pub availability: Option<u32>,
    /// How long an answer may take, in nanoseconds, and the share that takes no longer, in parts per million.
    pub latency: Option<(u64, u32)>,
    /// The time that satisfies, in nanoseconds.
    pub apdex: Option<u64>,
}

/// What is promised, as a label has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Objective {
    /// An answer without a fault of the server.
    Availability,
    /// An answer in time.
    Latency,
}

impl Objective {
    /// The word in labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Objective::Availability => "availability",
            Objective::Latency => "latency",
        }
    }
}

/// Apdex' three zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Zone {
    /// In time.
    Satisfied,
    /// Within four times that.
    Tolerating,
    /// Later, or failed.
    Frustrated,
}

impl Zone {
    /// The word in labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Zone::Satisfied => "satisfied",
            Zone::Tolerating => "tolerating",
            Zone::Frustrated => "frustrated",
        }
    }
}

/// A request that is over, as far as promises are about it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Status code.
    pub code: u16,
    /// gRPC status.
    pub grpc: u8,
    /// How it ended.
    pub end: End,
    /// How long it took in nanoseconds; `None` for a tunnel, whose length says nothing.
    pub total: Option<u64>,
}

impl Outcome {
    /// Whether it is one of the server's faults: a 5xx, one of gRPC's six, or an answer that broke off.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.code >= 500
            || classes::is_grpc_fault(self.grpc)
            || (self.end.source == Source::Upstream && self.end.upstream_failed)
            || (self.code <= 1 && self.end.source != Source::Client)
    }

    /// Whether a promise about availability was kept. Nothing was promised to a client that left.
    #[must_use]
    pub fn available(&self) -> Option<bool> {
        (self.end.source != Source::Client).then(|| !self.is_fault())
    }

    /// Whether an answer came within so many nanoseconds. A fault is no answer: it is availability's.
    #[must_use]
    pub fn in_time(&self, under: u64) -> Option<bool> {
        let total = self.total?;
        self.available()?.then_some(total <= under)
    }

    /// The zone for this satisfying time.
    #[must_use]
    pub fn zone(&self, satisfies: u64) -> Option<Zone> {
        let total = self.total?;
        Some(match self.available()? {
            true if total <= satisfies => Zone::Satisfied,
            true if total <= satisfies.saturating_mul(4) => Zone::Tolerating,
            _ => Zone::Frustrated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classes::{NO_GRPC, Why};

    fn outcome(code: u16, grpc: u8, source: Source, failed: bool, total: u64) -> Outcome {
        let end = End { source, why: Why::Nothing, upstream_failed: failed };
        Outcome { code, grpc, end, total: Some(total) }
    }

    #[test]
    fn a_request_is_good_bad_or_none_of_ours() {
        for (outcome, available, in_time, zone) in [
            (
                outcome(200, NO_GRPC, Source::Upstream, false, 10),
                Some(true),
                Some(true),
                Some(Zone::Satisfied),
            ),
            (
                outcome(200, NO_GRPC, Source::Upstream, false, 40),
                Some(true),
                Some(false),
                Some(Zone::Tolerating),
            ),
            (
                outcome(200, NO_GRPC, Source::Upstream, false, 41),
                Some(true),
                Some(false),
                Some(Zone::Frustrated),
            ),
            (outcome(429, NO_GRPC, Source::Gateway, false, 1), Some(true), Some(true), Some(Zone::Satisfied)),
            (outcome(503, NO_GRPC, Source::Gateway, true, 1), Some(false), None, Some(Zone::Frustrated)),
            (outcome(200, 14, Source::Upstream, false, 1), Some(false), None, Some(Zone::Frustrated)),
            (outcome(200, 5, Source::Upstream, false, 1), Some(true), Some(true), Some(Zone::Satisfied)),
            (outcome(200, NO_GRPC, Source::Upstream, true, 1), Some(false), None, Some(Zone::Frustrated)),
            (outcome(0, NO_GRPC, Source::Client, true, 1), None, None, None),
            (outcome(0, NO_GRPC, Source::Gateway, false, 1), Some(false), None, Some(Zone::Frustrated)),
        ] {
            assert_eq!(outcome.available(), available, "{outcome:?}");
            assert_eq!(outcome.in_time(10), in_time, "{outcome:?}");
            assert_eq!(outcome.zone(10), zone, "{outcome:?}");
        }
        let tunnel = Outcome { total: None, ..outcome(101, NO_GRPC, Source::Upstream, false, 0) };
        assert_eq!((tunnel.available(), tunnel.in_time(10), tunnel.zone(10)), (Some(true), None, None));
    }
}
