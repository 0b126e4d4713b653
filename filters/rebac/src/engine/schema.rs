//! A model by numbers, and who can ever reach what.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value as Json;

use crate::condition::Condition;
use crate::model::validate::{INLINE, validate};
use crate::model::{self, Facet, Kind, Model, ModelError, Name, ParameterType, Rewrite};

/// The most relations of a model. OpenFGA has no such limit, but one of a model's size.
const MAX_RELATIONS: usize = 4096;
/// The most types, as in OpenFGA.
const MAX_TYPES: usize = 100;
/// The most conditions, as in OpenFGA.
const MAX_CONDITIONS: usize = 25;
/// The most parameters of a condition, as in OpenFGA.
const MAX_PARAMETERS: usize = 25;

/// A model by numbers.
#[derive(Debug, Default)]
pub struct Schema {
    types: BTreeMap<Box<str>, u16>,
    type_names: Vec<Rc<str>>,
    /// By name, for each type.
    numbers: Vec<BTreeMap<Rc<str>, u16>>,
    pub(super) relations: Vec<Relation>,
    pub(super) conditions: Vec<Condition>,
}

/// A relation of a type.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) name: Rc<str>,
    pub(super) rewrite: Node,
    pub(super) allowed: Vec<Allowed>,
    /// The types of which an object could have it, or everybody.
    reached_from: BTreeSet<u16>,
    /// It stands behind a `from`.
    is_tupleset: bool,
}

/// A subject that a relation can be given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) kind: u16,
    pub(super) facet: Whom,
    pub(super) condition: Option<u16>,
}

/// Which subjects of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    One,
    Everybody,
    Related(u16),
}

/// What a relation follows from.
#[derive(Debug)]
pub(super) enum Node {
    This,
    Computed(u16),
    /// The relation here, and for each type of its subjects the relation there.
    Tupleset(u16, Vec<(u16, u16)>),
    Union(Vec<Node>),
    Intersection(Vec<Node>),
    Difference(Box<(Node, Node)>),
}

