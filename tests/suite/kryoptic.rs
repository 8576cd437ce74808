//! Every kind of KMS key on kryoptic, a token of PKCS #11 3.2 with post-quantum mechanisms.

use aws_lc_rs::kem;
use holdfast::domain::kms::{
    EncryptionAlgorithm, KeptKey, KeyKind, KeySpec, KeyUsage, SigningAlgorithm, WrappingKeySpec,
};
use holdfast::key_manager::HsmError;
use holdfast::key_manager::backing_key::{Computation, EXTERNAL_MU_BYTES, ToSign};
use holdfast::secret::SecretBytes;

use crate::support::kryoptic::kryoptic_story;
use crate::wrapped_key_kinds::{MESSAGE, assert_signs, encrypt, kind};

#[test]
fn signing_keys_of_every_spec_are_made_wrapped_and_used() {
    kryoptic_story("kryoptic::signing_keys_of_every_spec_are_made_wrapped_and_used", |keys| {
        keys.opened();
        for spec in [
            KeySpec::Rsa2048,
            KeySpec::EccNistP256,
            KeySpec::EccNistP384,
            KeySpec::EccNistP521,
            KeySpec::EccNistEdwards25519,
            KeySpec::MlDsa44,
            KeySpec::MlDsa65,
            KeySpec::MlDsa87,
        ] {
            assert_signs(keys, spec);
        }
    });
}

#[test]
fn ml_dsa_of_the_token_takes_no_message_representative() {
    kryoptic_story("kryoptic::ml_dsa_of_the_token_takes_no_message_representative", |keys| {
        keys.opened();
        let (key, _) = keys.pair(kind(KeySpec::MlDsa65, KeyUsage::SignVerify));
        let input = ToSign::ExternalMu([0; EXTERNAL_MU_BYTES]);
        let made =
            keys.compute(&key, Computation::Sign { algorithm: SigningAlgorithm::MlDsaShake256, input });
        assert!(matches!(made, Err(HsmError::Unsupported(_))), "{made:?}");
    });
}

#[test]
fn ml_kem_keys_are_made_wrapped_and_used() {
    kryoptic_story("kryoptic::ml_kem_keys_are_made_wrapped_and_used", |keys| {
        keys.opened();
        for (spec, algorithm) in [
            (KeySpec::MlKem512, &kem::ML_KEM_512),
            (KeySpec::MlKem768, &kem::ML_KEM_768),
            (KeySpec::MlKem1024, &kem::ML_KEM_1024),
        ] {
            let (key, public_key) = keys.pair(kind(spec, KeyUsage::EncapsulateDecapsulate));
            // It has no encoding of these for its wrapping.
            assert!(matches!(&*key.kept, KeptKey::TokenObject), "{spec}");
            let raw = holdfast::public_key::spki::raw_of(spec, &public_key).unwrap();
            let (ciphertext, theirs) =
                kem::EncapsulationKey::new(algorithm, raw).unwrap().encapsulate().unwrap();
            let ciphertext = ciphertext.as_ref().to_vec();
            let ours = keys.compute(&key, Computation::Decapsulate { ciphertext }).unwrap();
            assert_eq!(ours, theirs.as_ref());
        }
    });
}

#[test]
fn other_keys_are_made_wrapped_and_used() {
    kryoptic_story("kryoptic::other_keys_are_made_wrapped_and_used", |keys| {
        keys.opened();
        keys.assert_works(&keys.key_of(KeyKind::SYMMETRIC));
        for spec in [KeySpec::Hmac224, KeySpec::Hmac256, KeySpec::Hmac384, KeySpec::Hmac512] {
            let key = keys.key_of(kind(spec, KeyUsage::GenerateVerifyMac));
            let (algorithm, message) = (key.kind.mac_algorithms()[0], SecretBytes::new(MESSAGE.to_vec()));
            let tag = keys.compute(&key, Computation::Mac { algorithm, message }).unwrap();
            assert_eq!(tag.len(), spec.hmac_bytes().unwrap());
        }
        let (key, public_key) = keys.pair(kind(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt));
        for algorithm in [EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256] {
            let ciphertext = encrypt(algorithm, &public_key);
            let plaintext = keys.compute(&key, Computation::DecryptOaep { algorithm, ciphertext }).unwrap();
            assert_eq!(plaintext, MESSAGE);
            let wrong = Computation::DecryptOaep { algorithm, ciphertext: vec![0x55; 256] };
            assert_eq!(keys.compute(&key, wrong), Err(HsmError::BadCiphertext));
        }
        for spec in [KeySpec::EccNistP256, KeySpec::EccNistP384, KeySpec::EccNistP521] {
            let (key, _) = keys.pair(kind(spec, KeyUsage::KeyAgreement));
            let (other, public_key) = keys.pair(key.kind);
            let (_, peer) = keys.pair(key.kind);
            assert_eq!(
                keys.compute(&key, Computation::Agree { peer: peer.clone() }).unwrap().len(),
                keys.compute(&other, Computation::Agree { peer: public_key }).unwrap().len()
            );
        }
        keys.wrapping_key(WrappingKeySpec::Rsa2048);
    });
}

#[test]
fn a_curve_that_the_token_does_not_know_is_refused_by_name_and_the_token_stays_well() {
    let name = "kryoptic::a_curve_that_the_token_does_not_know_is_refused_by_name_and_the_token_stays_well";
    kryoptic_story(name, |keys| {
        keys.opened();
        for _ in 0..2 {
            let made = keys.try_made(kind(KeySpec::EccSecgP256k1, KeyUsage::SignVerify)).map(drop);
            let Err(HsmError::Unsupported(reason)) = made else { panic!("{made:?}") };
            assert!(reason.starts_with("HSM softhsm lacks what ECC_SECG_P256K1 takes"), "{reason}");
        }
        assert_signs(keys, KeySpec::EccNistP256);
    });
}

#[test]
fn material_is_imported_inside_the_token() {
    kryoptic_story("kryoptic::material_is_imported_inside_the_token", |keys| {
        keys.opened();
        crate::wrapped_key_imports::assert_imports_secrets(keys);
    });
}
