//! CEL's conversions of one type into another.

use super::eval::{Fault, Result};
use super::functions::Function;
use super::time;
use super::value::Value;

/// A value as one of another type.
pub(super) fn convert(function: Function, a: Value) -> Result<Value> {
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
pub(super) fn within(instant: i128) -> Result<Value> {
    if (time::EARLIEST..=time::LATEST).contains(&instant) {
        Ok(Value::Timestamp(instant))
    } else {
        Err(Fault::Range)
    }
}
