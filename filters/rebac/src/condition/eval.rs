//! From a checked expression to a value.

use std::cell::Cell;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use super::time::{self, Field};
use super::value::{self, Value};

/// The most steps of one evaluation: each piece is one, and each item of a list that is gone through.
pub const MAX_STEPS: u32 = 10_000;

/// The longest text and list that an expression can make.
const MAX_SIZE: usize = 64 << 10;

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

/// A function of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its operator or function in CEL is called")]
pub enum Function {
    Not,
    NotStrictlyFalse,
    Negate,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    In,
    Index,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Bool,
    Duration,
    Timestamp,
    Dyn,
    Type,
    IpAddress,
    InCidr,
    Field(Field),
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

type Result<T> = std::result::Result<T, Fault>;

/// The value of an expression for these parameters.
///
/// # Errors
/// If it has none.
pub fn value(expression: &Expression, parameters: &[Value]) -> Result<Value> {
    let steps = Cell::new(MAX_STEPS);
    Evaluation { parameters, steps: &steps }.of(expression, &mut Vec::new())
}

#[derive(Clone, Copy)]
struct Evaluation<'a> {
    parameters: &'a [Value],
    steps: &'a Cell<u32>,
}

impl Evaluation<'_> {
    fn spend(self, steps: usize) -> Result<()> {
        let steps = u32::try_from(steps).map_err(|_| Fault::Cost)?;
        self.steps.set(self.steps.get().checked_sub(steps).ok_or(Fault::Cost)?);
        Ok(())
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
                one(function, a?)
            }
            [a, b] => {
                let a = self.of(a, locals)?;
                let b = self.of(b, locals)?;
                self.spend(weight(&a))?;
                self.spend(weight(&b))?;
                two(function, a, b)
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

fn one(function: Function, a: Value) -> Result<Value> {
    use Function as F;
    match (function, a) {
        (F::Not, Value::Bool(b)) => Ok(Value::Bool(!b)),
        (F::Negate, Value::Int(n)) => n.checked_neg().map(Value::Int).ok_or(Fault::Range),
        (F::Negate, Value::Double(n)) => Ok(Value::Double(-n)),
        (F::Size, a) => size(&a),
        (F::Dyn, a) => Ok(a),
        (F::Type, a) => Ok(Value::Type(a.type_name())),
        (F::IpAddress, Value::String(text)) => value::ip(&text).map(Value::Ip).ok_or(Fault::Text),
        (F::Field(field), Value::Timestamp(at)) => {
            time::field(at, 0, field).map(Value::Int).ok_or(Fault::Range)
        }
        (F::Field(field), Value::Duration(length)) => {
            time::field_of_duration(length, field).map(Value::Int).ok_or(Fault::Types)
        }
        (function, a) => convert(function, a),
    }
}

fn size(value: &Value) -> Result<Value> {
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(entries) => entries.len(),
        _ => return Err(Fault::Types),
    };
    i64::try_from(size).map(Value::Int).map_err(|_| Fault::Range)
}

fn convert(function: Function, a: Value) -> Result<Value> {
    use Function as F;
    let text = |text: String| Value::String(text.into());
    Ok(match (function, a) {
        (F::Int, a @ Value::Int(_))
        | (F::Uint, a @ Value::Uint(_))
        | (F::Double, a @ Value::Double(_))
        | (F::String, a @ Value::String(_))
        | (F::Bytes, a @ Value::Bytes(_))
        | (F::Bool, a @ Value::Bool(_))
        | (F::Duration, a @ Value::Duration(_))
        | (F::Timestamp, a @ Value::Timestamp(_)) => a,
        (F::Int, Value::Uint(n)) => Value::Int(i64::try_from(n).map_err(|_| Fault::Range)?),
        // Both bounds are refused, as the reference implementation does.
        (F::Int, Value::Double(n)) if n > i64::MIN as f64 && n < i64::MAX as f64 => Value::Int(n as i64),
        (F::Int, Value::String(s)) => Value::Int(s.parse().map_err(|_| Fault::Text)?),
        (F::Int, Value::Timestamp(at)) => {
            let seconds = at.div_euclid(i128::from(time::SECOND));
            Value::Int(i64::try_from(seconds).map_err(|_| Fault::Range)?)
        }
        (F::Uint, Value::Int(n)) => Value::Uint(u64::try_from(n).map_err(|_| Fault::Range)?),
        (F::Uint, Value::Double(n)) if (0.0..u64::MAX as f64).contains(&n) => Value::Uint(n as u64),
        (F::Uint, Value::String(s)) => Value::Uint(s.parse().map_err(|_| Fault::Text)?),
        (F::Double, Value::Int(n)) => Value::Double(n as f64),
        (F::Double, Value::Uint(n)) => Value::Double(n as f64),
        (F::Double, Value::String(s)) => Value::Double(s.parse().map_err(|_| Fault::Text)?),
        (F::String, Value::Bool(b)) => text(b.to_string()),
        (F::String, Value::Int(n)) => text(n.to_string()),
        (F::String, Value::Uint(n)) => text(n.to_string()),
        (F::String, Value::Double(n)) => text(print_double(n)),
        (F::String, Value::Bytes(bytes)) => {
            text(std::str::from_utf8(&bytes).map_err(|_| Fault::Text)?.to_owned())
        }
        (F::String, Value::Timestamp(at)) => text(time::print_instant(at).ok_or(Fault::Range)?),
        (F::String, Value::Duration(length)) => text(format!("{}s", length as f64 / 1e9)),
        (F::Bytes, Value::String(s)) => Value::Bytes(s.as_bytes().into()),
        (F::Bool, Value::String(s)) => Value::Bool(match &*s {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(Fault::Text),
        }),
        (F::Duration, Value::String(s)) => Value::Duration(time::duration(&s).ok_or(Fault::Text)?),
        (F::Timestamp, Value::String(s)) => within(time::instant(&s).ok_or(Fault::Text)?)?,
        (F::Timestamp, Value::Int(n)) => {
            within(i128::from(n).checked_mul(i128::from(time::SECOND)).ok_or(Fault::Range)?)?
        }
        (F::Int | F::Uint, Value::Double(_)) => return Err(Fault::Range),
        _ => return Err(Fault::Types),
    })
}

