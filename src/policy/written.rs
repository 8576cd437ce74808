//! Values that remember how they were written, and how lists of them are printed.

use serde::Serialize;
use serde::Serializer;

use crate::policy::error::PolicyError;

/// What a text means, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written<T> {
    pub(super) source: Box<str>,
    pub(super) meaning: T,
}

impl<T> Written<T> {
    pub(super) fn parse(
        source: String,
        read: impl FnOnce(&str) -> Result<T, PolicyError>,
    ) -> Result<Self, PolicyError> {
        Ok(Self { meaning: read(&source)?, source: source.into() })
    }
}

impl<T> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// A list that is printed without brackets if it has one value.
pub(super) struct Values<'a, T>(pub(super) &'a [T]);

impl<T: Serialize> Serialize for Values<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [value] => value.serialize(serializer),
            values => values.serialize(serializer),
        }
    }
}
