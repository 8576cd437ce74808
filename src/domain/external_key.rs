//! An external key: the id AWS KMS names it by, and the versions of HSM key behind that id.

use std::fmt;
use std::sync::Arc;

/// The longest external key id (XKS v1, API operations), in characters.
const EXTERNAL_KEY_ID_CHARS_MAX: usize = 128;

/// An external key id: 1–128 characters of `A–Z a–z 0–9 - . _`, and neither `.` nor `..`, which would not
/// survive path normalisation (XKS v1, API operations).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalKeyId(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidExternalKeyId;

impl ExternalKeyId {
    pub fn parse(text: &str) -> Result<Self, InvalidExternalKeyId> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if text.is_empty()
            || text.len() > EXTERNAL_KEY_ID_CHARS_MAX
            || text == "."
            || text == ".."
            || !text.bytes().all(legal)
        {
            return Err(InvalidExternalKeyId);
        }
        Ok(Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExternalKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ExternalKeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvalidExternalKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an external key id is 1 to 128 characters of A-Z a-z 0-9 - . _ and neither `.` nor `..`")
    }
}

impl std::error::Error for InvalidExternalKeyId {}

/// What an HSM key may be used for (`CKA_ENCRYPT`, `CKA_DECRYPT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsages {
    pub encrypt: bool,
    pub decrypt: bool,
}

/// Names one version of an external key: its number, and a random tag that tells a key that was deleted and
/// made again from the first one. It is in the `CKA_ID` of the HSM key and in the `ciphertextMetadata` of
/// everything encrypted with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionMarker {
    pub number: u32,
    pub tag: [u8; 8],
}

/// First byte of our `ciphertextMetadata`: how the rest, and the AAD given to the HSM, are built. Scheme 1 is
/// the formula of XKS v1, Encrypt, with these 13 bytes as metadata.
const METADATA_SCHEME: u8 = 1;
const METADATA_BYTES: usize = 13;

/// `CKA_ID` of a key that Holdfast made: this prefix, a state byte, the version number, the tag.
const OBJECT_ID_PREFIX: [u8; 3] = *b"HF\x01";
const OBJECT_ID_BYTES: usize = 16;
const STATE_ENABLED: u8 = 0;
const STATE_DISABLED: u8 = 1;

impl VersionMarker {
    pub fn to_metadata(self) -> [u8; METADATA_BYTES] {
        let mut bytes = [0; METADATA_BYTES];
        let (scheme, rest) = bytes.split_at_mut(1);
        let (number, tag) = rest.split_at_mut(4);
        scheme.copy_from_slice(&[METADATA_SCHEME]);
        number.copy_from_slice(&self.number.to_be_bytes());
        tag.copy_from_slice(&self.tag);
        bytes
    }

    /// The marker in `ciphertextMetadata`, or nothing if we never wrote such metadata.
    pub fn from_metadata(metadata: &[u8]) -> Option<Self> {
        let (&METADATA_SCHEME, rest) = metadata.split_first()? else { return None };
        Self::from_number_and_tag(rest)
    }

    pub fn to_object_id(self, enabled: bool) -> [u8; OBJECT_ID_BYTES] {
        let mut bytes = [0; OBJECT_ID_BYTES];
        let (prefix, rest) = bytes.split_at_mut(3);
        let (state, rest) = rest.split_at_mut(1);
        let (number, tag) = rest.split_at_mut(4);
        prefix.copy_from_slice(&OBJECT_ID_PREFIX);
        state.copy_from_slice(&[if enabled { STATE_ENABLED } else { STATE_DISABLED }]);
        number.copy_from_slice(&self.number.to_be_bytes());
        tag.copy_from_slice(&self.tag);
        bytes
    }

    /// The marker and whether the key is enabled, or nothing if the key is not one that Holdfast made.
    pub fn from_object_id(id: &[u8]) -> Option<(Self, bool)> {
        let (&state, rest) = id.strip_prefix(&OBJECT_ID_PREFIX)?.split_first()?;
        Some((Self::from_number_and_tag(rest)?, state == STATE_ENABLED))
    }

    fn from_number_and_tag(bytes: &[u8]) -> Option<Self> {
        let (number, tag) = bytes.split_at_checked(4)?;
        Some(Self { number: u32::from_be_bytes(number.try_into().ok()?), tag: tag.try_into().ok()? })
    }
}

impl fmt::Display for VersionMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.number)?;
        self.tag.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VersionMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{ExternalKeyId, VersionMarker};

    const MARKER: VersionMarker = VersionMarker { number: 7, tag: *b"abcdefgh" };

    #[test]
    fn ids_that_path_normalisation_would_change_are_refused() {
        for text in ["", ".", "..", "a/b", "a b", "é", &"a".repeat(129)] {
            assert!(ExternalKeyId::parse(text).is_err(), "{text}");
        }
        for text in ["a", "...", "a.b-c_D9", &"a".repeat(128)] {
            assert_eq!(ExternalKeyId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_marker_survives_metadata_and_object_id() {
        assert_eq!(VersionMarker::from_metadata(&MARKER.to_metadata()), Some(MARKER));
        for enabled in [true, false] {
            assert_eq!(VersionMarker::from_object_id(&MARKER.to_object_id(enabled)), Some((MARKER, enabled)));
        }
    }

    #[test]
    fn foreign_metadata_and_object_ids_are_not_markers() {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x02\0\0\0\x07abcdefgh",
            b"\x01\0\0\0\x07abcdefg",
            b"\x01\0\0\0\x07abcdefghi",
        ] {
            assert_eq!(VersionMarker::from_metadata(bytes), None);
        }
        for bytes in [&b""[..], b"HF", b"HF\x01\0", b"HF\x02\0\0\0\0\x07abcdefgh", b"0123456789abcdef"] {
            assert_eq!(VersionMarker::from_object_id(bytes), None);
        }
    }
}
