//! What the log is told of the engine: each fault when it begins, and no more than a line a second, whatever comes and goes.

use std::time::Duration;

use portcullis_common::clock::Mono;

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// The fault that was logged last.
#[derive(Debug)]
pub struct Remarks {
    last: Option<&'static str>,
    /// No line before then.
    next: Mono,
}

impl Default for Remarks {
    fn default() -> Self {
        Remarks { last: None, next: Mono(0) }
    }
}

impl Remarks {
    /// Whether a fault deserves a line. One that comes too soon for that has its line later, if it is still there.
    pub fn are_due(&mut self, word: &'static str, now: Mono) -> bool {
        if self.last == Some(word) || now < self.next {
            return false;
        }
        (self.last, self.next) = (Some(word), now.after(INTERVAL));
        true
    }

    /// The engine answers: what begins from now on is new.
    pub fn all_is_well(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_fault_is_logged_when_it_begins() {
        let mut remarks = Remarks::default();
        assert!(remarks.are_due("reset", Mono(0)));
        assert!(!remarks.are_due("reset", Mono(60_000 * MS)));
        remarks.all_is_well();
        assert!(remarks.are_due("reset", Mono(61_000 * MS)));
        assert!(remarks.are_due("model", Mono(62_000 * MS)));
    }

    #[test]
    fn faults_that_come_and_go_have_a_line_a_second() {
        let mut remarks = Remarks::default();
        let mut lines = 0;
        for ms in 0..5_000 {
            lines += u32::from(remarks.are_due(if ms % 2 == 0 { "reset" } else { "timeout" }, Mono(ms * MS)));
            if ms % 3 == 0 {
                remarks.all_is_well();
            }
        }
        assert_eq!(lines, 5);
        assert!(remarks.are_due("model", Mono(6_000 * MS)));
    }
}
