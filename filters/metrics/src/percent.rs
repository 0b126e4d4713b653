//! Shares, as operators write them: `99.9%`.

use portcullis_common::config::from_text;
use serde::{Deserialize, Deserializer};

/// A share, in parts per million: four digits behind the point of a percentage are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// Everything.
const WHOLE: u32 = 1_000_000;

impl Percent {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "not a percentage".to_owned();
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |t: &str, most: usize| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 3) || !digits(fraction, 4) {
            return Err(wrong());
        }
        // `9` behind the point is 9000 millionths.
        let fraction: u32 = format!("{fraction:0<4}").parse().map_err(|_| wrong())?;
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let parts = whole.saturating_mul(10_000).saturating_add(fraction);
        if parts <= WHOLE { Ok(Percent(parts)) } else { Err("more than 100%".into()) }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a percentage, such as \"99.9%\"", Percent::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,4})?%$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_parts_per_million() {
        for (text, parts) in
            [("99.9%", 999_000), ("100%", 1_000_000), ("0%", 0), ("0.0001%", 1), ("99.95%", 999_500)]
        {
            assert_eq!(Percent::parse(text), Ok(Percent(parts)), "{text}");
        }
        for bad in ["", "%", "99", "99.%", ".5%", "100.1%", "1e1%", "-1%", "99.99999%", " 9%"] {
            assert!(Percent::parse(bad).is_err(), "{bad}");
        }
    }
}