/// A double in the fewest digits; with an exponent where that is shorter, as Go's `%g` has it.
fn print_double(n: f64) -> String {
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = n.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{n:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    n.to_string()
}

/// An instant, if it is within the years that CEL knows.
fn within(instant: i128) -> Result<Value> {
    if (time::EARLIEST..=time::LATEST).contains(&instant) {
        Ok(Value::Timestamp(instant))
    } else {
        Err(Fault::Range)
    }
}

fn two(function: Function, a: Value, b: Value) -> Result<Value> {
    use Function as F;
    let order = |holds: fn(Ordering) -> bool| match (&a, &b) {
        // Nothing is less or greater than what is no number.
        (Value::Double(x), _) if x.is_nan() => Ok(Value::Bool(false)),
        (_, Value::Double(y)) if y.is_nan() => Ok(Value::Bool(false)),
        _ => a.partial_cmp(&b).map(|o| Value::Bool(holds(o))).ok_or(Fault::Types),
    };
    match function {
        F::Equal => Ok(Value::Bool(a == b)),
        F::Unequal => Ok(Value::Bool(a != b)),
        F::Less => order(Ordering::is_lt),
        F::LessEqual => order(Ordering::is_le),
        F::Greater => order(Ordering::is_gt),
        F::GreaterEqual => order(Ordering::is_ge),
        F::Add => add(a, b),
        F::Subtract => subtract(a, b),
        F::Multiply | F::Divide | F::Modulo => arithmetic(function, &a, &b),
        F::In => match &b {
            Value::List(list) => Ok(Value::Bool(list.contains(&a))),
            Value::Map(_) => Ok(Value::Bool(b.entry(&a).is_some())),
            _ => Err(Fault::Types),
        },
        F::Index => index(&a, &b),
        F::InCidr => match (a, b) {
            (Value::Ip(ip), Value::String(network)) => {
                in_network(ip, &network).map(Value::Bool).ok_or(Fault::Text)
            }
            _ => Err(Fault::Types),
        },
        F::Field(field) => match (a, b) {
            (Value::Timestamp(at), Value::String(place)) => {
                time::field(at, zone(&place).ok_or(Fault::Text)?, field).map(Value::Int).ok_or(Fault::Range)
            }
            _ => Err(Fault::Types),
        },
        _ => match (a, b) {
            (Value::String(a), Value::String(b)) => strings(function, &a, &b),
            _ => Err(Fault::Types),
        },
    }
}

/// Seconds east of Greenwich: `UTC`, or a distance such as `+02:00`. Named zones need a database that a filter does not have.
pub(super) fn zone(text: &str) -> Option<i64> {
    match text {
        "" | "UTC" | "Z" => Some(0),
        distance if distance.starts_with(['+', '-']) => time::offset(distance),
        // CEL takes a distance east without its sign.
        distance => time::offset(&format!("+{distance}")),
    }
}

fn strings(function: Function, a: &str, b: &str) -> Result<Value> {
    Ok(Value::Bool(match function {
        Function::Contains => a.contains(b),
        Function::StartsWith => a.starts_with(b),
        Function::EndsWith => a.ends_with(b),
        Function::Matches => {
            if b.len() > 256 || a.len() > 4096 {
                return Err(Fault::Cost);
            }
            regex_lite::Regex::new(b).map_err(|_| Fault::Text)?.is_match(a)
        }
        _ => return Err(Fault::Types),
    }))
}

fn add(a: Value, b: Value) -> Result<Value> {
    let fits = |length: Option<usize>| length.filter(|n| *n <= MAX_SIZE).map(|_| ()).ok_or(Fault::Cost);
    Ok(match (a, b) {
        (Value::String(a), Value::String(b)) => {
            fits(a.len().checked_add(b.len()))?;
            Value::String([&*a, &*b].concat().into())
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            fits(a.len().checked_add(b.len()))?;
            Value::Bytes([&*a, &*b].concat().into())
        }
        (Value::List(a), Value::List(b)) => {
            fits(a.len().checked_add(b.len()))?;
            Value::List(a.iter().chain(b.iter()).cloned().collect())
        }
        (Value::Timestamp(at), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(at)) => {
            within(at.checked_add(i128::from(by)).ok_or(Fault::Range)?)?
        }
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(a.checked_add(b).ok_or(Fault::Range)?),
        (a, b) => arithmetic(Function::Add, &a, &b)?,
    })
}

fn subtract(a: Value, b: Value) -> Result<Value> {
    Ok(match (a, b) {
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let between = a.checked_sub(b).and_then(|n| i64::try_from(n).ok());
            Value::Duration(between.ok_or(Fault::Range)?)
        }
        (Value::Timestamp(at), Value::Duration(by)) => {
            within(at.checked_sub(i128::from(by)).ok_or(Fault::Range)?)?
        }
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(a.checked_sub(b).ok_or(Fault::Range)?),
        (a, b) => arithmetic(Function::Subtract, &a, &b)?,
    })
}

