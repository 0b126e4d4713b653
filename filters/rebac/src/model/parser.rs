//! Reads models in OpenFGA's modelling language, one file at a time.
//!
//! It stops at the first word that cannot stand where it stands. What OpenFGA's own parser reports behind that are the
//! consequences of how it goes on.

use super::lexer::{Kind as Word, Token, cleaned, tokens};
use super::{
    Condition, Facet, Kind, Model, ModelError, Name, PLAIN_TYPES, ParameterType, Relation, Restriction,
    Rewrite, Source, Span, TypeDef,
};

/// The deepest nesting of parentheses: a definition is read, checked and evaluated by recursion.
pub const MAX_NESTING: u32 = 32;

/// The largest model, in bytes, as in OpenFGA.
pub const MAX_BYTES: usize = 256 << 10;

/// Reads one file: a whole model, or a module of one.
///
/// # Errors
/// The first word that does not fit, or everything that stands twice.
pub fn parse(text: &str) -> Result<Model, Vec<ModelError>> {
    if text.len() > MAX_BYTES {
        let problem = "the model is larger than 256 KiB";
        return Err(vec![ModelError::new(Kind::TooLarge, Span::default(), problem)]);
    }
    let text = cleaned(text);
    let mut parser = Parser { tokens: tokens(&text), at: 0, module: None, twice: Vec::new() };
    match parser.file() {
        Ok(model) if parser.twice.is_empty() => Ok(model),
        Ok(_) => Err(parser.twice),
        Err(error) => Err(vec![error]),
    }
}

type Parsed<T> = Result<T, ModelError>;

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    /// The file's module.
    module: Option<Box<str>>,
    /// What stands twice.
    twice: Vec<ModelError>,
}

const END: Token<'static> =
    Token { kind: Word::End, text: "<EOF>", span: Span { line: 0, start: 0, end: 0 } };

