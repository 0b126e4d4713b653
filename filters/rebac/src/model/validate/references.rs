//! What the definitions of a model refer to.

use super::{INLINE, error, of_relation};
use crate::model::{Facet, Kind, Model, ModelError, Name, Relation, Restriction, Rewrite, TypeDef};

/// Every relation, type and condition that is named has to be defined.
pub(super) fn references(model: &Model, errors: &mut Vec<ModelError>) {
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
