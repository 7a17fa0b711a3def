//! The functions that expressions may call, besides operators.

use super::values::{Domains, Quantity, Version};
use super::{map, text};
use cel::extractors::This;
use cel::objects::{Key, Opaque, Value};
use cel::{Context, ExecutionError, FunctionContext};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

type Answer = Result<Value, ExecutionError>;

/// `x[y]`.
pub(super) const INDEX: &str = "@index";
/// `x.y`.
pub(super) const FIELD: &str = "@field";
/// `has(x.y)`.
pub(super) const HAS: &str = "@has";
/// `x in y`, with `y` first.
pub(super) const IN: &str = "@contained";
/// `x == y`.
pub(super) const EQUAL: &str = "@equal";
/// What a comprehension goes over.
pub(super) const ITEMS: &str = "@items";

/// What people may call.
pub(super) const KNOWN: [&str; 33] = [
    "asApproximateFloat",
    "asInteger",
    "add",
    "bytes",
    "compareTo",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "isGreaterThan",
    "isInteger",
    "isLessThan",
    "isQuantity",
    "isSemver",
    "lowerAscii",
    "major",
    "matches",
    "minor",
    "patch",
    "quantity",
    "replace",
    "semver",
    "size",
    "split",
    "startsWith",
    "string",
    "sub",
    "trim",
    "uint",
    "upperAscii",
    "join",
    "indexOf",
];

pub(super) fn context() -> Context<'static> {
    let mut all = Context::default();
    all.add_function(INDEX, index);
    all.add_function(FIELD, field);
    all.add_function(HAS, |of: Value, name: Value| -> Answer {
        match of {
            Value::Map(_) => contained(name, of),
            Value::Opaque(it) if it.downcast_ref::<Domains>().is_some() => Ok(Value::Bool(true)),
            _ => Err(ExecutionError::NoSuchOverload),
        }
    });
    all.add_function(IN, |of: Value, item: Value| contained(item, of));
    all.add_function(ITEMS, |of: Value| -> Answer {
        Ok(match domains(&of) {
            Some(domains) => map(domains.0.clone()),
            None => of,
        })
    });
    all.add_function(EQUAL, equal);
    all.add_function("dyn", |of: Value| -> Answer { Ok(of) });
    all.add_function("size", size);
    quantities(&mut all);
    versions(&mut all);
    texts(&mut all);
    all
}

fn domains(value: &Value) -> Option<&Domains> {
    match value {
        Value::Opaque(it) => it.downcast_ref::<Domains>(),
        _ => None,
    }
}

