//! RSAES-OAEP with a public key.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey,
};

use crate::domain::kms::EncryptionAlgorithm;
use crate::public_key::Unreadable;

/// With an empty label, and MGF1 with the hash of the algorithm (RFC 8017, 7.1.1). What is too long, whoever calls
/// has refused.
pub fn encrypt(
    algorithm: EncryptionAlgorithm,
    public_key: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Unreadable> {
    let algorithm = oaep(algorithm).ok_or(Unreadable)?;
    let key = PublicEncryptingKey::from_der(public_key).map_err(|_| Unreadable)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| Unreadable)?;
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let written = key.encrypt(algorithm, plaintext, &mut ciphertext, None).map_err(|_| Unreadable)?.len();
    ciphertext.truncate(written);
    Ok(ciphertext)
}

const fn oaep(algorithm: EncryptionAlgorithm) -> Option<&'static OaepAlgorithm> {
    match algorithm {
        EncryptionAlgorithm::RsaesOaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::RsaesOaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        EncryptionAlgorithm::Sm2Pke | EncryptionAlgorithm::SymmetricDefault => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use crate::domain::kms::{EncryptionAlgorithm, KeySpec};
    use crate::public_key::Unreadable;
    use crate::public_key::encryption::{encrypt, oaep};

    #[test]
    fn what_is_encrypted_decrypts_up_to_the_greatest_length_and_no_further() {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let public_key: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let private_key = OaepPrivateDecryptingKey::new(key).unwrap();
        for algorithm in [EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256] {
            let longest = algorithm.plaintext_bytes_max(KeySpec::Rsa2048).unwrap();
            for length in [0, 1, longest] {
                let plaintext = vec![7; length];
                let ciphertext = encrypt(algorithm, public_key.as_ref(), &plaintext).unwrap();
                assert_eq!(ciphertext.len(), 256);
                let mut out = [0; 256];
                let oaep = oaep(algorithm).unwrap();
                assert_eq!(private_key.decrypt(oaep, &ciphertext, &mut out, None).unwrap(), plaintext);
            }
            assert_eq!(encrypt(algorithm, public_key.as_ref(), &vec![7; longest + 1]), Err(Unreadable));
        }
        assert_eq!(encrypt(EncryptionAlgorithm::SymmetricDefault, public_key.as_ref(), b""), Err(Unreadable));
        assert_eq!(encrypt(EncryptionAlgorithm::RsaesOaepSha1, b"no key", b""), Err(Unreadable));
    }
}
