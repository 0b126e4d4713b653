//! From request to step.

use std::rc::Rc;

use portcullis_common::answer::Refusal;
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::{Edits, HeaderEdit};
use portcullis_common::facts::{self, Outcome, PropertyKey, Verdict};
use portcullis_common::filter::{Filter, Plugin, RootStep, Step};
use portcullis_common::headers::Headers;
use portcullis_common::host::Host;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::mode::Mode;
use portcullis_common::reason::Reason;
use portcullis_common::request::{Request, Response};
use portcullis_common::table::{self, Table, Unavailable};
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;

use crate::charge::{self, Ask, Charged, Said};
use crate::config::{OnError, RawConfig};
use crate::counters::Counters;
use crate::headers::{self, Told};
use crate::in_flight::{self, Held, InFlight};
use crate::load::Load;
use crate::meter::Times;
use crate::meter::calendar::Anchor;
use crate::policy::Policy;
use crate::policy::limit::{Limit, List};
use crate::redirect;
use crate::refusal;
use crate::settle::Unsettled;

/// The filter.
#[derive(Debug)]
pub struct RateLimit {
    pub(crate) policy: Rc<Policy>,
    pub(crate) table: Table,
    pub(crate) counters: Counters,
    pub(crate) anchor: Anchor,
    flights: Option<InFlight>,
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
}

