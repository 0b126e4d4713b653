//! A model as text, laid out as OpenFGA's own tools lay it out.

use std::fmt::Write as _;

use super::{Condition, Facet, Model, Relation, Restriction, Rewrite, Source, TypeDef};

/// A model that text cannot say: types in brackets stand somewhere else than in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsayable {
    /// The type.
    pub type_name: Box<str>,
    /// The relation.
    pub relation: Box<str>,
}

/// The model as text. Relations stand in the order of their names, the parts of a modular model in that of modules and files;
/// `sources` says where each of them comes from.
///
/// # Errors
/// The first relation that text cannot say.
pub fn print(model: &Model, sources: bool) -> Result<String, Unsayable> {
    let mut out = format!("model\n  schema {}\n", model.schema.as_ref().map_or("", |s| &s.text));
    let modular = model.types.iter().any(|t| t.source.module.is_some());
    let mut types: Vec<&TypeDef> = model.types.iter().collect();
    if modular {
        types.sort_by(|a, b| order(&a.source, &a.name.text).cmp(&order(&b.source, &b.name.text)));
    }
    for type_def in types {
        let _ = write!(out, "\ntype {}", type_def.name.text);
        push_source(&mut out, &type_def.source, "", sources);
        out.push('\n');
        if !type_def.relations.is_empty() {
            out.push_str("  relations\n");
        }
        let mut relations: Vec<&Relation> = type_def.relations.iter().collect();
        relations.sort_by(|a, b| order(&a.source, &a.name.text).cmp(&order(&b.source, &b.name.text)));
        for relation in relations {
            let unsayable =
                || Unsayable { type_name: type_def.name.text.clone(), relation: relation.name.text.clone() };
            let definition = definition(relation).ok_or_else(unsayable)?;
            let _ = write!(out, "    define {}: {definition}", relation.name.text);
            push_source(&mut out, &relation.source, " extended by:", sources);
            out.push('\n');
        }
    }
    let mut conditions: Vec<&Condition> = model.conditions.iter().collect();
    conditions.sort_by(|a, b| order(&a.source, &a.name.text).cmp(&order(&b.source, &b.name.text)));
    for condition in conditions {
        let mut parameters: Vec<String> =
            condition.parameters.iter().map(|(name, kind)| format!("{}: {kind}", name.text)).collect();
        parameters.sort_unstable();
        let (name, parameters) = (&condition.name.text, parameters.join(", "));
        let _ = write!(out, "\ncondition {name}({parameters}) {{\n  {}\n}}", condition.expression);
        push_source(&mut out, &condition.source, "", sources);
        out.push('\n');
    }
    Ok(out)
}

/// What belongs to no module stands first.
fn order<'a>(source: &'a Source, name: &'a str) -> (Option<&'a str>, Option<&'a str>, &'a str) {
    (source.module.as_deref(), source.file.as_deref(), name)
}

fn push_source(out: &mut String, source: &Source, lead: &str, wanted: bool) {
    if wanted && (source.module.is_some() || source.file.is_some()) {
        let (module, file) = (source.module.as_deref(), source.file.as_deref());
        let _ = write!(
            out,
            " #{lead} module: {}, file: {}",
            module.unwrap_or_default(),
            file.unwrap_or_default()
        );
    }
}

/// `type`, `type:*` or `type#relation`, and its condition.
#[must_use]
pub fn restriction(restriction: &Restriction) -> String {
    let mut out = restriction.subject.text.to_string();
    match &restriction.facet {
        Facet::One => {}
        Facet::Everybody => out.push_str(":*"),
        Facet::Related(relation) => {
            out.push('#');
            out.push_str(&relation.text);
        }
    }
    if let Some(condition) = &restriction.condition {
        out.push_str(" with ");
        out.push_str(&condition.text);
    }
    out
}

/// What a relation follows from; `None` if text cannot say it.
fn definition(relation: &Relation) -> Option<String> {
    let mut direct = 0_usize;
    relation.rewrite.leaves(&mut |leaf| direct = direct.saturating_add(usize::from(*leaf == Rewrite::This)));
    if direct > 1 || (direct == 1 && !leads_with_direct(&relation.rewrite)) {
        return None;
    }
    Some(joined(&relation.rewrite, &relation.restrictions))
}

fn leads_with_direct(rewrite: &Rewrite) -> bool {
    match rewrite {
        Rewrite::This => true,
        Rewrite::Computed(_) | Rewrite::FromTupleset { .. } => false,
        // Among equals it can be put in front.
        Rewrite::Union(children) | Rewrite::Intersection(children) => {
            children.contains(&Rewrite::This) || children.first().is_some_and(leads_with_direct)
        }
        Rewrite::Difference(both) => leads_with_direct(&both.0),
    }
}

fn joined(rewrite: &Rewrite, restrictions: &[Restriction]) -> String {
    let inner = |part: &Rewrite| match part {
        Rewrite::Union(_) | Rewrite::Intersection(_) | Rewrite::Difference(_) => {
            format!("({})", joined(part, restrictions))
        }
        leaf => joined(leaf, restrictions),
    };
    let all = |children: &[Rewrite], operator: &str| {
        let (first, rest): (Vec<_>, Vec<_>) = children.iter().partition(|c| **c == Rewrite::This);
        first.into_iter().chain(rest).map(inner).collect::<Vec<_>>().join(operator)
    };
    match rewrite {
        Rewrite::This => {
            let list: Vec<String> = restrictions.iter().map(restriction).collect();
            format!("[{}]", list.join(", "))
        }
        Rewrite::Computed(name) => name.text.to_string(),
        Rewrite::FromTupleset { computed, tupleset } => format!("{} from {}", computed.text, tupleset.text),
        Rewrite::Union(children) => all(children, " or "),
        Rewrite::Intersection(children) => all(children, " and "),
        Rewrite::Difference(both) => format!("{} but not {}", inner(&both.0), inner(&both.1)),
    }
}
