//! The types that configurations are made of. Each parses once and then is what it says.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Deserializes text with `parse`; `what` says in words what is wanted, with an example.
///
/// # Errors
/// If it is no text, or `parse` refuses it.
pub fn from_text<'de, D, T>(
    deserializer: D,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Text<F> {
        what: &'static str,
        parse: F,
    }
    impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.what)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.parse)(text).map_err(|problem| E::custom(format!("{problem}; write {}", self.what)))
        }
    }
    deserializer.deserialize_str(Text { what, parse })
}

/// A span of time: a whole number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// A bound of a span of time, as text and in milliseconds.
pub type Bound = (&'static str, u64);

impl DurationText {
    /// The span that is written, or else `default`, in milliseconds.
    ///
    /// # Errors
    /// If it is not within these bounds.
    pub fn within(
        written: Option<DurationText>,
        default: u64,
        least: Bound,
        most: Bound,
    ) -> Result<Duration, String> {
        let value = written.map_or(Duration::from_millis(default), |d| d.0);
        if value < Duration::from_millis(least.1) || value > Duration::from_millis(most.1) {
            return Err(format!("not within bounds; write {} to {}", least.0, most.0));
        }
        Ok(value)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| "not a duration".to_owned())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err("not a duration".into()),
        };
        let millis = number.checked_mul(millis).filter(|ms| *ms <= 366 * 86_400_000);
        millis.map(|ms| DurationText(Duration::from_millis(ms))).ok_or_else(|| "longer than 366d".into())
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a duration with its unit, such as \"30s\"", DurationText::parse)
    }
}

/// A number of bytes: a whole number and `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| "not a size".to_owned())?;
        let factor: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err("not a size".into()),
        };
        number.checked_mul(factor).filter(|n| *n <= 4 << 30).map(Size).ok_or_else(|| "more than 4GiB".into())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a size with its unit, such as \"32MiB\"", Size::parse)
    }
}

/// A whole number, also where a `Struct` delivers it as a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole(u64);

impl Whole {
    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Whole {
    fn from(n: u64) -> Self {
        Whole(n)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Whole, E> {
                Ok(Whole(n))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Whole, E> {
                u64::try_from(n).map(Whole).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Whole, E> {
                // 2^53: beyond it a double no longer tells neighbours apart.
                if n.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&n) {
                    Ok(Whole(n as u64))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(n), &self))
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A plugin's name: a lower-case letter, then up to 31 lower-case letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginName(pub Rc<str>);

impl<'de> Deserialize<'de> for PluginName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a letter, then up to 31 letters, digits and dashes, in lower case", |text| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
            if starts && text.len() <= 32 && text.bytes().all(fits) {
                Ok(PluginName(text.into()))
            } else {
                Err("not a plugin name".into())
            }
        })
    }
}

/// A rule's name: 1 to 64 lower-case letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleName(pub Rc<str>);

impl<'de> Deserialize<'de> for RuleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "1 to 64 lower-case letters, digits, `_` and `-`", |text| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if text == crate::facts::UNMATCHED {
                Err("taken: it stands for requests that no rule matches".into())
            } else if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
                Ok(RuleName(text.into()))
            } else {
                Err("not a rule name".into())
            }
        })
    }
}

/// The name of a header that a configuration may read or set: a token of RFC 9110, section 5.6.2, in lower case. No
/// pseudo-headers: those have sources of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(pub Rc<str>);

impl HeaderName {
    /// Checks a name and folds its case.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.starts_with(':') {
            return Err("a pseudo-header".into());
        }
        if text.is_empty() || text.len() > 128 || !text.bytes().all(token) {
            return Err("not a header name".into());
        }
        Ok(HeaderName(text.to_ascii_lowercase().into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the proxy or the protocol owns this header, so that no plugin may set it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        const RESERVED: [&str; 13] = [
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "expect",
            "host",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "x-forwarded-for",
        ];
        RESERVED.contains(&self.as_str()) || self.as_str().starts_with("x-envoy-")
    }
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a header name, such as \"x-user\"", HeaderName::parse)
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::{DurationText, HeaderName, PluginName, RuleName, Size, Whole};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    /// One row per type: name, schema.
    macro_rules! inline_schema {
        ($($type:ty, $name:literal, $schema:tt;)*) => {$(
            impl JsonSchema for $type {
                fn inline_schema() -> bool { true }
                fn schema_name() -> Cow<'static, str> { $name.into() }
                fn json_schema(_: &mut SchemaGenerator) -> Schema { json_schema!($schema) }
            }
        )*};
    }

    inline_schema! {
        DurationText, "Duration", {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"};
        Size, "Size", {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"};
        Whole, "Whole", {"type": "integer", "minimum": 0};
        PluginName, "PluginName", {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,31}$"};
        RuleName, "RuleName", {"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"};
        HeaderName, "HeaderName", {"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"};
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: de::DeserializeOwned>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn durations_and_sizes_want_a_unit() {
        assert_eq!(read::<DurationText>("\"250ms\"").unwrap().0, Duration::from_millis(250));
        assert_eq!(read::<DurationText>("\"2d\"").unwrap().0, Duration::from_secs(172_800));
        assert_eq!(read::<Size>("\"32MiB\"").unwrap(), Size(32 << 20));
        for bad in ["\"30\"", "\"s\"", "\"-1s\"", "\"1.5s\"", "30", "\"367d\"", "\"99999999999999999999s\""] {
            assert!(read::<DurationText>(bad).is_err(), "{bad}");
        }
        for bad in ["\"1MB\"", "\"1\"", "1", "\"5GiB\""] {
            assert!(read::<Size>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn whole_numbers_may_be_doubles_without_a_fraction() {
        assert_eq!(read::<Whole>("1.0").unwrap().get(), 1);
        assert_eq!(read::<Whole>("7").unwrap().get(), 7);
        for bad in ["1.5", "-1", "-1.0", "1e300", "\"1\"", "null"] {
            assert!(read::<Whole>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_what_contracts_say() {
        assert!(read::<PluginName>("\"jwt-auth2\"").is_ok());
        for bad in ["\"\"", "\"2x\"", "\"Jwt\"", "\"a_b\"", &format!("\"{}\"", "a".repeat(33))] {
            assert!(read::<PluginName>(bad).is_err(), "{bad}");
        }
        assert!(read::<RuleName>("\"per-user_1\"").is_ok());
        for bad in ["\"\"", "\"A\"", "\"a b\"", "\"_unmatched\""] {
            assert!(read::<RuleName>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn header_names_fold_case_and_pseudo_headers_are_refused() {
        assert_eq!(HeaderName::parse("X-User").unwrap().as_str(), "x-user");
        assert!(HeaderName::parse(":path").is_err());
        assert!(HeaderName::parse("a b").is_err());
        assert!(HeaderName::parse("Content-Length").unwrap().is_reserved());
    }
}
