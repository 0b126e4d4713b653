//! One limit.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::ConfigError;
use portcullis_common::matching::pattern::Pattern;
use portcullis_common::mode::{Mode, OnError};
use portcullis_common::table::Meter;
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;

use super::budget::{Budget, Manner};
use super::choice::{self, ByValue, Listed};
use super::cost::{Cost, Settle, SettleBy};
use super::error;
use super::key::Key;
use crate::address::Forwarded;
use crate::body::pointer::Pointer;
use crate::config::{RawBudget, RawLimit, RawListed};
use crate::meter::Measure;

/// What the plugin says for all its limits.
#[derive(Debug)]
pub struct Defaults {
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// What happens when the store cannot answer.
    pub on_error: OnError,
    /// The plugin whose subject and claims are read.
    pub identity: Rc<str>,
    /// The own rule for `client.ip`.
    pub forwarded: Option<Rc<Forwarded>>,
}

/// A checked limit.
#[derive(Debug)]
pub struct Limit {
    /// Its name.
    pub name: Rc<str>,
    /// A hash of all that cannot change without starting afresh.
    pub identity: String,
    /// What is counted together.
    pub key: Key,
    /// Whom it refuses.
    deny: Vec<Listed>,
    /// Whom it does not count.
    allow: Vec<Listed>,
    overrides: Option<ByValue>,
    plans: Option<ByValue>,
    budget: Budget,
    /// What a request costs.
    pub cost: Cost,
    /// What its answer makes of that.
    pub settle: Option<Rc<Settle>>,
    /// Where requests in flight are kept.
    pub shares: Meter,
    /// How long those of a worker that died still count.
    pub lease: Duration,
    /// Whether its refusals are carried out.
    pub mode: Mode,
    /// What happens when the store cannot answer.
    pub on_error: OnError,
}

/// What the lists say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Nothing.
    Neither,
    /// It is refused.
    Deny,
    /// It is not counted.
    Allow,
}

impl Limit {
    /// What the lists say about this request.
    ///
    /// # Errors
    /// If a value that decides about being refused cannot be used.
    pub fn listed(&self, context: &Context<'_>) -> Result<List, Failure> {
        for list in &self.deny {
            if list.holds(context)? {
                return Ok(List::Deny);
            }
        }
        // Who cannot be recognized is counted like everybody.
        let allowed = self.allow.iter().any(|list| list.holds(context) == Ok(true));
        Ok(if allowed { List::Allow } else { List::Neither })
    }

    /// The numbers for this request.
    #[must_use]
    pub fn budget(&self, context: &Context<'_>) -> &Budget {
        let own = self.overrides.as_ref().and_then(|by| by.of(context));
        own.or_else(|| self.plans.as_ref()?.of(context)).unwrap_or(&self.budget)
    }

    fn budgets(&self) -> impl Iterator<Item = &Budget> {
        let chosen = self.overrides.iter().chain(&self.plans).flat_map(ByValue::all);
        chosen.chain(std::iter::once(&self.budget))
    }

    /// Whether any budget of it goes by the calendar.
    #[must_use]
    pub fn uses_calendar(&self) -> bool {
        self.budgets().flat_map(|b| b.rates.iter()).any(|r| matches!(r.measure, Measure::Calendar(_)))
    }

    /// The pointers into an answer's body that it settles by.
    #[must_use]
    pub fn pointers(&self) -> &[Pointer] {
        match self.settle.as_ref().map(|settle| &settle.by) {
            Some(SettleBy::Json(pointers)) => pointers,
            _ => &[],
        }
    }

    /// Whether it settles by an answer's body.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        !self.pointers().is_empty()
    }

    /// Whether any budget of it counts requests in flight.
    #[must_use]
    pub fn counts_in_flight(&self) -> bool {
        self.budgets().any(|b| b.in_flight.is_some())
    }
}

