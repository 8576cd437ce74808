//! The JSON a policy is written in, read strictly: a repeated member or a character AWS forbids is refused.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use crate::policy::error::Cause;
use crate::policy::error::PolicyError;

/// The most values in one list.
pub const VALUES_MAX: usize = 4096;

/// A JSON value whose members keep their order and their repetitions.
pub(super) enum Node {
    Boolean(bool),
    List(Vec<Self>),
    Null,
    Number(String),
    Object(Vec<(String, Self)>),
    Text(String),
}

impl Node {
    /// Nesting is bounded by `serde_json`, at 128.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        serde_json::from_str(text)
            .map_err(|error| Cause::NotJson { line: error.line(), column: error.column() }.into())
    }

    pub(super) fn into_members(self) -> Result<Members, PolicyError> {
        let Self::Object(members) = self else { return Err(Cause::Expected("an object").into()) };
        let mut seen = BTreeSet::new();
        for (name, _) in &members {
            check_characters(name).map_err(|error| error.in_member(name))?;
            if !seen.insert(name.as_str()) {
                return Err(PolicyError::from(Cause::DuplicateMember).in_member(name));
            }
        }
        Ok(Members(members))
    }

    pub(super) fn into_text(self) -> Result<String, PolicyError> {
        let Self::Text(text) = self else { return Err(Cause::Expected("a string").into()) };
        check_characters(&text)?;
        Ok(text)
    }

    /// A condition value: numbers and booleans may stand without quotes.
    pub(super) fn into_scalar(self) -> Result<String, PolicyError> {
        match self {
            Self::Boolean(value) => Ok(value.to_string()),
            Self::Number(number) => Ok(number),
            Self::Text(_) => self.into_text(),
            Self::List(_) | Self::Null | Self::Object(_) => {
                Err(Cause::Expected("a string, a number or a boolean").into())
            }
        }
    }

    /// The values of a member that takes one value or a list.
    pub(super) fn into_values(self) -> Result<Vec<Self>, PolicyError> {
        match self {
            Self::List(values) if values.is_empty() => Err(Cause::EmptyList.into()),
            Self::List(values) if values.len() > VALUES_MAX => {
                Err(Cause::TooManyValues { values_max: VALUES_MAX }.into())
            }
            Self::List(values) => Ok(values),
            Self::Boolean(_) | Self::Null | Self::Number(_) | Self::Object(_) | Self::Text(_) => {
                Ok(vec![self])
            }
        }
    }
}

/// AWS takes the same characters in every kind of policy.
fn check_characters(text: &str) -> Result<(), PolicyError> {
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FF}');
    if text.chars().all(legal) { Ok(()) } else { Err(Cause::IllegalCharacter.into()) }
}

/// The members of an object, taken out one by one.
pub(super) struct Members(Vec<(String, Node)>);

impl Members {
    /// What `read` makes of the member, if it is there; an error says which member it is about.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Node) -> Result<T, PolicyError>,
    ) -> Result<Option<T>, PolicyError> {
        let Some(position) = self.0.iter().position(|(member, _)| member == name) else { return Ok(None) };
        let (_, node) = self.0.remove(position);
        read(node).map(Some).map_err(|error| error.in_member(name))
    }

    /// Refuses the members that nobody took.
    pub(super) fn finish(self) -> Result<(), PolicyError> {
        match self.0.first() {
            Some((name, _)) => Err(PolicyError::from(Cause::UnknownElement).in_member(name)),
            None => Ok(()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Members {
    type Item = (String, Node);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Boolean(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Number(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Node, E> {
                Ok(Node::Text(value))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Node::List(values))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Object(members))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
