//! From the answers to a rule's questions to one judgement.
//!
//! Answers are taken one at a time and in order, so that an engine that answers at once is not asked more than the judgement needs;
//! the answers of an engine that is asked for all of them together are taken from their list.

use std::rc::Rc;

use portcullis_common::reason::Reason;

use crate::question::Question;

/// What the questions of a rule are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One has to hold. If none does, what could not be asked or answered is the reason.
    Any,
    /// All have to hold. A plain no is the reason before what could not be answered.
    All,
}

/// A question that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// The tuples that grant it, where that is known and somebody may be told.
    pub path: Vec<String>,
    /// Who answered: `embedded`, or, of an engine outside the filter, `engine`, `cache`, `shared` or `stale`.
    pub source: &'static str,
    /// The names of values that a condition lacks, as far as they are known.
    pub lacks: Option<Rc<str>>,
}

/// What came of a check: the question, if one could be asked, and whether it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The question.
    pub asked: Option<Asked>,
    /// `Ok` if it holds, else why it does not, or why nobody knows.
    pub holds: Result<(), Reason>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It passes, and nothing was asked about it.
    Unasked,
    /// It passes, by the answer to this question.
    Granted(Asked),
    /// It does not pass: why, and the question that decided.
    Refused(Reason, Option<Asked>),
}

/// The judgement of answers, in the order of their checks. Where there are none, nothing is granted.
pub fn combine(group: Group, answers: impl IntoIterator<Item = Answered>) -> Judgement {
    match group {
        Group::Any => any(answers),
        Group::All => all(answers),
    }
}

fn any(answers: impl IntoIterator<Item = Answered>) -> Judgement {
    let mut refused: Option<(Reason, Option<Asked>)> = None;
    for answer in answers {
        match answer {
            Answered { asked: Some(asked), holds: Ok(()) } => return Judgement::Granted(asked),
            // Nothing was asked, so nothing is granted.
            Answered { asked: None, holds: Ok(()) } => {}
            Answered { asked, holds: Err(reason) } => {
                if refused.as_ref().is_none_or(|(before, _)| *before == Reason::RelationDenied) {
                    refused = Some((reason, asked));
                }
            }
        }
    }
    refuse(refused)
}

fn all(answers: impl IntoIterator<Item = Answered>) -> Judgement {
    let (mut last, mut refused) = (None, None);
    for Answered { asked, holds } in answers {
        match holds {
            Ok(()) => last = asked,
            Err(reason) => {
                let plain = reason == Reason::RelationDenied;
                // Where somebody wrote that requests pass if nobody can be asked, what the client did not say still refuses.
                let weightier = |(before, _): &(Reason, _)| before.is_dependency() && !reason.is_dependency();
                if plain || refused.as_ref().is_none_or(weightier) {
                    refused = Some((reason, asked));
                }
                if plain {
                    break;
                }
            }
        }
    }
    match (refused, last) {
        (None, Some(asked)) => Judgement::Granted(asked),
        (refused, _) => refuse(refused),
    }
}

fn refuse(refused: Option<(Reason, Option<Asked>)>) -> Judgement {
    let (reason, asked) = refused.unwrap_or((Reason::RelationDenied, None));
    Judgement::Refused(reason, asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(object: &str) -> Asked {
        let question = Question {
            subject: "user:ann".to_owned(),
            relation: "viewer".into(),
            object: object.to_owned(),
            tuples: Vec::new(),
            context: serde_json::Map::new(),
        };
        Asked { question, path: Vec::new(), source: "embedded", lacks: None }
    }

    /// `y` holds, `n` does not, `?` has no answer, `-` could not even be asked.
    fn answers(text: &str) -> impl Iterator<Item = Answered> {
        text.chars().map(|c| match c {
            'y' => Answered { asked: Some(asked("y")), holds: Ok(()) },
            'n' => Answered { asked: Some(asked("n")), holds: Err(Reason::RelationDenied) },
            '?' => Answered { asked: Some(asked("?")), holds: Err(Reason::ConditionUnresolved) },
            '!' => Answered { asked: Some(asked("!")), holds: Err(Reason::TuplesUnavailable) },
            _ => Answered { asked: None, holds: Err(Reason::ValueMissing) },
        })
    }

    fn outcome(group: Group, text: &str) -> &'static str {
        match combine(group, answers(text)) {
            Judgement::Granted(asked) if asked.question.object == "y" => "pass",
            Judgement::Refused(reason, _) => reason.word(),
            _ => "something else",
        }
    }

    #[test]
    fn one_of_any_suffices_and_what_nobody_knows_is_told_before_a_no() {
        for (text, expected) in [
            ("y", "pass"),
            ("n?-y", "pass"),
            ("nn", "relation_denied"),
            ("n?", "condition_unresolved"),
            ("?n", "condition_unresolved"),
            ("n-?", "value_missing"),
            ("", "relation_denied"),
        ] {
            assert_eq!(outcome(Group::Any, text), expected, "{text}");
        }
    }

    #[test]
    fn all_have_to_hold_and_a_plain_no_comes_first() {
        for (text, expected) in [
            ("y", "pass"),
            ("yy", "pass"),
            ("yn", "relation_denied"),
            ("?yn", "relation_denied"),
            ("y?", "condition_unresolved"),
            ("-?y", "value_missing"),
            ("!-", "value_missing"),
            ("!n", "relation_denied"),
            ("y!", "tuples_unavailable"),
            ("", "relation_denied"),
        ] {
            assert_eq!(outcome(Group::All, text), expected, "{text}");
        }
    }

    #[test]
    fn no_more_is_asked_than_the_judgement_needs() {
        for (group, text, taken) in [(Group::Any, "nyy", 2), (Group::All, "ynyn", 2), (Group::All, "?y", 2)] {
            let mut count = 0;
            let _ = combine(group, answers(text).inspect(|_| count += 1));
            assert_eq!(count, taken, "{text}");
        }
    }
}
