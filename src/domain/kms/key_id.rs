//! What names a key, and one generation of its material.

use std::fmt;
use std::sync::Arc;

use crate::domain::kms::hex::{Hex, Uuid};

/// The id of a KMS key: a UUID in lower case, or `mrk-` and 32 hexadecimal digits for a multi-Region key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

/// The id of one generation of key material (`KeyMaterialId`): 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaterialId([u8; MATERIAL_ID_BYTES]);

pub const MATERIAL_ID_BYTES: usize = 32;
pub const KEY_ID_BYTES: usize = 16;
const MULTI_REGION_PREFIX: &str = "mrk-";
/// Where the dashes of a UUID are.
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];

impl KeyId {
    /// Version and variant bits are set as RFC 9562, section 5.4, wants them of a random UUID.
    pub fn from_random(mut random: [u8; KEY_ID_BYTES], multi_region: bool) -> Self {
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut random;
        *version = (*version & 0x0f) | 0x40;
        *variant = (*variant & 0x3f) | 0x80;
        Self::from_bytes(random, multi_region)
    }

    pub fn from_bytes(bytes: [u8; KEY_ID_BYTES], multi_region: bool) -> Self {
        if multi_region {
            return Self(Arc::from(format!("{MULTI_REGION_PREFIX}{}", Hex(&bytes))));
        }
        Self(Arc::from(Uuid::of(&bytes).as_str()))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let is_digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_valid = match text.strip_prefix(MULTI_REGION_PREFIX) {
            Some(digits) => digits.len() == 2 * KEY_ID_BYTES && is_digits(digits),
            None => {
                text.len() == 36
                    && text.bytes().enumerate().all(|(index, byte)| {
                        if UUID_DASHES.contains(&index) {
                            byte == b'-'
                        } else {
                            matches!(byte, b'0'..=b'9' | b'a'..=b'f')
                        }
                    })
            }
        };
        is_valid.then(|| Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_multi_region(&self) -> bool {
        self.0.starts_with(MULTI_REGION_PREFIX)
    }

    /// The sixteen bytes behind the digits.
    pub fn to_bytes(&self) -> [u8; KEY_ID_BYTES] {
        let text = self.0.strip_prefix(MULTI_REGION_PREFIX).unwrap_or(&self.0);
        let mut bytes = [0; KEY_ID_BYTES];
        let mut digits = text.chars().filter_map(|character| character.to_digit(16));
        for byte in &mut bytes {
            let (high, low) = (digits.next().unwrap_or(0), digits.next().unwrap_or(0));
            *byte = u8::try_from(high << 4 | low).unwrap_or(0);
        }
        bytes
    }
}

impl MaterialId {
    pub const fn new(bytes: [u8; MATERIAL_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// From 64 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; MATERIAL_ID_BYTES];
        if !rest.is_empty() || digits.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits) {
            let [high, low] = pair.map(|digit| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            });
            *byte = high? << 4 | low?;
        }
        Some(Self(bytes))
    }

    pub const fn as_bytes(&self) -> &[u8; MATERIAL_ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MaterialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for MaterialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::KeyId;

    #[test]
    fn a_key_id_goes_to_bytes_and_back() {
        for multi_region in [false, true] {
            let id = KeyId::from_random([0xab; 16], multi_region);
            assert_eq!(KeyId::parse(id.as_str()), Some(id.clone()));
            assert_eq!(id.is_multi_region(), multi_region);
            assert_eq!(KeyId::from_bytes(id.to_bytes(), multi_region), id);
        }
        assert_eq!(KeyId::from_random([0xff; 16], false).as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "not-a-uuid",
            "1234ABCD-12ab-34cd-56ef-1234567890ab",
            "1234abcd12ab-34cd-56ef-1234567890abc",
            "mrk-1234",
            "mrk-1234abcd12ab34cd56ef1234567890AB",
            "1234abcd-12ab-34cd-56ef-1234567890ab ",
        ] {
            assert_eq!(KeyId::parse(text), None, "{text}");
        }
    }
}
