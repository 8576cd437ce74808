//! Aliases: names of keys that can be pointed at other keys.

use std::fmt;
use std::sync::Arc;

use crate::domain::kms::{KeyId, Scope, UnixMillis};

/// The name of an alias, with its prefix `alias/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AliasName(Arc<str>);

/// A name that points at a key of the same scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub scope: Scope,
    pub name: AliasName,
    pub target: KeyId,
    pub created: UnixMillis,
    pub updated: UnixMillis,
}

const PREFIX: &str = "alias/";
const RESERVED_PREFIX: &str = "alias/aws/";
/// `AliasNameType` of the service model, with the prefix.
const CHARS_MAX: usize = 256;

impl AliasName {
    /// `alias/` and 1 or more of `a–z A–Z 0–9 / _ -`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix(PREFIX)?;
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
        let is_valid = !name.is_empty() && text.len() <= CHARS_MAX && name.bytes().all(is_legal);
        is_valid.then(|| Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only AWS services have aliases of this name.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED_PREFIX)
    }
}

impl Alias {
    pub fn arn(&self) -> String {
        self.scope.arn(self.name.as_str())
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
