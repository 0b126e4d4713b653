//! `100/minute`, `10/7s`.

use std::num::NonZeroU64;
use std::time::Duration;

use portcullis_common::config::from_text;
use serde::{Deserialize, Deserializer};

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU64,
    /// In how long.
    pub period: Period,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// This long.
    Span(Duration),
    /// A month of the calendar, which is not always as long.
    Month,
}

impl Period {
    /// Whole seconds; `None` for a month.
    #[must_use]
    pub fn seconds(self) -> Option<u64> {
        match self {
            Period::Span(span) => Some(span.as_secs()),
            Period::Month => None,
        }
    }
}

impl Rate {
    fn parse(text: &str) -> Result<Rate, String> {
        let bad = || "not a rate".to_owned();
        let (count, period) = text.split_once('/').ok_or_else(bad)?;
        let count: u64 = count.parse().map_err(|_| bad())?;
        let count = NonZeroU64::new(count)
            .filter(|n| n.get() <= 1_000_000_000)
            .ok_or("not between 1 and 1000000000")?;
        let seconds = match period {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            "month" => return Ok(Rate { count, period: Period::Month }),
            _ => {
                let digits = period.bytes().take_while(u8::is_ascii_digit).count();
                let (number, unit) = period.split_at(digits);
                let number: u64 = number.parse().map_err(|_| bad())?;
                let unit = match unit {
                    "s" => 1,
                    "m" => 60,
                    "h" => 3_600,
                    "d" => 86_400,
                    _ => return Err(bad()),
                };
                number
                    .checked_mul(unit)
                    .filter(|s| (1..=366 * 86_400).contains(s))
                    .ok_or("not between 1s and 366d")?
            }
        };
        Ok(Rate { count, period: Period::Span(Duration::from_secs(seconds)) })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a rate, such as \"100/minute\" or \"10/7s\"", Rate::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9]+/(second|minute|hour|day|month|[0-9]+(s|m|h|d))$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_period_will_do() {
        for (text, count, seconds) in [
            ("100/minute", 100, Some(60)),
            ("10/7s", 10, Some(7)),
            ("1/2d", 1, Some(172_800)),
            ("9/month", 9, None),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.count.get(), rate.period.seconds()), (count, seconds), "{text}");
        }
        for bad in [
            "",
            "100",
            "0/minute",
            "/minute",
            "100/",
            "100/fortnight",
            "1/0s",
            "-1/s",
            "1.5/s",
            "1/367d",
            "9999999999/s",
        ] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }
}
