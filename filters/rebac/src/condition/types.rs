//! Which types an expression may have: CEL's rules, so that a model which OpenFGA refuses for its types is refused here.

use crate::condition::functions::Function;
use crate::model::ParameterType;

/// A type as far as it is known before there are values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Known only with the value.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    Ip,
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    /// That of types themselves.
    Kind,
}

impl From<&ParameterType> for Type {
    fn from(kind: &ParameterType) -> Type {
        match kind {
            ParameterType::Any => Type::Dyn,
            ParameterType::Bool => Type::Bool,
            ParameterType::String => Type::String,
            ParameterType::Int => Type::Int,
            ParameterType::Uint => Type::Uint,
            ParameterType::Double => Type::Double,
            ParameterType::Duration => Type::Duration,
            ParameterType::Timestamp => Type::Timestamp,
            ParameterType::IpAddress => Type::Ip,
            ParameterType::List(inner) => Type::List(Box::new(Type::from(&**inner))),
            ParameterType::Map(inner) => Type::Map(Box::new(Type::String), Box::new(Type::from(&**inner))),
        }
    }
}

impl Type {
    /// What both can be; `None` if nothing is both. Null is also an instant, a duration and an address.
    pub(super) fn both(&self, other: &Type) -> Option<Type> {
        match (self, other) {
            (Type::Dyn, other) | (other, Type::Dyn) => Some(other.clone()),
            (Type::List(a), Type::List(b)) => Some(Type::List(Box::new(a.both(b)?))),
            (Type::Map(k, v), Type::Map(l, w)) => Some(Type::Map(Box::new(k.both(l)?), Box::new(v.both(w)?))),
            (Type::Null, nullable @ (Type::Duration | Type::Timestamp | Type::Ip))
            | (nullable @ (Type::Duration | Type::Timestamp | Type::Ip), Type::Null) => {
                Some(nullable.clone())
            }
            (a, b) => (a == b).then(|| a.clone()),
        }
    }

    /// The type of things of which some are this and some that.
    pub(super) fn either(&self, other: &Type) -> Type {
        self.both(other).unwrap_or(Type::Dyn)
    }

    fn is(&self, other: &Type) -> bool {
        self.both(other).is_some()
    }
}

