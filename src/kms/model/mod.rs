//! The service model of the KMS API: what a request may hold, from one description, checked before anything else.

mod base64;
mod check;
mod json;
mod shape;
mod violation;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::kms::error::Error;
use crate::kms::model::shape::{BadLine, Shapes};
use crate::kms::model::violation::Violations;
use crate::kms::operation::OperationName;

pub(in crate::kms) use crate::kms::model::json::{Text, Value};

/// Every operation with its input.
#[derive(Debug)]
pub struct Model {
    shapes: Shapes,
}

/// A request body that is a JSON object.
#[derive(Debug)]
pub struct Document<'b> {
    root: Value<'b>,
}

/// The description, compared with the service model of AWS by a test.
const DESCRIPTION: &str = include_str!("api.model");

/// Whether the endpoint of an external key store may have a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointPorts {
    Allowed,
    /// As AWS KMS does.
    Refused,
}

/// What the pattern of `XksProxyUriEndpoint` ends with, and what it ends with where ports are allowed.
const ENDPOINT_END: [&str; 2] = ["~ ^https://[a-zA-Z0-9.-]+$", "~ ^https://[a-zA-Z0-9.-]+(:[0-9]{1,5})?$"];

impl Model {
    /// Nothing if the description cannot be read, which a test excludes.
    pub fn new(endpoint_ports: EndpointPorts) -> Result<Self, String> {
        let [without_port, with_port] = ENDPOINT_END;
        let description = match endpoint_ports {
            EndpointPorts::Allowed => Cow::Owned(DESCRIPTION.replace(without_port, with_port)),
            EndpointPorts::Refused => Cow::Borrowed(DESCRIPTION),
        };
        Shapes::parse(&description).map(|shapes| Self { shapes }).map_err(|BadLine(line)| line)
    }

    /// Whether `document` is what `operation` takes: types, required members, lengths, ranges, patterns, words.
    pub fn check(&self, operation: OperationName, document: &Document<'_>) -> Result<(), Error> {
        let mut violations = Violations::default();
        if let Some(input) = self.shapes.input(operation) {
            check::structure(input, &document.root, &mut violations)?;
        }
        violations.result()
    }
}

impl<'b> Document<'b> {
    /// An empty body is an object without members.
    pub fn parse(body: &'b [u8]) -> Result<Self, Error> {
        let root = json::parse(body)
            .map_err(|error| Error::Serialization(format!("{} (byte {})", error.what, error.byte)))?;
        match root {
            Value::Object(_) => Ok(Self { root }),
            Value::Array(_) => {
                Err(Error::Serialization("Start of list found where not expected.".to_owned()))
            }
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
                Err(Error::Serialization("Start of structure expected.".to_owned()))
            }
        }
    }

    /// Every member, known or not, in the order of the request.
    pub(in crate::kms) fn members(&self) -> &[(Text<'b>, Value<'b>)] {
        match &self.root {
            Value::Object(members) => members,
            Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => &[],
        }
    }

    /// A member that is a string.
    pub fn text(&self, member: &str) -> Option<&str> {
        let Value::Object(members) = &self.root else { return None };
        match members.iter().find(|(name, _)| **name == *member) {
            Some((_, Value::String(text))) => Some(text),
            Some(_) | None => None,
        }
    }
}
