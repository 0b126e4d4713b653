//! Relations that nobody can ever have, and those that follow from themselves.

use std::collections::BTreeSet;

use super::{error, of_relation};
use crate::model::{Facet, Kind, Model, ModelError, Rewrite, TypeDef};

/// Every relation has to be one that some tuple can give.
pub(super) fn entries(model: &Model, errors: &mut Vec<ModelError>) {
    for type_def in &model.types {
        for relation in &type_def.relations {
            let before = errors.len();
            let place = (&*type_def.name.text, &*relation.name.text);
            let entry = entry(model, place, &relation.rewrite, &BTreeSet::new());
            if entry != Entry::Found {
                let how =
                    if entry == Entry::Loop { "it follows only from itself" } else { "no type leads to it" };
                let problem = format!("nobody can ever have it: {how}; give it to a type in brackets");
                errors.push(error(Kind::NoEntryPoint, &relation.name, &problem));
            }
            of_relation(errors, before, type_def, relation);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Found,
    Nothing,
    Loop,
}

type Places<'a> = BTreeSet<(&'a str, &'a str)>;

/// Whether a tuple could ever give a relation to an object of some type.
fn entry<'a>(model: &'a Model, place: (&'a str, &'a str), rewrite: &'a Rewrite, seen: &Places<'a>) -> Entry {
    let mut seen = seen.clone();
    seen.insert(place);
    let Some(relation) = model.relation(place.0, place.1) else { return Entry::Nothing };
    match rewrite {
        Rewrite::This => {
            for restriction in &relation.restrictions {
                let Facet::Related(name) = &restriction.facet else { return Entry::Found };
                let there = (&*restriction.subject.text, &*name.text);
                if leads(model, there, &seen) {
                    return Entry::Found;
                }
            }
            Entry::Nothing
        }
        Rewrite::Computed(name) => {
            let there = (place.0, &*name.text);
            if seen.contains(&there) {
                return Entry::Loop;
            }
            model
                .relation(there.0, there.1)
                .map_or(Entry::Nothing, |r| entry(model, there, &r.rewrite, &seen))
        }
        Rewrite::FromTupleset { computed, tupleset } => {
            let set = model.relation(place.0, &tupleset.text);
            let subjects = set.map(|s| s.restrictions.as_slice()).unwrap_or_default();
            if subjects.iter().any(|s| leads(model, (&s.subject.text, &computed.text), &seen)) {
                return Entry::Found;
            }
            Entry::Nothing
        }
        Rewrite::Union(children) => {
            let mut all = children.iter().map(|child| entry(model, place, child, &seen));
            let mut found = Entry::Nothing;
            all.find(|e| {
                found = if *e == Entry::Nothing { found } else { *e };
                *e == Entry::Found
            });
            found
        }
        Rewrite::Intersection(children) => {
            let mut all = children.iter().map(|child| entry(model, place, child, &seen));
            all.find(|e| *e != Entry::Found).unwrap_or(Entry::Found)
        }
        Rewrite::Difference(both) => match entry(model, place, &both.0, &seen) {
            Entry::Found => entry(model, place, &both.1, &seen),
            other => other,
        },
    }
}

fn leads<'a>(model: &'a Model, there: (&'a str, &'a str), seen: &Places<'a>) -> bool {
    !seen.contains(&there)
        && model
            .relation(there.0, there.1)
            .is_some_and(|r| entry(model, there, &r.rewrite, seen) == Entry::Found)
}

/// Relations that follow from themselves, without a tuple between: the server refuses them, also where there is an entry.
pub(super) fn cycles(model: &Model, errors: &mut Vec<ModelError>) {
    for type_def in &model.types {
        for relation in &type_def.relations {
            if follows_itself(type_def, &relation.rewrite, &mut vec![&*relation.name.text]) {
                let problem = "follows from itself; take it out of what it follows from";
                errors.push(error(Kind::NoEntryPoint, &relation.name, problem));
            }
        }
    }
}

fn follows_itself<'a>(type_def: &'a TypeDef, rewrite: &'a Rewrite, path: &mut Vec<&'a str>) -> bool {
    let mut computed = Vec::new();
    rewrite.leaves(&mut |leaf| {
        if let Rewrite::Computed(name) = leaf {
            computed.push(&*name.text);
        }
    });
    computed.into_iter().any(|name| {
        if path.contains(&name) {
            return true;
        }
        let Some(relation) = type_def.relation(name) else { return false };
        path.push(name);
        let follows = follows_itself(type_def, &relation.rewrite, path);
        path.pop();
        follows
    })
}