fn index(of: Value, at: Value) -> Answer {
    match (&of, &at) {
        (Value::List(items), Value::Int(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| items.get(at));
            item.cloned().ok_or(ExecutionError::IndexOutOfBounds(Value::Int(*at)))
        }
        (Value::Map(_) | Value::Opaque(_), _) => field(of, at),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn field(of: Value, name: Value) -> Answer {
    let key: Key = name.clone().try_into().map_err(ExecutionError::UnsupportedKeyType)?;
    match &of {
        Value::Map(fields) => {
            fields.get(&key).cloned().ok_or_else(|| ExecutionError::no_such_key(&key.to_string()))
        }
        Value::Opaque(it) => {
            let domains = it.downcast_ref::<Domains>().ok_or(ExecutionError::NoSuchOverload)?;
            Ok(domains.0.get(&key).cloned().unwrap_or_else(|| map(HashMap::new())))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn contained(item: Value, of: Value) -> Answer {
    let key = || -> Option<Key> { item.clone().try_into().ok() };
    Ok(Value::Bool(match &of {
        Value::List(items) => items.contains(&item),
        Value::Map(fields) => key().is_some_and(|key| fields.get(&key).is_some()),
        _ => match domains(&of) {
            Some(domains) => key().is_some_and(|key| domains.0.contains_key(&key)),
            None => return Err(ExecutionError::NoSuchOverload),
        },
    }))
}

/// Of texts in characters, as CEL has it.
fn size(ftx: &FunctionContext<'_, '_>, This(of): This<Value>) -> Answer {
    let size = match &of {
        Value::String(text) => text.chars().count(),
        Value::List(items) => items.len(),
        Value::Map(fields) => fields.map.len(),
        Value::Bytes(bytes) => bytes.len(),
        other => match domains(other) {
            Some(domains) => domains.0.len(),
            None => return Err(ftx.error("it has no size")),
        },
    };
    Ok(Value::Int(size as i64))
}

/// Quantities and versions are compared with their like alone.
fn equal(one: Value, other: Value) -> Answer {
    if let Value::Opaque(it) = &one
        && domains(&one).is_none()
        && !matches!(&other, Value::Opaque(other) if other.runtime_type_name() == it.runtime_type_name())
    {
        return Err(ExecutionError::NoSuchOverload);
    }
    Ok(Value::Bool(one == other))
}

fn opaque(value: impl Opaque) -> Value {
    Value::Opaque(Arc::new(value))
}

fn a_quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::Opaque(it) => it.downcast_ref::<Quantity>().copied(),
        _ => None,
    }
}

fn order(one: &Value, other: &Value) -> Result<Ordering, ExecutionError> {
    if let (Some(one), Some(other)) = (a_quantity(one), a_quantity(other)) {
        return Ok(one.cmp(&other));
    }
    if let (Value::Opaque(one), Value::Opaque(other)) = (one, other)
        && let (Some(one), Some(other)) = (one.downcast_ref::<Version>(), other.downcast_ref::<Version>())
    {
        return Ok(one.order(other));
    }
    Err(ExecutionError::NoSuchOverload)
}

fn quantities(all: &mut Context<'_>) {
    all.add_function("quantity", |ftx: &FunctionContext<'_, '_>, text: Arc<String>| -> Answer {
        Quantity::parse(&text).map(opaque).map_err(|error| ftx.error(error))
    });
    all.add_function("isQuantity", |text: Arc<String>| Quantity::parse(&text).is_ok());
    all.add_function("compareTo", |This(one): This<Value>, other: Value| -> Answer {
        order(&one, &other).map(|order| Value::Int(order as i64))
    });
    all.add_function("isGreaterThan", |This(one): This<Value>, other: Value| -> Answer {
        order(&one, &other).map(|order| Value::Bool(order == Ordering::Greater))
    });
    all.add_function("isLessThan", |This(one): This<Value>, other: Value| -> Answer {
        order(&one, &other).map(|order| Value::Bool(order == Ordering::Less))
    });
    all.add_function("add", |This(one): This<Value>, other: Value| sum(&one, &other, 1));
    all.add_function("sub", |This(one): This<Value>, other: Value| sum(&one, &other, -1));
    all.add_function("isInteger", |This(of): This<Value>| -> Answer {
        let amount = a_quantity(&of).ok_or(ExecutionError::NoSuchOverload)?;
        Ok(Value::Bool(amount.whole().is_some()))
    });
    all.add_function("asInteger", |ftx: &FunctionContext<'_, '_>, This(of): This<Value>| -> Answer {
        let amount = a_quantity(&of).ok_or(ExecutionError::NoSuchOverload)?;
        amount.whole().map(Value::Int).ok_or_else(|| ftx.error("it is no whole number that fits 64 bits"))
    });
    all.add_function("asApproximateFloat", |This(of): This<Value>| -> Answer {
        let amount = a_quantity(&of).ok_or(ExecutionError::NoSuchOverload)?;
        Ok(Value::Float(amount.0 as f64 / 1e9))
    });
}

/// A quantity and another one, or a whole number.
fn sum(one: &Value, other: &Value, sign: i128) -> Answer {
    let amount = a_quantity(one).ok_or(ExecutionError::NoSuchOverload)?;
    let other = match other {
        Value::Int(number) => i128::from(*number) * 1_000_000_000,
        other => a_quantity(other).ok_or(ExecutionError::NoSuchOverload)?.0,
    };
    let sum = amount.0.checked_add(sign * other);
    sum.map(|sum| opaque(Quantity(sum)))
        .ok_or_else(|| ExecutionError::function_error("add", "it is too large"))
}

fn versions(all: &mut Context<'_>) {
    all.add_function("semver", |ftx: &FunctionContext<'_, '_>, text: Arc<String>| -> Answer {
        Version::parse(&text).map(opaque).map_err(|error| ftx.error(error))
    });
    all.add_function("isSemver", |text: Arc<String>| Version::parse(&text).is_ok());
    for (name, part) in [
        ("major", (|version| version.major) as fn(&semver::Version) -> u64),
        ("minor", |version| version.minor),
        ("patch", |version| version.patch),
    ] {
        all.add_function(name, move |This(of): This<Value>| -> Answer {
            let Value::Opaque(it) = &of else { return Err(ExecutionError::NoSuchOverload) };
            let version = it.downcast_ref::<Version>().ok_or(ExecutionError::NoSuchOverload)?;
            Ok(Value::Int(i64::try_from(part(&version.0)).unwrap_or(i64::MAX)))
        });
    }
}

fn texts(all: &mut Context<'_>) {
    all.add_function("lowerAscii", |This(of): This<Arc<String>>| of.to_ascii_lowercase());
    all.add_function("upperAscii", |This(of): This<Arc<String>>| of.to_ascii_uppercase());
    all.add_function("trim", |This(of): This<Arc<String>>| of.trim().to_owned());
    all.add_function("replace", |This(of): This<Arc<String>>, old: Arc<String>, new: Arc<String>| {
        of.replace(old.as_str(), &new)
    });
    all.add_function("split", |This(of): This<Arc<String>>, by: Arc<String>| -> Answer {
        let parts: Vec<Value> = if by.is_empty() {
            of.chars().map(|c| text(&c.to_string())).collect()
        } else {
            of.split(by.as_str()).map(text).collect()
        };
        Ok(Value::List(Arc::new(parts)))
    });
    all.add_function("indexOf", |This(of): This<Arc<String>>, part: Arc<String>| -> Answer {
        let at = of.find(part.as_str()).map(|at| of[..at].chars().count() as i64);
        Ok(Value::Int(at.unwrap_or(-1)))
    });
    all.add_function("join", |This(of): This<Arc<Vec<Value>>>, by: Arc<String>| -> Answer {
        let parts = of.iter().map(|part| match part {
            Value::String(part) => Ok(part.as_str()),
            _ => Err(ExecutionError::NoSuchOverload),
        });
        Ok(text(&parts.collect::<Result<Vec<_>, _>>()?.join(&by)))
    });
}
