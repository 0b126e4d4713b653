//! One limit: whom, what, how many.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_common::config::{DurationText, RuleName, Whole, from_text};
use portcullis_common::matching::conditions::RawMatch;
use portcullis_common::mode::{Mode, OnError};
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use super::{RawCost, RawSettle};
use crate::rate::Rate;

/// One limit.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Limit"))]
#[serde(deny_unknown_fields, expecting = "an object with name, key and rate")]
pub struct RawLimit {
    /// Its name in answers, facts, metrics and in the store.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub name: Option<RuleName>,
    /// The requests that it is about. Default: all.
    #[serde(rename = "match")]
    pub matches: Option<RawMatch>,
    /// What is counted together: requests for which all these texts are the same. `["everyone"]` is one bucket for all.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub key: Option<Vec<Template>>,
    /// How many in how long. A limit has `rate`, `rates`, `in_flight`, or `plans` with a default.
    pub rate: Option<Rate>,
    /// How many at once, the bucket's capacity. Default: the rate's count. Only with `gcra`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub burst: Option<Whole>,
    /// How the rate is measured. Default `gcra`.
    pub algorithm: Option<Algorithm>,
    /// The zone whose midnight a `calendar` rate goes by: `UTC` or an offset such as `+02:00`. Default `UTC`.
    pub zone: Option<Zone>,
    /// `true` says that a window of more than an hour, in `calendar` and `sliding_window`, may begin anew when Envoy restarts; without
    /// it such a window is refused.
    pub accept_loss_on_restart: Option<bool>,
    /// Several rates at once; a request must fit all of them. Instead of `rate` and the fields that go with it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub rates: Option<Vec<RawRate>>,
    /// How many requests may be in flight at once.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub in_flight: Option<Whole>,
    /// How long the requests in flight of a worker that died still count. Default `10s`, from `1s` to `10m`.
    pub lease: Option<DurationText>,
    /// Other numbers by plan.
    pub plans: Option<RawPlans>,
    /// Other numbers for single values, whatever their plan.
    pub overrides: Option<RawOverrides>,
    /// Whoever is listed here is not counted by this limit.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub allow: Option<Vec<RawListed>>,
    /// Whoever is listed here is refused with `denied`, whatever the rate; this comes before `allow`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub deny: Option<Vec<RawListed>>,
    /// What a request costs. Default 1.
    pub cost: Option<RawCost>,
    /// What its answer makes of that. Default: nothing.
    pub settle: Option<RawSettle>,
    /// What happens when a part of the key has no value. Default `deny`.
    pub missing: Option<RawMissing>,
    /// `enforce` or `shadow` for this limit. Default: the plugin's.
    pub mode: Option<Mode>,
    /// What happens when the store cannot answer for this limit. Default: the plugin's.
    pub on_error: Option<OnError>,
}

/// One of several rates.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SeveralRate"))]
#[serde(deny_unknown_fields, expecting = "an object with rate")]
pub struct RawRate {
    /// How many in how long.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub rate: Option<Rate>,
    /// As in the limit.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub burst: Option<Whole>,
    /// As in the limit.
    pub algorithm: Option<Algorithm>,
    /// As in the limit.
    pub zone: Option<Zone>,
    /// As in the limit.
    pub accept_loss_on_restart: Option<bool>,
}

/// The numbers of a plan or of a single value; the algorithm, the zone and the lease are the limit's.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Budget"))]
#[serde(deny_unknown_fields, expecting = "an object with rate")]
pub struct RawBudget {
    /// How many in how long.
    pub rate: Option<Rate>,
    /// How many at once, the bucket's capacity. Default: the rate's count.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub burst: Option<Whole>,
    /// Several rates at once, instead of `rate`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub rates: Option<Vec<RawRate>>,
    /// How many requests may be in flight at once.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub in_flight: Option<Whole>,
}

/// Other numbers by plan.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Plans"))]
#[serde(deny_unknown_fields, expecting = "an object with from and tiers")]
pub struct RawPlans {
    /// What names the plan: a source such as `claim.plan`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub from: Option<Source>,
    /// `true` says that clients may choose their plan; a header, query parameter or cookie needs it.
    pub from_client: Option<bool>,
    /// The numbers of each plan.
    #[cfg_attr(feature = "schema", schemars(required, extend("minProperties" = 1)))]
    pub tiers: Option<BTreeMap<String, RawBudget>>,
    /// The numbers without a plan, or with one that is not listed. Default: the limit's own.
    pub default: Option<RawBudget>,
}

