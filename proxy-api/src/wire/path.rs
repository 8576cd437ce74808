//! The paths of the API: which key store prefix, which key, which operation.

use std::fmt;

use super::{EXTERNAL_KEY_ID_CHARS_MAX, URI_PATH_BASE};

/// One of the four operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Decrypt,
    Encrypt,
    GetHealthStatus,
    GetKeyMetadata,
}

/// An operation on one key; the last segment of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyOperation {
    Decrypt,
    Encrypt,
    Metadata,
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Health,
    Key { external_key_id: &'a str, operation: KeyOperation },
}

/// A path of the API taken apart. `Display` puts it together again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// What stands before `/kms/xks/v1`, without slashes at either end; may be empty.
    pub prefix: &'a str,
    pub target: Target<'a>,
}

/// Takes `path` apart as received: no decoding, no normalisation, no query. Nothing if it is not a path of the
/// API; whether the prefix and the key exist is for the caller to find out.
#[must_use]
pub fn parse_path(path: &str) -> Option<Route<'_>> {
    let (parent, last) = path.rsplit_once('/')?;
    let (base, target) = if last == "health" {
        (parent, Target::Health)
    } else {
        let operation = KeyOperation::from_segment(last)?;
        let (parent, external_key_id) = parent.rsplit_once('/')?;
        if !is_external_key_id(external_key_id) {
            return None;
        }
        (parent.strip_suffix("/keys")?, Target::Key { external_key_id, operation })
    };
    let prefix = base.strip_suffix(URI_PATH_BASE)?;
    if prefix.is_empty() {
        return Some(Route { prefix, target });
    }
    let prefix = prefix.strip_prefix('/')?;
    is_prefix(prefix).then_some(Route { prefix, target })
}

/// Whether `text` can be an external key id: 1–128 characters of `A–Z a–z 0–9 - . _`. The ids `.` and `..` are
/// within the character set, but no path survives them.
#[must_use]
pub fn is_external_key_id(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=EXTERNAL_KEY_ID_CHARS_MAX).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(is_legal)
}

/// Non-empty segments of the allowed characters, with one slash between two.
pub(super) fn is_prefix(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.split('/').all(|segment| !segment.is_empty() && segment.bytes().all(is_legal))
}

impl KeyOperation {
    const fn segment(self) -> &'static str {
        match self {
            Self::Decrypt => "decrypt",
            Self::Encrypt => "encrypt",
            Self::Metadata => "metadata",
        }
    }

    fn from_segment(segment: &str) -> Option<Self> {
        [Self::Decrypt, Self::Encrypt, Self::Metadata]
            .into_iter()
            .find(|operation| operation.segment() == segment)
    }
}

impl Target<'_> {
    /// Which of the four operations this is.
    #[must_use]
    pub const fn operation(self) -> Operation {
        match self {
            Self::Health => Operation::GetHealthStatus,
            Self::Key { operation: KeyOperation::Decrypt, .. } => Operation::Decrypt,
            Self::Key { operation: KeyOperation::Encrypt, .. } => Operation::Encrypt,
            Self::Key { operation: KeyOperation::Metadata, .. } => Operation::GetKeyMetadata,
        }
    }
}

impl Operation {
    /// The name that the specification gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decrypt => "Decrypt",
            Self::Encrypt => "Encrypt",
            Self::GetHealthStatus => "GetHealthStatus",
            Self::GetKeyMetadata => "GetKeyMetadata",
        }
    }
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        write!(f, "{URI_PATH_BASE}{}", self.target)
    }
}

/// What follows `/kms/xks/v1`.
impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Health => f.write_str("/health"),
            Self::Key { external_key_id, operation } => {
                write!(f, "/keys/{external_key_id}/{}", operation.segment())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{KeyOperation, Operation, Route, Target, parse_path};

    fn key(external_key_id: &str, operation: KeyOperation) -> Target<'_> {
        Target::Key { external_key_id, operation }
    }

    #[test]
    fn every_operation_is_found_with_and_without_a_prefix() {
        for (path, prefix, target) in [
            ("/kms/xks/v1/health", "", Target::Health),
            ("/a/b-c_D/kms/xks/v1/health", "a/b-c_D", Target::Health),
            ("/kms/xks/v1/kms/xks/v1/health", "kms/xks/v1", Target::Health),
            ("/p/kms/xks/v1/keys/foo/encrypt", "p", key("foo", KeyOperation::Encrypt)),
            ("/kms/xks/v1/keys/a.b-c_D9/decrypt", "", key("a.b-c_D9", KeyOperation::Decrypt)),
            ("/kms/xks/v1/keys/health/metadata", "", key("health", KeyOperation::Metadata)),
        ] {
            let route = parse_path(path).unwrap();
            assert_eq!(route, Route { prefix, target });
            assert_eq!(route.to_string(), path);
        }
    }

    #[test]
    fn anything_else_is_no_path_of_the_api() {
        for path in [
            "",
            "/",
            "*",
            "health",
            "kms/xks/v1/health",
            "//kms/xks/v1/health",
            "/a//b/kms/xks/v1/health",
            "/a.b/kms/xks/v1/health",
            "/a%2Fb/kms/xks/v1/health",
            "/../kms/xks/v1/health",
            "/kms/xks/v1/health/",
            "/kms/xks/v1/Health",
            "/kms/xks/v2/health",
            "/kms/xks/v10/health",
            "/xkms/xks/v1/health/x",
            "/kms/xks/v1/keys//encrypt",
            "/kms/xks/v1/keys/./encrypt",
            "/kms/xks/v1/keys/../encrypt",
            "/kms/xks/v1/keys/a%20b/encrypt",
            "/kms/xks/v1/keys/a/b/encrypt",
            "/kms/xks/v1/keys/a/sign",
            "/kms/xks/v1/key/a/encrypt",
            "/kms/xks/v1/keys/foo",
        ] {
            assert_eq!(parse_path(path), None, "{path}");
        }
        assert_eq!(parse_path(&format!("/kms/xks/v1/keys/{}/encrypt", "a".repeat(129))), None);
    }

    #[test]
    fn a_target_knows_its_operation() {
        assert_eq!(Target::Health.operation().name(), "GetHealthStatus");
        assert_eq!(key("a", KeyOperation::Metadata).operation(), Operation::GetKeyMetadata);
        assert_eq!(key("a", KeyOperation::Encrypt).operation(), Operation::Encrypt);
        assert_eq!(key("a", KeyOperation::Decrypt).operation(), Operation::Decrypt);
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_the_same(path in "(/|[a-z%.]{0,3}|/kms/xks/v1|/keys/|health|/encrypt|é){0,8}") {
            if let Some(route) = parse_path(&path) {
                prop_assert_eq!(route.to_string(), path);
            }
        }
    }
}
