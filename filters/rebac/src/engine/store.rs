//! Tuples in one sorted list: 16 bytes each, and the names of their objects once. They are added one by one and sorted in pieces.

use serde_json::{Map, Value as Json};

use super::names::Names;
use super::schema::{Schema, Whom};
use super::sorting::Sorting;
use crate::protobuf;
use crate::tuples::{Given, Object, Subject, Tuple};

/// The longest context of a tuple's condition, in the bytes of OpenFGA's own format, as there.
const LONGEST_CONTEXT: usize = 32 * 1024;

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
#[derive(Debug, Default)]
pub struct Store {
    pub(super) names: Names,
    pub(super) edges: Vec<Edge>,
    pub(super) conditioned: Vec<Conditioned>,
}

/// Tuples on their way into a store.
#[derive(Debug, Default)]
pub struct Builder {
    store: Store,
    sorting: Option<Sorting<Edge>>,
}

impl Builder {
    /// Adds a tuple.
    ///
    /// # Errors
    /// Why it does not fit the model. No id stands in that.
    pub fn add(&mut self, schema: &Schema, tuple: Given<'_>) -> Result<(), String> {
        let fits = fits(schema, tuple)?;
        can_be_written(&fits, tuple)?;
        let names = &mut self.store.names;
        let number = |name: &str, kind| names.intern(name, kind).ok_or("the names are longer than 4 GiB");
        let edge = fits.edge(number, self.store.conditioned.len())?;
        self.store.conditioned.extend(fits.conditioned());
        self.store.edges.push(edge);
        Ok(())
    }

    /// Goes on sorting for about `work` tuples; gives the store once it is done.
    ///
    /// # Errors
    /// A tuple that is there twice.
    pub fn sort(&mut self, work: usize) -> Result<Option<Store>, Twice> {
        let edges = &mut self.store.edges;
        let sorting = self.sorting.get_or_insert_with(|| Sorting::new(std::mem::take(edges)));
        let Some(sorted) = sorting.work(work) else { return Ok(None) };
        let mut store = std::mem::take(&mut self.store);
        self.sorting = None;
        let key = |e: &Edge| (e.object, e.relation, e.facet, e.subject);
        if let Some(twice) = sorted.windows(2).find_map(|pair| match pair {
            [a, b] if key(a) == key(b) => Some(*a),
            _ => None,
        }) {
            let object = usize::try_from(twice.object).ok().and_then(|n| store.names.name(n));
            return Err(Twice { object: object.unwrap_or_default().into(), relation: twice.relation });
        }
        store.edges = sorted;
        store.names.close();
        Ok(Some(store))
    }
}

/// A tuple is there twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice {
    /// Its object.
    pub object: Box<str>,
    relation: u16,
}

impl Store {
    /// Numbers tuples.
    ///
    /// # Errors
    /// The first that does not fit the model, and why.
    pub(super) fn new(schema: &Schema, tuples: &[Tuple]) -> Result<Store, (usize, String)> {
        let mut builder = Builder::default();
        builder.store.edges.reserve_exact(tuples.len());
        for (at, tuple) in tuples.iter().enumerate() {
            builder.add(schema, tuple.given()).map_err(|problem| (at, problem))?;
        }
        match builder.sort(usize::MAX) {
            Ok(store) => Ok(store.unwrap_or_default()),
            Err(Twice { object, relation }) => {
                let relation = schema.relations.get(usize::from(relation)).map_or("", |r| &r.name);
                let alike = |t: &Tuple| t.object == object && *t.relation == *relation;
                let at = tuples.iter().rposition(alike).unwrap_or(0);
                Err((at, format!("{object}#{relation} is given to one subject twice; keep one")))
            }
        }
    }

    /// How many tuples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// The tuples of an object's relation.
    pub(super) fn of(&self, object: u32, relation: u16) -> &[Edge] {
        of(&self.edges, object, relation)
    }

    /// The memory that they take, in bytes, without the contexts of conditions.
    #[must_use]
    pub fn bytes(&self) -> usize {
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
    object: Object<'a>,
    kind: u16,
    relation: u16,
    subject: Subject<'a>,
    subject_kind: u16,
    related: u16,
    condition: Option<(u16, &'a Map<String, Json>)>,
}

/// Holds a tuple to the model.
///
/// # Errors
/// What does not fit.
pub(super) fn fits<'a>(schema: &Schema, tuple: Given<'a>) -> Result<Fits<'a>, String> {
    let object = Object::parse(tuple.object)?;
    let subject = Subject::parse(tuple.subject)?;
    let kind = schema.kind(object.kind).ok_or_else(|| format!("there is no type {}", object.kind))?;
    let relation = schema
        .relation(kind, tuple.relation)
        .ok_or_else(|| format!("{} has no relation {}", object.kind, tuple.relation))?;
    let subject_kind =
        schema.kind(subject.kind()).ok_or_else(|| format!("there is no type {}", subject.kind()))?;
    let (facet, whom) = match subject {
        Subject::One(_) => (ONE, Whom::One),
        Subject::Everybody(_) => (EVERYBODY, Whom::Everybody),
        Subject::Related(_, name) => {
            let there = schema.relation(subject_kind, name);
            let there = there.ok_or_else(|| format!("{} has no relation {name}", subject.kind()))?;
            (related(there), Whom::Related(there))
        }
    };
    let condition = match tuple.condition {
        None => None,
        Some((name, context)) => {
            let found =
                schema.condition(name).and_then(|n| Some((n, schema.conditions.get(usize::from(n))?)));
            let (number, compiled) = found.ok_or_else(|| format!("there is no condition {name}"))?;
            compiled.takes(context)?;
            Some((number, context))
        }
    };
    schema.permits(relation, subject_kind, whom, condition.map(|(number, _)| number))?;
    Ok(Fits { object, kind, relation, subject, subject_kind, related: facet, condition })
}

/// Holds a tuple to what OpenFGA refuses where it is written, and takes where it comes with a question.
fn can_be_written(fits: &Fits<'_>, tuple: Given<'_>) -> Result<(), String> {
    if let Subject::Related(object, relation) = fits.subject
        && object.text == tuple.object
        && relation == tuple.relation
    {
        return Err("those with a relation have it without a tuple".to_owned());
    }
    if fits.condition.is_some_and(|(_, context)| protobuf::size_of_structure(context) > LONGEST_CONTEXT) {
        return Err("the context of the condition is longer than 32 KiB".to_owned());
    }
    Ok(())
}

impl<'a> Fits<'a> {
    /// By numbers. `conditions` is how many tuples with a condition there are already.
    pub(super) fn edge<E>(
        &self,
        mut number: impl FnMut(&'a str, u16) -> Result<u32, E>,
        conditions: usize,
    ) -> Result<Edge, E> {
        let subject = match self.subject {
            Subject::One(object) | Subject::Related(object, _) => number(object.text, self.subject_kind)?,
            Subject::Everybody(_) => u32::from(self.subject_kind),
        };
        let place = u32::try_from(conditions).unwrap_or(u32::MAX).saturating_add(1);
        Ok(Edge {
            object: number(self.object.text, self.kind)?,
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
