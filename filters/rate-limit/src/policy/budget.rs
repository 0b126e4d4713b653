//! How many.

use std::num::{NonZeroU32, NonZeroU64};
use std::rc::Rc;

use portcullis_common::config::{ConfigError, Whole};
use portcullis_common::table::Meter;

use super::error;
use crate::config::limit::{Algorithm, Zone};
use crate::config::{RawBudget, RawRate};
use crate::meter::Measure;
use crate::meter::calendar::Calendar;
use crate::meter::gcra::Bucket;
use crate::meter::sliding::Sliding;
use crate::rate::{Period, Rate};

/// The longest window that may begin anew with a restart without anybody's saying so, in seconds.
const SHORT: u64 = 3_600;

/// What a client may do.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// The rates, all of which must fit.
    pub rates: Rc<[Metered]>,
    /// How many at once.
    pub in_flight: Option<NonZeroU32>,
}

/// One rate.
#[derive(Clone, Copy, Debug)]
pub struct Metered {
    /// Where it is kept.
    pub meter: Meter,
    /// How it is measured.
    pub measure: Measure,
    /// As written.
    pub rate: Rate,
}

/// What a limit says for all its budgets.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// The limit's name.
    pub name: &'a str,
    /// Its algorithm.
    pub algorithm: Option<Algorithm>,
    /// Its zone.
    pub zone: Option<Zone>,
    /// Whether long windows are accepted.
    pub accept_loss: Option<bool>,
}

impl Budget {
    /// Checks a budget; `None` if nothing is written.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(path: &str, raw: RawBudget, manner: Manner<'_>) -> Result<Option<Budget>, ConfigError> {
        let at = |field: &str| format!("{path}.{field}");
        let written = match (raw.rate, raw.rates) {
            (Some(_), Some(_)) => return Err(error(at("rates"), "beside rate; write one of the two")),
            (None, Some(rates)) if rates.is_empty() => {
                return Err(error(at("rates"), "empty; list at least one, such as {rate: 100/minute}"));
            }
            (None, Some(rates)) => {
                if raw.burst.is_some() {
                    return Err(error(at("burst"), "beside rates; write it into each of them"));
                }
                rates.into_iter().enumerate().map(|(n, rate)| (format!("{path}.rates[{n}]"), rate)).collect()
            }
            (None, None) if raw.burst.is_some() => {
                return Err(error(at("burst"), "without a rate; write rate: 100/minute beside it"));
            }
            (None, None) => Vec::new(),
            (Some(rate), None) => {
                let only = RawRate {
                    rate: Some(rate),
                    burst: raw.burst,
                    algorithm: manner.algorithm,
                    zone: manner.zone,
                    accept_loss_on_restart: manner.accept_loss,
                };
                vec![(path.to_owned(), only)]
            }
        };
        let in_flight = raw.in_flight.map(|n| in_flight(&at("in_flight"), n)).transpose()?;
        if written.is_empty() && in_flight.is_none() {
            return Ok(None);
        }
        let rates = written
            .into_iter()
            .enumerate()
            .map(|(n, (path, rate))| metered(&path, rate, manner.name, n))
            .collect::<Result<_, _>>()?;
        Ok(Some(Budget { rates, in_flight }))
    }

    /// The most that a request can cost here and ever pass.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.rates.iter().map(|r| r.measure.capacity()).min().unwrap_or(u64::MAX)
    }
}

fn in_flight(path: &str, n: Whole) -> Result<NonZeroU32, ConfigError> {
    let n = u32::try_from(n.get()).ok().filter(|n| *n <= 1_000_000).and_then(NonZeroU32::new);
    n.ok_or_else(|| error(path, "out of range; write a whole number from 1 to 1000000"))
}

fn metered(path: &str, raw: RawRate, name: &str, n: usize) -> Result<Metered, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let rate = raw.rate.ok_or_else(|| error(at("rate"), "missing; write a rate such as 100/minute"))?;
    let algorithm = raw.algorithm.unwrap_or_default();
    if raw.burst.is_some() && algorithm != Algorithm::Gcra {
        return Err(error(at("burst"), "without a bucket; leave it out, or use the algorithm gcra"));
    }
    if raw.zone.is_some() && algorithm != Algorithm::Calendar {
        return Err(error(at("zone"), "without a calendar; leave it out, or use the algorithm calendar"));
    }
    let span = match rate.period {
        Period::Span(span) => Some(span),
        Period::Month if algorithm == Algorithm::Calendar => None,
        Period::Month => {
            return Err(error(
                at("rate"),
                "a month has no fixed length; write 30d, or use the algorithm calendar",
            ));
        }
    };
    let long = algorithm != Algorithm::Gcra && rate.period.seconds().is_none_or(|s| s > SHORT);
    if long && raw.accept_loss_on_restart != Some(true) {
        return Err(error(
            at("accept_loss_on_restart"),
            "missing; a restart of Envoy begins this window anew: write true if that will do, or use a shorter window",
        ));
    }
    let too_long = || error(at("rate"), "too long for the clock; write a shorter period");
    let measure = match (algorithm, span) {
        (Algorithm::Gcra, Some(span)) => {
            let burst = raw.burst.map_or(rate.count.get(), Whole::get);
            let burst = NonZeroU64::new(burst).filter(|b| b.get() <= 1_000_000_000);
            let burst = burst.ok_or_else(|| {
                error(at("burst"), "out of range; write a whole number from 1 to 1000000000")
            })?;
            let bucket = Bucket::new(rate.count, span, burst);
            Measure::Bucket(bucket.ok_or_else(|| {
                error(at("burst"), "too much for this rate; a full bucket would take over a century to fill")
            })?)
        }
        (Algorithm::SlidingWindow, Some(span)) => {
            Measure::Sliding(Sliding::new(rate.count, span).ok_or_else(too_long)?)
        }
        (Algorithm::Calendar, _) => {
            let zone = raw.zone.unwrap_or_default();
            Measure::Calendar(Calendar::new(rate.count, rate.period, zone.0))
        }
        (_, None) => return Err(too_long()),
    };
    Ok(Metered { meter: meter(name, n, algorithm, rate.period, raw.zone), measure, rate })
}

/// What outlives a change of the numbers: the limit's name, the place among its rates, the algorithm; for windows also which.
fn meter(name: &str, n: usize, algorithm: Algorithm, period: Period, zone: Option<Zone>) -> Meter {
    let place = n.to_string();
    let window = format!("{:?} {}", period.seconds(), zone.unwrap_or_default().0);
    match algorithm {
        Algorithm::Gcra => Meter::new(&[name, &place, "gcra"], false),
        Algorithm::SlidingWindow => Meter::new(&[name, &place, "sliding_window", &window], true),
        Algorithm::Calendar => Meter::new(&[name, &place, "calendar", &window], false),
    }
}
