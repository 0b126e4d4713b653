//! What CEL's operators and functions make of values.

use std::cmp::Ordering;

use super::convert::{convert, within};
use super::eval::{Fault, Result};
use super::network;
use super::pattern;
use super::time::{self, Field};
use super::value::{self, Value};

/// The longest text and list that an expression can make.
const MAX_SIZE: usize = 64 << 10;

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

/// A function of one value.
pub(super) fn one(function: Function, a: Value) -> Result<Value> {
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

/// A function of two.
pub(super) fn two(function: Function, a: Value, b: Value) -> Result<Value> {
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
                network::holds(&network, ip).map(Value::Bool).ok_or(Fault::Text)
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

fn strings(function: Function, a: &str, b: &str) -> Result<Value> {
    Ok(Value::Bool(match function {
        Function::Contains => a.contains(b),
        Function::StartsWith => a.starts_with(b),
        Function::EndsWith => a.ends_with(b),
        Function::Matches => pattern::matches(&pattern::pattern(b).map_err(|_| Fault::Text)?, a)?,
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

/// Seconds east of Greenwich: `UTC`, or a distance such as `+02:00`. Named zones need a database that a filter does not have.
pub(super) fn zone(text: &str) -> Option<i64> {
    match text {
        "" | "UTC" | "Z" => Some(0),
        distance if distance.starts_with(['+', '-']) => time::offset(distance),
        // CEL takes a distance east without its sign.
        distance => time::offset(&format!("+{distance}")),
    }
}

/// A function of whole numbers: add, subtract, multiply, divide, remainder, each without a value beyond the type.
fn whole<T>(
    function: Function,
    a: T,
    b: T,
    [add, subtract, multiply, divide, modulo]: [Checked<T>; 5],
) -> Result<T> {
    use Function as F;
    let of = match function {
        F::Add => add,
        F::Subtract => subtract,
        F::Multiply => multiply,
        F::Divide => divide,
        F::Modulo => modulo,
        _ => return Err(Fault::Range),
    };
    of(a, b).ok_or(Fault::Range)
}

type Checked<T> = fn(T, T) -> Option<T>;

fn arithmetic(function: Function, a: &Value, b: &Value) -> Result<Value> {
    use Function as F;
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let by =
                [i64::checked_add, i64::checked_sub, i64::checked_mul, i64::checked_div, i64::checked_rem];
            whole(function, *a, *b, by).map(Value::Int)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            let by =
                [u64::checked_add, u64::checked_sub, u64::checked_mul, u64::checked_div, u64::checked_rem];
            whole(function, *a, *b, by).map(Value::Uint)
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
