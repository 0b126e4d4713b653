//! From a checked expression to a value.

use std::cell::Cell;
use std::rc::Rc;

use regex_lite::Regex;

use super::functions::{self, Function};
use super::pattern;
use super::value::Value;

/// The most steps of one evaluation: each piece is one, and each item of a list that is gone through.
pub const MAX_STEPS: u32 = 10_000;

/// A checked expression.
#[derive(Debug)]
pub enum Expression {
    /// As it is written.
    Constant(Value),
    /// A parameter, by position.
    Parameter(usize),
    /// A variable of a loop, by position from the outermost.
    Local(usize),
    /// A map's entry.
    Select(Box<Expression>, Rc<str>),
    /// Whether a map has an entry.
    Has(Box<Expression>, Rc<str>),
    /// A list.
    List(Vec<Expression>),
    /// A map.
    Map(Vec<(Expression, Expression)>),
    /// Both; false if one is false, whatever the other is.
    And(Box<(Expression, Expression)>),
    /// Either; true if one is true, whatever the other is.
    Or(Box<(Expression, Expression)>),
    /// If the first the second, else the third.
    If(Box<(Expression, Expression, Expression)>),
    /// A function of values.
    Call(Function, Vec<Expression>),
    /// A text and the pattern that it is held to, where the model has it.
    Matches(Box<Expression>, Regex),
    /// What CEL's macros are made of.
    Each(Box<Loop>),
}

/// Goes through a list, or the keys of a map.
#[derive(Debug)]
pub struct Loop {
    /// What it goes through.
    pub range: Expression,
    /// What it begins with.
    pub start: Expression,
    /// Whether it goes on, of what it has so far.
    pub goes_on: Expression,
    /// What it has behind an item, of what it has so far and the item.
    pub step: Expression,
    /// What it gives.
    pub result: Expression,
}

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No function for values of these types.
    Types,
    /// A number beyond its type, or a division by zero.
    Range,
    /// No such entry, or place in a list.
    Absent,
    /// A text that is not what it should be.
    Text,
    /// Too many steps, or too large.
    Cost,
}

/// A value, or why there is none.
pub(super) type Result<T> = std::result::Result<T, Fault>;

/// The value of an expression for these parameters, and the steps that it took: those of reading the parameters count.
pub(super) fn value(expression: &Expression, parameters: &[Value]) -> (Result<Value>, u32) {
    let steps = Cell::new(MAX_STEPS);
    let evaluation = Evaluation { parameters, steps: &steps };
    let read = parameters.iter().try_for_each(|parameter| evaluation.spend(weight(parameter)));
    let value = read.and_then(|()| evaluation.of(expression, &mut Vec::new()));
    (value, MAX_STEPS.saturating_sub(steps.get()))
}

#[derive(Clone, Copy)]
struct Evaluation<'a> {
    parameters: &'a [Value],
    steps: &'a Cell<u32>,
}

