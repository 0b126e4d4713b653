//! A request's passage through the limits: charged by one after the other, and given back what was charged where one refuses.

use std::rc::Rc;

use portcullis_common::answer::Refusal;
use portcullis_common::clock::Now;
use portcullis_common::facts::{Outcome, Verdict};
use portcullis_common::host::Host;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::mode::{Mode, OnError};
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::table::Unavailable;
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;

use crate::charge::{self, Ask, Charged, Said};
use crate::filter::RateLimit;
use crate::headers::Told;
use crate::in_flight::Held;
use crate::meter::Times;
use crate::policy::limit::{Limit, List};
use crate::refusal;

/// A request on its way through the limits.
pub(crate) struct Passage<'a> {
    pub(crate) request: &'a Request,
    pub(crate) path: Option<&'a NormalPath<'a>>,
    pub(crate) host: &'a dyn Host,
    pub(crate) now: &'a Now,
    pub(crate) times: Times,
    pub(crate) charged: Vec<(usize, Charged)>,
    pub(crate) held: Vec<(usize, Held)>,
    pub(crate) told: Vec<Told>,
    /// What was decided besides plain admission.
    pub(crate) verdict: Option<Verdict>,
    /// The limits that admitted.
    pub(crate) admitted: Vec<usize>,
    /// It was charged before an internal redirect.
    pub(crate) again: bool,
}

/// The limit that refuses, and its answer.
pub(crate) type Refused = (usize, Refusal);

impl RateLimit {
    /// Takes a request through all limits that match.
    pub(crate) fn pass(&mut self, matching: &[usize], passage: &mut Passage<'_>) -> Result<(), Refused> {
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
        let places = asks.iter().any(|a| a.in_flight.is_some());
        match asks.as_slice() {
            // Nearly all requests meet one limit.
            [only] if !only.rates.is_empty() => self.charge(&[only], !places, passage)?,
            all => self.charge_by_key(all, places, passage)?,
        }
        for ask in asks.iter().filter(|a| a.in_flight.is_some()) {
            self.hold(ask, passage)?;
        }
        passage.admitted.sort_unstable();
        passage.admitted.dedup();
        Ok(())
    }

    /// Asks the limits with rates, those of one key together; `places` if some will be asked for a place after them.
    fn charge_by_key(
        &mut self,
        asks: &[Ask],
        places: bool,
        passage: &mut Passage<'_>,
    ) -> Result<(), Refused> {
        let mut rest: Vec<&Ask> = asks.iter().filter(|a| !a.rates.is_empty()).collect();
        while let Some(first) = rest.first().copied() {
            let others: Vec<&Ask> = rest.extract_if(.., |a| a.key != first.key).collect();
            // With nothing behind it that could refuse, nothing will be given back.
            let last = others.is_empty() && !places;
            self.charge(&rest, last, passage)?;
            rest = others;
        }
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
                    if said.refused() {
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
            asks.iter().copied().zip(all).filter(|(_, said)| said.refused()).collect();
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
        self.counters.decisions.count(passage.host, Some(limit), &rule, outcome, Some(reason));
        passage.verdict = passage.verdict.take().or(Some(Verdict { outcome, reason: Some(reason), rule }));
    }

    /// Gives back what was charged and held for a request that a later limit refuses.
    pub(crate) fn undo(&mut self, passage: Passage<'_>) {
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

    pub(crate) fn release(&mut self, limit: usize, held: Held, now: &Now, host: &dyn Host) {
        if let Some(flights) = &mut self.flights {
            flights.release(host, held, now.mono());
        }
        let name = self.name(limit);
        self.counters.in_flight(host, limit, &name, -1);
    }
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
