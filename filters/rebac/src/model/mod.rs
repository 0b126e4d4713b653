//! Authorization models: what types, relations and conditions there are.
//!
//! | module | one idea |
//! |---|---|
//! | [`lexer`], [`parser`] | the modelling language, as text |
//! | [`modules`] | one model out of several files |
//! | [`json`] | the same as JSON, both ways |
//! | [`mod@print`] | a model as text |
//! | [`validate`] | what OpenFGA refuses |
//! | [`error`] | where something is wrong, and what kind of thing |

pub mod error;
pub mod json;
mod lexer;
pub mod modules;
pub mod parser;
pub mod print;
pub mod validate;

pub use error::{Kind, ModelError};

/// Where a word stands in a model's text. JSON has no places: there everything stands at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Line, from 0.
    pub line: u32,
    /// Column of the first character, from 0, in characters.
    pub start: u32,
    /// Column behind the last character.
    pub end: u32,
}

impl Span {
    /// From the start of one to the end of the other; both on one line.
    #[must_use]
    pub fn to(self, last: Span) -> Span {
        Span { end: last.end, ..self }
    }
}

/// A word of a model, and where it stands. Two names are equal if their texts are.
#[derive(Clone, Debug)]
pub struct Name {
    /// The word.
    pub text: Box<str>,
    /// Its place.
    pub span: Span,
}

impl Name {
    /// A name without a place.
    #[must_use]
    pub fn new(text: &str) -> Name {
        Name { text: text.into(), span: Span::default() }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

/// Where a part of a modular model comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its module.
    pub module: Option<Box<str>>,
    /// Its file.
    pub file: Option<Box<str>>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// `1.1` or `1.2`; `None` in one file of a modular model.
    pub schema: Option<Name>,
    /// The types, as they were written.
    pub types: Vec<TypeDef>,
    /// The conditions, as they were written.
    pub conditions: Vec<Condition>,
}

/// A type of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeDef {
    /// Its name.
    pub name: Name,
    /// Its relations, as they were written.
    pub relations: Vec<Relation>,
    /// Where it comes from.
    pub source: Source,
    /// It adds to a type of another module.
    pub extends: bool,
}

impl TypeDef {
    /// The relation with this name.
    #[must_use]
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|r| *r.name.text == *name)
    }
}

/// A relation of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its name.
    pub name: Name,
    /// What it follows from.
    pub rewrite: Rewrite,
    /// To whom it can be given directly.
    pub restrictions: Vec<Restriction>,
    /// Where it comes from, if not from where its type comes.
    pub source: Source,
}

/// What a relation follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// From tuples.
    This,
    /// From another relation to the same object.
    Computed(Name),
    /// From a relation to the objects that the tuples of `tupleset` name.
    FromTupleset {
        /// The relation there.
        computed: Name,
        /// The relation here.
        tupleset: Name,
    },
    /// From any of these.
    Union(Vec<Rewrite>),
    /// From all of these together.
    Intersection(Vec<Rewrite>),
    /// From the first without the second.
    Difference(Box<(Rewrite, Rewrite)>),
}

impl Rewrite {
    /// The parts of this one that follow from no parts, from left to right.
    pub fn leaves<'a>(&'a self, see: &mut impl FnMut(&'a Rewrite)) {
        match self {
            Rewrite::This | Rewrite::Computed(_) | Rewrite::FromTupleset { .. } => see(self),
            Rewrite::Union(children) | Rewrite::Intersection(children) => {
                children.iter().for_each(|child| child.leaves(see));
            }
            Rewrite::Difference(both) => {
                both.0.leaves(see);
                both.1.leaves(see);
            }
        }
    }

    /// Whether it can be given directly.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        let mut direct = false;
        self.leaves(&mut |leaf| direct |= *leaf == Rewrite::This);
        direct
    }
}

/// To whom a relation can be given: `type`, `type:*` or `type#relation`, and under which condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The type.
    pub subject: Name,
    /// All objects of the type, or those with a relation.
    pub facet: Facet,
    /// The condition.
    pub condition: Option<Name>,
}

/// Which subjects of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facet {
    /// Each by itself.
    One,
    /// `type:*`: everybody of this type.
    Everybody,
    /// `type#relation`: those with a relation.
    Related(Name),
}

impl Restriction {
    /// Where type and relation stand.
    #[must_use]
    pub fn span(&self) -> Span {
        match &self.facet {
            Facet::One => self.subject.span,
            // The star, which has no place of its own, follows the colon.
            Facet::Everybody => Span { end: self.subject.span.end.saturating_add(2), ..self.subject.span },
            Facet::Related(relation) => self.subject.span.to(relation.span),
        }
    }
}

/// A condition: an expression over typed parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its name.
    pub name: Name,
    /// Its parameters, as they were written.
    pub parameters: Vec<(Name, ParameterType)>,
    /// In CEL.
    pub expression: Box<str>,
    /// Where it comes from.
    pub source: Source,
}

/// The type of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterType {
    /// Anything.
    Any,
    /// `bool`
    Bool,
    /// `string`
    String,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `duration`
    Duration,
    /// `timestamp`
    Timestamp,
    /// `ipaddress`
    IpAddress,
    /// `list<...>`
    List(Box<ParameterType>),
    /// `map<...>`; the keys are text.
    Map(Box<ParameterType>),
}

/// The types that need no other, by name.
pub(crate) const PLAIN_TYPES: [(&str, ParameterType); 9] = [
    ("any", ParameterType::Any),
    ("bool", ParameterType::Bool),
    ("string", ParameterType::String),
    ("int", ParameterType::Int),
    ("uint", ParameterType::Uint),
    ("double", ParameterType::Double),
    ("duration", ParameterType::Duration),
    ("timestamp", ParameterType::Timestamp),
    ("ipaddress", ParameterType::IpAddress),
];

impl std::fmt::Display for ParameterType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ParameterType::List(inner) => write!(f, "list<{inner}>"),
            ParameterType::Map(inner) => write!(f, "map<{inner}>"),
            plain => f.write_str(PLAIN_TYPES.iter().find(|(_, t)| t == plain).map_or("", |(name, _)| name)),
        }
    }
}

impl Model {
    /// The type with this name; of several the last, as a JSON object would have it.
    #[must_use]
    pub fn type_def(&self, name: &str) -> Option<&TypeDef> {
        self.types.iter().rev().find(|t| *t.name.text == *name)
    }

    /// A relation of a type.
    #[must_use]
    pub fn relation(&self, type_name: &str, relation: &str) -> Option<&Relation> {
        self.type_def(type_name)?.relation(relation)
    }
}
