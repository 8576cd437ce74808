//! The encryption context: pairs of text that go into what the tag covers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Of a length before a text.
const LENGTH_BYTES: usize = 4;

/// Non-secret pairs of text, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all pairs of the other are among these.
    pub fn includes(&self, other: &Self) -> bool {
        other.0.iter().all(|(key, value)| self.0.get(key) == Some(value))
    }

    pub fn has(&self, key: &str, value: &str) -> bool {
        self.0.get(key).is_some_and(|other| other == value)
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How long it is in canonical form.
    pub fn canonical_bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| LENGTH_BYTES * 2 + key.len() + value.len()).sum()
    }

    /// Bytes that no other context has: each text with its length before it, in the order of the keys. None if it
    /// is longer than `bytes_max`.
    pub fn canonical(&self, bytes_max: usize) -> Option<Vec<u8>> {
        if self.canonical_bytes() > bytes_max {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.canonical_bytes());
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            bytes.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Some(bytes)
    }
}

impl FromIterator<(String, String)> for EncryptionContext {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::EncryptionContext;

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn where_one_text_ends_and_the_next_begins_counts() {
        let canonical = |pairs: &[(&str, &str)]| context(pairs).canonical(1000);
        assert_ne!(canonical(&[("ab", "c")]), canonical(&[("a", "bc")]));
        assert_ne!(canonical(&[("a", "b"), ("c", "d")]), canonical(&[("a", "bcd")]));
        assert_eq!(canonical(&[("a", "1"), ("b", "2")]), canonical(&[("b", "2"), ("a", "1")]));
        assert_eq!(canonical(&[("a", "1")]).unwrap().len(), 10);
        assert_eq!(context(&[("a", "1"), ("bc", "")]).canonical_bytes(), 20);
        assert_eq!(context(&[("a", "1")]).canonical(9), None);
    }

    proptest! {
        #[test]
        fn two_contexts_are_equal_if_their_canonical_bytes_are(
            a in proptest::collection::btree_map("[ab]{0,3}", "[ab]{0,3}", 0..4),
            b in proptest::collection::btree_map("[ab]{0,3}", "[ab]{0,3}", 0..4),
        ) {
            let (a, b): (EncryptionContext, EncryptionContext) =
                (a.into_iter().collect(), b.into_iter().collect());
            prop_assert_eq!(a == b, a.canonical(1000) == b.canonical(1000));
        }
    }
}
