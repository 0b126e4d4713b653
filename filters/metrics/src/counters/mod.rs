//! What metrics counts.
//!
//! Counters carry many labels, histograms few: one histogram is as large as twenty counters, in every worker.

mod families;

use std::rc::Rc;

use portcullis_common::facts::{Outcome, Verdict};
use portcullis_common::host::{Host, MetricId};
use portcullis_common::metrics::Series;
use portcullis_common::reason::Reason;

use crate::classes::{self, End};
use crate::objectives::{Objective, Promise, Zone};
use crate::series::{Bounded, Ceiling};

pub use families::{
    APDEX, CONSUMER_DURATION, CONSUMERS, DURATION, FAMILIES, IN_FLIGHT, OVERHEAD, PLUGIN_DECISIONS,
    PLUGIN_DURATION, PROCEDURE_DURATION, PROCEDURES, REQUEST_BYTES, REQUESTS, RESPONSE_BYTES, SLO_EVENTS,
    SLO_OBJECTIVE, SLO_THRESHOLD, UPSTREAM_DURATION,
};

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The route's number and name.
    pub route: (u32, &'a str),
    /// Its method, by [`classes::method`].
    pub method: u8,
    /// Its status code.
    pub code: u16,
    /// Its gRPC status.
    pub grpc: u8,
    /// How it ended.
    pub end: End,
}

/// The counters.
#[derive(Debug)]
pub struct Counters {
    plugin: Rc<str>,
    /// Who keeps the ceilings.
    pub ceiling: Ceiling,
    requests: Bounded,
    durations: [Bounded; 3],
    bytes: [Bounded; 2],
    procedures: Bounded,
    procedure_durations: Bounded,
    decisions: Bounded,
    plugin_durations: Bounded,
    consumers: Bounded,
    consumer_durations: Bounded,
    slo_events: Bounded,
    apdex: Bounded,
    in_flight: Series<()>,
}

impl Counters {
    /// Counters that are all 0.
    #[must_use]
    pub fn new(plugin: &Rc<str>, ceiling: Ceiling) -> Self {
        Counters {
            plugin: Rc::clone(plugin),
            ceiling,
            requests: Bounded::new(&REQUESTS),
            durations: [&DURATION, &UPSTREAM_DURATION, &OVERHEAD].map(Bounded::new),
            bytes: [&REQUEST_BYTES, &RESPONSE_BYTES].map(Bounded::new),
            procedures: Bounded::new(&PROCEDURES),
            procedure_durations: Bounded::new(&PROCEDURE_DURATION),
            decisions: Bounded::new(&PLUGIN_DECISIONS),
            plugin_durations: Bounded::new(&PLUGIN_DURATION),
            consumers: Bounded::new(&CONSUMERS),
            consumer_durations: Bounded::new(&CONSUMER_DURATION),
            slo_events: Bounded::new(&SLO_EVENTS),
            apdex: Bounded::new(&APDEX),
            in_flight: Series::new(&IN_FLIGHT),
        }
    }

    /// A request that is over.
    pub fn request(&mut self, host: &dyn Host, request: &Request<'_>) {
        let Request { route, method, code, grpc, end } = *request;
        let key = key(&[
            (u64::from(route.0), 24),
            (u64::from(method), 4),
            (u64::from(code), 10),
            (u64::from(grpc), 5),
            (end.source as u64, 2),
            (end.why.number(), 8),
        ]);
        let plugin = &self.plugin;
        self.requests.add(&mut self.ceiling, host, key, 1, || {
            vec![
                plugin.to_string(),
                route.1.to_owned(),
                classes::method_word(method).to_owned(),
                classes::code_word(code),
                classes::grpc_word(grpc),
                end.source.word().to_owned(),
                end.why.word().to_owned(),
            ]
        });
    }

    /// How long it took, in nanoseconds: in all, upstream, in the gateway.
    pub fn durations(&mut self, host: &dyn Host, route: (u32, &str), nanos: [Option<u64>; 3]) {
        // The gateway's share is below a millisecond when all is well.
        let units = [1_000_000, 1_000_000, 1_000];
        for ((series, nanos), unit) in self.durations.iter_mut().zip(nanos).zip(units) {
            if let Some(value) = nanos.and_then(|n| n.checked_div(unit)) {
                let plugin = &self.plugin;
                series.record(&mut self.ceiling, host, u64::from(route.0), value, || {
                    vec![plugin.to_string(), route.1.to_owned()]
                });
            }
        }
    }

    /// Bytes of its bodies: received, sent.
    pub fn bytes(&mut self, host: &dyn Host, route: (u32, &str), bytes: [u64; 2]) {
        for (series, bytes) in self.bytes.iter_mut().zip(bytes) {
            let plugin = &self.plugin;
            series.add(&mut self.ceiling, host, u64::from(route.0), bytes, || {
                vec![plugin.to_string(), route.1.to_owned()]
            });
        }
    }

    /// A gRPC call.
    pub fn procedure(&mut self, host: &dyn Host, procedure: (u32, &str), grpc: u8, nanos: Option<u64>) {
        let plugin = &self.plugin;
        let number = u64::from(procedure.0);
        self.procedures.add(&mut self.ceiling, host, key(&[(number, 24), (u64::from(grpc), 5)]), 1, || {
            vec![plugin.to_string(), procedure.1.to_owned(), classes::grpc_word(grpc)]
        });
        if let Some(nanos) = nanos {
            self.procedure_durations.record(&mut self.ceiling, host, number, nanos / 1_000_000, || {
                vec![plugin.to_string(), procedure.1.to_owned()]
            });
        }
    }

