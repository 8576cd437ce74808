//! What is hashed before it is signed.

use aws_lc_rs::digest;

use crate::domain::kms::Hash;

pub fn hashed(hash: Hash, message: &[u8]) -> Vec<u8> {
    digest::digest(function(hash), message).as_ref().to_vec()
}

pub(super) const fn function(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha224 => &digest::SHA224,
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::kms::Hash;
    use crate::public_key::hashing::hashed;

    #[test]
    fn a_digest_has_the_length_of_its_hash() {
        for hash in [Hash::Sha1, Hash::Sha224, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            assert_eq!(hashed(hash, b"message").len(), hash.bytes(), "{hash:?}");
        }
    }
}
