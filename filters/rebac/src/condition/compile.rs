//! From an expression's text to one whose names are resolved and whose types fit.

use std::rc::Rc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::parser::PrattParser;

use super::convert;
use super::eval::{Expression, Loop};
use super::functions::{self, Function};
use super::pattern;
use super::time::Field;
use super::types::{self, Type};
use super::value::Value;
use crate::model::ParameterType;

/// The longest expression, in bytes, as in OpenFGA.
pub const MAX_BYTES: usize = 512;

/// The deepest nesting: expressions are read, checked and evaluated by recursion, on the small stack of a WebAssembly module.
const MAX_NESTING: u16 = 48;

/// The most pieces of an expression, its macros written out.
const MAX_PIECES: usize = 2048;

/// Compiles an expression over these parameters.
///
/// # Errors
/// What is wrong with it.
pub fn compile(text: &str, parameters: &[(Rc<str>, ParameterType)]) -> Result<Expression, String> {
    if text.len() > MAX_BYTES {
        return Err("the expression is longer than 512 bytes".to_owned());
    }
    let parser = PrattParser::new()
        .max_recursion_depth(MAX_NESTING)
        .max_expression_node_count(MAX_PIECES)
        .error_recovery_limit(1)
        .error_reporting_limit(1);
    let parsed = parser.parse(text).map_err(|problems| {
        problems.errors.first().map_or_else(|| "not an expression".to_owned(), |e| e.msg.clone())
    })?;
    let mut compiler = Compiler { parameters, locals: Vec::new(), depth: 0 };
    let (expression, kind) = compiler.expression(&parsed)?;
    if kind != Type::Bool {
        return Err("the expression gives no truth; compare something".to_owned());
    }
    Ok(expression)
}

type Typed = Result<(Expression, Type), String>;

struct Compiler<'a> {
    parameters: &'a [(Rc<str>, ParameterType)],
    /// The variables of the loops around, the innermost last.
    locals: Vec<(String, Type)>,
    depth: u32,
}

