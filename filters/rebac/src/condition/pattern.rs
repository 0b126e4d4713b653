//! Regular expressions, as `matches` takes them: linear in time, and bounded in what they cost.

use regex_lite::{Regex, RegexBuilder};

use super::eval::Fault;

/// The longest pattern, in bytes.
const LONGEST: usize = 256;
/// The longest text that one is held to, in bytes.
const LONGEST_TEXT: usize = 4096;
/// How much memory a pattern may take: counted repetitions make much out of few characters, and every character of a text may visit
/// all of it.
const SIZE: usize = 8 << 10;

/// A pattern.
///
/// # Errors
/// If it is none, or too large.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    RegexBuilder::new(text).size_limit(SIZE).build().map_err(|e| e.to_string())
}

/// How many steps it takes to hold a text to a pattern.
pub(super) fn steps(text: &str) -> usize {
    text.len()
}

/// Whether a text has something that the pattern describes.
pub(super) fn matches(pattern: &Regex, text: &str) -> Result<bool, Fault> {
    if text.len() > LONGEST_TEXT {
        return Err(Fault::Cost);
    }
    Ok(pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_fits_and_what_is_made_to_hurt_does_not() {
        for usual in [
            r"^[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,63}$",
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            r"(?i)^(eu|us|ap)-(west|east|central)-[0-9]{1,2}$",
            r"^/teams/[^/]{1,64}/(documents|folders)/\d+$",
        ] {
            assert_eq!(pattern(usual).err(), None, "{usual}");
        }
        for bad in ["((a?){0,60}){0,60}$", r"(?i)(\w{0,200}){0,50}x", "(a{100}){100}", "("] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
