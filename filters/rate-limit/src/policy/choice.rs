//! Whose numbers: plans, overrides, lists.

use std::collections::BTreeMap;

use portcullis_common::config::ConfigError;
use portcullis_common::matching::pattern::Pattern;
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;
use portcullis_common::values::source::Source;

use super::budget::{Budget, Manner};
use super::key::{Value, captured};
use super::limit::Defaults;
use super::{error, trusted};
use crate::address::Network;
use crate::config::{RawBudget, RawListed, RawOverrides, RawPlans};

/// Budgets by the value of a source.
#[derive(Debug)]
pub struct ByValue {
    value: Value,
    budgets: BTreeMap<String, Budget>,
}

impl ByValue {
    /// The budget for this request, if it has one here. A value that is absent or cannot be used has none.
    pub fn of(&self, context: &Context<'_>) -> Option<&Budget> {
        self.budgets.get(&*self.value.read(context).ok()?)
    }

    /// All budgets.
    pub fn all(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.values()
    }
}

/// Checks plans; gives their default too.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub fn plans(
    path: &str,
    raw: RawPlans,
    pattern: Option<&Pattern>,
    manner: Manner<'_>,
    defaults: &Defaults,
) -> Result<(ByValue, Option<Budget>), ConfigError> {
    let source = raw
        .from
        .ok_or_else(|| error(format!("{path}.from"), "missing; write a source such as claim.plan"))?;
    let default = raw.default.map(|raw| needed(&format!("{path}.default"), raw, manner)).transpose()?;
    let tiers = raw.tiers.unwrap_or_default();
    let plans = by_value((path, "tiers"), source, raw.from_client, tiers, pattern, manner, defaults)?;
    Ok((plans, default))
}

/// Checks overrides.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub fn overrides(
    path: &str,
    raw: RawOverrides,
    pattern: Option<&Pattern>,
    manner: Manner<'_>,
    defaults: &Defaults,
) -> Result<ByValue, ConfigError> {
    let source = raw.from.unwrap_or(Source::Subject);
    let values = raw.values.unwrap_or_default();
    by_value((path, "values"), source, raw.from_client, values, pattern, manner, defaults)
}

fn by_value(
    (path, field): (&str, &str),
    source: Source,
    from_client: Option<bool>,
    raw: BTreeMap<String, RawBudget>,
    pattern: Option<&Pattern>,
    manner: Manner<'_>,
    defaults: &Defaults,
) -> Result<ByValue, ConfigError> {
    trusted(&format!("{path}.from"), &source, from_client)?;
    captured(&format!("{path}.from"), &source, pattern)?;
    if raw.is_empty() {
        return Err(error(
            format!("{path}.{field}"),
            "missing or empty; write at least one, such as gold: {rate: 1000/minute}",
        ));
    }
    let mut budgets = BTreeMap::new();
    for (name, raw) in raw {
        let budget = needed(&format!("{path}.{field}.{name}"), raw, manner)?;
        budgets.insert(name, budget);
    }
    Ok(ByValue { value: Value::new(source, defaults), budgets })
}

fn needed(path: &str, raw: RawBudget, manner: Manner<'_>) -> Result<Budget, ConfigError> {
    Budget::new(path, raw, manner)?
        .ok_or_else(|| error(path, "without a number; write rate, rates or in_flight"))
}

/// Values of one source that are treated apart.
#[derive(Debug)]
pub enum Listed {
    /// These texts.
    Texts(Value, Vec<String>),
    /// Addresses in these networks.
    Networks(Value, Vec<Network>),
}

impl Listed {
    /// Checks a list.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(
        path: &str,
        raw: RawListed,
        pattern: Option<&Pattern>,
        defaults: &Defaults,
    ) -> Result<Listed, ConfigError> {
        let source = raw
            .from
            .ok_or_else(|| error(format!("{path}.from"), "missing; write a source such as subject"))?;
        trusted(&format!("{path}.from"), &source, raw.from_client)?;
        captured(&format!("{path}.from"), &source, pattern)?;
        let values = raw.values.unwrap_or_default();
        if values.is_empty() {
            return Err(error(format!("{path}.values"), "missing or empty; list at least one"));
        }
        if !matches!(source, Source::ClientIp(_)) {
            return Ok(Listed::Texts(Value::new(source, defaults), values));
        }
        let network = |(n, text): (usize, &String)| {
            Network::parse(text).map_err(|problem| {
                let remedy = "write an address or a network, such as 192.0.2.0/24";
                error(format!("{path}.values[{n}]"), format!("{problem}; {remedy}"))
            })
        };
        let networks = values.iter().enumerate().map(network).collect::<Result<_, _>>()?;
        // The whole address is compared, whatever prefix is written.
        Ok(Listed::Networks(Value::new(Source::ClientIp(None), defaults), networks))
    }

    /// Whether this request is on it.
    ///
    /// # Errors
    /// If that cannot be told: there is a value, but it is not one.
    pub fn holds(&self, context: &Context<'_>) -> Result<bool, Failure> {
        let held = match self {
            Listed::Texts(value, texts) => value.read(context).map(|v| texts.iter().any(|text| **text == *v)),
            Listed::Networks(value, networks) => {
                value.address(context).map(|ip| networks.iter().any(|n| n.contains(ip)))
            }
        };
        held.or_else(|failure| if failure == Failure::Absent { Ok(false) } else { Err(failure) })
    }
}