impl Compiler<'_> {
    fn expression(&mut self, piece: &IdedExpr) -> Typed {
        // Macros nest deeper than what was written.
        self.depth = self.depth.saturating_add(1);
        if self.depth > 256 {
            return Err("the expression is nested too deep".to_owned());
        }
        let typed = self.piece(piece);
        self.depth = self.depth.saturating_sub(1);
        typed
    }

    fn piece(&mut self, piece: &IdedExpr) -> Typed {
        match &piece.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                let (operand, kind) = self.expression(&select.operand)?;
                let value = match kind {
                    Type::Map(_, value) => *value,
                    Type::Dyn => Type::Dyn,
                    _ => return Err(format!("{}: only maps have fields", select.field)),
                };
                let field: Rc<str> = select.field.as_str().into();
                Ok(if select.test {
                    (Expression::Has(Box::new(operand), field), Type::Bool)
                } else {
                    (Expression::Select(Box::new(operand), field), value)
                })
            }
            Expr::List(list) if list.optional_indices.is_empty() => {
                let mut items = Vec::new();
                let mut inner: Option<Type> = None;
                for element in &list.elements {
                    let (item, kind) = self.expression(element)?;
                    inner = Some(inner.map_or_else(|| kind.clone(), |i| i.either(&kind)));
                    items.push(item);
                }
                Ok((Expression::List(items), Type::List(Box::new(inner.unwrap_or(Type::Dyn)))))
            }
            Expr::Map(map) => {
                let mut entries = Vec::new();
                let mut inner: Option<(Type, Type)> = None;
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { return Err(unknown("a field")) };
                    let (key, key_kind) = self.expression(&entry.key)?;
                    let (value, kind) = self.expression(&entry.value)?;
                    inner = Some(match inner {
                        None => (key_kind, kind),
                        Some((k, v)) => (k.either(&key_kind), v.either(&kind)),
                    });
                    entries.push((key, value));
                }
                let (key, value) = inner.unwrap_or((Type::Dyn, Type::Dyn));
                Ok((Expression::Map(entries), Type::Map(Box::new(key), Box::new(value))))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            _ => Err(unknown("an object")),
        }
    }

    fn name(&self, name: &str) -> Typed {
        if let Some(at) = self.locals.iter().rposition(|(local, _)| local == name) {
            let kind = self.locals.get(at).map_or(Type::Dyn, |(_, kind)| kind.clone());
            return Ok((Expression::Local(at), kind));
        }
        if let Some(at) = self.parameters.iter().position(|(parameter, _)| **parameter == *name) {
            let kind = self.parameters.get(at).map_or(Type::Dyn, |(_, kind)| Type::from(kind));
            return Ok((Expression::Parameter(at), kind));
        }
        const TYPES: [&str; 10] =
            ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
        if let Some(known) = TYPES.iter().find(|t| **t == name) {
            return Ok((Expression::Constant(Value::Type(known)), Type::Kind));
        }
        Err(format!("{name}: no parameter of the condition; declare it"))
    }

    fn call(&mut self, call: &CallExpr) -> Typed {
        let mut pieces = Vec::new();
        let mut kinds = Vec::new();
        for argument in call.target.iter().map(|t| &**t).chain(&call.args) {
            let (piece, kind) = self.expression(argument)?;
            pieces.push(piece);
            kinds.push(kind);
        }
        let mismatch =
            || format!("{}: not for values of these types", call.func_name.trim_matches(['_', '@']));
        match (call.func_name.as_str(), pieces.as_slice()) {
            (name @ ("_&&_" | "_||_"), [_, _]) => {
                if kinds.iter().any(|k| k.both(&Type::Bool).is_none()) {
                    return Err(mismatch());
                }
                let mut pieces = pieces.into_iter();
                let both = pieces.next().zip(pieces.next()).ok_or_else(mismatch)?;
                let both = Box::new(both);
                return Ok((
                    if name == "_&&_" { Expression::And(both) } else { Expression::Or(both) },
                    Type::Bool,
                ));
            }
            ("_?_:_", [_, _, _]) => {
                let [test, yes, no] = kinds.as_slice() else { return Err(mismatch()) };
                test.both(&Type::Bool).ok_or_else(mismatch)?;
                let kind = yes.both(no).ok_or_else(mismatch)?;
                let [test, yes, no] = <[Expression; 3]>::try_from(pieces).map_err(|_| mismatch())?;
                return Ok((Expression::If(Box::new((test, yes, no))), kind));
            }
            _ => {}
        }
        let function = function(&call.func_name, call.target.is_some(), pieces.len())
            .ok_or_else(|| unknown(call.func_name.trim_matches(['_', '@'])))?;
        let kind = types::result(function, &kinds).ok_or_else(mismatch)?;
        Ok((called(function, pieces)?, kind))
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Typed {
        let (range, kind) = self.expression(&comprehension.iter_range)?;
        let item = match kind {
            Type::List(inner) => *inner,
            // Of a map the keys.
            Type::Map(key, _) => *key,
            Type::Dyn => Type::Dyn,
            _ => return Err("only lists and maps can be gone through".to_owned()),
        };
        if comprehension.iter_var2.is_some() {
            return Err(unknown("a loop over two variables"));
        }
        let (start, start_kind) = self.expression(&comprehension.accu_init)?;
        self.locals.push((comprehension.accu_var.clone(), start_kind));
        self.locals.push((comprehension.iter_var.clone(), item));
        let goes_on = self.expression(&comprehension.loop_cond);
        let step = self.expression(&comprehension.loop_step);
        self.locals.pop();
        let (step, step_kind) = step?;
        if let Some((_, kind)) = self.locals.last_mut() {
            *kind = kind.both(&step_kind).ok_or("the parts of a loop have different types")?;
        }
        let result = self.expression(&comprehension.result);
        self.locals.pop();
        let (result, kind) = result?;
        let goes_on = goes_on?.0;
        Ok((Expression::Each(Box::new(Loop { range, start, goes_on, step, result })), kind))
    }
}

fn unknown(what: &str) -> String {
    format!("{what}: conditions have no such function")
}

fn constant(literal: &LiteralValue) -> (Expression, Type) {
    let (value, kind) = match literal {
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::Boolean(b) => (Value::Bool(*b.inner()), Type::Bool),
        LiteralValue::Int(n) => (Value::Int(*n.inner()), Type::Int),
        LiteralValue::UInt(n) => (Value::Uint(*n.inner()), Type::Uint),
        LiteralValue::Double(n) => (Value::Double(*n.inner()), Type::Double),
        LiteralValue::String(text) => (Value::String(text.inner().into()), Type::String),
        LiteralValue::Bytes(bytes) => (Value::Bytes(bytes.inner().into()), Type::Bytes),
    };
    (Expression::Constant(value), kind)
}

