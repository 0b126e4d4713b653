//! Asking: from the questions of a request to their answers, with waits between.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::filter::{Answer, Callout, RootStep, WaitKey};
use portcullis_common::host::Host;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;

use super::breaker::{Breaker, Pass};
use super::epoch::Floor;
use super::errand::{Errand, Slot, Stage};
use super::fault::{Fault, Why};
use super::flight::{Flight, Flights};
use super::freshness::{Budget, Wanted};
use super::memory::{Found, Memory};
use super::meter::Meter;
use super::remarks::Remarks;
use super::spicedb::Consistency;
use super::tokens::Tokens;
use super::{Outcome, grammar, key, openfga, spicedb};
use crate::combine::{Answered, Asked};
use crate::policy::remote::{Bearer, Credentials, Remote, Server};
use crate::question::Question;

/// What requests wait for that came before there was a token.
pub const TOKEN: WaitKey = WaitKey::MAX;
/// What nobody ever wakes: the time before a call is repeated.
pub const NOBODY: WaitKey = WaitKey::MAX - 1;
/// Tags of the plugin's own calls: the upper half of the number.
const FLIGHT: u64 = 0x666c_6967 << 32;
const FETCH: u64 = 0x746f_6b65 << 32;
/// The least time before a call is repeated.
const BACK_OFF: Duration = Duration::from_millis(20);

/// What asks an engine outside the filter.
#[derive(Debug)]
pub struct Client {
    /// What is remembered of its answers. What watches the engine tells it of changes.
    pub memory: Memory,
    breaker: Breaker,
    flights: Flights,
    /// Flights whose question the plugin itself asks, by the tag of its call.
    own: BTreeMap<u64, (Rc<Flight>, Pass)>,
    tags: u64,
    budget: Budget,
    tokens: Tokens,
    meter: Meter,
    key: Vec<u8>,
    remarks: Remarks,
    plugin: Rc<str>,
}

/// There is no token yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken;

/// What becomes of an errand.
#[derive(Debug)]
pub enum Next {
    /// It is done: the answers in the order of the checks.
    Done(Vec<Answered>),
    /// It calls.
    Call(Vec<Callout>, Errand),
    /// It waits.
    Wait(WaitKey, Duration, Errand),
}

impl Client {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(remote: &Remote, plugin: &Rc<str>) -> Client {
        Client {
            memory: Memory::new(remote.cache),
            breaker: Breaker::new(remote.calls),
            flights: Flights::default(),
            own: BTreeMap::new(),
            tags: 0,
            budget: Budget::new(remote.freshness.per_second),
            tokens: Tokens::default(),
            meter: Meter::new(plugin),
            key: Vec::new(),
            remarks: Remarks::default(),
            plugin: Rc::clone(plugin),
        }
    }

    /// What is known of a question without asking.
    pub fn look(
        &mut self,
        remote: &Remote,
        question: Question,
        wanted: &Wanted,
        now: Mono,
        host: &dyn Host,
    ) -> Slot {
        key::write(&mut self.key, &question, &Wanted::Any);
        let stale = match self.memory.get(&self.key, wanted, now) {
            Found::Valid(holds) => {
                self.meter.answered(host, "cache");
                return Slot::Answered(answered(question, "cache", &Ok(holds)));
            }
            Found::Stale(holds) => Some(holds),
            Found::Nothing => None,
        };
        // Nothing is remembered of what cannot be asked.
        if !grammar::can_be_asked(&remote.server, &question) {
            return Slot::Answered(Answered { asked: None, holds: Err(Reason::ValueInvalid) });
        }
        key::write(&mut self.key, &question, wanted);
        Slot::Open { question, key: self.key.as_slice().into(), stale }
    }

    /// Whether a client may have one more fresh answer.
    pub fn may_be_fresh(&mut self, now: Mono) -> bool {
        self.budget.take(now)
    }

    /// Begins to ask what is open.
    pub fn begin(&mut self, remote: &Remote, mut errand: Errand, now: Mono, host: &dyn Host) -> Next {
        let left = self.memory.departure(now);
        for slot in &mut errand.slots {
            let Slot::Open { .. } = slot else { continue };
            let Slot::Open { question, key, stale } = std::mem::replace(slot, Slot::NONE) else { continue };
            // A fresh answer may not come from a question that left before its request came.
            let shared = errand.wanted != Wanted::Fresh;
            *slot = match shared.then(|| self.flights.join(&key, left.epoch)).flatten() {
                Some(flight) => Slot::Joined { flight, stale },
                None => {
                    let lead = self.flights.leave(&key, question, errand.wanted.clone(), left, shared);
                    Slot::Led { lead, stale }
                }
            };
        }
        self.send(remote, errand, now, host)
    }