impl Schema {
    /// Checks a model and numbers it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(model: &Model) -> Result<Schema, Vec<ModelError>> {
        validate(model)?;
        limits(model).map_err(|error| vec![error])?;
        let mut conditions = Vec::new();
        let mut errors = Vec::new();
        for condition in &model.conditions {
            match Condition::new(condition) {
                Ok(compiled) => conditions.push(compiled),
                Err(problem) => {
                    let problem = format!("{}: {problem}", condition.name.text);
                    errors.push(ModelError::new(Kind::Expression, condition.name.span, problem));
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut schema = Schema {
            types: BTreeMap::new(),
            type_names: Vec::new(),
            numbers: Vec::new(),
            relations: Vec::new(),
            conditions,
        };
        schema.number(model);
        schema.fill(model).map_err(|error| vec![error])?;
        schema.reach();
        Ok(schema)
    }

    fn number(&mut self, model: &Model) {
        // The limits were checked: everything fits into 16 bits.
        for (n, type_def) in model.types.iter().enumerate() {
            let kind = u16::try_from(n).unwrap_or(u16::MAX);
            self.types.insert(type_def.name.text.clone(), kind);
            self.type_names.push(Rc::from(&*type_def.name.text));
            let mut numbers = BTreeMap::new();
            for relation in &type_def.relations {
                let name: Rc<str> = Rc::from(&*relation.name.text);
                let number = u16::try_from(self.relations.len()).unwrap_or(u16::MAX);
                numbers.insert(Rc::clone(&name), number);
                self.relations.push(Relation {
                    name,
                    rewrite: Node::This,
                    allowed: Vec::new(),
                    reached_from: BTreeSet::new(),
                    is_tupleset: false,
                });
            }
            self.numbers.push(numbers);
        }
    }

    fn fill(&mut self, model: &Model) -> Result<(), ModelError> {
        for type_def in &model.types {
            for relation in &type_def.relations {
                let missing = |name: &Name| {
                    ModelError::new(Kind::MissingDefinition, name.span, "there is no such thing")
                };
                let kind = self.kind(&type_def.name.text).ok_or_else(|| missing(&type_def.name))?;
                let number =
                    self.relation(kind, &relation.name.text).ok_or_else(|| missing(&relation.name))?;
                let mut allowed = Vec::new();
                for restriction in &relation.restrictions {
                    allowed.push(self.allowed(restriction).ok_or_else(|| missing(&restriction.subject))?);
                }
                let rewrite = self.node(type_def, kind, &relation.rewrite);
                let rewrite = rewrite.ok_or_else(|| missing(&relation.name))?;
                let mut sets = Vec::new();
                tuplesets(&rewrite, &mut sets);
                for set in sets {
                    if let Some(relation) = self.relations.get_mut(usize::from(set)) {
                        relation.is_tupleset = true;
                    }
                }
                if let Some(place) = self.relations.get_mut(usize::from(number)) {
                    place.allowed = allowed;
                    place.rewrite = rewrite;
                }
            }
        }
        Ok(())
    }

    fn allowed(&self, restriction: &model::Restriction) -> Option<Allowed> {
        let kind = self.kind(&restriction.subject.text)?;
        let facet = match &restriction.facet {
            Facet::One => Whom::One,
            Facet::Everybody => Whom::Everybody,
            Facet::Related(relation) => Whom::Related(self.relation(kind, &relation.text)?),
        };
        let condition = match &restriction.condition {
            Some(name) => Some(self.condition(&name.text)?),
            None => None,
        };
        Some(Allowed { kind, facet, condition })
    }

    fn node(&self, type_def: &model::TypeDef, kind: u16, rewrite: &Rewrite) -> Option<Node> {
        let all = |children: &[Rewrite]| {
            children.iter().map(|child| self.node(type_def, kind, child)).collect::<Option<Vec<_>>>()
        };
        Some(match rewrite {
            Rewrite::This => Node::This,
            Rewrite::Computed(name) => Node::Computed(self.relation(kind, &name.text)?),
            Rewrite::FromTupleset { computed, tupleset } => {
                let mut targets = Vec::new();
                for restriction in &type_def.relation(&tupleset.text)?.restrictions {
                    let there = self.kind(&restriction.subject.text)?;
                    // A type without the relation is passed over.
                    if let Some(target) = self.relation(there, &computed.text)
                        && !targets.contains(&(there, target))
                    {
                        targets.push((there, target));
                    }
                }
                Node::Tupleset(self.relation(kind, &tupleset.text)?, targets)
            }
            Rewrite::Union(children) => Node::Union(all(children)?),
            Rewrite::Intersection(children) => Node::Intersection(all(children)?),
            Rewrite::Difference(both) => Node::Difference(Box::new((
                self.node(type_def, kind, &both.0)?,
                self.node(type_def, kind, &both.1)?,
            ))),
        })
    }

    /// Finds which types can ever have each relation, until nothing more is found.
    fn reach(&mut self) {
        loop {
            let mut grown = false;
            for n in 0..self.relations.len() {
                let Some(relation) = self.relations.get(n) else { continue };
                let mut found: BTreeSet<u16> = BTreeSet::new();
                for source in self.sources(relation) {
                    match source {
                        Source::Type(kind) => {
                            found.insert(kind);
                        }
                        Source::Relation(other) => {
                            if let Some(other) = self.relations.get(usize::from(other)) {
                                found.extend(&other.reached_from);
                            }
                        }
                    }
                }
                if let Some(relation) = self.relations.get_mut(n) {
                    let before = relation.reached_from.len();
                    relation.reached_from.extend(found);
                    grown |= relation.reached_from.len() > before;
                }
            }
            if !grown {
                return;
            }
        }
    }

    /// What a relation follows from in one step.
    fn sources(&self, relation: &Relation) -> Vec<Source> {
        let mut sources = Vec::new();
        leaves(&relation.rewrite, &mut |leaf| match leaf {
            Node::This => sources.extend(relation.allowed.iter().map(|a| match a.facet {
                Whom::One | Whom::Everybody => Source::Type(a.kind),
                Whom::Related(other) => Source::Relation(other),
            })),
            Node::Computed(other) => sources.push(Source::Relation(*other)),
            Node::Tupleset(_, targets) => sources.extend(targets.iter().map(|(_, t)| Source::Relation(*t))),
            _ => {}
        });
        sources
    }

    /// Whether a subject of this type, or those with a relation, could ever have a relation.
    #[must_use]
    pub fn reaches(&self, kind: u16, related: Option<u16>, relation: u16) -> bool {
        let Some(found) = self.relations.get(usize::from(relation)) else { return false };
        let Some(related) = related else { return found.reached_from.contains(&kind) };
        // Subjects with a relation are rare: the way is looked for when it is asked for.
        let (mut seen, mut rest) = (BTreeSet::new(), vec![relation]);
        while let Some(next) = rest.pop() {
            if next == related {
                return true;
            }
            if seen.insert(next)
                && let Some(relation) = self.relations.get(usize::from(next))
            {
                rest.extend(self.sources(relation).into_iter().filter_map(|s| match s {
                    Source::Relation(other) => Some(other),
                    Source::Type(_) => None,
                }));
            }
        }
        false
    }

    /// The number of a type.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<u16> {
        self.types.get(name).copied()
    }

    /// The number of a relation of a type.
    #[must_use]
    pub fn relation(&self, kind: u16, name: &str) -> Option<u16> {
        self.numbers.get(usize::from(kind))?.get(name).copied()
    }

    pub(super) fn condition(&self, name: &str) -> Option<u16> {
        self.conditions.iter().position(|c| *c.name == *name).and_then(|n| u16::try_from(n).ok())
    }

    /// Whether a tuple fits: the subject is one that the relation can be given to, under this condition or without one.
    pub(super) fn permits(
        &self,
        relation: u16,
        kind: u16,
        facet: Whom,
        condition: Option<u16>,
    ) -> Result<(), String> {
        let unknown = || "of no relation of the model".to_owned();
        let relation = self.relations.get(usize::from(relation)).ok_or_else(unknown)?;
        if relation.is_tupleset && facet != Whom::One {
            return Err(format!("{} takes plain objects only", relation.name));
        }
        let same = |a: &&Allowed| a.kind == kind && a.facet == facet;
        if !relation.allowed.iter().any(|a| same(&a)) {
            return Err(format!("{} cannot be given to subjects of this type", relation.name));
        }
        if !relation.allowed.iter().filter(same).any(|a| a.condition == condition) {
            return Err(match condition {
                None => "it needs a condition".to_owned(),
                Some(_) => "not under this condition".to_owned(),
            });
        }
        Ok(())
    }

    /// Whether any condition has a parameter of this name.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        self.conditions.iter().any(|c| c.parameter(name).is_some())
    }

