//! The answer to a question, as OpenFGA's resolver gives it, errors included.
//!
//! Any of a union that holds makes it hold, whatever fails beside it; any of an intersection that does not hold makes it not hold.
//! A way that comes back to where it was does not hold; where one is met in what is subtracted, nothing is granted. Of the tuples that
//! are gone through together, those whose condition fails are passed over if one of the others holds.

use std::rc::Rc;

use super::edges::{Found, Onward, find, of_question};
use super::numbers::{Numbers, Target};
use super::outcome::{Answer, Any, Fault, Hop, NO, Outcome};
use super::schema::{Node, Schema, Whom};
use super::store::{self, Conditioned, EVERYBODY, Edge, ONE, Store};
use super::{MAX_DEPTH, Question, Unaskable};
use crate::tuples::{self, Subject};

/// A question being answered.
pub(super) struct Run<'a> {
    schema: &'a Schema,
    store: &'a Store,
    question: Question<'a>,
    /// The question's own tuples, sorted.
    edges: Vec<Edge>,
    conditioned: Vec<Conditioned>,
    numbers: Numbers<'a>,
    target: Target,
    object: u32,
    relation: u16,
    /// Where the way to here went.
    way: Vec<(u32, u16)>,
    path: Vec<Edge>,
    steps: u32,
    /// How many subtractions this is in.
    subtracting: u32,
    doubtful: bool,
}

