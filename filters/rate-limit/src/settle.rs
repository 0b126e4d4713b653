//! What an answer makes of the charge.
//!
//! The reservation stays unless an answer says otherwise: whoever hangs up before the answer pays what was reserved.

use std::ops::Range;
use std::rc::Rc;

use portcullis_common::clock::Now;
use portcullis_common::facts::{self, PropertyKey, Verdict};
use portcullis_common::headers::Headers;
use portcullis_common::host::Host;
use portcullis_common::request::{Protocol, Response};

use crate::body::Reader;
use crate::charge::Charged;
use crate::filter::{RateLimit, SEES_BODIES, Stream};
use crate::policy::cost::{self, Settle, SettleBy};

/// A charge whose answer is still to come.
#[derive(Debug)]
pub(crate) struct Unsettled {
    limit: usize,
    charged: Charged,
    settle: Rc<Settle>,
    /// Its pointers among those of the answer's reader.
    place: Range<usize>,
}

impl Unsettled {
    pub(crate) fn new(limit: usize, charged: Charged, settle: Rc<Settle>) -> Unsettled {
        Unsettled { limit, charged, settle, place: 0..0 }
    }

    fn waits_for_body(&self) -> bool {
        matches!(self.settle.by, SettleBy::Json(_))
    }

    fn cost(&self, number: Option<u64>) -> u64 {
        self.settle.cost(number, self.charged.cost)
    }
}

/// The status that an answer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Known(u16),
    /// A gRPC answer whose status comes behind it.
    Later,
}

impl RateLimit {
    /// The answer's headers came.
    pub(crate) fn settle_by_headers(
        &mut self,
        stream: &mut Stream,
        response: &Response,
        now: &Now,
        host: &dyn Host,
    ) {
        let mut later = Vec::new();
        let mut pointers = Vec::new();
        let mut status = None;
        for mut one in std::mem::take(&mut stream.unsettled) {
            let settle = Rc::clone(&one.settle);
            let number = match &settle.by {
                SettleBy::Statuses(_) => match *status.get_or_insert_with(|| self.status(response, host)) {
                    Status::Known(status) => Some(by_status(&one, status)),
                    Status::Later => {
                        later.push(one);
                        continue;
                    }
                },
                SettleBy::Header(name) => cost::header_number(&response.headers, name.as_str()),
                SettleBy::Per(piece) => cost::length(&response.headers).map(|n| n.div_ceil(piece.get())),
                SettleBy::Json(list) => {
                    let first = pointers.len();
                    pointers.extend(list.iter().cloned());
                    one.place = first..pointers.len();
                    later.push(one);
                    continue;
                }
            };
            self.settle(&one, one.cost(number), now, host);
        }
        stream.unsettled = later;
        if pointers.is_empty() {
            return;
        }
        if SEES_BODIES && !response.ends {
            stream.reader = Reader::new(&response.headers, pointers, self.policy.window).map(Box::new);
        }
        if stream.reader.is_none() {
            self.settle_by_body(stream, now, host);
        }
    }

    /// The answer's body came to its end, as far as it is read.
    pub(crate) fn settle_by_body(&mut self, stream: &mut Stream, now: &Now, host: &dyn Host) {
        let reader = stream.reader.take();
        for one in stream.unsettled.extract_if(.., |one| one.waits_for_body()) {
            let number = reader.as_ref().and_then(|r| r.number(&one.place));
            self.settle(&one, one.cost(number), now, host);
        }
    }

    /// The stream is over. An answer that broke off costs what it had said by then, but never less than was reserved: else
    /// whoever hangs up early pays least.
    pub(crate) fn settle_what_broke_off(&mut self, stream: &mut Stream, now: &Now, host: &dyn Host) {
        let Some(reader) = stream.reader.take() else { return };
        for one in stream.unsettled.extract_if(.., |one| one.waits_for_body()) {
            if let Some(number) = reader.number(&one.place) {
                let cost = one.cost(Some(number)).max(one.charged.cost);
                self.settle(&one, cost, now, host);
            }
        }
    }

    /// The answer's trailers came. An answer that breaks off before them keeps the reservation.
    pub(crate) fn settle_by_trailers(
        &mut self,
        stream: &mut Stream,
        trailers: &Headers,
        now: &Now,
        host: &dyn Host,
    ) {
        self.settle_by_body(stream, now, host);
        let Some(status) = cost::header_number(trailers, "grpc-status").map(http_of_grpc) else { return };
        for one in std::mem::take(&mut stream.unsettled) {
            self.settle(&one, by_status(&one, status), now, host);
        }
    }

    fn settle(&mut self, one: &Unsettled, cost: u64, now: &Now, host: &dyn Host) {
        let name = self.name(one.limit);
        self.counters.settled(host, one.limit, &name, cost);
        if cost == one.charged.cost {
            return;
        }
        let times = self.times(now, host);
        match one.charged.settle(&self.table, host, times, cost) {
            Ok(update) => self.counters.store(host, &update),
            Err(failure) => {
                self.counters.failure(host, failure);
                log::warn!("{}: {name}: an answer could not be settled", self.policy.plugin.name);
            }
        }
    }

    /// What the sibling's verdict says, else the gRPC status, else the status.
    fn status(&self, response: &Response, host: &dyn Host) -> Status {
        let verdict: PropertyKey = facts::key(&self.policy.identity, "verdict");
        let verdict = host.property(&verdict).and_then(|fact| Verdict::unpack(&fact));
        if let Some(reason) = verdict.and_then(|(v, _)| v.reason) {
            return Status::Known(reason.spec().status);
        }
        let headers = &response.headers;
        if let Some(status) = cost::header_number(headers, "grpc-status") {
            return Status::Known(http_of_grpc(status));
        }
        let kind = headers.get("content-type").one().map(Protocol::of_content_type);
        match kind {
            Some(Protocol::Grpc | Protocol::GrpcWeb) if response.status() == 200 => Status::Later,
            _ => Status::Known(response.status()),
        }
    }
}

/// The reservation, if answers with this status count.
fn by_status(one: &Unsettled, status: u16) -> u64 {
    match &one.settle.by {
        SettleBy::Statuses(list) if !list.iter().any(|class| class.holds(status)) => 0,
        _ => one.charged.cost,
    }
}

/// The HTTP status that a gRPC status stands for (google.rpc.Code's mapping).
fn http_of_grpc(status: u64) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
