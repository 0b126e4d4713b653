//! How long content is fresh, and how failures are spaced.

use std::time::Duration;

/// The times of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The least time for which content is fresh, whatever the server says.
    pub min_fresh: Duration,
    /// The longest.
    pub max_fresh: Duration,
    /// How long it is fresh if the server says nothing; brought within the two.
    pub default_fresh: Duration,
    /// How long it serves on after that, if refreshing fails.
    pub stale: Duration,
    /// How long one call may take.
    pub timeout: Duration,
    /// The least time between two fetches out of turn.
    pub interval: Duration,
}

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(60);

impl Times {
    /// How long content is fresh of which the server said this much.
    #[must_use]
    pub fn fresh(&self, said: Option<Duration>) -> Duration {
        said.unwrap_or(self.default_fresh).max(self.min_fresh).min(self.max_fresh)
    }
}

/// For how long an answer with these headers calls itself fresh: RFC 9111, sections 4.2.1 and 5.2.2. `None` if it does not say.
/// `private` says who may share it, not for how long it holds.
#[must_use]
pub fn said(response: &[(Vec<u8>, Vec<u8>)]) -> Option<Duration> {
    let all = |name: &'static str| {
        response.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    };
    let mut said = None;
    for directive in all("cache-control").flat_map(|value| value.split(|b| *b == b',')) {
        let directive = directive.trim_ascii().to_ascii_lowercase();
        if matches!(&directive[..], b"no-store" | b"no-cache") {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix(b"max-age=") {
            said = Some(number(seconds).unwrap_or(0));
        }
    }
    let age = all("age").next().and_then(|age| number(age)).unwrap_or(0);
    said.map(|seconds| Duration::from_secs(seconds.saturating_sub(age)))
}

/// A number of seconds; one that is too large is the largest that has to be told from others (RFC 9111, section 1.2.2).
fn number(text: &[u8]) -> Option<u64> {
    const LARGEST: u64 = 1 << 31;
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text);
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok()).map(|n| n.unwrap_or(LARGEST).min(LARGEST))
}

/// How long to wait after so many failures in a row: a second, doubled with each, at most a minute; up to a quarter less, so
/// that many gateways do not come back at once.
#[must_use]
pub fn back_off(failures: u32, jitter: u8) -> Duration {
    let whole = Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(6)).min(LONGEST);
    let less = whole.saturating_mul(u32::from(jitter)).checked_div(1024).unwrap_or_default();
    whole.saturating_sub(less)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        min_fresh: Duration::from_secs(60),
        max_fresh: Duration::from_secs(3600),
        default_fresh: Duration::from_secs(600),
        stale: Duration::from_secs(0),
        timeout: Duration::from_secs(5),
        interval: Duration::from_secs(10),
    };

    #[test]
    fn the_server_decides_within_bounds() {
        for (headers, want) in [
            (&[][..], 600),
            (&[("cache-control", "max-age=300")], 300),
            (&[("Cache-Control", "public, Max-Age=300")], 300),
            (&[("cache-control", "max-age=300"), ("age", "100")], 200),
            (&[("cache-control", "max-age=300"), ("age", "1000")], 60),
            (&[("cache-control", "max-age=\"300\"")], 300),
            (&[("cache-control", "max-age=1")], 60),
            (&[("cache-control", "max-age=-1")], 60),
            (&[("cache-control", "max-age=99999999999999999999")], 3600),
            (&[("cache-control", "max-age=300"), ("age", "99999999999999999999")], 60),
            (&[("cache-control", "max-age=+300")], 60),
            (&[("cache-control", "private, max-age=300")], 300),
            (&[("cache-control", "max-age=9999999")], 3600),
            (&[("cache-control", "no-store, max-age=300")], 60),
            (&[("cache-control", "public")], 600),
            (&[("expires", "0")], 600),
        ] {
            let headers: Vec<_> =
                headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
            assert_eq!(TIMES.fresh(said(&headers)), Duration::from_secs(want), "{headers:?}");
        }
    }

    #[test]
    fn failures_are_spaced_out_up_to_a_minute() {
        let seconds: Vec<u64> = (1..9).map(|n| back_off(n, 0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(back_off(7, 255) >= Duration::from_secs(45) && back_off(u32::MAX, 0) <= LONGEST);
    }
}