/// A function by its name in CEL, as a method or not, and the number of its arguments with that in front of the dot.
fn function(name: &str, is_method: bool, arguments: usize) -> Option<Function> {
    use Function as F;
    const FIELDS: [(&str, Field); 10] = [
        ("getFullYear", Field::FullYear),
        ("getMonth", Field::Month),
        ("getDayOfYear", Field::DayOfYear),
        ("getDayOfMonth", Field::DayOfMonth),
        ("getDate", Field::Date),
        ("getDayOfWeek", Field::DayOfWeek),
        ("getHours", Field::Hours),
        ("getMinutes", Field::Minutes),
        ("getSeconds", Field::Seconds),
        ("getMilliseconds", Field::Milliseconds),
    ];
    let found = match (name, is_method, arguments) {
        ("!_", false, 1) => F::Not,
        ("-_", false, 1) => F::Negate,
        ("@not_strictly_false", false, 1) => F::NotStrictlyFalse,
        ("_==_", false, 2) => F::Equal,
        ("_!=_", false, 2) => F::Unequal,
        ("_<_", false, 2) => F::Less,
        ("_<=_", false, 2) => F::LessEqual,
        ("_>_", false, 2) => F::Greater,
        ("_>=_", false, 2) => F::GreaterEqual,
        ("_+_", false, 2) => F::Add,
        ("_-_", false, 2) => F::Subtract,
        ("_*_", false, 2) => F::Multiply,
        ("_/_", false, 2) => F::Divide,
        ("_%_", false, 2) => F::Modulo,
        ("@in", false, 2) => F::In,
        ("_[_]", false, 2) => F::Index,
        ("size", _, 1) => F::Size,
        ("matches", _, 2) => F::Matches,
        ("contains", true, 2) => F::Contains,
        ("startsWith", true, 2) => F::StartsWith,
        ("endsWith", true, 2) => F::EndsWith,
        ("in_cidr", true, 2) => F::InCidr,
        ("ipaddress", false, 1) => F::IpAddress,
        ("int", false, 1) => F::Int,
        ("uint", false, 1) => F::Uint,
        ("double", false, 1) => F::Double,
        ("string", false, 1) => F::String,
        ("bytes", false, 1) => F::Bytes,
        ("bool", false, 1) => F::Bool,
        ("duration", false, 1) => F::Duration,
        ("timestamp", false, 1) => F::Timestamp,
        ("dyn", false, 1) => F::Dyn,
        ("type", false, 1) => F::Type,
        (name, true, _) => F::Field(FIELDS.iter().find(|(known, _)| *known == name)?.1),
        _ => return None,
    };
    Some(found)
}

/// A call, with what can be told already as it is written: a conversion of what is written there, a pattern, or a zone that needs a
/// database of zones.
fn called(function: Function, mut pieces: Vec<Expression>) -> Result<Expression, String> {
    if let ([Expression::Constant(value)], Some(name)) = (pieces.as_slice(), conversion(function)) {
        let value = convert::convert(function, value.clone());
        return value.map(Expression::Constant).map_err(|_| format!("{name}: what is written there is none"));
    }
    let second = match pieces.get(1) {
        Some(Expression::Constant(Value::String(text))) => Some(Rc::clone(text)),
        _ => None,
    };
    match (function, second) {
        (Function::Matches, Some(text)) => {
            let pattern = pattern::pattern(&text).map_err(|problem| format!("matches: {problem}"))?;
            Ok(Expression::Matches(Box::new(pieces.swap_remove(0)), pattern))
        }
        (Function::Field(_), Some(zone)) if functions::zone(&zone).is_none() => {
            Err(format!("{zone}: no zone; write UTC or a distance such as +02:00"))
        }
        _ => Ok(Expression::Call(function, pieces)),
    }
}

/// The name of a function that makes one type of another.
fn conversion(function: Function) -> Option<&'static str> {
    use Function as F;
    Some(match function {
        F::Int => "int",
        F::Uint => "uint",
        F::Double => "double",
        F::String => "string",
        F::Bytes => "bytes",
        F::Bool => "bool",
        F::Duration => "duration",
        F::Timestamp => "timestamp",
        _ => return None,
    })
}
