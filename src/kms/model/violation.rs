//! What a request does wrong, in the words of AWS.

use std::fmt::Write as _;

use crate::kms::error::Error;
use crate::kms::model::json::Value;
use crate::kms::model::shape::{Bounds, EnumSet, Pattern};

/// A rule that a value breaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Constraint<'m> {
    Enum(&'m EnumSet),
    LengthMax(i64),
    LengthMin(i64),
    Members(&'m [Constraint<'m>]),
    NotNull,
    Pattern(&'m Pattern),
    ValueMax(i64),
    ValueMin(i64),
}

/// What was there instead, as far as it may be shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'v> {
    Null,
    Secret,
    Value(&'v Value<'v>),
}

/// Everything that is wrong with a request.
#[derive(Debug, Default)]
pub(super) struct Violations {
    text: String,
    count: usize,
}

/// More are neither counted nor told.
const VIOLATIONS_MAX: usize = 32;
/// Of a value, this much is repeated.
const SHOWN_CHARS_MAX: usize = 2048;

impl Constraint<'_> {
    fn write(self, out: &mut String) {
        let _infallible = match self {
            Self::Enum(set) => write!(out, "Member must satisfy enum value set: {}", set.shown),
            Self::LengthMax(max) => write!(out, "Member must have length less than or equal to {max}"),
            Self::LengthMin(min) => write!(out, "Member must have length greater than or equal to {min}"),
            Self::Members(constraints) => {
                out.push_str("Member must satisfy constraint: [");
                for (index, constraint) in constraints.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    constraint.write(out);
                }
                out.push(']');
                Ok(())
            }
            Self::NotNull => write!(out, "Member must not be null"),
            Self::Pattern(pattern) => {
                write!(out, "Member must satisfy regular expression pattern: {}", pattern.text)
            }
            Self::ValueMax(max) => write!(out, "Member must have value less than or equal to {max}"),
            Self::ValueMin(min) => write!(out, "Member must have value greater than or equal to {min}"),
        };
    }
}

impl Violations {
    pub(super) fn is_full(&self) -> bool {
        self.count >= VIOLATIONS_MAX
    }

    pub(super) fn add(&mut self, path: &str, shown: Shown<'_>, constraint: Constraint<'_>) {
        if self.is_full() {
            return;
        }
        if self.count > 0 {
            self.text.push_str("; ");
        }
        self.count += 1;
        match shown {
            Shown::Null => self.text.push_str("Value null"),
            Shown::Secret => self.text.push_str("Value"),
            Shown::Value(value) => {
                let mut chars = String::new();
                show(value, &mut chars);
                self.text.push_str("Value '");
                self.text.extend(chars.chars().take(SHOWN_CHARS_MAX).map(printable));
                self.text.push('\'');
            }
        }
        let _infallible = write!(self.text, " at '{path}' failed to satisfy constraint: ");
        constraint.write(&mut self.text);
    }

    /// Checks a length in characters, bytes or members.
    pub(super) fn check_length(&mut self, path: &str, shown: Shown<'_>, (bounds, length): (Bounds, usize)) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        if length > bounds.max {
            self.add(path, shown, Constraint::LengthMax(bounds.max));
        }
        if length < bounds.min {
            self.add(path, shown, Constraint::LengthMin(bounds.min));
        }
    }

    pub(super) fn result(self) -> Result<(), Error> {
        match self.count {
            0 => Ok(()),
            1 => Err(Error::Validation(format!("1 validation error detected: {}", self.text))),
            count => Err(Error::Validation(format!("{count} validation errors detected: {}", self.text))),
        }
    }
}

fn printable(character: char) -> char {
    if character.is_control() { '?' } else { character }
}

/// As Java prints strings, numbers and lists. Stops where nobody will look any more.
fn show(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Array(members) => {
            out.push('[');
            for (index, member) in members.iter().enumerate() {
                if out.len() > 4 * SHOWN_CHARS_MAX {
                    break;
                }
                if index > 0 {
                    out.push_str(", ");
                }
                show(member, out);
            }
            out.push(']');
        }
        Value::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
        Value::Null => out.push_str("null"),
        Value::Number(number) => out.push_str(number),
        Value::Object(_) => out.push_str("{...}"),
        Value::String(text) => out.extend(text.chars().take(SHOWN_CHARS_MAX)),
    }
}