    /// What another plugin made of it, in how many microseconds.
    pub fn decision(&mut self, host: &dyn Host, sibling: (usize, &str), verdict: &Verdict, micros: u64) {
        let (plugin, (number, name)) = (&self.plugin, sibling);
        let number = u64::try_from(number).unwrap_or(0);
        let Verdict { outcome, reason, .. } = verdict;
        let why = reason.map_or(0, |r| (r as u64).saturating_add(1));
        let outcome_number = *outcome as u64;
        self.decisions.add(
            &mut self.ceiling,
            host,
            key(&[(number, 16), (outcome_number, 4), (why, 8)]),
            1,
            || {
                let reason = reason.map_or("", Reason::word);
                vec![
                    plugin.to_string(),
                    name.to_owned(),
                    Outcome::word(*outcome).to_owned(),
                    reason.to_owned(),
                ]
            },
        );
        self.plugin_durations
            .record(&mut self.ceiling, host, number, micros, || vec![plugin.to_string(), name.to_owned()]);
    }

    /// Who sent it.
    pub fn consumer(
        &mut self,
        host: &dyn Host,
        consumer: (u32, &str),
        tier: (u32, &str),
        code: u16,
        nanos: Option<u64>,
    ) {
        let plugin = &self.plugin;
        let who = [(u64::from(consumer.0), 24), (u64::from(tier.0), 16)];
        let with_code = key(&[who[0], who[1], (u64::from(code), 10)]);
        self.consumers.add(&mut self.ceiling, host, with_code, 1, || {
            vec![plugin.to_string(), consumer.1.to_owned(), tier.1.to_owned(), classes::code_word(code)]
        });
        if let Some(nanos) = nanos {
            self.consumer_durations.record(&mut self.ceiling, host, key(&who), nanos / 1_000_000, || {
                vec![plugin.to_string(), consumer.1.to_owned(), tier.1.to_owned()]
            });
        }
    }

    /// Makes a promise known: its objective, and its series with nothing counted yet, so that the first request is an
    /// increase.
    pub fn promise(&mut self, host: &dyn Host, route: (u32, &str), promise: &Promise) {
        let (mut objectives, mut thresholds) = (Series::new(&SLO_OBJECTIVE), Series::new(&SLO_THRESHOLD));
        let plugin = Rc::clone(&self.plugin);
        let latency = promise.latency.map(|(_, objective)| objective);
        for (objective, share) in
            [(Objective::Availability, promise.availability), (Objective::Latency, latency)]
        {
            let Some(share) = share else { continue };
            let id = objectives.id(host, objective, || vec![&*plugin, route.1, objective.word()]);
            if let Some(id) = id {
                host.record(id, u64::from(share));
            }
            for good in [true, false] {
                self.slo_id(host, route, objective, good);
            }
        }
        if let Some((under, _)) = promise.latency
            && let Some(id) = thresholds.id(host, (), || vec![&*plugin, route.1])
        {
            host.record(id, under / 1_000_000);
        }
        if promise.apdex.is_some() {
            for zone in [Zone::Satisfied, Zone::Tolerating, Zone::Frustrated] {
                self.zone_id(host, route, zone);
            }
        }
    }

    /// A promise was kept or broken.
    pub fn slo(&mut self, host: &dyn Host, route: (u32, &str), objective: Objective, good: bool) {
        if let Some(id) = self.slo_id(host, route, objective, good) {
            host.increment(id, 1);
        }
    }

    fn slo_id(
        &mut self,
        host: &dyn Host,
        route: (u32, &str),
        objective: Objective,
        good: bool,
    ) -> Option<MetricId> {
        let plugin = &self.plugin;
        let key = key(&[(u64::from(route.0), 24), (objective as u64, 1), (u64::from(good), 1)]);
        self.slo_events.id(&mut self.ceiling, host, key, || {
            let result = if good { "good" } else { "bad" };
            vec![plugin.to_string(), route.1.to_owned(), objective.word().to_owned(), result.to_owned()]
        })
    }

    /// An Apdex zone.
    pub fn zone(&mut self, host: &dyn Host, route: (u32, &str), zone: Zone) {
        if let Some(id) = self.zone_id(host, route, zone) {
            host.increment(id, 1);
        }
    }

    fn zone_id(&mut self, host: &dyn Host, route: (u32, &str), zone: Zone) -> Option<MetricId> {
        let plugin = &self.plugin;
        let key = key(&[(u64::from(route.0), 24), (zone as u64, 2)]);
        self.apdex.id(&mut self.ceiling, host, key, || {
            vec![plugin.to_string(), route.1.to_owned(), zone.word().to_owned()]
        })
    }

    /// The gauge of requests in flight.
    pub fn in_flight(&mut self, host: &dyn Host) -> Option<MetricId> {
        let plugin = &self.plugin;
        self.in_flight.id(host, (), || vec![&**plugin])
    }
}

/// Several numbers in one: each with the bits that it needs, 64 in all at most.
fn key(parts: &[(u64, u32)]) -> u64 {
    parts.iter().fold(0, |key, (part, bits)| {
        let room = u64::MAX.checked_shl(*bits).unwrap_or(0);
        key.checked_shl(*bits).unwrap_or(0) | (part & !room)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_parts_give_different_keys() {
        assert_eq!(key(&[(1, 24), (2, 4)]), 0x12);
        assert_ne!(key(&[(0, 24), (15, 4), (0, 10)]), key(&[(0, 24), (0, 4), (15, 10)]));
        // A part that is too large does not run into its neighbour.
        assert_eq!(key(&[(1, 24), (16, 4)]), 0x10);
    }
}
