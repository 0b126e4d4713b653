//! Where something is wrong with a model, and what kind of thing.

use std::fmt;

use super::Span;

/// One thing that is wrong with a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError {
    /// The kind.
    pub kind: Kind,
    /// Where.
    pub span: Span,
    /// The file of a modular model.
    pub file: Option<Box<str>>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl ModelError {
    pub(crate) fn new(kind: Kind, span: Span, message: impl Into<String>) -> ModelError {
        ModelError { kind, span, file: None, message: message.into() }
    }
}

/// Line and column count from 1 here, as editors do.
impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        let (line, column) = (self.span.line.saturating_add(1), self.span.start.saturating_add(1));
        write!(f, "line {line}, column {column}: {} ({})", self.message, self.kind.word())
    }
}

/// What kind of thing is wrong. The words are those of OpenFGA's own validator, so that its documentation can be searched for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The text is no model.
    Syntax,
    /// Something is defined twice.
    Duplicated,
    /// A type has a reserved name.
    ReservedType,
    /// A relation has a reserved name.
    ReservedRelation,
    /// A name that tuples could not hold.
    InvalidName,
    /// No schema version.
    SchemaRequired,
    /// An unknown schema version.
    InvalidSchema,
    /// A relation that follows from one that there is not.
    MissingDefinition,
    /// A restriction names a type that there is not.
    InvalidType,
    /// A type does not have this relation.
    InvalidRelationType,
    /// None of the types of a tupleset has this relation.
    InvalidRelationOnTupleset,
    /// A tupleset that does not hold plain objects.
    TuplesetNotDirect,
    /// A relation can be given directly, but to nobody.
    AssignableWithoutTypes,
    /// A relation that nobody can ever have, or that follows from itself.
    NoEntryPoint,
    /// A restriction names a condition that there is not.
    ConditionNotDefined,
    /// A condition that no restriction names.
    ConditionNotUsed,
    /// A condition under another name than its own.
    ConditionName,
    /// Parts of several modules that say they come from one file.
    SeveralModules,
    /// A condition's expression.
    Expression,
    /// Modules that do not fit together.
    Module,
    /// Larger than OpenFGA takes.
    TooLarge,
}

impl Kind {
    /// The kind in one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Syntax => "syntax",
            Kind::Duplicated => "duplicated-error",
            Kind::ReservedType => "reserved-type-keywords",
            Kind::ReservedRelation => "reserved-relation-keywords",
            Kind::InvalidName => "invalid-name",
            Kind::SchemaRequired => "schema-version-required",
            Kind::InvalidSchema => "invalid-schema",
            Kind::MissingDefinition => "missing-definition",
            Kind::InvalidType => "invalid-type",
            Kind::InvalidRelationType => "invalid-relation-type",
            Kind::InvalidRelationOnTupleset => "invalid-relation-on-tupleset",
            Kind::TuplesetNotDirect => "tupleuserset-not-direct",
            Kind::AssignableWithoutTypes => "assignable-relation-must-have-type",
            Kind::NoEntryPoint => "relation-no-entry-point",
            Kind::ConditionNotDefined => "condition-not-defined",
            Kind::ConditionNotUsed => "condition-not-used",
            Kind::ConditionName => "different-nested-condition-name",
            Kind::SeveralModules => "multiple-modules-in-file",
            Kind::Expression => "condition-expression",
            Kind::Module => "module",
            Kind::TooLarge => "too-large",
        }
    }
}
