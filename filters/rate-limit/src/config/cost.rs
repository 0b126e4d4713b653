//! What a request costs, and what its answer makes of that.

use portcullis_common::config::{HeaderName, Size, Whole, from_text};
use portcullis_common::values::source::Source;
use serde::{Deserialize, Deserializer};

use crate::body::pointer::Pointer;

/// What a request costs: exactly one of `fixed`, `from` and `per`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Cost"))]
#[serde(deny_unknown_fields, expecting = "an object with fixed, from or per")]
pub struct RawCost {
    /// This much.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub fixed: Option<Whole>,
    /// The number in this source, such as `header.x-cost`: at least 1, at most `max`; one that is absent or no number costs `max`.
    pub from: Option<Source>,
    /// `true` says that clients may choose what they pay; a header, query parameter or cookie needs it.
    pub from_client: Option<bool>,
    /// 1 for each piece of the body of this size, by `content-length`; a body of unknown length costs `max`.
    pub per: Option<Size>,
    /// The most that a request can cost, with `from` and `per`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub max: Option<Whole>,
}

/// What the answer makes of the cost: exactly one of `statuses`, `header`, `per` and `json`. What the request cost is
/// reserved when it comes, counts until the answer, and stays charged if no answer comes: leave room in `burst` for as many requests
/// as one key may have in flight.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Settle"))]
#[serde(deny_unknown_fields, expecting = "an object with statuses, header, per or json")]
pub struct RawSettle {
    /// Only answers with these statuses count, such as `401` or `5xx`; others give the reservation back. The verdict of the plugin
    /// in `identity` comes before the status, and a gRPC status counts as the HTTP status that it stands for.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub statuses: Option<Vec<StatusClass>>,
    /// The cost is the number in this header of the answer.
    pub header: Option<HeaderName>,
    /// The cost is 1 for each piece of the answer's body of this size, by `content-length`.
    pub per: Option<Size>,
    /// The cost is the number in the answer's JSON, or in the last of its server-sent events before `[DONE]` that has it: at the first
    /// of these JSON pointers that leads to one. Only in `rate-limit-body.wasm`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 8)))]
    pub json: Option<Vec<Pointer>>,
    /// What an answer without the number costs: `reserved` (what was reserved), `nothing`, or `max`. Required but for `statuses`.
    pub absent: Option<Absent>,
    /// The most that an answer can cost. Required but for `statuses`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub max: Option<Whole>,
}

/// What an answer without the number costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// What was reserved.
    Reserved,
    /// Nothing.
    Nothing,
    /// The most.
    Max,
}

/// `401`, or a class such as `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// This status.
    One(u16),
    /// A hundred of them, by their first digit.
    Class(u16),
}

impl StatusClass {
    /// Whether a status is meant.
    #[must_use]
    pub fn holds(self, status: u16) -> bool {
        match self {
            StatusClass::One(one) => status == one,
            StatusClass::Class(digit) => status / 100 == digit,
        }
    }

    fn parse(text: &str) -> Result<StatusClass, String> {
        let bad = || "not a status".to_owned();
        let digits = text.strip_suffix("xx");
        let number: u16 = digits.unwrap_or(text).parse().map_err(|_| bad())?;
        match (digits, number) {
            (Some(d), 1..=5) if d.len() == 1 => Ok(StatusClass::Class(number)),
            (None, 100..=599) if text.len() == 3 => Ok(StatusClass::One(number)),
            _ => Err(bad()),
        }
    }
}

impl<'de> Deserialize<'de> for StatusClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a status or a class, as text: \"401\" or \"5xx\"", StatusClass::parse)
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::StatusClass;
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    impl JsonSchema for StatusClass {
        fn inline_schema() -> bool {
            true
        }
        fn schema_name() -> Cow<'static, str> {
            "StatusClass".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "pattern": "^([1-5][0-9]{2}|[1-5]xx)$"})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_or_by_class() {
        assert!(StatusClass::parse("401").unwrap().holds(401));
        assert!(StatusClass::parse("5xx").unwrap().holds(503));
        assert!(!StatusClass::parse("5xx").unwrap().holds(404));
        for bad in ["", "xx", "0xx", "6xx", "55xx", "99", "600", "4xX", "+40", "+4xx"] {
            assert!(StatusClass::parse(bad).is_err(), "{bad}");
        }
    }
}
