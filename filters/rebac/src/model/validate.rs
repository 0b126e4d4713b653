//! What OpenFGA refuses in a model that it can read.
//!
//! In three rounds, as its validator goes: names and schema; what the definitions refer to; what stands twice and what nobody can
//! ever have. A later round would only repeat what an earlier one found.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Facet, Kind, Model, ModelError, Name, Relation, Restriction, Rewrite, Source, Span, TypeDef, print,
};

/// Checks a whole model.
///
/// # Errors
/// Everything that the first round finds in which there is something.
pub fn validate(model: &Model) -> Result<(), Vec<ModelError>> {
    let mut errors = Vec::new();
    names(model, &mut errors);
    let Some(schema) = &model.schema else {
        let problem = "no schema version; begin with `model` and a line `schema 1.1`";
        errors.push(ModelError::new(Kind::SchemaRequired, Span::default(), problem));
        return Err(errors);
    };
    if !matches!(&*schema.text, "1.1" | "1.2") {
        let problem = format!("schema {} is unknown; write 1.1", schema.text);
        errors.push(ModelError::new(Kind::InvalidSchema, schema.span, problem));
        return Err(errors);
    }
    if errors.is_empty() {
        references(model, &mut errors);
        if errors.is_empty() {
            duplicates(model, &mut errors);
        }
        if errors.is_empty() {
            entries(model, &mut errors);
        }
        if errors.is_empty() {
            cycles(model, &mut errors);
        }
        unused(model, &mut errors);
        modules(model, &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The condition that is no condition of the model: its expression stands in the tuple.
pub(crate) const INLINE: &str = "$expression";

/// Names that no model may have.
pub(super) fn names(model: &Model, errors: &mut Vec<ModelError>) {
    let reserved = |name: &Name| matches!(&*name.text, "self" | "this");
    for type_def in &model.types {
        let before = errors.len();
        let name = &type_def.name;
        if reserved(name) {
            errors.push(error(Kind::ReservedType, name, "self and this are no names; choose another"));
        }
        if !is_name(&name.text, 254) {
            errors.push(error(Kind::InvalidName, name, TYPE_NAMES));
        }
        in_file(errors, before, &type_def.source);
        for relation in &type_def.relations {
            let before = errors.len();
            let name = &relation.name;
            if reserved(name) {
                errors.push(error(
                    Kind::ReservedRelation,
                    name,
                    "self and this are no names; choose another",
                ));
            } else if !is_name(&name.text, 50) {
                errors.push(error(Kind::InvalidName, name, RELATION_NAMES));
            }
            of_relation(errors, before, type_def, relation);
        }
    }
}

/// What was found since then stands in the file of this source.
fn in_file(errors: &mut [ModelError], since: usize, source: &Source) {
    for error in errors.iter_mut().skip(since) {
        error.file.clone_from(&source.file);
    }
}

/// As [`in_file`]; an extended type's relation has a file of its own.
fn of_relation(errors: &mut [ModelError], since: usize, type_def: &TypeDef, relation: &Relation) {
    let own = if relation.source.file.is_some() { &relation.source } else { &type_def.source };
    in_file(errors, since, own);
}

const TYPE_NAMES: &str = "types have 1 to 254 characters, without blanks and : # @ *";
const RELATION_NAMES: &str = "relations have 1 to 50 characters, without blanks and : # @ *";

fn is_name(text: &str, longest: usize) -> bool {
    let length = text.chars().count();
    length >= 1 && length <= longest && !text.contains(|c: char| c.is_whitespace() || ":#@*".contains(c))
}

fn error(kind: Kind, name: &Name, problem: &str) -> ModelError {
    ModelError::new(kind, name.span, format!("{}: {problem}", name.text))
}

fn references(model: &Model, errors: &mut Vec<ModelError>) {
    for type_def in &model.types {
        for relation in &type_def.relations {
            let before = errors.len();
            // A type that stands twice is what its last definition says.
            if model.relation(&type_def.name.text, &relation.name.text).is_some() {
                leaves_breadth_first(&relation.rewrite, &mut |leaf| {
                    refers(model, type_def, relation, leaf, errors);
                });
            }
            of_relation(errors, before, type_def, relation);
        }
    }
}

/// The order in which OpenFGA's validator looks at the parts of a definition.
fn leaves_breadth_first<'a>(rewrite: &'a Rewrite, see: &mut impl FnMut(&'a Rewrite)) {
    let mut row = vec![rewrite];
    while !row.is_empty() {
        let mut next = Vec::new();
        for part in row {
            match part {
                Rewrite::Union(children) | Rewrite::Intersection(children) => next.extend(children),
                Rewrite::Difference(both) => next.extend([&both.0, &both.1]),
                leaf => see(leaf),
            }
        }
        row = next;
    }
}

fn refers(
    model: &Model,
    type_def: &TypeDef,
    relation: &Relation,
    leaf: &Rewrite,
    errors: &mut Vec<ModelError>,
) {
    match leaf {
        Rewrite::This => {
            if relation.restrictions.is_empty() {
                let problem = "can be given to nobody; list types in brackets";
                errors.push(error(Kind::AssignableWithoutTypes, &relation.name, problem));
            }
            relation.restrictions.iter().for_each(|r| restricts(model, r, errors));
        }
        Rewrite::Computed(name) if type_def.relation(&name.text).is_none() => {
            let problem = format!("{} has no such relation; define it", type_def.name.text);
            errors.push(error(Kind::MissingDefinition, name, &problem));
        }
        Rewrite::FromTupleset { computed, tupleset } => {
            from_tupleset(model, type_def, computed, tupleset, errors);
        }
        _ => {}
    }
}

fn restricts(model: &Model, restriction: &Restriction, errors: &mut Vec<ModelError>) {
    let Restriction { subject, facet, condition } = restriction;
    if model.type_def(&subject.text).is_none() {
        errors.push(error(Kind::InvalidType, subject, "there is no such type; define it"));
    }
    if let Some(condition) = condition
        && *condition.text != *INLINE
        && !model.conditions.iter().any(|c| c.name == *condition)
    {
        errors.push(error(Kind::ConditionNotDefined, condition, "there is no such condition; define it"));
    }
    if let Facet::Related(relation) = facet
        && model.relation(&subject.text, &relation.text).is_none()
    {
        let problem = format!("{} has no relation {}; define it", subject.text, relation.text);
        errors.push(ModelError::new(Kind::InvalidRelationType, restriction.span(), problem));
    }
}

fn from_tupleset(
    model: &Model,
    type_def: &TypeDef,
    computed: &Name,
    tupleset: &Name,
    errors: &mut Vec<ModelError>,
) {
    let span = computed.span.to(tupleset.span);
    let Some(set) = type_def.relation(&tupleset.text) else {
        let problem = format!("{} has no relation {}; define it", type_def.name.text, tupleset.text);
        errors.push(ModelError::new(Kind::InvalidRelationType, span, problem));
        return;
    };
    let not_direct = || {
        let problem = "what stands behind `from` has to be given directly, to plain objects; write only types in its brackets";
        error(Kind::TuplesetNotDirect, tupleset, problem)
    };
    if set.rewrite != Rewrite::This {
        errors.push(not_direct());
        return;
    }
    let mut without = Vec::new();
    for restriction in &set.restrictions {
        if restriction.facet != Facet::One {
            errors.push(not_direct());
        } else if model.relation(&restriction.subject.text, &computed.text).is_none() {
            without.push(&restriction.subject);
        }
    }
    if without.len() == set.restrictions.len() {
        for subject in without {
            let problem = format!("{} has no relation {}; define it there", subject.text, computed.text);
            errors.push(ModelError::new(Kind::InvalidRelationOnTupleset, span, problem));
        }
    }
}

fn duplicates(model: &Model, errors: &mut Vec<ModelError>) {
    for (n, type_def) in model.types.iter().enumerate() {
        if let Some(first) = model.types.iter().take(n).find(|t| t.name == type_def.name) {
            errors.push(error(Kind::Duplicated, &first.name, "the type stands twice; keep one"));
        }
        for relation in &type_def.relations {
            let before = errors.len();
            let list = &relation.restrictions;
            for (n, restriction) in list.iter().enumerate() {
                if let Some(first) = list.iter().take(n).find(|r| *r == restriction) {
                    let problem = format!("{} stands twice; keep one", print::restriction(restriction));
                    errors.push(ModelError::new(Kind::Duplicated, first.span(), problem));
                }
            }
            twice_in(&relation.rewrite, errors);
            of_relation(errors, before, type_def, relation);
        }
    }
}

fn twice_in(rewrite: &Rewrite, errors: &mut Vec<ModelError>) {
    let children: Vec<&Rewrite> = match rewrite {
        Rewrite::Union(children) | Rewrite::Intersection(children) => children.iter().collect(),
        Rewrite::Difference(both) => vec![&both.0, &both.1],
        _ => return,
    };
    for (n, child) in children.iter().enumerate() {
        let span = match child {
            Rewrite::Computed(name) => name.span,
            Rewrite::FromTupleset { computed, tupleset } => computed.span.to(tupleset.span),
            _ => continue,
        };
        if let Some(first) = children.iter().take(n).find(|c| *c == child) {
            let span = match first {
                Rewrite::Computed(name) => name.span,
                Rewrite::FromTupleset { computed, tupleset } => computed.span.to(tupleset.span),
                _ => span,
            };
            errors.push(ModelError::new(Kind::Duplicated, span, "stands twice in one definition; keep one"));
        }
    }
}

fn entries(model: &Model, errors: &mut Vec<ModelError>) {
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
fn cycles(model: &Model, errors: &mut Vec<ModelError>) {
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

fn unused(model: &Model, errors: &mut Vec<ModelError>) {
    let used: BTreeSet<&str> = model
        .types
        .iter()
        .flat_map(|t| &t.relations)
        .flat_map(|r| &r.restrictions)
        .filter_map(|r| r.condition.as_ref().map(|c| &*c.text))
        .collect();
    for condition in &model.conditions {
        if !used.contains(&*condition.name.text) {
            let problem =
                "no restriction names this condition; write `with` and its name behind a type, or remove it";
            let before = errors.len();
            errors.push(error(Kind::ConditionNotUsed, &condition.name, problem));
            in_file(errors, before, &condition.source);
        }
    }
}

/// A file is of one module: as text it could not be of more.
fn modules(model: &Model, errors: &mut Vec<ModelError>) {
    let of_relations = model.types.iter().flat_map(|t| &t.relations).map(|r| &r.source);
    let all = model
        .types
        .iter()
        .map(|t| &t.source)
        .chain(of_relations)
        .chain(model.conditions.iter().map(|c| &c.source));
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in all {
        if let (Some(module), Some(file)) = (&source.module, &source.file) {
            files.entry(file).or_default().insert(module);
        }
    }
    for (file, modules) in files.into_iter().filter(|(_, modules)| modules.len() > 1) {
        let modules: Vec<&str> = modules.into_iter().collect();
        let problem = format!("{file} has parts of {}; give each module its own files", modules.join(", "));
        errors.push(ModelError::new(Kind::SeveralModules, Span::default(), problem));
    }
}
