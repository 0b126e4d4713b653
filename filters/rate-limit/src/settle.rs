//! What an answer makes of the charge.
//!
//! The reservation stays unless an answer says otherwise: whoever hangs up before the answer pays what was reserved.

use std::rc::Rc;

use portcullis_common::clock::Now;
use portcullis_common::facts::{self, PropertyKey, Verdict};
use portcullis_common::headers::Headers;
use portcullis_common::host::Host;
use portcullis_common::request::{Protocol, Response};

use crate::charge::Charged;
use crate::filter::{RateLimit, Stream};
use crate::policy::cost::{self, Settle, SettleBy};

/// A charge whose answer is still to come.
#[derive(Debug)]
pub(crate) struct Unsettled {
    limit: usize,
    charged: Charged,
    settle: Rc<Settle>,
}

impl Unsettled {
    pub(crate) fn new(limit: usize, charged: Charged, settle: Rc<Settle>) -> Unsettled {
        Unsettled { limit, charged, settle }
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
        let mut status = None;
        for one in std::mem::take(&mut stream.unsettled) {
            let number = match &one.settle.by {
                SettleBy::Statuses(_) => match *status.get_or_insert_with(|| self.status(response, host)) {
                    Status::Known(status) => Some(by_status(&one, status)),
                    Status::Later => {
                        later.push(one);
                        continue;
                    }
                },
                SettleBy::Header(name) => cost::header_number(&response.headers, name.as_str()),
                SettleBy::Per(piece) => cost::length(&response.headers).map(|n| n.div_ceil(piece.get())),
            };
            self.settle(&one, number, now, host);
        }
        stream.unsettled = later;
    }

    /// The answer's trailers came. An answer that breaks off before them keeps the reservation.
    pub(crate) fn settle_by_trailers(
        &mut self,
        stream: &mut Stream,
        trailers: &Headers,
        now: &Now,
        host: &dyn Host,
    ) {
        let Some(status) = cost::header_number(trailers, "grpc-status").map(http_of_grpc) else { return };
        for one in std::mem::take(&mut stream.unsettled) {
            self.settle(&one, Some(by_status(&one, status)), now, host);
        }
    }

    fn settle(&mut self, one: &Unsettled, number: Option<u64>, now: &Now, host: &dyn Host) {
        let cost = one.settle.cost(number, one.charged.cost);
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
