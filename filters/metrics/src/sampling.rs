//! Log lines about single requests: slow ones and failed ones, a share of them, and never many.

use portcullis_common::clock::Mono;
use portcullis_common::host::Host;

/// The most lines a second from one VM: a log is no place for a flood.
const PER_SECOND: u32 = 10;
const SECOND: u64 = 1_000_000_000;

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Those that took so many nanoseconds or more.
    pub slow: Option<u64>,
    /// Those that failed by a fault of the server.
    pub failures: bool,
    /// The share of them, in parts per million.
    pub sample: u32,
}

impl Rule {
    /// Why a request could be logged.
    #[must_use]
    pub fn cause(&self, total: Option<u64>, fault: bool) -> Option<&'static str> {
        if self.failures && fault {
            return Some("failed");
        }
        let slow = self.slow.zip(total).is_some_and(|(slow, total)| total >= slow);
        slow.then_some("slow")
    }
}

/// Keeps to the share and the most lines.
#[derive(Debug, Default)]
pub struct Sampler {
    second: u64,
    lines: u32,
}

impl Sampler {
    /// Whether this one is logged.
    pub fn takes(&mut self, rule: &Rule, now: Mono, host: &dyn Host) -> bool {
        if rule.sample < 1_000_000 {
            let mut dice = [0; 4];
            if host.random(&mut dice).is_err() || u32::from_le_bytes(dice) % 1_000_000 >= rule.sample {
                return false;
            }
        }
        let second = now.0 / SECOND;
        if second != self.second {
            *self = Sampler { second, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= PER_SECOND
    }
}

/// The trace of a request (W3C Trace Context, `traceparent`), if it is one: 32 hexadecimal digits can be logged, whatever else a
/// client puts there cannot.
#[must_use]
pub fn trace_id(traceparent: &[u8]) -> Option<&str> {
    let id = std::str::from_utf8(traceparent.get(3..35)?).ok()?;
    let dashes = traceparent.get(2) == Some(&b'-') && traceparent.get(35) == Some(&b'-');
    (dashes && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::memory::MemoryHost;

    const RULE: Rule = Rule { slow: Some(100), failures: true, sample: 1_000_000 };

    #[test]
    fn slow_and_failed_requests_have_a_cause() {
        assert_eq!(RULE.cause(Some(100), false), Some("slow"));
        assert_eq!(RULE.cause(Some(99), false), None);
        assert_eq!(RULE.cause(None, true), Some("failed"));
        assert_eq!(Rule { failures: false, slow: None, ..RULE }.cause(Some(1_000), true), None);
    }

    #[test]
    fn a_flood_is_ten_lines_a_second() {
        let (host, mut sampler) = (MemoryHost::default(), Sampler::default());
        let lines = (0..1_000).filter(|_| sampler.takes(&RULE, Mono(5 * SECOND), &host)).count();
        assert_eq!(lines, 10);
        assert!(sampler.takes(&RULE, Mono(6 * SECOND), &host));
    }

    #[test]
    fn a_share_is_drawn() {
        let (host, mut sampler) = (MemoryHost::default(), Sampler::default());
        let rule = Rule { sample: 500_000, ..RULE };
        host.roll(0);
        assert!(sampler.takes(&rule, Mono(0), &host));
        // 0xffffffff is 4294967295; the rest by a million is 967295.
        host.roll(255);
        assert!(!sampler.takes(&rule, Mono(0), &host));
    }

    #[test]
    fn only_a_trace_is_a_trace() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in
            [&b""[..], b"00-", b"00-4bf92f3577b34da6a3ce929d0e0e473\n-00f067aa0ba902b7-01", &[b'-'; 60]]
        {
            assert_eq!(trace_id(bad), None);
        }
    }
}
