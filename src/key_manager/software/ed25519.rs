//! Ed25519 and Ed25519ph (RFC 8032, 5.1) from a seed.

use ed25519_dalek::{SECRET_KEY_LENGTH, Signer, SigningKey};
use zeroize::Zeroizing;

use crate::public_key::prehashed::Prehashed;
use crate::secret::SecretBytes;

fn key(seed: &SecretBytes) -> Option<SigningKey> {
    let mut bytes = Zeroizing::new([0; SECRET_KEY_LENGTH]);
    if seed.len() != bytes.len() {
        return None;
    }
    bytes.copy_from_slice(seed.expose());
    Some(SigningKey::from_bytes(&bytes))
}

pub(super) fn public_key(seed: &SecretBytes) -> Option<Vec<u8>> {
    key(seed).map(|key| key.verifying_key().to_bytes().to_vec())
}

pub(super) fn sign(seed: &SecretBytes, message: &[u8]) -> Option<Vec<u8>> {
    key(seed)?.try_sign(message).ok().map(|signature| signature.to_bytes().to_vec())
}

/// Ed25519ph with an empty context, of a digest by SHA-512.
pub(super) fn sign_digest(seed: &SecretBytes, digest: &[u8]) -> Option<Vec<u8>> {
    let signature = key(seed)?.sign_prehashed(Prehashed::new(digest)?, None).ok()?;
    Some(signature.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::{public_key, sign_digest};
    use crate::secret::SecretBytes;

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        hexadecimal
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 8032, 7.3.
    #[test]
    fn the_vector_of_ed25519ph_comes_out() {
        let seed =
            SecretBytes::new(bytes("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"));
        let expected = bytes("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf");
        assert_eq!(public_key(&seed).unwrap(), expected);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, b"abc");
        let expected = bytes(
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aa\
             a10b8c61e636062aaad11c2a26083406",
        );
        assert_eq!(sign_digest(&seed, digest.as_ref()).unwrap(), expected);
        assert_eq!(sign_digest(&seed, &digest.as_ref()[1..]), None);
    }
}