impl<'a> Parser<'a> {
    fn peek(&self, ahead: usize) -> Token<'a> {
        let at = self.at.saturating_add(ahead);
        self.tokens.get(at).or(self.tokens.last()).copied().unwrap_or(END)
    }

    fn is(&self, kind: Word) -> bool {
        self.peek(0).kind == kind
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek(0);
        self.at = self.at.saturating_add(1);
        token
    }

    fn accept(&mut self, kind: Word) -> bool {
        let is = self.is(kind);
        if is {
            self.next();
        }
        is
    }

    fn expect(&mut self, kind: Word, what: &str) -> Parsed<Token<'a>> {
        if self.is(kind) { Ok(self.next()) } else { Err(unexpected(self.peek(0), what)) }
    }

    /// A name of a type or a relation: keywords that are no operators may be names too.
    fn name(&mut self, what: &str) -> Parsed<Name> {
        const NAMES: [Word; 8] = [
            Word::Name,
            Word::LongName,
            Word::Module,
            Word::Model,
            Word::Schema,
            Word::Extend,
            Word::Type,
            Word::Relation,
        ];
        let token = self.peek(0);
        if !NAMES.contains(&token.kind) {
            return Err(unexpected(token, what));
        }
        self.next();
        Ok(name(token))
    }

    fn file(&mut self) -> Parsed<Model> {
        self.accept(Word::Blank);
        self.accept(Word::Newline);
        let mut model = Model::default();
        if self.accept(Word::Model) {
            self.expect(Word::Newline, "a new line with `schema 1.1`")?;
            self.expect(Word::Schema, "`schema 1.1`")?;
            self.expect(Word::Blank, "a version, as in `schema 1.1`")?;
            model.schema = Some(name(self.expect(Word::Version, "a version such as 1.1")?));
        } else if self.accept(Word::Module) {
            self.expect(Word::Blank, "the module's name")?;
            self.module = Some(self.name("the module's name")?.text);
        } else {
            return Err(unexpected(self.peek(0), "`model` or `module`"));
        }
        self.accept(Word::Blank);
        while self.is(Word::Newline) && matches!(self.peek(1).kind, Word::Type | Word::Extend) {
            let type_def = self.type_def()?;
            self.see_extension(&model, &type_def);
            model.types.push(type_def);
        }
        while self.is(Word::Newline) && self.peek(1).kind == Word::Condition {
            let condition = self.condition()?;
            if model.conditions.iter().any(|c| c.name == condition.name) {
                self.twice(&condition.name, "there is a condition of this name already; rename one");
            }
            model.conditions.push(condition);
        }
        if self.accept(Word::Newline) {
            return Err(unexpected(self.peek(0), "a type, a condition or the end"));
        }
        self.expect(Word::End, "a new line")?;
        Ok(model)
    }

    fn twice(&mut self, name: &Name, problem: &str) {
        let problem = format!("{}: {problem}", name.text);
        self.twice.push(ModelError::new(Kind::Duplicated, name.span, problem));
    }

    fn see_extension(&mut self, model: &Model, type_def: &TypeDef) {
        if !type_def.extends {
            return;
        }
        if self.module.is_none() {
            let problem = "only a module can extend a type; write `type`";
            self.twice.push(ModelError::new(Kind::Module, type_def.name.span, problem));
        } else if model.types.iter().any(|t| t.extends && t.name == type_def.name) {
            self.twice(
                &type_def.name,
                "this file extends the type already; write all its relations in one place",
            );
        }
    }

    fn source(&self, of: bool) -> Source {
        Source { module: self.module.clone().filter(|_| of), file: None }
    }

    fn type_def(&mut self) -> Parsed<TypeDef> {
        self.next();
        let extends = self.accept(Word::Extend);
        if extends {
            self.expect(Word::Blank, "`type`")?;
        }
        self.expect(Word::Type, "`type`")?;
        self.expect(Word::Blank, "the type's name")?;
        let name = self.name("the type's name")?;
        let mut type_def = TypeDef { name, relations: Vec::new(), source: self.source(true), extends };
        if self.is(Word::Newline) && self.peek(1).kind == Word::Relations {
            self.next();
            self.next();
            loop {
                if !(self.is(Word::Newline) && self.peek(1).kind == Word::Define) {
                    if type_def.relations.is_empty() {
                        self.expect(Word::Newline, "a new line")?;
                        return Err(unexpected(self.peek(0), "`define`"));
                    }
                    break;
                }
                let relation = self.relation(extends)?;
                if type_def.relation(&relation.name.text).is_some() {
                    self.twice(&relation.name, "the type has a relation of this name already; rename one");
                }
                type_def.relations.push(relation);
            }
        }
        Ok(type_def)
    }

    fn relation(&mut self, extends: bool) -> Parsed<Relation> {
        self.next();
        self.next();
        self.expect(Word::Blank, "the relation's name")?;
        let name = self.name("the relation's name")?;
        self.accept(Word::Blank);
        self.expect(Word::Colon, "`:`")?;
        self.accept(Word::Blank);
        let mut restrictions = Vec::new();
        let rewrite = self.definition(Some(&mut restrictions), MAX_NESTING)?;
        Ok(Relation { name, rewrite, restrictions, source: self.source(extends) })
    }

    /// A definition with its operators. Only its first part may list types, and only if `direct` is there to take them.
    fn definition(&mut self, direct: Option<&mut Vec<Restriction>>, depth: u32) -> Parsed<Rewrite> {
        let first = self.part(direct, depth)?;
        if !self.is(Word::Blank) {
            return Ok(first);
        }
        let operator = self.peek(1).kind;
        if operator == Word::ButNot {
            let without = self.operand(depth)?;
            return Ok(Rewrite::Difference(Box::new((first, without))));
        }
        let mut children = vec![first];
        while matches!(operator, Word::Or | Word::And)
            && self.is(Word::Blank)
            && self.peek(1).kind == operator
        {
            children.push(self.operand(depth)?);
        }
        Ok(match (operator, children.len()) {
            (Word::Or, 2..) => Rewrite::Union(children),
            (Word::And, 2..) => Rewrite::Intersection(children),
            _ => children.swap_remove(0),
        })
    }

    /// An operator and what stands behind it.
    fn operand(&mut self, depth: u32) -> Parsed<Rewrite> {
        self.next();
        self.next();
        self.expect(Word::Blank, "a relation")?;
        self.part(None, depth)
    }

    fn part(&mut self, direct: Option<&mut Vec<Restriction>>, depth: u32) -> Parsed<Rewrite> {
        if self.is(Word::LeftParen) {
            let token = self.next();
            let deeper = depth.checked_sub(1).ok_or_else(|| {
                ModelError::new(
                    Kind::Syntax,
                    token.span,
                    "parentheses nest too deep; at most 32 may stand in each other",
                )
            })?;
            while self.accept(Word::Blank) {}
            let inner = self.definition(direct, deeper)?;
            while self.accept(Word::Blank) {}
            self.expect(Word::RightParen, "`)`")?;
            return Ok(inner);
        }
        if let Some(restrictions) = direct
            && self.accept(Word::LeftBracket)
        {
            self.accept(Word::Blank);
            loop {
                restrictions.push(self.restriction()?);
                self.accept(Word::Blank);
                if !self.accept(Word::Comma) {
                    break;
                }
                self.accept(Word::Blank);
            }
            self.expect(Word::RightBracket, "`,` or `]`")?;
            return Ok(Rewrite::This);
        }
        let computed = self.name("a relation")?;
        if self.is(Word::Blank) && self.peek(1).kind == Word::From {
            self.next();
            self.next();
            self.expect(Word::Blank, "a relation")?;
            let tupleset = self.name("a relation")?;
            return Ok(Rewrite::FromTupleset { computed, tupleset });
        }
        Ok(Rewrite::Computed(computed))
    }

    fn restriction(&mut self) -> Parsed<Restriction> {
        self.accept(Word::Newline);
        let subject = self.name("a type")?;
        let facet = if self.accept(Word::Colon) {
            self.expect(Word::Star, "`*`")?;
            Facet::Everybody
        } else if self.accept(Word::Hash) {
            Facet::Related(self.name("a relation")?)
        } else {
            Facet::One
        };
        let mut condition = None;
        if self.is(Word::Blank) && self.peek(1).kind == Word::With {
            self.next();
            self.next();
            self.expect(Word::Blank, "a condition's name")?;
            let inline = self.is(Word::Inline);
            condition = Some(if inline { name(self.next()) } else { self.condition_name()? });
        }
        self.accept(Word::Newline);
        Ok(Restriction { subject, facet, condition })
    }

    fn condition_name(&mut self) -> Parsed<Name> {
        self.expect(Word::Name, "a condition's name").map(name)
    }

    fn condition(&mut self) -> Parsed<Condition> {
        self.next();
        self.next();
        self.expect(Word::Blank, "the condition's name")?;
        let condition = self.condition_name()?;
        self.accept(Word::Blank);
        self.expect(Word::LeftParen, "`(`")?;
        self.accept(Word::Blank);
        let mut parameters: Vec<(Name, ParameterType)> = Vec::new();
        loop {
            self.accept(Word::Newline);
            let parameter = self.expect(Word::Name, "a parameter's name").map(name)?;
            self.accept(Word::Blank);
            self.expect(Word::Colon, "`:`")?;
            self.accept(Word::Blank);
            let kind = self.parameter_type()?;
            if parameters.iter().any(|(other, _)| *other == parameter) {
                self.twice(&parameter, "the condition has a parameter of this name already; rename one");
            }
            parameters.push((parameter, kind));
            self.accept(Word::Blank);
            if !self.accept(Word::Comma) {
                break;
            }
            self.accept(Word::Blank);
        }
        self.accept(Word::Newline);
        self.expect(Word::RightParen, "`,` or `)`")?;
        self.accept(Word::Blank);
        self.expect(Word::LeftBrace, "`{`")?;
        self.accept(Word::Newline);
        self.accept(Word::Blank);
        let mut expression = String::new();
        while !self.is(Word::RightBrace) {
            let token = self.next();
            if matches!(token.kind, Word::End | Word::Bad) {
                return Err(unexpected(token, "an expression, and `}`"));
            }
            expression.push_str(token.text);
        }
        self.next();
        let expression = expression.trim_end_matches('\n').into();
        Ok(Condition { name: condition, parameters, expression, source: self.source(true) })
    }

    fn parameter_type(&mut self) -> Parsed<ParameterType> {
        if self.is(Word::Container) {
            let container = self.next();
            self.expect(Word::Less, "`<`")?;
            let inner = Box::new(self.plain_type()?);
            self.expect(Word::Greater, "`>`")?;
            return Ok(match container.text {
                "list" => ParameterType::List(inner),
                _ => ParameterType::Map(inner),
            });
        }
        self.plain_type()
    }

    fn plain_type(&mut self) -> Parsed<ParameterType> {
        let token = self.expect(Word::ParameterType, "a type such as string")?;
        let plain = PLAIN_TYPES.iter().find(|(name, _)| *name == token.text);
        plain.map(|(_, kind)| kind.clone()).ok_or_else(|| unexpected(token, "a type such as string"))
    }
}

fn name(token: Token<'_>) -> Name {
    Name { text: token.text.into(), span: token.span }
}

fn unexpected(token: Token<'_>, what: &str) -> ModelError {
    let found = match token.kind {
        Word::Blank => "a blank".to_owned(),
        Word::Newline => "a new line".to_owned(),
        Word::End => "the end".to_owned(),
        _ => format!("`{}`", token.text.escape_debug()),
    };
    let width = match token.kind {
        Word::End => 5,
        _ => 0,
    };
    let span = Span { end: token.span.end.saturating_add(width), ..token.span };
    ModelError::new(Kind::Syntax, span, format!("{found} cannot stand here; write {what}"))
}