impl<'a> Run<'a> {
    /// Numbers a question.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub(super) fn new(
        schema: &'a Schema,
        store: &'a Store,
        question: Question<'a>,
    ) -> Result<Run<'a>, Unaskable> {
        let subject = Subject::parse(question.subject).map_err(|e| Unaskable::Subject(e.to_owned()))?;
        let object = tuples::Object::parse(question.object).map_err(|e| Unaskable::Object(e.to_owned()))?;
        let unknown = |kind: &str| format!("there is no type {kind}");
        let kind = schema.kind(object.kind).ok_or_else(|| Unaskable::Object(unknown(object.kind)))?;
        let no_relation = |kind: &str, relation: &str| format!("{kind} has no relation {relation}");
        let relation = schema
            .relation(kind, question.relation)
            .ok_or_else(|| Unaskable::Relation(no_relation(object.kind, question.relation)))?;
        let subject_kind =
            schema.kind(subject.kind()).ok_or_else(|| Unaskable::Subject(unknown(subject.kind())))?;
        let mut numbers = Numbers { names: &store.names, own: Vec::new() };
        let number = numbers.number(object.text, kind);
        let target = match subject {
            Subject::One(one) => {
                Target { kind: subject_kind, facet: ONE, number: numbers.number(one.text, subject_kind) }
            }
            Subject::Everybody(_) => {
                Target { kind: subject_kind, facet: EVERYBODY, number: u32::from(subject_kind) }
            }
            Subject::Related(one, name) => {
                let there = schema.relation(subject_kind, name);
                let there = there.ok_or_else(|| Unaskable::Subject(no_relation(subject.kind(), name)))?;
                let number = numbers.number(one.text, subject_kind);
                Target { kind: subject_kind, facet: store::related(there), number }
            }
        };
        let (mut edges, mut conditioned) = (Vec::new(), Vec::new());
        for tuple in question.tuples {
            let fits = store::fits(schema, tuple.given()).map_err(Unaskable::Tuple)?;
            let number = |name, kind| Ok::<u32, Unaskable>(numbers.number(name, kind));
            let edge = fits.edge(number, conditioned.len())?;
            conditioned.extend(fits.conditioned());
            edges.push(edge);
        }
        edges.sort_unstable();
        let steps = question.steps;
        Ok(Run {
            schema,
            store,
            question,
            edges,
            conditioned,
            numbers,
            target,
            object: number,
            relation,
            way: Vec::new(),
            path: Vec::new(),
            steps,
            subtracting: 0,
            doubtful: false,
        })
    }

    /// The answer.
    pub(super) fn answer(mut self) -> Answer {
        let outcome = self.relation(self.object, self.relation, 0);
        let holds = match outcome {
            Outcome::Yes => Ok(true),
            Outcome::No { .. } => Ok(false),
            Outcome::Fault(fault) => Err(fault),
        };
        let path = self.path.iter().rev().map(|edge| self.hop(edge)).collect();
        let steps = self.question.steps.saturating_sub(self.steps);
        Answer { holds, path, steps, doubtful: self.doubtful }
    }

    fn hop(&self, edge: &Edge) -> Hop {
        let relation = |n: u16| self.schema.relations.get(usize::from(n)).map_or("", |r| &r.name);
        let subject = match (edge.facet, edge.related()) {
            (EVERYBODY, _) => {
                format!("{}:*", self.schema.type_name(u16::try_from(edge.subject).unwrap_or(u16::MAX)))
            }
            (_, Some(related)) => format!("{}#{}", self.numbers.name(edge.subject), relation(related)),
            _ => self.numbers.name(edge.subject).to_owned(),
        };
        Hop(format!("{}#{}@{subject}", self.numbers.name(edge.object), relation(edge.relation)))
    }

    /// Whether the subject has a relation to an object that is `depth` tuples away from the one asked about.
    fn relation(&mut self, object: u32, number: u16, depth: u32) -> Outcome {
        if depth >= MAX_DEPTH {
            return Outcome::Fault(Fault::Depth);
        }
        if self.way.contains(&(object, number)) {
            return Outcome::No { cycle: true };
        }
        // Those with a relation have it.
        if self.target.number == object && self.target.related() == Some(number) {
            return Outcome::Yes;
        }
        let schema = self.schema;
        let Some(relation) = schema.relations.get(usize::from(number)) else { return NO };
        if !schema.reaches(self.target.kind, self.target.related(), number) {
            return NO;
        }
        if !self.spend() {
            return Outcome::Fault(Fault::Steps);
        }
        self.way.push((object, number));
        let outcome = self.node(&relation.rewrite, object, number, depth);
        self.way.pop();
        outcome
    }

    fn spend(&mut self) -> bool {
        let left = self.steps.checked_sub(1);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    fn node(&mut self, node: &'a Node, object: u32, relation: u16, depth: u32) -> Outcome {
        match node {
            Node::This => self.direct(object, relation, depth),
            Node::Computed(other) => self.relation(object, *other, depth),
            Node::Tupleset(set, targets) => self.through(object, *set, depth, Onward::To(targets)),
            Node::Union(children) => {
                let mut all = Any::default();
                for child in children {
                    if all.take(self.node(child, object, relation, depth)) {
                        break;
                    }
                }
                all.outcome()
            }
            Node::Intersection(children) => self.intersection(children, object, relation, depth),
            Node::Difference(both) => self.difference(both, object, relation, depth),
        }
    }

    fn intersection(&mut self, children: &'a [Node], object: u32, relation: u16, depth: u32) -> Outcome {
        let (mut fault, mut circle, mut plain) = (None, false, false);
        let granted = self.path.len();
        for child in children {
            match self.node(child, object, relation, depth) {
                Outcome::Yes => {}
                Outcome::Fault(new) => fault = fault.or(Some(new)),
                Outcome::No { cycle: true } => circle = true,
                Outcome::No { cycle: false } => plain = true,
            }
            // Circles count only in what is subtracted.
            if self.subtracting == 0 && (circle || plain) {
                break;
            }
        }
        if circle || plain || fault.is_some() {
            self.path.truncate(granted);
        }
        self.doubtful |= circle;
        match fault {
            _ if circle => Outcome::No { cycle: true },
            _ if plain => NO,
            Some(fault) => Outcome::Fault(fault),
            None => Outcome::Yes,
        }
    }

    fn difference(&mut self, both: &'a (Node, Node), object: u32, relation: u16, depth: u32) -> Outcome {
        let granted = self.path.len();
        let base = self.node(&both.0, object, relation, depth);
        if self.subtracting == 0 && matches!(base, Outcome::No { .. }) {
            return base;
        }
        let kept = self.path.len();
        self.subtracting = self.subtracting.saturating_add(1);
        let subtract = self.node(&both.1, object, relation, depth);
        self.subtracting = self.subtracting.saturating_sub(1);
        self.path.truncate(kept);
        let outcome = match (base, subtract) {
            (Outcome::Yes, Outcome::No { cycle: false }) => return Outcome::Yes,
            (Outcome::No { cycle: true }, _) | (_, Outcome::No { cycle: true }) => {
                self.doubtful = true;
                Outcome::No { cycle: true }
            }
            (_, Outcome::Yes) | (Outcome::No { .. }, _) => NO,
            (Outcome::Fault(fault), _) | (_, Outcome::Fault(fault)) => Outcome::Fault(fault),
        };
        self.path.truncate(granted);
        outcome
    }

    /// By a tuple on the subject itself, on everybody of its type, or on those with a relation that it has.
    fn direct(&mut self, object: u32, number: u16, depth: u32) -> Outcome {
        let schema = self.schema;
        let Some(relation) = schema.relations.get(usize::from(number)) else { return NO };
        let (kind, facet) = (self.target.kind, self.target.facet);
        let whom = match self.target.related() {
            Some(related) => Whom::Related(related),
            None => Whom::One,
        };
        let mut all = Any::default();
        let allowed = |whom: Whom| relation.allowed.iter().any(|a| a.kind == kind && a.facet == whom);
        if allowed(whom)
            && let Some(edge) = self.exact(object, number, facet, self.target.number)
        {
            match self.holds(edge) {
                Ok(true) => return self.granted(edge.edge),
                Ok(false) => {}
                Err(fault) => all.fault = Some(fault),
            }
        }
        if self.target.related().is_none() && allowed(Whom::Everybody) {
            let everybody = [
                find(of_question(&self.edges, object, number), EVERYBODY, u32::from(kind)).map(Found::own),
                find(self.store.of(object, number), EVERYBODY, u32::from(kind)).map(Found::stored),
            ];
            for edge in everybody.into_iter().flatten() {
                match self.holds(edge) {
                    Ok(true) => return self.granted(edge.edge),
                    Ok(false) => {}
                    Err(fault) => all.fault = Some(fault),
                }
            }
        }
        if relation.allowed.iter().any(|a| matches!(a.facet, Whom::Related(_))) {
            all.take(self.through(object, number, depth, Onward::Related));
        }
        all.outcome()
    }

    /// The tuple on exactly this; one of the question counts instead of a stored one.
    fn exact(&self, object: u32, relation: u16, facet: u16, subject: u32) -> Option<Found> {
        find(of_question(&self.edges, object, relation), facet, subject)
            .map(Found::own)
            .or_else(|| find(self.store.of(object, relation), facet, subject).map(Found::stored))
    }

    fn granted(&mut self, edge: Edge) -> Outcome {
        if self.question.explain {
            self.path.push(edge);
        }
        Outcome::Yes
    }

    /// Goes on from the subjects of an object's relation. What subjects fail whose condition has no answer counts only where no
    /// other's holds.
    fn through(&mut self, object: u32, number: u16, depth: u32, onward: Onward<'_>) -> Outcome {
        let mut all = Any::default();
        let (mut once, mut failed) = (false, None);
        let stored = onward.from(self.store.of(object, number));
        let own = onward.from(of_question(&self.edges, object, number)).len();
        for at in 0..own.saturating_add(stored.len()) {
            let found = match at.checked_sub(own) {
                None => {
                    onward.from(of_question(&self.edges, object, number)).get(at).copied().map(Found::own)
                }
                Some(at) => stored.get(at).copied().map(Found::stored),
            };
            let Some(found) = found else { continue };
            let next = match onward {
                Onward::Related => found.edge.related(),
                Onward::To(targets) => {
                    let kind = self.numbers.kind(found.edge.subject);
                    targets.iter().find(|(k, _)| Some(*k) == kind).map(|(_, target)| *target)
                }
            };
            if !self.spend() {
                return Outcome::Fault(Fault::Steps);
            }
            match self.holds(found) {
                Ok(true) => once = true,
                Ok(false) => continue,
                Err(fault) => {
                    failed = Some(fault);
                    continue;
                }
            }
            if let Some(next) = next
                && all.take(self.relation(found.edge.subject, next, depth.saturating_add(1)))
            {
                return self.granted(found.edge);
            }
        }
        if !once && let Some(fault) = failed {
            all.fault = Some(fault);
        }
        all.outcome()
    }

    /// Whether a tuple's condition holds. What that takes counts, for there may be one for each of many tuples.
    fn holds(&mut self, found: Found) -> Result<bool, Fault> {
        let Some(at) = found.edge.condition.checked_sub(1) else { return Ok(true) };
        let list = if found.own { &self.conditioned } else { &self.store.conditioned };
        let conditioned = usize::try_from(at).ok().and_then(|at| list.get(at));
        let condition = conditioned.and_then(|c| self.schema.conditions.get(usize::from(c.condition)));
        let (Some(conditioned), Some(condition)) = (conditioned, condition) else { return Ok(false) };
        let (holds, took) = condition.evaluate(self.question.context, &conditioned.context);
        self.steps = self.steps.saturating_sub(took / OF_CONDITIONS);
        holds.map_err(|failure| Fault::Condition(Rc::clone(&condition.name), failure))
    }
}

/// How many steps of a condition are as much work as one of the engine's.
const OF_CONDITIONS: u32 = 8;
