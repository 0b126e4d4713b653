//! What OpenFGA refuses in a model that it can read.
//!
//! In three rounds, as its validator goes: names and schema; what the definitions refer to; what stands twice and what nobody can
//! ever have. A later round would only repeat what an earlier one found.

mod entries;
mod references;

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Model, ModelError, Name, Relation, Rewrite, Source, Span, TypeDef, print};
use entries::{cycles, entries};
use references::references;

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