    /// Goes on with an errand whose wait is over.
    pub fn go_on(
        &mut self,
        remote: &Remote,
        mut errand: Errand,
        answers: &[Answer],
        now: Mono,
        host: &dyn Host,
    ) -> Next {
        match errand.stage {
            Stage::Joined => self.settle(errand, now, host),
            Stage::Token | Stage::BackingOff => self.send(remote, errand, now, host),
            Stage::Called => {
                let batches = std::mem::take(&mut errand.batches);
                let mut repeat = false;
                for (batch, answer) in batches.iter().zip(answers) {
                    repeat |= self.take(remote, &errand, batch, answer, now, host);
                }
                if repeat {
                    self.meter.repeated(host);
                    let back_off = BACK_OFF.saturating_mul(1 << errand.attempt.min(5));
                    errand.attempt = errand.attempt.saturating_add(1);
                    errand.stage = Stage::BackingOff;
                    return Next::Wait(NOBODY, back_off.min(errand.until.since(now)), errand);
                }
                self.settle(errand, now, host)
            }
        }
    }

    /// Takes the answer to a call. Whether it is worth a second one.
    fn take(
        &mut self,
        remote: &Remote,
        errand: &Errand,
        batch: &[usize],
        answer: &Answer,
        now: Mono,
        host: &dyn Host,
    ) -> bool {
        let flights: Vec<&Rc<Flight>> =
            batch.iter().filter_map(|at| errand.slots.get(*at).and_then(Slot::led)).collect();
        let outcomes = self.read(remote, &flights, answer, errand.sent, now, host);
        let repeats = errand.attempt < remote.calls.retries
            && now.after(BACK_OFF) < errand.until
            && outcomes.iter().any(|o| o.as_ref().is_err_and(Fault::may_be_repeated));
        for (flight, outcome) in flights.into_iter().zip(outcomes) {
            if !(repeats && outcome.as_ref().is_err_and(Fault::may_be_repeated)) {
                self.end(flight, outcome, host);
            }
        }
        repeats
    }

    /// What an answer says to the questions of these flights, as many as there are.
    fn read(
        &mut self,
        remote: &Remote,
        flights: &[&Rc<Flight>],
        answer: &Answer,
        sent: Mono,
        now: Mono,
        host: &dyn Host,
    ) -> Vec<Outcome> {
        let questions: Vec<&Question> = flights.iter().map(|flight| &flight.question).collect();
        let outcomes = match &remote.server {
            Server::Openfga(_) => openfga::read(answer, questions.len()),
            Server::Spicedb(_) => {
                let with_token = flights.iter().any(|flight| matches!(flight.wanted, Wanted::Since(_)));
                spicedb::read(answer, &questions, with_token)
            }
        };
        if matches!(answer, Answer::Http { .. } | Answer::Grpc { .. }) {
            self.meter.called(host, u64::try_from(now.since(sent).as_millis()).unwrap_or(u64::MAX));
        }
        if outcomes.iter().any(|o| o.as_ref().is_err_and(Fault::is_away)) {
            self.breaker.failed(now);
        } else {
            self.breaker.succeeded();
        }
        if outcomes.contains(&Err(Fault::Credentials)) {
            self.tokens.refused(now);
        }
        self.log(&outcomes, now);
        outcomes
    }

    /// What an operator has to mend, when it begins.
    fn log(&mut self, outcomes: &[Outcome], now: Mono) {
        let fault = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        let Some(fault) = fault else { return self.remarks.all_is_well() };
        if (fault.is_operators() || fault.is_away()) && self.remarks.are_due(fault.word(), now) {
            log::warn!("{}: the engine does not answer: {}", self.plugin, fault.word());
        }
    }

    fn end(&mut self, flight: &Rc<Flight>, outcome: Outcome, host: &dyn Host) {
        key::write(&mut self.key, &flight.question, &Wanted::Any);
        match &outcome {
            Ok(holds) => {
                let mut random = [0];
                let _ = host.random(&mut random);
                self.memory.put(&self.key, *holds, &flight.wanted, flight.left, random[0]);
            }
            Err(fault) => {
                // Neither yes nor no, but the engine's answer: what was remembered before it is over.
                if let Fault::Condition(_) = fault {
                    let _ = self.memory.forget(&self.key, flight.left);
                }
                self.meter.fault(host, fault.word());
            }
        }
        self.flights.end(flight, outcome);
    }

