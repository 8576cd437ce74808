//! Keys that no HSM here computes with: made from a seed, which is in the clear only while it is used.

mod ed25519;
mod key_pair;
mod ml_dsa;
mod ml_kem;

use zeroize::Zeroizing;

use crate::domain::kms::{KeySpec, SigningAlgorithm};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::{Computation, ToSign};
use crate::public_key::spki;
use crate::secret::SecretBytes;

pub use key_pair::key_pair;

/// Whether the software provider has keys of this spec.
pub const fn has(spec: KeySpec) -> bool {
    seed_bytes(spec).is_some()
}

/// Length of the seed that a private key is (RFC 8032; FIPS 203, 7.1; FIPS 204, 5.1).
pub const fn seed_bytes(spec: KeySpec) -> Option<usize> {
    if matches!(spec, KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024) {
        Some(64)
    } else if spec.may_be_software() {
        Some(32)
    } else {
        None
    }
}

/// SubjectPublicKeyInfo of the key that this seed makes.
pub fn public_key(spec: KeySpec, seed: &SecretBytes) -> Result<Vec<u8>, HsmError> {
    let raw = if spec == KeySpec::EccNistEdwards25519 {
        ed25519::public_key(seed)
    } else {
        ml_dsa::public_key(spec, seed).or_else(|| ml_kem::public_key(spec, seed))
    };
    raw.and_then(|raw| spki::of_raw(spec, &raw)).ok_or_else(|| unsupported(spec))
}

/// What the key of this seed computes.
pub fn compute(
    spec: KeySpec,
    seed: &SecretBytes,
    computation: &Computation,
) -> Result<SecretBytes, HsmError> {
    let computed = match computation {
        Computation::Sign { algorithm, input } => sign(spec, seed, *algorithm, input).map(SecretBytes::new),
        Computation::Decapsulate { ciphertext } => {
            return ml_kem::decapsulate(spec, seed, ciphertext).ok_or(HsmError::BadCiphertext);
        }
        Computation::Agree { .. } | Computation::DecryptOaep { .. } | Computation::Mac { .. } => None,
    };
    computed.ok_or_else(|| unsupported(spec))
}

fn sign(spec: KeySpec, seed: &SecretBytes, algorithm: SigningAlgorithm, input: &ToSign) -> Option<Vec<u8>> {
    match (algorithm, input) {
        (SigningAlgorithm::Ed25519Sha512, ToSign::Message(message)) => ed25519::sign(seed, message.expose()),
        (SigningAlgorithm::Ed25519PhSha512, ToSign::Digest(digest)) => ed25519::sign_digest(seed, digest),
        (SigningAlgorithm::MlDsaShake256, ToSign::Message(message)) => {
            ml_dsa::sign(spec, seed, message.expose())
        }
        (SigningAlgorithm::MlDsaShake256, ToSign::ExternalMu(mu)) => ml_dsa::sign_mu(spec, seed, mu),
        _ => None,
    }
}

fn unsupported(spec: KeySpec) -> HsmError {
    HsmError::Unsupported(format!("the software provider lacks this for {spec}"))
}

