//! What an import token says: everything that its import needs, so that nothing of it is stored.

use crate::domain::kms::{RootKeyId, UnixMillis, WrappedKey, WrappingAlgorithm, WrappingKeySpec};

/// In the clear only inside the daemon: callers get it sealed, bound to their key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportToken {
    pub valid_to: UnixMillis,
    pub algorithm: WrappingAlgorithm,
    pub wrapping_key_spec: WrappingKeySpec,
    /// The private half of the wrapping key, under the root key.
    pub wrapping_key: WrappedKey,
}

/// First byte: without and with the id of the root key behind the words.
const UNNAMED: u8 = 1;
const NAMED: u8 = 2;

impl ImportToken {
    /// Version, time, PKCS#11 mechanism, algorithm, spec, root key, wrapped key: lengths of one byte before the words.
    pub fn to_bytes(&self) -> Vec<u8> {
        let root_key = self.wrapping_key.root_key;
        let mut bytes = vec![if root_key.is_some() { NAMED } else { UNNAMED }];
        bytes.extend(self.valid_to.0.to_be_bytes());
        bytes.extend(self.wrapping_key.mechanism.to_be_bytes());
        for word in [self.algorithm.as_str(), self.wrapping_key_spec.as_str()] {
            // Every word is shorter than 256 bytes.
            bytes.push(u8::try_from(word.len()).unwrap_or(u8::MAX));
            bytes.extend(word.as_bytes());
        }
        bytes.extend(root_key.iter().flat_map(|id| id.0));
        bytes.extend(&self.wrapping_key.bytes);
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (valid_to, rest) = rest.split_first_chunk()?;
        let (mechanism, rest) = rest.split_first_chunk()?;
        let (algorithm, rest) = split_word(rest)?;
        let (wrapping_key_spec, rest) = split_word(rest)?;
        let (root_key, rest) = match version {
            UNNAMED => (None, rest),
            NAMED => {
                let (id, rest) = rest.split_first_chunk()?;
                (Some(RootKeyId(*id)), rest)
            }
            _ => return None,
        };
        Some(Self {
            valid_to: UnixMillis(i64::from_be_bytes(*valid_to)),
            algorithm: WrappingAlgorithm::parse(algorithm)?,
            wrapping_key_spec: WrappingKeySpec::parse(wrapping_key_spec)?,
            wrapping_key: WrappedKey {
                root_key,
                mechanism: u64::from_be_bytes(*mechanism),
                bytes: rest.to_vec(),
            },
        })
    }
}

fn split_word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (word, rest) = rest.split_at_checked(length.into())?;
    Some((std::str::from_utf8(word).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::ImportToken;
    use crate::domain::kms::{RootKeyId, UnixMillis, WrappedKey, WrappingAlgorithm, WrappingKeySpec};

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_shorter_is_one() {
        let algorithms = WrappingAlgorithm::ALL.iter().copied();
        let named = [None, Some(RootKeyId([3; 16]))];
        for (algorithm, root_key) in algorithms.flat_map(|algorithm| named.map(|named| (algorithm, named))) {
            let token = ImportToken {
                valid_to: UnixMillis(-1),
                algorithm,
                wrapping_key_spec: WrappingKeySpec::Rsa3072,
                wrapping_key: WrappedKey { root_key, mechanism: u64::MAX, bytes: vec![7; 9] },
            };
            let bytes = token.to_bytes();
            assert_eq!(ImportToken::parse(&bytes), Some(token));
            (0..bytes.len() - 9).for_each(|length| assert_eq!(ImportToken::parse(&bytes[..length]), None));
            assert_eq!(ImportToken::parse(&[&[3], &bytes[1..]].concat()), None);
        }
    }
}