/// Checks a limit.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub fn limit(
    path: &str,
    raw: RawLimit,
    pattern: Option<&Pattern>,
    defaults: &Defaults,
) -> Result<Limit, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let name =
        raw.name.ok_or_else(|| error(at("name"), "missing; clients and metrics know a limit by its name"))?.0;
    let written = format!("{:?}", raw.key);
    let key = Key::new(path, raw.key.unwrap_or_default(), raw.missing, pattern, defaults)?;
    let manner = Manner {
        name: &name,
        algorithm: raw.algorithm,
        zone: raw.zone,
        accept_loss: raw.accept_loss_on_restart,
    };
    if raw.rates.is_some() {
        let fields = [
            ("algorithm", raw.algorithm.is_some()),
            ("zone", raw.zone.is_some()),
            ("accept_loss_on_restart", raw.accept_loss_on_restart.is_some()),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, there)| *there) {
            return Err(error(at(field), "beside rates; write it into each of them"));
        }
    }
    let own = RawBudget { rate: raw.rate, burst: raw.burst, rates: raw.rates, in_flight: raw.in_flight };
    let own = Budget::new(path, own, manner)?;
    let plans =
        raw.plans.map(|raw| choice::plans(&at("plans"), raw, pattern, manner, defaults)).transpose()?;
    let (plans, default) = plans.map_or((None, None), |(plans, default)| (Some(plans), default));
    let budget = default.or(own).ok_or_else(|| {
        error(
            at("rate"),
            "missing; write a rate such as 100/minute, or rates, in_flight, or plans with a default",
        )
    })?;
    let overrides = raw
        .overrides
        .map(|raw| choice::overrides(&at("overrides"), raw, pattern, manner, defaults))
        .transpose()?;
    let cost = match raw.cost {
        None => Cost::Fixed(1),
        Some(raw) => Cost::new(&at("cost"), raw, pattern, defaults)?,
    };
    let settle = raw.settle.map(|raw| Settle::new(&at("settle"), raw)).transpose()?.map(Rc::new);
    let lease = raw.lease.map_or(Duration::from_secs(10), |d| d.0);
    if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&lease) {
        return Err(error(at("lease"), "too short or too long; write a time from 1s to 10m"));
    }
    let mut limit = Limit {
        identity: String::new(),
        shares: Meter::new(&[&name, "in flight"], false),
        name,
        key,
        deny: listed(&at("deny"), raw.deny, pattern, defaults)?,
        allow: listed(&at("allow"), raw.allow, pattern, defaults)?,
        overrides,
        plans,
        budget,
        cost,
        settle,
        lease,
        mode: raw.mode.unwrap_or(defaults.mode),
        on_error: raw.on_error.unwrap_or(defaults.on_error),
    };
    limit.identity = identity(&written, &limit);
    if let Some(small) = limit.budgets().map(Budget::capacity).find(|c| *c < limit.cost.most()) {
        let most = limit.cost.most();
        let problem = format!(
            "up to {most}, which never fits a limit that holds {small}; lower it, or raise the burst"
        );
        return Err(error(at("cost"), problem));
    }
    if raw.lease.is_some() && !limit.counts_in_flight() {
        return Err(error(at("lease"), "without in_flight; leave it out"));
    }
    Ok(limit)
}

/// The key as it is written, and the meters of the limit's own budget.
fn identity(key: &str, limit: &Limit) -> String {
    let meters: Vec<String> = limit.budget.rates.iter().map(|r| format!("{:?}", r.meter)).collect();
    let parts: Vec<&str> = std::iter::once(key).chain(meters.iter().map(String::as_str)).collect();
    format!("{:?}", Meter::new(&parts, false)).replace(' ', "")
}

fn listed(
    path: &str,
    raw: Option<Vec<RawListed>>,
    pattern: Option<&Pattern>,
    defaults: &Defaults,
) -> Result<Vec<Listed>, ConfigError> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if raw.is_empty() {
        return Err(error(path, "empty; leave it out, or list somebody"));
    }
    let one = |(n, raw)| Listed::new(&format!("{path}[{n}]"), raw, pattern, defaults);
    raw.into_iter().enumerate().map(one).collect()
}
