//! A line in the log for a decision.
//!
//! It has no token, no header and no value of a condition. The question has the ids of object and subject; the subject's is there
//! only if that was written, for it may be a person's.

use portcullis_common::facts::{Outcome, Verdict};
use portcullis_common::reason::Reason;

use crate::config::Logged;
use crate::policy::DecisionLog;
use crate::question::Question;

/// The longest line, in characters: ids are as long as clients make them.
const LONGEST: usize = 512;

/// The line, if this decision is one of those that are logged.
#[must_use]
pub fn line(
    log: DecisionLog,
    plugin: &str,
    verdict: &Verdict,
    question: Option<&Question>,
) -> Option<String> {
    let passes = matches!(verdict.outcome, Outcome::Allow | Outcome::Skip);
    if passes && log.decisions == Logged::Refused {
        return None;
    }
    let reason = verdict.reason.map_or("-", Reason::word);
    let mut line = format!("{plugin}: decision: {} {} {reason}", verdict.outcome.word(), verdict.rule);
    if let Some(question) = question {
        let asked = if log.subjects {
            question.to_string()
        } else {
            let kind = question.subject.split_once(':').map_or("", |(kind, _)| kind);
            format!("{}#{}@{kind}", question.object, question.relation)
        };
        line.push(' ');
        line.extend(asked.chars().map(plain));
    }
    Some(if line.chars().count() > LONGEST { line.chars().take(LONGEST).collect() } else { line })
}

/// Visible ASCII as it is: whatever else an id has could look like another line, or like another id.
#[must_use]
pub fn plain(c: char) -> char {
    if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '?' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            subject: "user:ann".to_owned(),
            relation: "viewer".into(),
            object: "document:\u{202e}1\"".to_owned(),
            tuples: Vec::new(),
            context: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_line_says_what_was_asked_and_who_only_if_that_is_written() {
        let log = |decisions, subjects| DecisionLog { decisions, level: log::Level::Info, subjects };
        let deny = Verdict::deny(Reason::RelationDenied, "r".into());
        let line = |log, verdict: &Verdict| super::line(log, "rebac", verdict, Some(&question()));
        assert_eq!(
            line(log(Logged::Refused, false), &deny).unwrap(),
            "rebac: decision: deny r relation_denied document:?1?#viewer@user"
        );
        assert!(line(log(Logged::All, true), &deny).unwrap().ends_with("#viewer@user:ann"));
        let allow = Verdict::allow("r".into());
        assert_eq!(line(log(Logged::Refused, true), &allow), None);
        assert!(line(log(Logged::All, false), &allow).unwrap().contains("allow r - document"));
        let long = Question { object: format!("document:{}", "x".repeat(5000)), ..question() };
        let long = super::line(log(Logged::All, false), "rebac", &deny, Some(&long)).unwrap();
        assert_eq!(long.len(), LONGEST);
    }
}
