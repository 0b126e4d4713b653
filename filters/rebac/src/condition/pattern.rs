//! Regular expressions, as `matches` takes them: linear in time, and bounded in what they cost.

use regex_lite::{Regex, RegexBuilder};

use super::eval::Fault;

/// The longest pattern, in bytes.
const LONGEST: usize = 256;
/// The longest text that one is held to, in bytes.
const LONGEST_TEXT: usize = 4096;
/// How much memory a pattern may take: counted repetitions make much out of few characters, and every character of a text may visit
/// all of it.
const SIZE: usize = 32 << 10;

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
    text.len() / 2
}

/// Whether a text has something that the pattern describes.
pub(super) fn matches(pattern: &Regex, text: &str) -> Result<bool, Fault> {
    if text.len() > LONGEST_TEXT {
        return Err(Fault::Cost);
    }
    Ok(pattern.is_match(text))
}
