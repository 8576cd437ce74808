//! RSAES-OAEP decoding (RFC 8017, 7.1.2) for tokens that decrypt RSA without padding but lack a hash.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA224, SHA256, SHA384, SHA512, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::domain::kms::Hash;
use crate::secret::SecretBytes;

/// The message in an encoded one, with an empty label. One answer to everything that is wrong, after the same work:
/// which check failed would be an oracle (Manger 2001).
pub(super) fn decode(hash: Hash, encoded: &[u8]) -> Option<SecretBytes> {
    let hash_bytes = hash.bytes();
    // Public: the length of the modulus.
    let (&first, rest) = encoded.split_first()?;
    let (masked_seed, masked_block) = rest.split_at_checked(hash_bytes)?;
    if masked_block.len() <= hash_bytes {
        return None;
    }
    let seed = xor(masked_seed, &mask(hash, masked_block, hash_bytes));
    let block = xor(masked_block, &mask(hash, &seed, masked_block.len()));
    let (label_hash, padded) = block.split_at_checked(hash_bytes)?;
    let is_label = label_hash.ct_eq(digest(algorithm(hash), b"").as_ref());
    let mut is_right = first.ct_eq(&0) & is_label;
    // Zeros, a one, then the message.
    let (mut is_found, mut start) = (Choice::from(0), 0_u32);
    for (index, byte) in (1_u32..).zip(padded) {
        let is_one = byte.ct_eq(&1);
        is_right &= is_found | is_one | byte.ct_eq(&0);
        start.conditional_assign(&index, is_one & !is_found);
        is_found |= is_one;
    }
    is_right &= is_found;
    let message = padded.get(usize::try_from(start).ok()?..)?;
    bool::from(is_right).then(|| SecretBytes::new(message.to_vec()))
}

fn xor(left: &[u8], right: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(left.iter().zip(right).map(|(left, right)| left ^ right).collect())
}

/// MGF1 (RFC 8017, B.2.1).
fn mask(hash: Hash, seed: &[u8], bytes: usize) -> Zeroizing<Vec<u8>> {
    let mut mask = Zeroizing::new(Vec::with_capacity(bytes + hash.bytes()));
    let mut input = Zeroizing::new(Vec::with_capacity(seed.len() + size_of::<u32>()));
    for counter in 0_u32.. {
        if mask.len() >= bytes {
            break;
        }
        input.clear();
        input.extend_from_slice(seed);
        input.extend_from_slice(&counter.to_be_bytes());
        mask.extend_from_slice(digest(algorithm(hash), &input).as_ref());
    }
    mask.truncate(bytes);
    mask
}

pub(super) fn algorithm(hash: Hash) -> &'static Algorithm {
    match hash {
        Hash::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha224 => &SHA224,
        Hash::Sha256 => &SHA256,
        Hash::Sha384 => &SHA384,
        Hash::Sha512 => &SHA512,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;

    use super::{algorithm, decode, mask, xor};
    use crate::domain::kms::Hash;

    const MODULUS_BYTES: usize = 256;

    /// RFC 8017, 7.1.1, with what a wrong encoder could do.
    fn encode(hash: Hash, label: &[u8], first: u8, padded: &[u8]) -> Vec<u8> {
        let block = [digest(algorithm(hash), label).as_ref(), padded].concat();
        let seed = vec![0x5a; hash.bytes()];
        let masked_block = xor(&block, &mask(hash, &seed, block.len()));
        let masked_seed = xor(&seed, &mask(hash, &masked_block, seed.len()));
        [&[first], masked_seed.as_slice(), &masked_block].concat()
    }

    /// Zeros and the message so that the whole is as long as the modulus.
    fn padded(hash: Hash, message: &[u8]) -> Vec<u8> {
        let zeros = MODULUS_BYTES - 2 - 2 * hash.bytes() - message.len();
        [&vec![0; zeros][..], &[1], message].concat()
    }

    #[test]
    fn messages_of_every_length_come_out_as_they_went_in() {
        for hash in [Hash::Sha1, Hash::Sha256] {
            for bytes in 0..=MODULUS_BYTES - 2 - 2 * hash.bytes() {
                let message = vec![1; bytes];
                let encoded = encode(hash, b"", 0, &padded(hash, &message));
                assert_eq!(encoded.len(), MODULUS_BYTES);
                assert_eq!(decode(hash, &encoded).unwrap().expose(), message);
            }
        }
    }

    #[test]
    fn whatever_is_wrong_nothing_comes_out() {
        let hash = Hash::Sha256;
        let good = padded(hash, b"message");
        let mut garbage = good.clone();
        garbage[3] = 2;
        let wrong = [
            encode(hash, b"", 1, &good),
            encode(hash, b"label", 0, &good),
            encode(hash, b"", 0, &garbage),
            encode(hash, b"", 0, &vec![0; good.len()]),
            encode(Hash::Sha1, b"", 0, &padded(Hash::Sha1, b"message")),
            vec![0; MODULUS_BYTES],
            Vec::new(),
            vec![0; 2 * hash.bytes() + 1],
        ];
        for encoded in wrong {
            assert!(decode(hash, &encoded).is_none());
        }
    }
}