/// Fresh bytes of the operating system.
fn random(bytes: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    aws_lc_rs::rand::fill(&mut random).ok().map(|()| random)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::kem;
    use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

    use super::{compute, public_key, random, seed_bytes};
    use crate::domain::kms::{KeySpec, SigningAlgorithm};
    use crate::key_manager::HsmError;
    use crate::key_manager::backing_key::{Computation, ToSign};
    use crate::key_manager::pkcs8;
    use crate::public_key::spki;
    use crate::secret::SecretBytes;

    fn seed(spec: KeySpec) -> SecretBytes {
        SecretBytes::new(random(seed_bytes(spec).unwrap()).unwrap().to_vec())
    }

    #[test]
    fn another_implementation_verifies_what_is_signed() {
        for (spec, algorithm, verification) in [
            (
                KeySpec::EccNistEdwards25519,
                SigningAlgorithm::Ed25519Sha512,
                &signature::ED25519 as &'static dyn VerificationAlgorithm,
            ),
            (KeySpec::MlDsa44, SigningAlgorithm::MlDsaShake256, &signature::ML_DSA_44),
            (KeySpec::MlDsa65, SigningAlgorithm::MlDsaShake256, &signature::ML_DSA_65),
            (KeySpec::MlDsa87, SigningAlgorithm::MlDsaShake256, &signature::ML_DSA_87),
        ] {
            let seed = seed(spec);
            let input = ToSign::Message(SecretBytes::new(b"message".to_vec()));
            let made = compute(spec, &seed, &Computation::Sign { algorithm, input }).unwrap();
            let public_key = public_key(spec, &seed).unwrap();
            let key = UnparsedPublicKey::new(verification, &public_key);
            assert!(key.verify(b"message", made.expose()).is_ok(), "{spec}");
            assert!(key.verify(b"messagf", made.expose()).is_err(), "{spec}");
        }
    }

    /// RFC 9881, appendix C, and RFC 9935, appendix C: seeds that count up, and the digests of their public keys.
    #[test]
    fn the_examples_of_the_rfcs_come_out() {
        for (spec, digest) in [
            (KeySpec::MlDsa44, "837832708c5236d951581f1fddf2b79991b3424a0486d16da1ddad0fd69701be"),
            (KeySpec::MlDsa65, "b8b62131bfbe84433efb2273d7f5b87f7a22854a2cfd366fc2aead86d837c52d"),
            (KeySpec::MlDsa87, "07e57c4f14dbad1267f621ec3777b4e2e6c4fbc4c22fbb87510ff8e0b3c6a642"),
            (KeySpec::MlKem512, "0e3c8b89b54202d2545f7aba2e2aaa3cffa7b6191919ad738fab35b4f313cf71"),
            (KeySpec::MlKem768, "c23e23dd3d485a9256cda09358a4a286e00b373db10761eadf99f710649ca31c"),
            (KeySpec::MlKem1024, "d2b7480ae006a14b37c1e8a8e45ea39022e32a9b1a7b90d594c84d869c6ac420"),
        ] {
            let bytes = u8::try_from(seed_bytes(spec).unwrap()).unwrap();
            let public_key = public_key(spec, &SecretBytes::new((0..bytes).collect())).unwrap();
            let hashed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public_key);
            let hexadecimal: String = hashed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hexadecimal, digest, "{spec}");
        }
    }

    /// RFC 9935, appendix C.1.
    #[test]
    fn an_ml_kem_private_key_is_written_as_its_seed() {
        let seed: Vec<u8> = (0..64).collect();
        let head = [
            0x30, 0x54, 2, 1, 0, 0x30, 0x0b, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 4, 2, 4, 0x42, 0x80, 0x40,
        ];
        let written = pkcs8::of_ml_kem_seed(KeySpec::MlKem768, &seed).unwrap();
        assert_eq!(written.expose(), [&head[..], &seed].concat());
    }

    #[test]
    fn both_sides_of_an_encapsulation_have_the_same_secret() {
        for (spec, algorithm) in [
            (KeySpec::MlKem512, &kem::ML_KEM_512),
            (KeySpec::MlKem768, &kem::ML_KEM_768),
            (KeySpec::MlKem1024, &kem::ML_KEM_1024),
        ] {
            let seed = seed(spec);
            let public_key = public_key(spec, &seed).unwrap();
            let raw = spki::raw_of(spec, &public_key).unwrap();
            let (ciphertext, theirs) =
                kem::EncapsulationKey::new(algorithm, raw).unwrap().encapsulate().unwrap();
            let decapsulate = |ciphertext: &[u8]| {
                compute(spec, &seed, &Computation::Decapsulate { ciphertext: ciphertext.to_vec() })
            };
            assert_eq!(decapsulate(ciphertext.as_ref()).unwrap().expose(), theirs.as_ref());
            let mut wrong = ciphertext.as_ref().to_vec();
            wrong[0] ^= 1;
            let other = decapsulate(&wrong).unwrap();
            assert!(other.len() == 32 && other.expose() != theirs.as_ref());
            assert_eq!(decapsulate(&wrong[1..]), Err(HsmError::BadCiphertext));
        }
    }
}
