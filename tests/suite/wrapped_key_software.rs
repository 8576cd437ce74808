//! Keys that the HSM cannot do everything with: token objects, and those of the software provider.

use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::signature::UnparsedPublicKey;
use holdfast::domain::kms::{KeptKey, KeySpec, KeyUsage, SigningAlgorithm};
use holdfast::key_manager::HsmError;
use holdfast::key_manager::backing_key::{Computation, ToSign};

use crate::support::wrapped::{site, story};
use crate::wrapped_key_kinds::{MESSAGE, assert_signs, kind, to_sign, verification};

const ED25519: KeySpec = KeySpec::EccNistEdwards25519;

fn sign(algorithm: SigningAlgorithm) -> Computation {
    Computation::Sign { algorithm, input: to_sign(algorithm) }
}

#[test]
fn a_key_that_the_token_cannot_wrap_stays_in_it_until_it_is_destroyed() {
    story(
        "wrapped_key_software::a_key_that_the_token_cannot_wrap_stays_in_it_until_it_is_destroyed",
        || site(1, 100),
        |keys| {
            let id = keys.opened();
            let (key, public_key) = keys.pair(kind(ED25519, KeyUsage::SignVerify));
            assert_eq!(*key.kept, KeptKey::TokenObject);
            let algorithm = SigningAlgorithm::Ed25519Sha512;
            for _ in 0..2 {
                let made = keys.compute(&key, sign(algorithm)).unwrap();
                let verifying = UnparsedPublicKey::new(verification(ED25519, algorithm), &public_key);
                assert!(verifying.verify(MESSAGE, &made).is_ok());
                // As after a restart.
                keys.forget(&key);
                assert_eq!(keys.open(Some(id)), Ok(id));
            }
            keys.compute(&key, sign(algorithm)).unwrap();
            let searched = keys.calls_during(|| drop(keys.compute(&key, sign(algorithm)).unwrap()));
            assert_eq!(searched.get("C_FindObjectsInit"), None);
            let prehashed = keys.compute(&key, sign(SigningAlgorithm::Ed25519PhSha512));
            assert!(matches!(prehashed, Err(HsmError::Unsupported(_))), "{prehashed:?}");
            keys.destroy(&key);
            keys.destroy(&key);
            let gone = keys.compute(&key, sign(algorithm));
            assert!(matches!(gone, Err(HsmError::Unavailable(_))), "{gone:?}");
        },
    );
}

#[test]
fn keys_of_the_software_provider_are_sealed_by_the_hsm_and_do_everything() {
    story(
        "wrapped_key_software::keys_of_the_software_provider_are_sealed_by_the_hsm_and_do_everything",
        || site(1, 100),
        |keys| {
            let specs = [ED25519, KeySpec::MlDsa44, KeySpec::MlDsa65, KeySpec::MlDsa87, KeySpec::MlKem768];
            let keys = &keys.with_software(&specs);
            keys.opened();
            for spec in [ED25519, KeySpec::MlDsa44, KeySpec::MlDsa65, KeySpec::MlDsa87] {
                assert_signs(keys, spec);
            }
            let (key, _) = keys.pair(kind(ED25519, KeyUsage::SignVerify));
            assert!(key.kept.is_software());
            let input = ToSign::Digest(digest(&SHA512, MESSAGE).as_ref().to_vec());
            let algorithm = SigningAlgorithm::Ed25519PhSha512;
            assert_eq!(keys.compute(&key, Computation::Sign { algorithm, input }).unwrap().len(), 64);
            // A seed is bound to the id of its material.
            let (other, _) = keys.pair(key.kind);
            let mut stolen = key.clone();
            stolen.id = other.id;
            let refused = keys.compute(&stolen, sign(SigningAlgorithm::Ed25519Sha512));
            assert!(matches!(refused, Err(HsmError::Unavailable(_))), "{refused:?}");
            let (key, _) = keys.pair(kind(KeySpec::MlKem768, KeyUsage::EncapsulateDecapsulate));
            let secret = keys.compute(&key, Computation::Decapsulate { ciphertext: vec![0; 1088] }).unwrap();
            assert_eq!(secret.len(), 32);
            let wrong = keys.compute(&key, Computation::Decapsulate { ciphertext: vec![0; 1087] });
            assert_eq!(wrong, Err(HsmError::BadCiphertext));
        },
    );
}
