//! Puts a JSON tree beside the shape it should have.

use crate::kms::error::Error;
use crate::kms::model::base64::decoded_bytes;
use crate::kms::model::json::Value;
use crate::kms::model::shape::{Bounds, EnumSet, Pattern, Shape, Structure};
use crate::kms::model::violation::{Constraint, Shown, Violations};

/// Checks the request itself.
pub(super) fn structure(
    structure: &Structure,
    value: &Value<'_>,
    violations: &mut Violations,
) -> Result<(), Error> {
    members(structure, value, ("", violations))
}

/// `prefix` is the path of the structure, with its dot.
fn members(
    structure: &Structure,
    value: &Value<'_>,
    (prefix, violations): (&str, &mut Violations),
) -> Result<(), Error> {
    let Value::Object(given) = value else { return Err(mismatch(value, Wanted::Structure)) };
    for member in &structure.members {
        let value = given.iter().find(|(name, _)| **name == *member.name).map(|(_, value)| value);
        let joined;
        let path = if prefix.is_empty() {
            member.path.as_str()
        } else {
            joined = format!("{prefix}{}", member.path);
            joined.as_str()
        };
        match value {
            None | Some(Value::Null) if member.is_required => {
                violations.add(path, Shown::Null, Constraint::NotNull);
            }
            None | Some(Value::Null) => {}
            Some(value) => shape(&member.shape, value, (path, violations))?,
        }
    }
    Ok(())
}

fn shape(shape: &Shape, value: &Value<'_>, at: (&str, &mut Violations)) -> Result<(), Error> {
    match shape {
        Shape::List { of, length } => list(of, *length, (value, at)),
        Shape::Map { key, value: shape } => map((key, shape), value, at),
        Shape::Structure(structure) => {
            let (path, violations) = at;
            members(structure, value, (&format!("{path}."), violations))
        }
        Shape::Blob { .. }
        | Shape::Boolean
        | Shape::Enum(_)
        | Shape::Integer(_)
        | Shape::String { .. }
        | Shape::Timestamp => scalar(shape, value, at),
    }
}

fn scalar(
    shape: &Shape,
    value: &Value<'_>,
    (path, violations): (&str, &mut Violations),
) -> Result<(), Error> {
    let shown = if is_secret(shape) { Shown::Secret } else { Shown::Value(value) };
    broken(shape, value, &mut |constraint| violations.add(path, shown, constraint))
}

/// Blobs are data of the caller, of whatever kind.
const fn is_secret(shape: &Shape) -> bool {
    match shape {
        Shape::Blob { .. } => true,
        Shape::String { is_sensitive, .. } => *is_sensitive,
        Shape::Boolean
        | Shape::Enum(_)
        | Shape::Integer(_)
        | Shape::List { .. }
        | Shape::Map { .. }
        | Shape::Structure(_)
        | Shape::Timestamp => false,
    }
}

type Report<'r, 'm> = &'r mut dyn FnMut(Constraint<'m>);

/// Reports each constraint of a scalar shape that `value` breaks.
fn broken<'m>(shape: &'m Shape, value: &Value<'_>, report: Report<'_, 'm>) -> Result<(), Error> {
    match shape {
        Shape::Blob { length } => {
            let Value::String(text) = value else { return Err(mismatch(value, Wanted::Blob)) };
            let bytes = decoded_bytes(text)
                .ok_or_else(|| Error::Serialization("a blob is not Base64 with padding".to_owned()))?;
            check_length(*length, bytes, report);
        }
        Shape::Boolean => {
            let Value::Bool(_) = value else { return Err(mismatch(value, Wanted::Boolean)) };
        }
        Shape::Enum(set) => {
            let Value::String(text) = value else { return Err(mismatch(value, Wanted::String)) };
            check_word(set, text, report);
        }
        Shape::Integer(bounds) => check_number(*bounds, integer(value)?, report),
        Shape::String { length, pattern, .. } => {
            let Value::String(text) = value else { return Err(mismatch(value, Wanted::String)) };
            check_text((*length, pattern.as_ref()), text, report);
        }
        Shape::Timestamp => {
            let Value::Number(_) = value else { return Err(mismatch(value, Wanted::Timestamp)) };
        }
        Shape::List { .. } | Shape::Map { .. } | Shape::Structure(_) => {}
    }
    Ok(())
}

fn check_length<'m>(bounds: Option<Bounds>, length: usize, report: Report<'_, 'm>) {
    let Some(bounds) = bounds else { return };
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    if length > bounds.max {
        report(Constraint::LengthMax(bounds.max));
    }
    if length < bounds.min {
        report(Constraint::LengthMin(bounds.min));
    }
}

fn check_text<'m>(
    (length, pattern): (Option<Bounds>, Option<&'m Pattern>),
    text: &str,
    report: Report<'_, 'm>,
) {
    if length.is_some() {
        check_length(length, text.chars().count(), report);
    }
    if let Some(pattern) = pattern.filter(|pattern| !pattern.regex.is_match(text)) {
        report(Constraint::Pattern(pattern));
    }
}