    /// Calls for what this errand leads, or waits for what it does not.
    fn send(&mut self, remote: &Remote, mut errand: Errand, now: Mono, host: &dyn Host) -> Next {
        let open: Vec<usize> = errand.unanswered();
        if open.is_empty() {
            return self.settle(errand, now, host);
        }
        let timeout = errand.until.since(now);
        let bearer = match self.bearer(remote, now) {
            Ok(bearer) => bearer,
            Err(NoToken) if errand.stage != Stage::Token && timeout > Duration::ZERO => {
                errand.stage = Stage::Token;
                return Next::Wait(TOKEN, timeout, errand);
            }
            Err(NoToken) => return self.give_up(errand, Why::NoToken, now, host),
        };
        if timeout == Duration::ZERO {
            return self.give_up(errand, Why::Timeout, now, host);
        }
        let Some(pass) = self.breaker.lets(now) else {
            return self.give_up(errand, Why::Paused, now, host);
        };
        errand.pass = pass;
        let most = match &remote.server {
            Server::Openfga(_) => openfga::BATCH,
            Server::Spicedb(_) => spicedb::BATCH,
        };
        errand.batches = errand.batched(open, most);
        let mut callouts = Vec::with_capacity(errand.batches.len());
        for batch in &errand.batches {
            let flights: Vec<&Rc<Flight>> =
                batch.iter().filter_map(|at| errand.slots.get(*at).and_then(Slot::led)).collect();
            self.meter.asked(host, flights.len());
            callouts.push(self.call(remote, &flights, bearer.as_ref(), &errand.headers, timeout, now));
        }
        (errand.stage, errand.sent) = (Stage::Called, now);
        Next::Call(callouts, errand)
    }

    /// What OpenFGA is shown.
    ///
    /// # Errors
    /// If it has to be fetched first.
    pub fn bearer(&self, remote: &Remote, now: Mono) -> Result<Option<Bearer>, NoToken> {
        match &remote.server {
            Server::Spicedb(_) => Ok(None),
            Server::Openfga(server) => match &server.credentials {
                Credentials::None => Ok(None),
                Credentials::Token(bearer) => Ok(Some(bearer.clone())),
                Credentials::Fetched(_) => self.tokens.bearer(now).map(Some).ok_or(NoToken),
            },
        }
    }

    fn call(
        &self,
        remote: &Remote,
        flights: &[&Rc<Flight>],
        bearer: Option<&Bearer>,
        headers: &[(String, String)],
        timeout: Duration,
        now: Mono,
    ) -> Callout {
        let questions: Vec<&Question> = flights.iter().map(|flight| &flight.question).collect();
        let wanted = flights.first().map_or(&Wanted::Any, |flight| &flight.wanted);
        let floor = self.memory.epoch.floor(now);
        match &remote.server {
            Server::Openfga(server) => {
                let fresh = server.always_fresh || *wanted != Wanted::Any || floor != Floor::None;
                openfga::call(server, &questions, fresh, bearer.map(Bearer::expose), headers, timeout)
            }
            Server::Spicedb(server) => {
                let consistency = match (wanted, floor) {
                    _ if server.always_fresh => Consistency::Full,
                    (Wanted::Fresh, _) | (_, Floor::FreshUntil(_)) => Consistency::Full,
                    (Wanted::Since(token), Floor::None) => Consistency::AtLeast(Rc::clone(token)),
                    // Tokens have no order, and only one can be sent.
                    (Wanted::Since(_), Floor::Token(_)) => Consistency::Full,
                    (Wanted::Any, Floor::Token(token)) => Consistency::AtLeast(token),
                    (Wanted::Any, Floor::None) => Consistency::MinimizeLatency,
                };
                spicedb::call(server, &questions, &consistency, headers, timeout)
            }
        }
    }

    /// There is nobody to answer what this errand leads.
    fn give_up(&mut self, errand: Errand, why: Why, now: Mono, host: &dyn Host) -> Next {
        for at in errand.unanswered() {
            if let Some(flight) = errand.slots.get(at).and_then(Slot::led) {
                self.end(flight, Err(Fault::Unavailable(why)), host);
            }
        }
        self.log(&[Err(Fault::Unavailable(why))], now);
        self.settle(errand, now, host)
    }

    /// Waits for what others ask, unless the judgement needs none of it or there is no time left.
    fn settle(&mut self, mut errand: Errand, now: Mono, host: &dyn Host) -> Next {
        if !errand.is_decided()
            && let Some(number) = errand.awaited()
        {
            let mut left = errand.until.since(now);
            if left == Duration::ZERO
                && errand.awaits_an_orphan()
                && let Some(spare) = errand.spare.take()
            {
                // The engine had no chance to answer: a client that goes away must not make it look as if it were.
                errand.until = now.after(spare);
                left = spare;
            }
            if left > Duration::ZERO {
                errand.stage = Stage::Joined;
                return Next::Wait(number, left, errand);
            }
        }
        let slots = std::mem::take(&mut errand.slots);
        Next::Done(slots.into_iter().map(|slot| self.conclude(slot, host)).collect())
    }