/// A request on its way through the limits.
struct Passage<'a> {
    request: &'a Request,
    path: Option<&'a NormalPath<'a>>,
    host: &'a dyn Host,
    now: &'a Now,
    times: Times,
    charged: Vec<(usize, Charged)>,
    held: Vec<(usize, Held)>,
    told: Vec<Told>,
    /// What was decided besides plain admission.
    verdict: Option<Verdict>,
    /// The limits that admitted.
    admitted: Vec<usize>,
    /// It was charged before an internal redirect.
    again: bool,
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
        let plugin_name: PropertyKey = PropertyKey::from(&b"plugin_name"[..]);
        let attached = host.property(&plugin_name).unwrap_or_default();
        let attached = String::from_utf8_lossy(&attached);
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

    fn on_done(&mut self, stream: &mut Stream, now: &Now, host: &dyn Host) {
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

/// The limit that refuses, and its answer.
type Refused = (usize, Refusal);

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

    /// Takes a request through all limits that match.
    fn pass(&mut self, matching: &[usize], passage: &mut Passage<'_>) -> Result<(), Refused> {
        let policy = Rc::clone(&self.policy);
        let mut asks: Vec<Ask> = Vec::with_capacity(matching.len());
        for n in matching {
            let Some(limit) = policy.limits.get(*n) else { continue };
            let context = Context {
                request: passage.request,
                path: passage.path,
                pattern: policy.matches.pattern(*n),
                host: passage.host,
            };
            match ask(*n, limit, &context, passage.again) {
                Ok(Some(ask)) => asks.push(ask),
                Ok(None) => {}
                Err(reason) => self.refuse(*n, reason, Refusal::new(reason), passage)?,
            }
        }
        let mut rest: Vec<&Ask> = Vec::with_capacity(asks.len());
        rest.extend(asks.iter().filter(|a| !a.rates.is_empty()));
        let places = asks.iter().any(|a| a.in_flight.is_some());
        while let Some(first) = rest.first().copied() {
            let others: Vec<&Ask> = rest.extract_if(.., |a| a.key != first.key).collect();
            // With nothing behind it that could refuse, nothing will be given back.
            let last = others.is_empty() && !places;
            self.charge(&rest, last, passage)?;
            rest = others;
        }
        for ask in asks.iter().filter(|a| a.in_flight.is_some()) {
            self.hold(ask, passage)?;
        }
        passage.admitted.sort_unstable();
        passage.admitted.dedup();
        Ok(())
    }

    /// Asks the limits on one key; `last` if no other will be asked about this request.
    fn charge(&mut self, asks: &[&Ask], last: bool, passage: &mut Passage<'_>) -> Result<(), Refused> {
        let (host, policy) = (passage.host, Rc::clone(&self.policy));
        match charge::exchange(&self.table, host, asks, passage.times) {
            Ok(update) => {
                self.counters.store(host, &update);
                let (all, charged) = match update.value {
                    Ok(all) => (all, true),
                    Err(all) => (all, false),
                };
                if !charged {
                    return self.over(asks, &all, passage);
                }
                for (ask, said) in asks.iter().zip(&all) {
                    if said.retry_after().is_some() {
                        self.over(&[ask], std::slice::from_ref(said), passage)?;
                        continue;
                    }
                    passage.admitted.push(ask.limit);
                    let settles = policy.limits.get(ask.limit).is_some_and(|l| l.settle.is_some());
                    if settles || !last {
                        passage.charged.extend(Charged::new(ask, said).map(|c| (ask.limit, c)));
                    }
                    passage.told.extend(refusal::told(&policy, ask, said));
                }
                Ok(())
            }
            Err(failure) => asks.iter().try_for_each(|ask| self.unavailable(ask, failure, passage)),
        }
    }

    /// Takes a place among the requests in flight.
    fn hold(&mut self, ask: &Ask, passage: &mut Passage<'_>) -> Result<(), Refused> {
        let (host, policy) = (passage.host, Rc::clone(&self.policy));
        let (Some(most), Some(limit), Some(flights)) =
            (ask.in_flight, policy.limits.get(ask.limit), &mut self.flights)
        else {
            return Ok(());
        };
        match flights.acquire(host, limit.shares, &ask.key, (most, limit.lease), passage.now.mono()) {
            Ok(update) => {
                self.counters.store(host, &update);
                match update.value {
                    Ok((held, taken)) => {
                        self.counters.in_flight(host, ask.limit, &limit.name, 1);
                        passage.held.push((ask.limit, held));
                        passage.admitted.push(ask.limit);
                        passage.told.push(refusal::told_in_flight(limit, most, taken));
                        Ok(())
                    }
                    Err(taken) => {
                        let told = refusal::told_in_flight(limit, most, taken);
                        let refused = refusal::in_flight(&policy, &told, host);
                        self.refuse(ask.limit, Reason::RateLimited, refused, passage)
                    }
                }
            }
            Err(failure) => self.unavailable(ask, failure, passage),
        }
    }

    /// Some of these limits are over; those in shadow do not refuse.
    fn over(&mut self, asks: &[&Ask], all: &[Said], passage: &mut Passage<'_>) -> Result<(), Refused> {
        let over: Vec<(&Ask, &Said)> =
            asks.iter().copied().zip(all).filter(|(_, said)| said.retry_after().is_some()).collect();
        for (ask, _) in over.iter().filter(|(ask, _)| ask.shadow) {
            self.refuse(ask.limit, Reason::RateLimited, Refusal::new(Reason::RateLimited), passage)?;
        }
        let enforced: Vec<(&Ask, &Said)> = over.into_iter().filter(|(ask, _)| !ask.shadow).collect();
        match enforced.first() {
            None => Ok(()),
            Some((first, _)) => {
                let refused = refusal::over(&self.policy, &enforced, passage.host);
                self.refuse(first.limit, Reason::RateLimited, refused, passage)
            }
        }
    }

    fn unavailable(
        &mut self,
        ask: &Ask,
        failure: Unavailable,
        passage: &mut Passage<'_>,
    ) -> Result<(), Refused> {
        self.counters.failure(passage.host, failure);
        let reason = Reason::StoreUnavailable;
        if self.policy.limits.get(ask.limit).is_some_and(|l| l.on_error == OnError::Allow) {
            self.note(ask.limit, Outcome::Error, reason, passage);
            return Ok(());
        }
        self.refuse(ask.limit, reason, Refusal::new(reason).header("retry-after", "1"), passage)
    }

    /// A limit refuses, or would if it were not in shadow.
    fn refuse(
        &mut self,
        limit: usize,
        reason: Reason,
        refusal: Refusal,
        passage: &mut Passage<'_>,
    ) -> Result<(), Refused> {
        let shadow = self.policy.limits.get(limit).is_some_and(|l| l.mode == Mode::Shadow);
        let outcome = if shadow { Outcome::ShadowDeny } else { Outcome::Deny };
        self.note(limit, outcome, reason, passage);
        if shadow { Ok(()) } else { Err((limit, refusal)) }
    }

    fn note(&mut self, limit: usize, outcome: Outcome, reason: Reason, passage: &mut Passage<'_>) {
        let rule = self.name(limit);
        self.counters.decision(passage.host, Some(limit), &rule, outcome, Some(reason));
        passage.verdict = passage.verdict.take().or(Some(Verdict { outcome, reason: Some(reason), rule }));
    }

    /// Gives back what was charged and held for a request that a later limit refuses.
    fn undo(&mut self, passage: Passage<'_>) {
        for (limit, charged) in &passage.charged {
            match charged.settle(&self.table, passage.host, passage.times, 0) {
                Ok(update) => self.counters.store(passage.host, &update),
                Err(failure) => {
                    self.counters.failure(passage.host, failure);
                    log::warn!("{}: {}: a refund was lost", self.policy.plugin.name, self.name(*limit));
                }
            }
        }
        for (limit, held) in passage.held {
            self.release(limit, held, passage.now, passage.host);
        }
    }

    fn release(&mut self, limit: usize, held: Held, now: &Now, host: &dyn Host) {
        if let Some(flights) = &mut self.flights {
            flights.release(host, held, now.mono());
        }
        let name = self.name(limit);
        self.counters.in_flight(host, limit, &name, -1);
    }

    fn admit(&mut self, stream: &mut Stream, passage: Passage<'_>) -> Edits {
        let tightest = match passage.told.as_slice() {
            [only] => Some(only),
            all => all.iter().min_by_key(|t| t.share()),
        };
        if let Some(told) = tightest {
            stream.headers = headers::edits(told.headers(self.policy.headers));
        }
        stream.held = passage.held;
        if passage.again {
            // The verdict of its first passage stands.
            return Edits::default();
        }
        for limit in &passage.admitted {
            let name = self.name(*limit);
            self.counters.decision(passage.host, Some(*limit), &name, Outcome::Allow, None);
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

/// What a limit is asked about this request; `None` if it does not apply.
fn ask(n: usize, limit: &Limit, context: &Context<'_>, again: bool) -> Result<Option<Ask>, Reason> {
    match limit.listed(context).map_err(Failure::reason)? {
        List::Deny => return Err(Reason::Denied),
        List::Allow => return Ok(None),
        List::Neither => {}
    }
    let Some(key) = limit.key.of(context).map_err(Failure::reason)? else { return Ok(None) };
    let cost = if again { 0 } else { limit.cost.of(context) };
    let shadow = limit.mode == Mode::Shadow;
    Ok(Some(Ask::new(n, key.into(), limit.budget(context), cost, shadow)))
}
