//! Enforce or shadow, and for how many: whether a refusal is carried out.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::host::Host;

/// Whether a refusal is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refuse.
    #[default]
    Enforce,
    /// Record the verdict and let pass, without facts or headers from anything that did not verify.
    Shadow,
}

/// What happens to requests while somebody who has to be asked about them cannot be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// They are refused: 503, to be tried again.
    #[default]
    Deny,
    /// They pass, and are counted.
    Allow,
}

/// The share of refusals that is carried out, in percent: for a rule that is being introduced. Each request draws anew, from
/// the host's randomness and from nothing that the client sets; so a client that asks again may get through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Percent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0 to 100")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Percent, E> {
                // Above 100 it is refused below; `as` loses nothing under 2^53.
                self.visit_f64(n as f64)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Percent, E> {
                Err(E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Percent, E> {
                if (0.0..=100.0).contains(&n) {
                    Ok(Percent(n))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(n), &self))
                }
            }
            // Envoy hands a fraction that it read from YAML over as text. (`str::parse` to a float is 18 KiB of module.)
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                let digits = |part: &str| {
                    let fit = (1..=9).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
                    part.parse::<u32>().ok().filter(|_| fit)
                };
                let (Some(whole), Some(part)) = (digits(whole), digits(fraction)) else {
                    return Err(E::invalid_value(de::Unexpected::Str(text), &self));
                };
                let part = fraction.bytes().fold(f64::from(part), |n, _| n / 10.0);
                self.visit_f64(f64::from(whole) + part)
            }
        }
        deserializer.deserialize_any(Number)
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
        schemars::json_schema!({"type": "number", "minimum": 0, "maximum": 100})
    }
}

/// Which refusals are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// All.
    All,
    /// None: shadow.
    Nothing,
    /// This share, of 2^32.
    Share(u32),
}

impl Enforcement {
    /// What `mode` and `percent` come to.
    #[must_use]
    pub fn new(mode: Mode, percent: Option<Percent>) -> Enforcement {
        match (mode, percent) {
            (Mode::Shadow, _) => Enforcement::Nothing,
            (Mode::Enforce, None) => Enforcement::All,
            (Mode::Enforce, Some(Percent(percent))) if percent >= 100.0 => Enforcement::All,
            // `as` saturates.
            (Mode::Enforce, Some(Percent(percent))) => {
                Enforcement::Share((percent / 100.0 * 4_294_967_296.0) as u32)
            }
        }
    }

    /// Whether this refusal is carried out. Without randomness it is.
    #[must_use]
    pub fn applies(self, host: &dyn Host) -> bool {
        match self {
            Enforcement::All => true,
            Enforcement::Nothing => false,
            Enforcement::Share(share) => {
                let mut drawn = [0; 4];
                host.random(&mut drawn).is_err() || u32::from_le_bytes(drawn) < share
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryHost;

    fn percent(json: &str) -> Result<Percent, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn a_percentage_lies_between_0_and_100() {
        for good in ["0", "100", "0.5", "100.0", "\"12.5\"", "\"7\"", "\"0.05\""] {
            assert!(percent(good).is_ok(), "{good}");
        }
        for bad in [
            "-1",
            "101",
            "100.1",
            "\"100.1\"",
            "\"\"",
            "\"1e1\"",
            "\"inf\"",
            "\"-1\"",
            "true",
            "18446744073709551615",
        ] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_written_share_is_carried_out() {
        let carried_out = |mode, text: &str| {
            let host = MemoryHost::default();
            let enforcement = Enforcement::new(mode, percent(text).ok());
            let applies = |byte: u8| {
                host.roll(byte);
                enforcement.applies(&host)
            };
            (0..=255).filter(|byte| applies(*byte)).count()
        };
        assert_eq!(carried_out(Mode::Enforce, "0"), 0);
        assert_eq!(carried_out(Mode::Enforce, "25"), 64);
        assert_eq!(carried_out(Mode::Enforce, "99.9"), 255);
        assert_eq!(carried_out(Mode::Enforce, "100"), 256);
        assert_eq!(carried_out(Mode::Enforce, "none"), 256);
        assert_eq!(carried_out(Mode::Shadow, "100"), 0);
    }
}