fn check_word<'m>(set: &'m EnumSet, text: &str, report: Report<'_, 'm>) {
    if !set.values.iter().any(|value| value == text) {
        report(Constraint::Enum(set));
    }
}

fn check_number<'m>(bounds: Bounds, number: i64, report: Report<'_, 'm>) {
    if number > bounds.max {
        report(Constraint::ValueMax(bounds.max));
    }
    if number < bounds.min {
        report(Constraint::ValueMin(bounds.min));
    }
}

/// Integers of the API have 32 bits.
fn integer(value: &Value<'_>) -> Result<i64, Error> {
    let Value::Number(number) = value else { return Err(mismatch(value, Wanted::Integer)) };
    number.parse::<i32>().map(i64::from).map_err(|_| mismatch(value, Wanted::Integer))
}

fn list(
    of: &Shape,
    length: Option<Bounds>,
    (value, (path, violations)): (&Value<'_>, (&str, &mut Violations)),
) -> Result<(), Error> {
    let Value::Array(given) = value else { return Err(mismatch(value, Wanted::List)) };
    if let Some(length) = length {
        violations.check_length(path, Shown::Value(value), (length, given.len()));
    }
    let mut is_broken = false;
    for (index, member) in given.iter().enumerate() {
        match of {
            Shape::List { .. } | Shape::Map { .. } | Shape::Structure(_) => {
                shape(of, member, (&format!("{path}.{}.member", index + 1), violations))?;
            }
            Shape::Blob { .. }
            | Shape::Boolean
            | Shape::Enum(_)
            | Shape::Integer(_)
            | Shape::String { .. }
            | Shape::Timestamp => broken(of, member, &mut |_| is_broken = true)?,
        }
    }
    if is_broken {
        violations.add(path, Shown::Value(value), Constraint::Members(&all(of)));
    }
    Ok(())
}

/// Every constraint of the members of a list: AWS names them all, whichever was broken.
fn all(shape: &Shape) -> Vec<Constraint<'_>> {
    let lengths = |bounds: Option<Bounds>| {
        bounds.map(|bounds| [Constraint::LengthMax(bounds.max), Constraint::LengthMin(bounds.min)])
    };
    match shape {
        Shape::Blob { length } => lengths(*length).into_iter().flatten().collect(),
        Shape::Enum(set) => vec![Constraint::Enum(set)],
        Shape::Integer(bounds) => vec![Constraint::ValueMax(bounds.max), Constraint::ValueMin(bounds.min)],
        Shape::String { length, pattern, .. } => {
            let pattern = pattern.as_ref().map(Constraint::Pattern);
            lengths(*length).into_iter().flatten().chain(pattern).collect()
        }
        Shape::Boolean | Shape::List { .. } | Shape::Map { .. } | Shape::Structure(_) | Shape::Timestamp => {
            Vec::new()
        }
    }
}

/// Keys and values of the one map there is, the encryption context, are strings of any length.
fn map(
    (_, of): (&Shape, &Shape),
    value: &Value<'_>,
    (path, violations): (&str, &mut Violations),
) -> Result<(), Error> {
    let Value::Object(given) = value else { return Err(mismatch(value, Wanted::Map)) };
    for (name, value) in given {
        let mut report = |shown, constraint| {
            violations.add(&format!("{path}.{}.member", &**name), shown, constraint);
        };
        if matches!(value, Value::Null) {
            report(Shown::Null, Constraint::NotNull);
        } else {
            broken(of, value, &mut |constraint| report(Shown::Value(value), constraint))?;
        }
    }
    Ok(())
}

/// The type that a value should have.
#[derive(Clone, Copy)]
enum Wanted {
    Blob,
    Boolean,
    Integer,
    List,
    Map,
    String,
    Structure,
    Timestamp,
}

/// A value of the wrong type, in the words of AWS.
fn mismatch(value: &Value<'_>, wanted: Wanted) -> Error {
    let token = match value {
        Value::Bool(false) => "FALSE_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Null => "VALUE_NULL",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => return unexpected("Start of list found where not expected."),
        Value::Object(_) => return unexpected("Start of structure or map found where not expected."),
    };
    let what = match wanted {
        Wanted::Blob => "a Blob",
        Wanted::Boolean => "a Boolean",
        Wanted::Integer => "an Integer",
        Wanted::List => return unexpected("Expected list or null"),
        Wanted::Map => return unexpected("Expected map or null"),
        Wanted::String => "a String",
        Wanted::Structure => return unexpected("Unexpected field type"),
        Wanted::Timestamp => "milliseconds since epoch",
    };
    Error::Serialization(format!("{token} can not be converted to {what}"))
}

fn unexpected(text: &str) -> Error {
    Error::Serialization(text.to_owned())
}
