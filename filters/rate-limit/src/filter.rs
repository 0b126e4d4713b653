//! From request to step.

use std::rc::Rc;

use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::{Edits, HeaderEdit};
use portcullis_common::facts::{self, Outcome, Verdict};
use portcullis_common::filter::{Filter, Plugin, RootStep, Step};
use portcullis_common::headers::Headers;
use portcullis_common::host::Host;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::request::{Request, Response};
use portcullis_common::table::{self, Table};

use crate::body::Reader;
use crate::config::{HeaderDialect, RawConfig};
use crate::counters::Counters;
use crate::headers;
use crate::in_flight::{self, Held, InFlight};
use crate::load::Load;
use crate::meter::Times;
use crate::meter::calendar::Anchor;
use crate::passage::Passage;
use crate::policy::Policy;
use crate::policy::limit::Limit;
use crate::redirect;
use crate::settle::Unsettled;

/// Whether this is the build whose module has the callback for bodies.
pub(crate) const SEES_BODIES: bool = cfg!(feature = "body");

/// The filter.
#[derive(Debug)]
pub struct RateLimit {
    pub(crate) policy: Rc<Policy>,
    pub(crate) table: Table,
    pub(crate) counters: Counters,
    pub(crate) anchor: Anchor,
    pub(crate) flights: Option<InFlight>,
    load: Load,
    uses_calendar: bool,
}

/// What is remembered of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// The headers for its response.
    headers: Vec<HeaderEdit>,
    /// What holds a place.
    held: Vec<(usize, Held)>,
    /// What its answer will settle.
    pub(crate) unsettled: Vec<Unsettled>,
    /// What reads its answer's body; boxed, for most streams have none.
    pub(crate) reader: Option<Box<Reader>>,
}

impl Filter for RateLimit {
    const NAME: &'static str = "rate-limit";
    const CLOCK: Clock = Clock::Mono;
    const PAUSES: bool = false;
    const TICKS: bool = true;
    type Pending = ();
    type Stream = Stream;

    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let policy = Rc::new(Policy::new(raw)?);
        if let Some(limit) = policy.limits.iter().position(Limit::reads_body).filter(|_| !SEES_BODIES) {
            let problem =
                "this module sees no bodies; use rate-limit-body.wasm, or settle by header, per or statuses";
            return Err(ConfigError::new(Self::NAME, format!("limits[{limit}].settle.json"), problem));
        }
        let attached = facts::attached(host);
        let name = [Self::NAME, &attached, &*policy.plugin.name];
        let open = |what: &str, slots: usize, bytes: usize| {
            let size = bytes.to_string();
            let name: Vec<&str> = name.iter().copied().chain([what, size.as_str()]).collect();
            Table::open(host, &name, slots, bytes).map_err(|_| no_store())
        };
        let table = open("debts", table::SLOTS, policy.store)?;
        let flights = if policy.limits.iter().any(Limit::counts_in_flight) {
            let owner = in_flight::number(host, &name).map_err(|_| no_store())?;
            Some(InFlight::new(open("in flight", in_flight::SLOTS, policy.in_flight)?, owner))
        } else {
            None
        };
        log::info!("{}: {} buckets can owe something at once", policy.plugin.name, table.slots());
        crate::ledger::compare(host, &name, &policy);
        redirect::declare(host, &policy.plugin.name);
        Ok(RateLimit {
            counters: Counters::new(&policy.plugin.name),
            anchor: Anchor::new(&name),
            uses_calendar: policy.limits.iter().any(Limit::uses_calendar),
            policy,
            table,
            flights,
            load: Load::default(),
        })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(&mut self, stream: &mut Stream, request: &Request, now: &Now, host: &dyn Host) -> Step<()> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        let path = request.path().map(NormalPath::collapsed);
        let part = match &path {
            None => PathPart::Absent,
            Some(None) => PathPart::Unreadable,
            Some(Some(path)) => PathPart::Known(path),
        };
        let times = self.times(now, host);
        let mut passage = Passage {
            request,
            path: path.as_ref().and_then(Option::as_ref),
            host,
            now,
            times,
            charged: Vec::new(),
            held: Vec::new(),
            told: Vec::new(),
            verdict: None,
            admitted: Vec::new(),
            again: redirect::was_charged(request, &self.policy.plugin.verdict, host),
        };
        let matching = self.policy.matches.all(Subject::of(request, part));
        let refused = self.pass(&matching, &mut passage);
        self.load.sample(&self.table, times.mono, host, &mut self.counters);
        match refused {
            Err((limit, refusal)) => {
                self.undo(passage);
                let name = self.name(limit);
                Step::Reply(refusal.reply(request.protocol(), Some(name)))
            }
            Ok(()) => Step::Allow(self.admit(stream, passage)),
        }
    }

    fn reads_response(&self, stream: &Stream) -> bool {
        !stream.unsettled.is_empty()
    }

    fn on_response(&mut self, stream: &mut Stream, response: &Response, now: &Now, host: &dyn Host) -> Edits {
        self.settle_by_headers(stream, response, now, host);
        Edits { headers: std::mem::take(&mut stream.headers), ..Edits::default() }
    }

    fn on_response_trailers(&mut self, stream: &mut Stream, trailers: &Headers, now: &Now, host: &dyn Host) {
        self.settle_by_trailers(stream, trailers, now, host);
    }

    fn reads_response_body(&self, stream: &Stream) -> bool {
        stream.reader.is_some()
    }

    fn on_response_body(&mut self, stream: &mut Stream, chunk: &[u8], end: bool, now: &Now, host: &dyn Host) {
        let Some(reader) = &mut stream.reader else { return };
        reader.feed(chunk);
        if end || reader.is_over() {
            self.settle_by_body(stream, now, host);
        }
    }

    fn on_done(&mut self, stream: &mut Stream, now: &Now, host: &dyn Host) {
        self.settle_what_broke_off(stream, now, host);
        for (limit, held) in std::mem::take(&mut stream.held) {
            self.release(limit, held, now, host);
        }
    }

    fn on_tick(&mut self, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        if let Some(flights) = &mut self.flights {
            flights.tick(host, now.mono());
        }
        Vec::new()
    }

    fn keeps_watch(&self) -> bool {
        self.flights.as_ref().is_some_and(InFlight::is_busy)
    }
}