impl Evaluation<'_> {
    fn spend(self, steps: usize) -> Result<()> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.steps.get().checked_sub(steps));
        self.steps.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Fault::Cost)
    }

    fn of(self, expression: &Expression, locals: &mut Vec<Value>) -> Result<Value> {
        self.spend(1)?;
        match expression {
            Expression::Constant(value) => Ok(value.clone()),
            Expression::Parameter(at) => self.parameters.get(*at).cloned().ok_or(Fault::Absent),
            Expression::Local(at) => locals.get(*at).cloned().ok_or(Fault::Absent),
            Expression::Select(operand, field) => match self.of(operand, locals)? {
                map @ Value::Map(_) => {
                    map.entry(&Value::String(Rc::clone(field))).cloned().ok_or(Fault::Absent)
                }
                _ => Err(Fault::Types),
            },
            Expression::Has(operand, field) => match self.of(operand, locals)? {
                map @ Value::Map(_) => Ok(Value::Bool(map.entry(&Value::String(Rc::clone(field))).is_some())),
                _ => Err(Fault::Types),
            },
            Expression::List(items) => {
                items.iter().map(|item| self.of(item, locals)).collect::<Result<_>>().map(Value::List)
            }
            Expression::Map(entries) => {
                let mut map: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = self.of(key, locals)?;
                    let is_key =
                        matches!(key, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_));
                    if !is_key || map.iter().any(|(k, _)| *k == key) {
                        return Err(Fault::Types);
                    }
                    map.push((key, self.of(value, locals)?));
                }
                Ok(Value::Map(map.into()))
            }
            Expression::And(both) => self.logic(both, locals, false),
            Expression::Or(both) => self.logic(both, locals, true),
            Expression::If(three) => match self.of(&three.0, locals)? {
                Value::Bool(true) => self.of(&three.1, locals),
                Value::Bool(false) => self.of(&three.2, locals),
                _ => Err(Fault::Types),
            },
            Expression::Call(function, arguments) => self.call(*function, arguments, locals),
            Expression::Matches(text, pattern) => match self.of(text, locals)? {
                Value::String(text) => {
                    self.spend(pattern::steps(&text))?;
                    pattern::matches(pattern, &text).map(Value::Bool)
                }
                _ => Err(Fault::Types),
            },
            Expression::Each(each) => self.each(each, locals),
        }
    }

    /// `decides` is the truth that one side alone decides by, even if the other has no value.
    fn logic(self, both: &(Expression, Expression), locals: &mut Vec<Value>, decides: bool) -> Result<Value> {
        let truth = |result: Result<Value>| match result {
            Ok(Value::Bool(b)) => Ok(b),
            Ok(_) => Err(Fault::Types),
            Err(fault) => Err(fault),
        };
        let left = truth(self.of(&both.0, locals));
        if left == Ok(decides) {
            return Ok(Value::Bool(decides));
        }
        let right = truth(self.of(&both.1, locals));
        if right == Ok(decides) && left != Err(Fault::Cost) {
            return Ok(Value::Bool(decides));
        }
        left?;
        right.map(Value::Bool)
    }

    fn each(self, each: &Loop, locals: &mut Vec<Value>) -> Result<Value> {
        let items: Vec<Value> = match self.of(&each.range, locals)? {
            Value::List(items) => items.to_vec(),
            Value::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            _ => return Err(Fault::Types),
        };
        self.spend(items.len())?;
        let depth = locals.len();
        // What the loop has so far may be a fault: an item that decides can still come.
        let mut have = self.of(&each.start, locals);
        let mut outcome = Ok(());
        for item in items {
            let Ok(so_far) = &have else { break };
            locals.push(so_far.clone());
            locals.push(item);
            match self.of(&each.goes_on, locals) {
                Ok(Value::Bool(true)) => have = self.step(each, locals),
                Ok(_) => {
                    locals.truncate(depth);
                    break;
                }
                Err(fault) => outcome = Err(fault),
            }
            locals.truncate(depth);
            if outcome.is_err() {
                break;
            }
        }
        outcome?;
        locals.push(have?);
        let result = self.of(&each.result, locals);
        locals.truncate(depth);
        result
    }

    fn step(self, each: &Loop, locals: &mut Vec<Value>) -> Result<Value> {
        self.of(&each.step, locals)
    }

    fn call(self, function: Function, arguments: &[Expression], locals: &mut Vec<Value>) -> Result<Value> {
        match arguments {
            [a] => {
                let a = self.of(a, locals);
                if function == Function::NotStrictlyFalse {
                    return Ok(Value::Bool(!matches!(a, Ok(Value::Bool(false)))));
                }
                functions::one(function, a?)
            }
            [a, b] => {
                let a = self.of(a, locals)?;
                let b = self.of(b, locals)?;
                self.spend(weight(&a))?;
                self.spend(weight(&b))?;
                if let (Function::Matches, Value::String(text)) = (function, &a) {
                    self.spend(pattern::steps(text))?;
                }
                functions::two(function, a, b)
            }
            _ => Err(Fault::Types),
        }
    }
}

/// How much there is to look at.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() / 64,
        Value::Bytes(bytes) => bytes.len() / 64,
        Value::List(list) => list.len(),
        Value::Map(entries) => entries.len(),
        _ => 0,
    }
}