    /// The answer of a slot.
    fn conclude(&mut self, slot: Slot, host: &dyn Host) -> Answered {
        let (flight, stale, source) = match slot {
            Slot::Answered(answered) => return answered,
            Slot::Open { question, .. } => {
                return answered(question, "engine", &Err(Fault::Unavailable(Why::Timeout)));
            }
            Slot::Led { lead, stale } => (Rc::clone(&lead.flight), stale, "engine"),
            Slot::Joined { flight, stale } => (flight, stale, "shared"),
        };
        let outcome = flight.outcome().unwrap_or(Err(Fault::Unavailable(Why::Timeout)));
        let (outcome, source) = match (&outcome, stale) {
            (Err(fault), Some(holds)) if fault.is_away() => (Ok(holds), "stale"),
            _ => (outcome, source),
        };
        if outcome.is_ok() {
            self.meter.answered(host, source);
        }
        answered(flight.question.clone(), source, &outcome)
    }

    /// Time passed: what the plugin itself has to ask.
    pub fn tick(&mut self, remote: &Remote, now: Mono, host: &dyn Host) -> Vec<RootStep> {
        let mut steps = Vec::new();
        if let Some(credentials) = fetched(remote)
            && let Some(callout) = self.tokens.tick(credentials, now)
        {
            steps.push(RootStep::Call { tag: FETCH, callout });
        }
        for flight in self.flights.orphans() {
            match self.bearer(remote, now) {
                Err(NoToken) => self.flights.postpone(&flight),
                Ok(bearer) => {
                    let Some(pass) = self.breaker.lets(now) else {
                        self.end(&flight, Err(Fault::Unavailable(Why::Paused)), host);
                        continue;
                    };
                    self.tags = self.tags.wrapping_add(1) & 0xffff_ffff;
                    let tag = FLIGHT | self.tags;
                    self.meter.asked(host, 1);
                    let timeout = remote.calls.timeout;
                    let callout = self.call(remote, &[&flight], bearer.as_ref(), &[], timeout, now);
                    steps.push(RootStep::Call { tag, callout });
                    self.own.insert(tag, (flight, pass));
                }
            }
        }
        steps.extend(self.flights.ended().into_iter().map(RootStep::Wake));
        steps
    }

    /// A call of the plugin itself was answered; `None` if it is not one of these.
    pub fn answered(
        &mut self,
        remote: &Remote,
        tag: u64,
        answer: &Answer,
        now: Mono,
        host: &dyn Host,
    ) -> Option<Vec<RootStep>> {
        if tag == FETCH {
            let fetched = self.tokens.answered(answer, now);
            if !fetched {
                self.log(&[Err(Fault::Unavailable(Why::NoToken))], now);
            }
            return Some(if fetched { vec![RootStep::Wake(TOKEN)] } else { Vec::new() });
        }
        let (flight, _pass) = self.own.remove(&tag)?;
        let sent = flight.left.at;
        let outcome = self.read(remote, &[&flight], answer, sent, now, host).pop();
        self.end(&flight, outcome.unwrap_or(Err(Fault::Unavailable(Why::Garbled))), host);
        Some(self.flights.ended().into_iter().map(RootStep::Wake).collect())
    }

    /// Those whom the last step wakes.
    pub fn wakes(&mut self) -> Vec<WaitKey> {
        self.flights.ended()
    }
}

/// Whether the plugin has to tick though nobody waits.
#[must_use]
pub fn keeps_watch(remote: &Remote) -> bool {
    fetched(remote).is_some() || remote.watch.is_some()
}

fn fetched(remote: &Remote) -> Option<&crate::policy::remote::ClientCredentials> {
    match &remote.server {
        Server::Openfga(server) => match &server.credentials {
            Credentials::Fetched(credentials) => Some(credentials),
            _ => None,
        },
        Server::Spicedb(_) => None,
    }
}

fn answered(question: Question, source: &'static str, outcome: &Outcome) -> Answered {
    let lacks = match outcome {
        Err(Fault::Condition(missing)) if !missing.is_empty() => Some(Rc::clone(missing)),
        _ => None,
    };
    let holds = match outcome {
        Ok(true) => Ok(()),
        Ok(false) => Err(Reason::RelationDenied),
        Err(fault) => Err(fault.reason()),
    };
    Answered { asked: Some(Asked { question, path: Vec::new(), source, lacks }), holds }
}

/// Headers of the request that a call carries on: those that tie the two together in traces and logs.
#[must_use]
pub fn carried(request: &Request) -> Vec<(String, String)> {
    let one = |name: &str| {
        let value = std::str::from_utf8(request.headers.get(name).one()?).ok()?;
        let plain = value.len() <= 256 && value.bytes().all(|b| matches!(b, b'!'..=b'~'));
        plain.then(|| (name.to_owned(), value.to_owned()))
    };
    ["traceparent", "x-request-id"].into_iter().filter_map(one).collect()
}
