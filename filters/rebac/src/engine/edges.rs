//! The tuples of an object's relation: the one on a subject, and those that lead on.

use super::store::{self, Edge, ONE};

/// By which relation the way goes on from a subject.
#[derive(Clone, Copy)]
pub(super) enum Onward<'a> {
    /// By the subject's own: `group:1#member`.
    Related,
    /// By that of its type; a type that is not listed is passed over.
    To(&'a [(u16, u16)]),
}

impl Onward<'_> {
    /// Those of an object's tuples that lead on. They are sorted by what they are on, so that none is passed over one by one.
    pub(super) fn from(self, edges: &[Edge]) -> &[Edge] {
        let related = store::related(0);
        let part = match self {
            Onward::Related => edges.get(edges.partition_point(|e| e.facet < related)..),
            Onward::To(_) => edges.get(..edges.partition_point(|e| e.facet == ONE)),
        };
        part.unwrap_or_default()
    }
}

/// A tuple, and whether it is one of the question.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) edge: Edge,
    pub(super) own: bool,
}

impl Found {
    pub(super) fn own(edge: Edge) -> Found {
        Found { edge, own: true }
    }

    pub(super) fn stored(edge: Edge) -> Found {
        Found { edge, own: false }
    }
}

pub(super) fn of_question(edges: &[Edge], object: u32, relation: u16) -> &[Edge] {
    if edges.is_empty() { &[] } else { store::of(edges, object, relation) }
}

/// Among the tuples of an object's relation the one on a subject.
pub(super) fn find(edges: &[Edge], facet: u16, subject: u32) -> Option<Edge> {
    let at = edges.partition_point(|e| (e.facet, e.subject) < (facet, subject));
    edges.get(at).copied().filter(|e| (e.facet, e.subject) == (facet, subject))
}
