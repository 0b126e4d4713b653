//! What an answer says, and what a part of it says on the way there.

use std::rc::Rc;

use crate::condition::Failure;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it holds, or why nobody knows.
    pub holds: Result<bool, Fault>,
    /// The tuples that grant it, from the object to the subject, if that was asked for.
    pub path: Vec<Hop>,
    /// The steps that the answer took.
    pub steps: u32,
    /// It met a circle in what is subtracted, or beside it. Then nothing is granted; what OpenFGA says depends on which of its
    /// threads ends first, and on the plan that it chose by how long earlier answers took.
    pub doubtful: bool,
}

/// A tuple on the way: `object#relation@subject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop(pub String);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A condition has none.
    Condition(Rc<str>, Failure),
    /// The way is longer than OpenFGA goes.
    Depth,
    /// The answer took more steps than it may.
    Steps,
}

pub(super) enum Outcome {
    Yes,
    No { cycle: bool },
    Fault(Fault),
}

pub(super) const NO: Outcome = Outcome::No { cycle: false };

/// What holds if any does.
#[derive(Default)]
pub(super) struct Any {
    yes: bool,
    cycle: bool,
    pub(super) fault: Option<Fault>,
}

impl Any {
    /// Takes one more outcome; `true` if no other is needed.
    pub(super) fn take(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Yes => self.yes = true,
            Outcome::No { cycle } => self.cycle |= cycle,
            Outcome::Fault(fault) => self.fault = Some(fault),
        }
        self.yes
    }

    pub(super) fn outcome(self) -> Outcome {
        match self.fault {
            _ if self.yes => Outcome::Yes,
            Some(fault) => Outcome::Fault(fault),
            None => Outcome::No { cycle: self.cycle },
        }
    }
}