fn arithmetic(function: Function, a: &Value, b: &Value) -> Result<Value> {
    use Function as F;
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let n = match function {
                F::Add => a.checked_add(*b),
                F::Subtract => a.checked_sub(*b),
                F::Multiply => a.checked_mul(*b),
                F::Divide => a.checked_div(*b),
                F::Modulo => a.checked_rem(*b),
                _ => None,
            };
            n.map(Value::Int).ok_or(Fault::Range)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            let n = match function {
                F::Add => a.checked_add(*b),
                F::Subtract => a.checked_sub(*b),
                F::Multiply => a.checked_mul(*b),
                F::Divide => a.checked_div(*b),
                F::Modulo => a.checked_rem(*b),
                _ => None,
            };
            n.map(Value::Uint).ok_or(Fault::Range)
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(match function {
            F::Add => a + b,
            F::Subtract => a - b,
            F::Multiply => a * b,
            F::Divide => a / b,
            _ => return Err(Fault::Types),
        })),
        _ => Err(Fault::Types),
    }
}

fn index(a: &Value, at: &Value) -> Result<Value> {
    match a {
        Value::List(list) => {
            let at = match at {
                Value::Int(n) => usize::try_from(*n).ok(),
                Value::Uint(n) => usize::try_from(*n).ok(),
                Value::Double(n) if n.fract() == 0.0 && *n >= 0.0 => Some(*n as usize),
                _ => return Err(Fault::Types),
            };
            at.and_then(|n| list.get(n)).cloned().ok_or(Fault::Absent)
        }
        Value::Map(_) => a.entry(at).cloned().ok_or(Fault::Absent),
        _ => Err(Fault::Types),
    }
}

/// Whether an address is in a network, written `10.0.0.0/8`; `None` if that is no network. A network of IPv6 addresses that stand for
/// IPv4 is one of IPv4.
fn in_network(ip: IpAddr, network: &str) -> Option<bool> {
    let (address, length) = network.split_once('/')?;
    let plain = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    if !plain || (length.len() > 1 && length.starts_with('0')) {
        return None;
    }
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let width = if address.is_ipv4() { 32 } else { 128 };
    if length > width {
        return None;
    }
    let (address, length) = match (address, address.to_canonical()) {
        (IpAddr::V6(_), short @ IpAddr::V4(_)) if length >= 96 => (short, length.checked_sub(96)?),
        (_, short) => (if width == 32 { short } else { address }, length),
    };
    let same = |a: u128, b: u128, width: u32| {
        let rest = width.checked_sub(length)?;
        let top = |n: u128| n.checked_shr(rest).unwrap_or(0);
        Some(top(a) == top(b))
    };
    match (ip, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(u32::from(a)), u128::from(u32::from(b)), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(u128::from(a), u128::from(b), 128),
        _ => Some(false),
    }
}
