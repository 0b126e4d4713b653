//! Values, and what JSON means as a parameter's type.
//!
//! The conversions are OpenFGA's: every number of JSON is a double, whole numbers may be text, durations and instants are text.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use serde_json::Value as Json;

use super::time;
use crate::model::ParameterType;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `1.0`
    Double(f64),
    /// `"a"`
    String(Rc<str>),
    /// `b"a"`
    Bytes(Rc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// An address; IPv6 that stands for IPv4 is IPv4.
    Ip(IpAddr),
    /// `[1, 2]`
    List(Rc<[Value]>),
    /// `{"a": 1}`, in no order.
    Map(Rc<[(Value, Value)]>),
    /// The type of a value.
    Type(&'static str),
}

/// A value that is not of its parameter's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit;

/// The deepest JSON in a parameter of any type.
const MAX_DEPTH: u32 = 16;

impl Value {
    /// What `json` is as a parameter of type `kind`.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(json: &Json, kind: &ParameterType) -> Result<Value, Unfit> {
        let text = || json.as_str().ok_or(Unfit);
        match kind {
            ParameterType::Any => any(json, MAX_DEPTH),
            ParameterType::Bool => json.as_bool().map(Value::Bool).ok_or(Unfit),
            ParameterType::String => text().map(|t| Value::String(t.into())),
            ParameterType::Int => whole(json).map(Value::Int),
            ParameterType::Uint => {
                whole(json).and_then(|n| u64::try_from(n).map(Value::Uint).map_err(|_| Unfit))
            }
            ParameterType::Double => double(json).map(Value::Double),
            ParameterType::Duration => time::duration(text()?).map(Value::Duration).ok_or(Unfit),
            ParameterType::Timestamp => time::instant(text()?).map(Value::Timestamp).ok_or(Unfit),
            ParameterType::IpAddress => ip(text()?).map(Value::Ip).ok_or(Unfit),
            ParameterType::List(inner) => {
                let list = json.as_array().ok_or(Unfit)?;
                list.iter().map(|item| Value::read(item, inner)).collect::<Result<_, _>>().map(Value::List)
            }
            ParameterType::Map(inner) => {
                let entries = json.as_object().ok_or(Unfit)?.iter();
                let entry = |(key, item): (&String, &Json)| {
                    Ok((Value::String(key.as_str().into()), Value::read(item, inner)?))
                };
                entries.map(entry).collect::<Result<_, _>>().map(Value::Map)
            }
        }
    }

    /// The name of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Ip(_) => "IPAddress",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Type(_) => "type",
        }
    }

    /// The entry of a map. Numbers that are equal are the same key, whatever their type.
    #[must_use]
    pub fn entry(&self, key: &Value) -> Option<&Value> {
        let Value::Map(entries) = self else { return None };
        entries.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }
}

/// Values of different types are not equal, but numbers are equal if they are the same number.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().all(|(key, value)| other.entry(key) == Some(value))
            }
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a == b,
            _ => self.partial_cmp(other) == Some(Ordering::Equal),
        }
    }
}

/// Only what CEL can compare is comparable.
impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Double(a), b) => match b {
                Value::Double(b) => a.partial_cmp(b),
                b => whole_number(b).and_then(|b| compare(*a, b)),
            },
            (a, Value::Double(b)) => whole_number(a).and_then(|a| compare(*b, a)).map(Ordering::reverse),
            (a, b) => Some(whole_number(a)?.cmp(&whole_number(b)?)),
        }
    }
}

fn whole_number(value: &Value) -> Option<i128> {
    match value {
        Value::Int(n) => Some(i128::from(*n)),
        Value::Uint(n) => Some(i128::from(*n)),
        _ => None,
    }
}

fn compare(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    // A cast saturates, and no whole number of CEL is beyond these bounds.
    let floor = a.floor();
    let order = (floor as i128).cmp(&b);
    Some(if order == Ordering::Equal && a > floor { Ordering::Greater } else { order })
}

fn any(json: &Json, depth: u32) -> Result<Value, Unfit> {
    let deeper = depth.checked_sub(1).ok_or(Unfit)?;
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => Value::Double(n.as_f64().ok_or(Unfit)?),
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(list) => Value::List(list.iter().map(|v| any(v, deeper)).collect::<Result<_, _>>()?),
        Json::Object(fields) => {
            let entry = |(k, v): (&String, &Json)| Ok((Value::String(k.as_str().into()), any(v, deeper)?));
            Value::Map(fields.iter().map(entry).collect::<Result<_, _>>()?)
        }
    })
}

/// A whole number, as a number or as text. What is too large is the largest.
fn whole(json: &Json) -> Result<i64, Unfit> {
    match json {
        Json::Number(number) => {
            let n = number.as_f64().filter(|n| n.fract() == 0.0).ok_or(Unfit)?;
            Ok(n as i64)
        }
        Json::String(text) => {
            let decimal = Decimal::read(text).ok_or(Unfit)?;
            decimal.whole().ok_or(Unfit)
        }
        _ => Err(Unfit),
    }
}

/// A number, or text that a double holds without loss.
fn double(json: &Json) -> Result<f64, Unfit> {
    match json {
        Json::Number(number) => number.as_f64().ok_or(Unfit),
        Json::String(text) => {
            let infinite = text.strip_prefix(['+', '-']).unwrap_or(text);
            if matches!(infinite, "Inf" | "inf") {
                return Ok(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
            }
            let decimal = Decimal::read(text).ok_or(Unfit)?;
            let n: f64 = text.parse().map_err(|_| Unfit)?;
            if decimal.fits_double() { Ok(n) } else { Err(Unfit) }
        }
        _ => Err(Unfit),
    }
}

/// A decimal number: `digits` times ten to the power of `exponent`.
struct Decimal {
    negative: bool,
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// Reads `-12.5e3`. At most 30 digits: nobody writes more for a number of 64 bits.
    fn read(text: &str) -> Option<Decimal> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all: String = [whole, fraction].concat();
        if all.is_empty() || all.len() > 30 || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut digits: u128 = all.parse().ok()?;
        let mut exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        while digits != 0 && digits.checked_rem(10) == Some(0) {
            digits = digits.checked_div(10)?;
            exponent = exponent.checked_add(1)?;
        }
        Some(Decimal { negative, digits, exponent: if digits == 0 { 0 } else { exponent } })
    }

    fn whole(&self) -> Option<i64> {
        let power = u32::try_from(self.exponent).ok()?;
        let huge = if self.negative { i64::MIN } else { i64::MAX };
        let value = 10_u128.checked_pow(power).and_then(|p| self.digits.checked_mul(p));
        let Some(value) = value.and_then(|v| i128::try_from(v).ok()) else { return Some(huge) };
        let value = if self.negative { value.checked_neg()? } else { value };
        Some(i64::try_from(value).unwrap_or(huge))
    }

    /// Whether 53 bits hold it. Ten to a negative power is a fraction of two only where the digits hold the fives.
    fn fits_double(&self) -> bool {
        let odd = |n: u128| if n == 0 { 0 } else { n >> n.trailing_zeros().min(127) };
        let fives = self.exponent.unsigned_abs();
        let Some(power) = 5_u128.checked_pow(fives) else { return false };
        let reduced = if self.exponent >= 0 {
            odd(self.digits).checked_mul(power)
        } else {
            (self.digits.checked_rem(power) == Some(0)).then(|| self.digits.checked_div(power)).flatten()
        };
        reduced.is_some_and(|n| odd(n) < 1 << 53)
    }
}

/// An address. IPv6 that stands for IPv4 becomes IPv4.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
