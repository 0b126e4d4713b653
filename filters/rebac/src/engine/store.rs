//! Tuples in one sorted list: 16 bytes each, and the names of their objects once.

use serde_json::{Map, Value as Json};

use super::names::Names;
use super::schema::Schema;
use crate::tuples::{Object, Subject, Tuple};

/// A tuple by numbers, in the order in which tuples are looked for: those of an object's relation stand together, first the plain
/// subjects, then everybody, then those with a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) object: u32,
    pub(super) relation: u16,
    pub(super) facet: u16,
    /// An object, or the type of everybody.
    pub(super) subject: u32,
    /// 0 for none, else one more than the place of the condition.
    pub(super) condition: u32,
}

/// A plain subject.
pub(super) const ONE: u16 = 0;
/// Everybody of a type.
pub(super) const EVERYBODY: u16 = 1;
/// Those with a relation: this and the relation's number.
const RELATED: u16 = 2;

impl Edge {
    /// The relation of its subject.
    pub(super) fn related(&self) -> Option<u16> {
        self.facet.checked_sub(RELATED)
    }
}

/// The facet of those with a relation.
pub(super) fn related(relation: u16) -> u16 {
    relation.saturating_add(RELATED)
}

/// A condition that a tuple has.
#[derive(Debug, PartialEq)]
pub(super) struct Conditioned {
    /// Of the schema.
    pub(super) condition: u16,
    pub(super) context: Map<String, Json>,
}

/// The tuples of an engine.
#[derive(Debug)]
pub struct Store {
    pub(super) names: Names,
    pub(super) edges: Vec<Edge>,
    pub(super) conditioned: Vec<Conditioned>,
}

impl Store {
    /// Numbers tuples.
    ///
    /// # Errors
    /// The first that does not fit the model, and why.
    pub(super) fn new(schema: &Schema, tuples: &[Tuple]) -> Result<Store, (usize, String)> {
        let mut names = Vec::with_capacity(tuples.len().saturating_mul(2));
        for (at, tuple) in tuples.iter().enumerate() {
            let fits = fits(schema, tuple).map_err(|problem| (at, problem))?;
            names.push((fits.object.text, fits.kind));
            if let Subject::One(object) | Subject::Related(object, _) = fits.subject {
                names.push((object.text, fits.subject_kind));
            }
        }
        let names = Names::new(names).ok_or((0, "the names are longer than 4 GiB".to_owned()))?;
        let mut store = Store { names, edges: Vec::with_capacity(tuples.len()), conditioned: Vec::new() };
        for (at, tuple) in tuples.iter().enumerate() {
            let fits = fits(schema, tuple).map_err(|problem| (at, problem))?;
            let number = |name: &str| store.names.find(name).ok_or((at, "lost".to_owned()));
            let edge = fits.edge(number, store.conditioned.len())?;
            store.conditioned.extend(fits.conditioned());
            store.edges.push(edge);
        }
        store.edges.sort_unstable();
        let key = |e: &Edge| (e.object, e.relation, e.facet, e.subject);
        if let Some(twice) = store.edges.windows(2).find_map(|pair| match pair {
            [a, b] if key(a) == key(b) => Some(*a),
            _ => None,
        }) {
            let name =
                usize::try_from(twice.object).ok().and_then(|n| store.names.name(n)).unwrap_or_default();
            let relation = schema.relations.get(usize::from(twice.relation)).map_or("", |r| &r.name);
            let at = tuples.iter().rposition(|t| *t.object == *name && *t.relation == *relation).unwrap_or(0);
            return Err((at, format!("{name}#{relation} is given to one subject twice; keep one")));
        }
        Ok(store)
    }

    /// The tuples of an object's relation.
    pub(super) fn of(&self, object: u32, relation: u16) -> &[Edge] {
        of(&self.edges, object, relation)
    }

    pub(super) fn bytes(&self) -> usize {
        self.edges.capacity().saturating_mul(size_of::<Edge>()).saturating_add(self.names.bytes())
    }
}

/// The tuples of an object's relation in a sorted list.
pub(super) fn of(edges: &[Edge], object: u32, relation: u16) -> &[Edge] {
    let from = edges.partition_point(|e| (e.object, e.relation) < (object, relation));
    let rest = edges.get(from..).unwrap_or_default();
    let length = rest.partition_point(|e| (e.object, e.relation) == (object, relation));
    rest.get(..length).unwrap_or_default()
}

/// A tuple that fits the model.
pub(super) struct Fits<'a> {
    pub(super) object: Object<'a>,
    pub(super) kind: u16,
    relation: u16,
    pub(super) subject: Subject<'a>,
    pub(super) subject_kind: u16,
    related: u16,
    condition: Option<(u16, &'a Map<String, Json>)>,
}

/// Holds a tuple to the model.
///
/// # Errors
/// What does not fit.
pub(super) fn fits<'a>(schema: &Schema, tuple: &'a Tuple) -> Result<Fits<'a>, String> {
    let object = Object::parse(&tuple.object)?;
    let subject = Subject::parse(&tuple.subject)?;
    let kind = schema.kind(object.kind).ok_or_else(|| format!("there is no type {}", object.kind))?;
    let relation = schema
        .relation(kind, &tuple.relation)
        .ok_or_else(|| format!("{} has no relation {}", object.kind, tuple.relation))?;
    let subject_kind =
        schema.kind(subject.kind()).ok_or_else(|| format!("there is no type {}", subject.kind()))?;
    let facet = match subject {
        Subject::One(_) => ONE,
        Subject::Everybody(_) => EVERYBODY,
        Subject::Related(_, name) => {
            let there = schema.relation(subject_kind, name);
            related(there.ok_or_else(|| format!("{} has no relation {name}", subject.kind()))?)
        }
    };
    let condition = match &tuple.condition {
        None => None,
        Some(given) => {
            let number = schema.condition(&given.name);
            let number = number.ok_or_else(|| format!("there is no condition {}", given.name))?;
            let compiled = schema.conditions.get(usize::from(number));
            if !compiled.is_some_and(|c| c.takes(&given.context)) {
                return Err(format!("the context is not one of {}", given.name));
            }
            Some((number, &given.context))
        }
    };
    schema.permits(relation, subject, condition.map(|(number, _)| number))?;
    Ok(Fits { object, kind, relation, subject, subject_kind, related: facet, condition })
}

impl Fits<'_> {
    /// By numbers. `conditions` is how many tuples with a condition there are already.
    pub(super) fn edge<E>(
        &self,
        mut number: impl FnMut(&str) -> Result<u32, E>,
        conditions: usize,
    ) -> Result<Edge, E> {
        let subject = match self.subject {
            Subject::One(object) | Subject::Related(object, _) => number(object.text)?,
            Subject::Everybody(_) => u32::from(self.subject_kind),
        };
        let place = u32::try_from(conditions).unwrap_or(u32::MAX).saturating_add(1);
        Ok(Edge {
            object: number(self.object.text)?,
            relation: self.relation,
            facet: self.related,
            subject,
            condition: if self.condition.is_some() { place } else { 0 },
        })
    }

    pub(super) fn conditioned(&self) -> Option<Conditioned> {
        let (condition, context) = self.condition?;
        Some(Conditioned { condition, context: context.clone() })
    }
}