    /// Text as a value for the parameters of this name: truths are `true` and `false`, whatever else is text is read by its type.
    #[must_use]
    pub fn as_parameter(&self, name: &str, text: String) -> Json {
        let is_truth = self.conditions.iter().any(|c| c.parameter(name) == Some(&ParameterType::Bool));
        match text.as_str() {
            "true" if is_truth => Json::Bool(true),
            "false" if is_truth => Json::Bool(false),
            _ => Json::String(text),
        }
    }

    /// Whether it has no types.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// How many types, relations and conditions there are.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        [
            ("types", self.type_names.len()),
            ("relations", self.relations.len()),
            ("conditions", self.conditions.len()),
        ]
    }

    /// The name of a type.
    #[must_use]
    pub fn type_name(&self, kind: u16) -> &str {
        self.type_names.get(usize::from(kind)).map_or("", |n| n)
    }
}

enum Source {
    Type(u16),
    Relation(u16),
}

fn leaves<'a>(node: &'a Node, see: &mut impl FnMut(&'a Node)) {
    match node {
        Node::This | Node::Computed(_) | Node::Tupleset(..) => see(node),
        Node::Union(children) | Node::Intersection(children) => children.iter().for_each(|c| leaves(c, see)),
        Node::Difference(both) => {
            leaves(&both.0, see);
            leaves(&both.1, see);
        }
    }
}

fn tuplesets(node: &Node, sets: &mut Vec<u16>) {
    leaves(node, &mut |leaf| {
        if let Node::Tupleset(set, _) = leaf {
            sets.push(*set);
        }
    });
}

fn limits(model: &Model) -> Result<(), ModelError> {
    let whole = |problem: String| Err(ModelError::new(Kind::TooLarge, model::Span::default(), problem));
    if model.types.len() > MAX_TYPES {
        return whole(format!("more than {MAX_TYPES} types"));
    }
    if model.types.iter().map(|t| t.relations.len()).sum::<usize>() > MAX_RELATIONS {
        return whole(format!("more than {MAX_RELATIONS} relations"));
    }
    if model.conditions.len() > MAX_CONDITIONS {
        return whole(format!("more than {MAX_CONDITIONS} conditions"));
    }
    for condition in &model.conditions {
        if condition.parameters.len() > MAX_PARAMETERS {
            let problem = format!("{}: more than {MAX_PARAMETERS} parameters", condition.name.text);
            return Err(ModelError::new(Kind::TooLarge, condition.name.span, problem));
        }
    }
    for relation in model.types.iter().flat_map(|t| &t.relations) {
        let names = relation.restrictions.iter().filter_map(|r| r.condition.as_ref());
        if let Some(name) = names.into_iter().find(|n| *n.text == *INLINE) {
            let problem = "conditions that stand in tuples are not supported; name a condition of the model";
            return Err(ModelError::new(Kind::ConditionNotDefined, name.span, problem));
        }
    }
    Ok(())
}