/// Other numbers for single values.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Overrides"))]
#[serde(deny_unknown_fields, expecting = "an object with values")]
pub struct RawOverrides {
    /// What names the value. Default `subject`.
    pub from: Option<Source>,
    /// `true` says that clients may choose; a header, query parameter or cookie needs it.
    pub from_client: Option<bool>,
    /// The numbers of each value.
    #[cfg_attr(feature = "schema", schemars(required, extend("minProperties" = 1)))]
    pub values: Option<BTreeMap<String, RawBudget>>,
}

/// Values of one source that are treated apart.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Listed"))]
#[serde(deny_unknown_fields, expecting = "an object with from and values")]
pub struct RawListed {
    /// What is looked at: a source such as `subject` or `client.ip`.
    #[cfg_attr(feature = "schema", schemars(required))]
    pub from: Option<Source>,
    /// `true` says that clients may choose to be on the list; a header, query parameter or cookie needs it.
    pub from_client: Option<bool>,
    /// The values; for `client.ip`, addresses and networks such as `192.0.2.0/24`.
    #[cfg_attr(feature = "schema", schemars(required, length(min = 1)))]
    pub values: Option<Vec<String>>,
}

/// How a rate is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// A bucket that fills steadily.
    #[default]
    Gcra,
    /// A window that slides.
    SlidingWindow,
    /// From one boundary of the calendar to the next: minutes, hours, days, months.
    Calendar,
}

/// Seconds that a zone is ahead of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone(pub i64);

impl Zone {
    fn parse(text: &str) -> Result<Zone, String> {
        let bad = || "not a zone".to_owned();
        if text == "UTC" {
            return Ok(Zone(0));
        }
        let (sign, rest) = match text.as_bytes().first() {
            Some(b'+') => (1, text.get(1..)),
            Some(b'-') => (-1, text.get(1..)),
            _ => return Err(bad()),
        };
        let (hours, minutes) = rest.and_then(|r| r.split_once(':')).ok_or_else(bad)?;
        let two = |t: &str, max: i64| {
            let digits = t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
            t.parse::<i64>().ok().filter(|n| digits && *n <= max).ok_or_else(bad)
        };
        let seconds =
            two(hours, 14)?.saturating_mul(3_600).saturating_add(two(minutes, 59)?.saturating_mul(60));
        Ok(Zone(seconds.saturating_mul(sign)))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "UTC, or an offset from it such as \"+02:00\"", Zone::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Zone {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Zone".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(UTC|[+-][0-9]{2}:[0-9]{2})$"})
    }
}

/// `deny`, `skip`, `{value: TEXT}` or `{key: [TEMPLATE]}`.
#[derive(Debug)]
pub enum RawMissing {
    /// The request is refused.
    Deny,
    /// The limit does not apply where a value is absent; an empty, repeated or overlong one is refused all the same.
    Skip,
    /// This text instead, or another key.
    Instead(RawInstead),
}

/// What to use instead: exactly one of the two.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Instead"))]
#[serde(deny_unknown_fields, expecting = "an object with value or key")]
pub struct RawInstead {
    /// This text in place of the value.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub value: Option<String>,
    /// This key in place of the whole key.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub key: Option<Vec<Template>>,
}

impl<'de> Deserialize<'de> for RawMissing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RawMissing;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("deny, skip, {value: TEXT} or {key: [TEMPLATE]}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawMissing, E> {
                match text {
                    "deny" => Ok(RawMissing::Deny),
                    "skip" => Ok(RawMissing::Skip),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawMissing, A::Error> {
                RawInstead::deserialize(MapAccessDeserializer::new(map)).map(RawMissing::Instead)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawMissing {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Missing".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let instead = generator.subschema_for::<RawInstead>();
        schemars::json_schema!({"anyOf": [{"enum": ["deny", "skip"]}, instead]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_offsets_from_utc() {
        for (text, seconds) in [("UTC", 0), ("+02:00", 7_200), ("-03:30", -12_600), ("+14:00", 50_400)] {
            assert_eq!(Zone::parse(text), Ok(Zone(seconds)), "{text}");
        }
        for bad in
            ["", "utc", "+2:00", "02:00", "+15:00", "+02:60", "+0a:00", "Europe/Paris", "++2:00", "+02"]
        {
            assert!(Zone::parse(bad).is_err(), "{bad}");
        }
    }
}