impl RateLimit {
    pub(crate) fn name(&self, limit: usize) -> Rc<str> {
        self.policy.limits.get(limit).map_or_else(|| facts::UNMATCHED.into(), |l| Rc::clone(&l.name))
    }

    pub(crate) fn times(&mut self, now: &Now, host: &dyn Host) -> Times {
        if self.uses_calendar {
            self.anchor.times(now, host)
        } else {
            Times { mono: now.mono().0, calendar: 0 }
        }
    }

    fn admit(&mut self, stream: &mut Stream, passage: Passage<'_>) -> Edits {
        let tightest = match passage.told.as_slice() {
            [only] => Some(only),
            all => all.iter().min_by_key(|t| t.share()),
        };
        if let Some(told) = tightest
            && self.policy.headers != HeaderDialect::Nothing
        {
            stream.headers = headers::edits(told.headers(self.policy.headers));
        }
        stream.held = passage.held;
        if passage.again {
            // The verdict of its first passage stands.
            return Edits::default();
        }
        for limit in &passage.admitted {
            let name = self.name(*limit);
            self.counters.decisions.count(passage.host, Some(*limit), &name, Outcome::Allow, None);
        }
        for (limit, charged) in passage.charged {
            let settle = self.policy.limits.get(limit).and_then(|l| l.settle.clone());
            stream.unsettled.extend(settle.map(|settle| Unsettled::new(limit, charged, settle)));
        }
        let verdict = passage.verdict.or_else(|| tightest.map(|t| Verdict::allow(Rc::clone(&t.limit))));
        Edits::verdict(verdict.unwrap_or_else(|| Verdict::skip(facts::UNMATCHED.into())))
    }
}

fn no_store() -> ConfigError {
    let problem = "this host has no shared data that workers can count in; run this filter in Envoy";
    ConfigError::new(RateLimit::NAME, "store", problem)
}