/// What a function gives for arguments of these types; `None` if it takes no such.
pub(super) fn result(function: Function, arguments: &[Type]) -> Option<Type> {
    use Function as F;
    let plain = |takes: &[Type], gives: Type| {
        let [only] = arguments else { return None };
        takes.iter().any(|t| t.is(only)).then_some(gives)
    };
    match (function, arguments) {
        (F::Not | F::NotStrictlyFalse, [a]) => a.is(&Type::Bool).then_some(Type::Bool),
        (F::Negate, [a]) => one_of(a, &[Type::Int, Type::Double]),
        (F::Equal | F::Unequal, [a, b]) => a.both(b).map(|_| Type::Bool),
        (F::Less | F::LessEqual | F::Greater | F::GreaterEqual, [a, b]) => {
            one_of(&a.both(b)?, COMPARABLE).map(|_| Type::Bool)
        }
        (F::Add, [a, b]) => add(a, b),
        (F::Subtract, [a, b]) => subtract(a, b),
        (F::Multiply | F::Divide, [a, b]) => one_of(&a.both(b)?, &[Type::Int, Type::Uint, Type::Double]),
        (F::Modulo, [a, b]) => one_of(&a.both(b)?, &[Type::Int, Type::Uint]),
        (F::In, [item, Type::List(inner)]) => item.is(inner).then_some(Type::Bool),
        (F::In, [item, Type::Map(key, _)]) => item.is(key).then_some(Type::Bool),
        (F::In, [_, Type::Dyn]) => Some(Type::Bool),
        (F::Index, [Type::List(inner), at]) => at.is(&Type::Int).then(|| (**inner).clone()),
        (F::Index, [Type::Map(key, value), at]) => at.is(key).then(|| (**value).clone()),
        (F::Index, [Type::Dyn, _]) => Some(Type::Dyn),
        (F::Size, [Type::List(_) | Type::Map(..) | Type::String | Type::Bytes | Type::Dyn]) => {
            Some(Type::Int)
        }
        (F::Contains | F::StartsWith | F::EndsWith | F::Matches, [a, b]) => {
            (a.is(&Type::String) && b.is(&Type::String)).then_some(Type::Bool)
        }
        (F::Int, _) => {
            plain(&[Type::Int, Type::Uint, Type::Double, Type::String, Type::Timestamp], Type::Int)
        }
        (F::Uint, _) => plain(&[Type::Int, Type::Uint, Type::Double, Type::String], Type::Uint),
        (F::Double, _) => plain(&[Type::Int, Type::Uint, Type::Double, Type::String], Type::Double),
        (F::String, _) => plain(
            &[
                Type::Bool,
                Type::Int,
                Type::Uint,
                Type::Double,
                Type::String,
                Type::Bytes,
                Type::Timestamp,
                Type::Duration,
            ],
            Type::String,
        ),
        (F::Bytes, _) => plain(&[Type::Bytes, Type::String], Type::Bytes),
        (F::Bool, _) => plain(&[Type::Bool, Type::String], Type::Bool),
        (F::Duration, _) => plain(&[Type::Duration, Type::String], Type::Duration),
        (F::Timestamp, _) => plain(&[Type::Timestamp, Type::String, Type::Int], Type::Timestamp),
        (F::Dyn, [_]) => Some(Type::Dyn),
        (F::Type, [_]) => Some(Type::Kind),
        (F::IpAddress, _) => plain(&[Type::String], Type::Ip),
        (F::InCidr, [ip, network]) => (ip.is(&Type::Ip) && network.is(&Type::String)).then_some(Type::Bool),
        (F::Field(field), [a]) => {
            let of_duration = super::time::field_of_duration(0, field).is_some();
            (a.is(&Type::Timestamp) || of_duration && a.is(&Type::Duration)).then_some(Type::Int)
        }
        (F::Field(_), [a, zone]) => (a.is(&Type::Timestamp) && zone.is(&Type::String)).then_some(Type::Int),
        _ => None,
    }
}

const COMPARABLE: &[Type] = &[
    Type::Bool,
    Type::Int,
    Type::Uint,
    Type::Double,
    Type::String,
    Type::Bytes,
    Type::Duration,
    Type::Timestamp,
];

/// The type itself if it is one of these; what is known only with the value may be any of them.
fn one_of(kind: &Type, list: &[Type]) -> Option<Type> {
    (*kind == Type::Dyn || list.contains(kind)).then(|| kind.clone())
}

fn add(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Timestamp, other) | (other, Type::Timestamp)
            if other.is(&Type::Duration) && *other != Type::Null =>
        {
            Some(Type::Timestamp)
        }
        (Type::List(_), Type::List(_)) => Some(a.either(b)),
        // A duration can be added to an instant too.
        (Type::Dyn, Type::Duration) | (Type::Duration, Type::Dyn) => Some(Type::Dyn),
        _ => {
            let both = a.both(b)?;
            let sums = [Type::Int, Type::Uint, Type::Double, Type::String, Type::Bytes, Type::Duration];
            if matches!(both, Type::List(_)) { Some(both) } else { one_of(&both, &sums) }
        }
    }
}

fn subtract(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Timestamp, Type::Timestamp) => Some(Type::Duration),
        (Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
        (Type::Timestamp | Type::Dyn, Type::Dyn) | (Type::Dyn, Type::Timestamp | Type::Duration) => {
            Some(Type::Dyn)
        }
        _ => one_of(&a.both(b)?, &[Type::Int, Type::Uint, Type::Double, Type::Duration]),
    }
}
