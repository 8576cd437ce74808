//! Root keys of the HSM: which of them is the current one, and which one a secret is under.

use std::fmt;

pub const ROOT_KEY_ID_BYTES: usize = 16;

/// The `CKA_ID` of a root key: random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RootKeyId(pub [u8; ROOT_KEY_ID_BYTES]);

/// The root keys of a store: at most two, since one rotation ends before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootKeys {
    /// What is new is under it.
    pub current: RootKeyId,
    /// Until everything was put under the current one, and the operator has retired it.
    pub former: Option<RootKeyId>,
}

/// What is sealed: a secret under a root key, bound to where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedParts<'a> {
    /// Absent in what was sealed before root keys could be rotated.
    pub root_key: Option<RootKeyId>,
    pub iv: &'a [u8],
    pub ciphertext_and_tag: &'a [u8],
}

/// First byte: without and with the id of the root key behind it.
const UNNAMED: u8 = 1;
const NAMED: u8 = 2;

impl RootKeyId {
    /// From the hexadecimal form.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut id = [0; ROOT_KEY_ID_BYTES];
        if digits.len() != 2 * ROOT_KEY_ID_BYTES {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = <[u8; 2]>::try_from(pair).ok()?.map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? * 16 + low?).ok()?;
        }
        Some(Self(id))
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl RootKeys {
    /// Before anything was rotated, and after the former one is retired.
    pub const fn only(current: RootKeyId) -> Self {
        Self { current, former: None }
    }

    /// What names no root key was made before the first rotation: while the former one is here it can be under no
    /// other, and afterwards nothing is left that names none.
    pub fn resolve(&self, named: Option<RootKeyId>) -> RootKeyId {
        named.or(self.former).unwrap_or(self.current)
    }

    pub fn contains(&self, id: &RootKeyId) -> bool {
        self.all().any(|known| known == *id)
    }

    /// The current one first.
    pub fn all(&self) -> impl Iterator<Item = RootKeyId> + use<> {
        std::iter::once(self.current).chain(self.former)
    }
}

impl<'a> SealedParts<'a> {
    /// Version, id of the root key, length of the IV, IV, ciphertext, tag.
    pub fn to_bytes(&self) -> Vec<u8> {
        let iv_bytes = u8::try_from(self.iv.len()).unwrap_or(u8::MAX);
        let start: Vec<u8> = match &self.root_key {
            None => vec![UNNAMED],
            Some(id) => [&[NAMED], id.0.as_slice()].concat(),
        };
        [start.as_slice(), &[iv_bytes], self.iv, self.ciphertext_and_tag].concat()
    }

    pub fn parse(sealed: &'a [u8]) -> Option<Self> {
        let (&version, rest) = sealed.split_first()?;
        let (root_key, rest) = match version {
            UNNAMED => (None, rest),
            NAMED => {
                let (id, rest) = rest.split_first_chunk()?;
                (Some(RootKeyId(*id)), rest)
            }
            _ => return None,
        };
        let (&iv_bytes, rest) = rest.split_first()?;
        let (iv, ciphertext_and_tag) = rest.split_at_checked(iv_bytes.into())?;
        Some(Self { root_key, iv, ciphertext_and_tag })
    }
}

impl fmt::Display for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{RootKeyId, RootKeys, SealedParts};

    const A: RootKeyId = RootKeyId([0xa1; 16]);
    const B: RootKeyId = RootKeyId([0xb2; 16]);

    #[test]
    fn an_id_is_read_as_it_is_shown_and_nothing_else_is_one() {
        let shown = A.to_string();
        assert_eq!(RootKeyId::parse(&shown), Some(A));
        for wrong in ["", &shown[1..], &format!("{shown}00"), &shown.replace('a', "g"), &"é".repeat(16)] {
            assert_eq!(RootKeyId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_names_no_root_key_is_under_the_former_one_as_long_as_there_is_one() {
        let rotating = RootKeys { current: B, former: Some(A) };
        assert_eq!(rotating.resolve(None), A);
        assert_eq!(rotating.resolve(Some(B)), B);
        assert_eq!(RootKeys::only(B).resolve(None), B);
        assert!(rotating.contains(&A) && !RootKeys::only(B).contains(&A));
    }

    #[test]
    fn what_is_sealed_is_read_as_it_was_written_and_nothing_shorter_panics() {
        for root_key in [None, Some(A)] {
            let parts = SealedParts { root_key, iv: &[1; 12], ciphertext_and_tag: &[2; 20] };
            let bytes = parts.to_bytes();
            assert_eq!(SealedParts::parse(&bytes), Some(parts));
            for length in 0..bytes.len() {
                assert_ne!(SealedParts::parse(&bytes[..length]), Some(parts));
            }
        }
        assert_eq!(SealedParts::parse(&[3; 40]), None);
    }
}
