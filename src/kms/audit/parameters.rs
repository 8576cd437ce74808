//! What of a request or an answer is recorded, and how: only what is named here, so that a secret is never among it.

use crate::cloudtrail::push_date_text;
use crate::domain::kms::UnixMillis;
use crate::json::{Object, push_array, push_text};
use crate::kms::model::{Document, Text, Value};

/// One member that is recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    /// As in the request or answer.
    member: &'static str,
    /// As in the record.
    name: &'static str,
    form: Form,
    otherwise: Otherwise,
}

/// How a value is written. One that is of another form is left out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Seconds since 1970, as a text.
    Date,
    List(&'static Form),
    /// Names that the caller chose, and texts.
    Map,
    Object(&'static [Parameter]),
    /// A text, number or truth value, as it is.
    Scalar,
}

/// What is written of a member that is not there.
#[derive(Clone, Copy, Debug)]
enum Otherwise {
    /// JSON.
    Default(&'static str),
    /// Another member that says the same, or else this JSON.
    Member(&'static str, &'static str),
    Nothing,
}

impl Parameter {
    pub(super) const fn new(member: &'static str, name: &'static str, form: Form) -> Self {
        Self { member, name, form, otherwise: Otherwise::Nothing }
    }

    pub(super) const fn scalar(member: &'static str, name: &'static str) -> Self {
        Self::new(member, name, Form::Scalar)
    }

    /// With this JSON if it is absent.
    pub(super) const fn or(self, json: &'static str) -> Self {
        Self { otherwise: Otherwise::Default(json), ..self }
    }

    /// With the value of another member, or else this JSON.
    pub(super) const fn or_member(self, member: &'static str, json: &'static str) -> Self {
        Self { otherwise: Otherwise::Member(member, json), ..self }
    }

    #[cfg(test)]
    pub(super) const fn member(&self) -> &'static str {
        self.member
    }

    fn write(&self, members: &[(Text<'_>, Value<'_>)], object: &mut Object<'_>) {
        let find = |member: &str| {
            let (_, value) = members.iter().find(|(name, _)| **name == *member)?;
            self.form.fits(value).then_some(value)
        };
        let found = find(self.member);
        match (found, self.otherwise) {
            (Some(value), _) => self.form.push(object.member(self.name), value),
            (None, Otherwise::Default(json)) => object.json(self.name, json.as_bytes()),
            (None, Otherwise::Member(other, json)) => match find(other) {
                Some(value) => self.form.push(object.member(self.name), value),
                None => object.json(self.name, json.as_bytes()),
            },
            (None, Otherwise::Nothing) => {}
        }
    }
}

impl Form {
    const fn fits(self, value: &Value<'_>) -> bool {
        match self {
            Self::Date => matches!(value, Value::Number(_)),
            Self::List(_) => matches!(value, Value::Array(_)),
            Self::Map | Self::Object(_) => matches!(value, Value::Object(_)),
            Self::Scalar => matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_)),
        }
    }

    /// Of a value that fits.
    fn push(self, out: &mut Vec<u8>, value: &Value<'_>) {
        match (self, value) {
            (Self::Date, Value::Number(seconds)) => push_date(out, seconds),
            (Self::List(of), Value::Array(values)) => {
                let fitting = values.iter().filter(|value| of.fits(value));
                push_array(out, fitting, |out, value| of.push(out, value));
            }
            (Self::Map, Value::Object(members)) => {
                let mut object = Object::begin(out);
                for (name, value) in members {
                    if let Value::String(text) = value {
                        object.named_by_caller(name, text);
                    }
                }
                object.end();
            }
            (Self::Object(parameters), Value::Object(members)) => push_members(out, parameters, members),
            (Self::Scalar, Value::Bool(is)) => out.extend_from_slice(if *is { b"true" } else { b"false" }),
            (Self::Scalar, Value::Number(number)) => out.extend_from_slice(number.as_bytes()),
            (Self::Scalar, Value::String(text)) => push_text(out, text),
            (Self::Date | Self::List(_) | Self::Map | Self::Object(_) | Self::Scalar, _) => {
                out.extend_from_slice(b"null");
            }
        }
    }
}

/// The object of those parameters that `document` has, or that have a default.
pub(super) fn recorded(parameters: &[Parameter], document: &Document<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(PARAMETERS_BYTES_USUAL);
    push_members(&mut out, parameters, document.members());
    out
}

/// Room for those of a cryptographic operation.
const PARAMETERS_BYTES_USUAL: usize = 512;

fn push_members(out: &mut Vec<u8>, parameters: &[Parameter], members: &[(Text<'_>, Value<'_>)]) {
    let mut object = Object::begin(out);
    parameters.iter().for_each(|parameter| parameter.write(members, &mut object));
    object.end();
}

/// What is no time is written as it is.
fn push_date(out: &mut Vec<u8>, seconds: &str) {
    // Beyond these, no date is meant, and a float would not be exact.
    const SECONDS_MAX: f64 = 1e11;
    let known = seconds.parse::<f64>().ok().filter(|seconds| (0.0..SECONDS_MAX).contains(seconds));
    let Some(seconds) = known else {
        push_text(out, seconds);
        return;
    };
    #[expect(clippy::cast_possible_truncation, reason = "it is below 1e14")]
    let millis = (seconds * 1000.0) as i64;
    out.push(b'"');
    push_date_text(out, UnixMillis(millis));
    out.push(b'"');
}
