//! What a request costs, and what its answer makes of that.

use std::num::NonZeroU64;

use portcullis_common::config::{ConfigError, HeaderName, Whole};
use portcullis_common::headers::{Headers, Lookup};
use portcullis_common::matching::pattern::Pattern;
use portcullis_common::values::context::Context;

use super::key::{Value, captured};
use super::limit::Defaults;
use super::{error, trusted};
use crate::body::pointer::Pointer;
use crate::config::cost::{Absent, StatusClass};
use crate::config::{RawCost, RawSettle};

/// What a request costs.
#[derive(Debug)]
pub enum Cost {
    /// This much.
    Fixed(u64),
    /// The number in this value, from 1 to the second.
    From(Value, u64),
    /// 1 for each piece of the body of this size, at most the second.
    Per(NonZeroU64, u64),
}

impl Cost {
    /// Checks a cost.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(
        path: &str,
        raw: RawCost,
        pattern: Option<&Pattern>,
        defaults: &Defaults,
    ) -> Result<Cost, ConfigError> {
        let at = |field: &str| format!("{path}.{field}");
        let most = || match raw.max {
            Some(max) => number(&at("max"), max),
            None => Err(error(at("max"), "missing; write the most that a request can cost")),
        };
        match (raw.fixed, raw.from, raw.per) {
            (Some(fixed), None, None) => {
                if raw.max.is_some() {
                    return Err(error(at("max"), "beside fixed; leave it out"));
                }
                Ok(Cost::Fixed(number(&at("fixed"), fixed)?))
            }
            (None, Some(source), None) => {
                trusted(&at("from"), &source, raw.from_client)?;
                captured(&at("from"), &source, pattern)?;
                Ok(Cost::From(Value::new(source, defaults), most()?))
            }
            (None, None, Some(size)) => Ok(Cost::Per(piece(&at("per"), size.0)?, most()?)),
            _ => Err(error(path, "not one cost; write one of fixed, from and per")),
        }
    }

    /// The most that it can be.
    #[must_use]
    pub fn most(&self) -> u64 {
        match self {
            Cost::Fixed(most) | Cost::From(_, most) | Cost::Per(_, most) => *most,
        }
    }

    /// What this request costs.
    #[must_use]
    pub fn of(&self, context: &Context<'_>) -> u64 {
        match self {
            Cost::Fixed(cost) => *cost,
            Cost::From(value, most) => {
                let number = value.read(context).ok().and_then(|text| whole(text.as_bytes()));
                number.map_or(*most, |n| n.clamp(1, *most))
            }
            Cost::Per(piece, most) => {
                let length = if context.request.ends { Some(0) } else { length(&context.request.headers) };
                length.map_or(*most, |n| n.div_ceil(piece.get()).clamp(1, *most))
            }
        }
    }
}

/// The most pointers of one limit.
const MOST_POINTERS: usize = 8;

/// What an answer makes of the cost.
#[derive(Debug)]
pub struct Settle {
    /// Where the number comes from.
    pub by: SettleBy,
    /// What an answer without it costs.
    pub absent: Absent,
    /// The most that an answer can cost.
    pub most: u64,
}

/// Where the number comes from.
#[derive(Debug)]
pub enum SettleBy {
    /// Only these statuses count.
    Statuses(Vec<StatusClass>),
    /// This header of the answer.
    Header(HeaderName),
    /// The length of the answer's body, in pieces.
    Per(NonZeroU64),
    /// The first of these that leads to a number in the answer's body.
    Json(Vec<Pointer>),
}

impl Settle {
    /// Checks a settlement.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(path: &str, raw: RawSettle) -> Result<Settle, ConfigError> {
        let at = |field: &str| format!("{path}.{field}");
        let by = match (raw.statuses, raw.header, raw.per, raw.json) {
            (Some(list), None, None, None) => {
                if list.is_empty() {
                    return Err(error(at("statuses"), "empty; list what counts, such as \"401\" or \"5xx\""));
                }
                if raw.absent.is_some() || raw.max.is_some() {
                    let field = if raw.absent.is_some() { "absent" } else { "max" };
                    return Err(error(at(field), "beside statuses, which are never absent; leave it out"));
                }
                let by = SettleBy::Statuses(list);
                return Ok(Settle { by, absent: Absent::Reserved, most: u64::MAX });
            }
            (None, Some(name), None, None) => SettleBy::Header(name),
            (None, None, Some(size), None) => SettleBy::Per(piece(&at("per"), size.0)?),
            (None, None, None, Some(pointers)) => {
                if pointers.is_empty() || pointers.len() > MOST_POINTERS {
                    let problem =
                        "none or more than 8; list where the number stands, such as /usage/total_tokens";
                    return Err(error(at("json"), problem));
                }
                SettleBy::Json(pointers)
            }
            _ => {
                return Err(error(path, "not one settlement; write one of statuses, header, per and json"));
            }
        };
        let absent = raw.absent.ok_or_else(|| {
            error(
                at("absent"),
                "missing; say what an answer without the number costs: reserved, nothing or max",
            )
        })?;
        let most =
            raw.max.ok_or_else(|| error(at("max"), "missing; write the most that an answer can cost"))?;
        Ok(Settle { by, absent, most: number(&at("max"), most)? })
    }

    /// What an answer costs whose number is this one, where `reserved` was charged.
    #[must_use]
    pub fn cost(&self, number: Option<u64>, reserved: u64) -> u64 {
        match (number, self.absent) {
            (Some(n), _) => n.min(self.most),
            (None, Absent::Reserved) => reserved,
            (None, Absent::Nothing) => 0,
            (None, Absent::Max) => self.most,
        }
    }
}

/// The number in a header, if there is exactly one and it is one.
#[must_use]
pub fn header_number(headers: &Headers, name: &str) -> Option<u64> {
    match headers.get(name) {
        Lookup::One(value) => whole(value),
        Lookup::Absent | Lookup::Many => None,
    }
}

/// `content-length`, if it is one number.
#[must_use]
pub fn length(headers: &Headers) -> Option<u64> {
    header_number(headers, "content-length")
}

/// Digits and nothing else.
fn whole(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn number(path: &str, n: Whole) -> Result<u64, ConfigError> {
    let fits = (1..=1_000_000_000).contains(&n.get());
    fits.then_some(n.get())
        .ok_or_else(|| error(path, "out of range; write a whole number from 1 to 1000000000"))
}

fn piece(path: &str, bytes: u64) -> Result<NonZeroU64, ConfigError> {
    NonZeroU64::new(bytes).ok_or_else(|| error(path, "nothing; write a size such as 1KiB"))
}
