//! Keys of every kind in a token: made, wrapped, unwrapped and used, and looked at by another implementation.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the kinds that it is about, and the rest is one"
)]

use std::time::Duration;

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{self, VerificationAlgorithm};
use holdfast::clock::{Clock, SystemClock};
use holdfast::domain::kms::{EncryptionAlgorithm, Hash, KeyKind, KeySpec, KeyUsage, SigningAlgorithm};
use holdfast::key_manager::HsmError;
use holdfast::key_manager::backing_key::{Computation, ToSign};
use holdfast::secret::SecretBytes;

use crate::support::faults::calls;
use crate::support::wrapped::{Keys, site, story};

pub const MESSAGE: &[u8] = b"Hello World!";

pub fn kind(spec: KeySpec, usage: KeyUsage) -> KeyKind {
    KeyKind { spec, usage }
}

/// A digest, or the message of algorithms that sign it.
pub fn to_sign(algorithm: SigningAlgorithm) -> ToSign {
    match algorithm.hash() {
        Some(Hash::Sha256) => ToSign::Digest(digest(&SHA256, MESSAGE).as_ref().to_vec()),
        Some(Hash::Sha384) => ToSign::Digest(digest(&SHA384, MESSAGE).as_ref().to_vec()),
        Some(_) => ToSign::Digest(digest(&SHA512, MESSAGE).as_ref().to_vec()),
        None => ToSign::Message(SecretBytes::new(MESSAGE.to_vec())),
    }
}

pub fn verification(spec: KeySpec, algorithm: SigningAlgorithm) -> &'static dyn VerificationAlgorithm {
    match (algorithm, spec) {
        (SigningAlgorithm::RsassaPkcs1V15Sha256, _) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (SigningAlgorithm::RsassaPkcs1V15Sha384, _) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (SigningAlgorithm::RsassaPkcs1V15Sha512, _) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (SigningAlgorithm::RsassaPssSha256, _) => &signature::RSA_PSS_2048_8192_SHA256,
        (SigningAlgorithm::RsassaPssSha384, _) => &signature::RSA_PSS_2048_8192_SHA384,
        (SigningAlgorithm::RsassaPssSha512, _) => &signature::RSA_PSS_2048_8192_SHA512,
        (_, KeySpec::EccNistP256) => &signature::ECDSA_P256_SHA256_ASN1,
        (_, KeySpec::EccNistP384) => &signature::ECDSA_P384_SHA384_ASN1,
        (_, KeySpec::EccNistP521) => &signature::ECDSA_P521_SHA512_ASN1,
        (_, KeySpec::EccSecgP256k1) => &signature::ECDSA_P256K1_SHA256_ASN1,
        (_, KeySpec::EccNistEdwards25519) => &signature::ED25519,
        (_, KeySpec::MlDsa44) => &signature::ML_DSA_44,
        (_, KeySpec::MlDsa65) => &signature::ML_DSA_65,
        (_, KeySpec::MlDsa87) => &signature::ML_DSA_87,
        _ => panic!("{spec} does not sign"),
    }
}

/// Signs by every algorithm of the kind, also after the key was forgotten and unwrapped again.
#[track_caller]
pub fn assert_signs(keys: &Keys, spec: KeySpec) {
    let (key, public_key) = keys.pair(kind(spec, KeyUsage::SignVerify));
    for algorithm in key.kind.signing_algorithms() {
        if *algorithm == SigningAlgorithm::Ed25519PhSha512 {
            continue;
        }
        let computation = Computation::Sign { algorithm: *algorithm, input: to_sign(*algorithm) };
        let made = keys.compute(&key, computation).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        let verified = signature::UnparsedPublicKey::new(verification(spec, *algorithm), &public_key)
            .verify(MESSAGE, &made);
        assert!(verified.is_ok(), "{spec} {algorithm}");
        keys.forget(&key);
    }
}

#[test]
fn a_signing_key_signs_by_every_algorithm_of_its_kind() {
    story(
        "wrapped_key_kinds::a_signing_key_signs_by_every_algorithm_of_its_kind",
        || site(1, 100),
        |keys| {
            keys.opened();
            for spec in [
                KeySpec::Rsa2048,
                KeySpec::Rsa3072,
                KeySpec::Rsa4096,
                KeySpec::EccNistP256,
                KeySpec::EccNistP384,
                KeySpec::EccNistP521,
                KeySpec::EccSecgP256k1,
            ] {
                assert_signs(keys, spec);
            }
        },
    );
}

#[test]
fn an_hmac_key_makes_the_tag_of_its_algorithm() {
    story(
        "wrapped_key_kinds::an_hmac_key_makes_the_tag_of_its_algorithm",
        || site(1, 100),
        |keys| {
            keys.opened();
            for spec in [KeySpec::Hmac224, KeySpec::Hmac256, KeySpec::Hmac384, KeySpec::Hmac512] {
                let key = keys.key_of(kind(spec, KeyUsage::GenerateVerifyMac));
                let algorithm = key.kind.mac_algorithms()[0];
                let tag = |key| {
                    let message = SecretBytes::new(MESSAGE.to_vec());
                    keys.compute(key, Computation::Mac { algorithm, message }).unwrap()
                };
                let first = tag(&key);
                assert_eq!(first.len(), spec.hmac_bytes().unwrap());
                keys.forget(&key);
                assert_eq!(tag(&key), first);
                assert_ne!(tag(&keys.key_of(key.kind)), first);
            }
        },
    );
}

pub fn encrypt(algorithm: EncryptionAlgorithm, public_key: &[u8]) -> Vec<u8> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).unwrap()).unwrap();
    let oaep = match algorithm {
        EncryptionAlgorithm::RsaesOaepSha1 => &OAEP_SHA1_MGF1SHA1,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    let mut ciphertext = vec![0; key.ciphertext_size()];
    key.encrypt(oaep, MESSAGE, &mut ciphertext, None).unwrap();
    ciphertext
}

#[test]
fn an_rsa_key_decrypts_by_both_hashes_and_tells_nothing_about_what_is_wrong() {
    story(
        "wrapped_key_kinds::an_rsa_key_decrypts_by_both_hashes_and_tells_nothing_about_what_is_wrong",
        || site(1, 100),
        |keys| {
            keys.opened();
            let algorithms = [EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256];
            for spec in [KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096] {
                let (key, public_key) = keys.pair(kind(spec, KeyUsage::EncryptDecrypt));
                for algorithm in algorithms {
                    let decrypt =
                        |ciphertext| keys.compute(&key, Computation::DecryptOaep { algorithm, ciphertext });
                    let ciphertext = encrypt(algorithm, &public_key);
                    assert_eq!(decrypt(ciphertext.clone()).unwrap(), MESSAGE);
                    let other = algorithms.into_iter().find(|other| *other != algorithm).unwrap();
                    let mut tampered = ciphertext.clone();
                    tampered[17] ^= 1;
                    let modulus_bytes = ciphertext.len();
                    for wrong in [
                        tampered,
                        encrypt(other, &public_key),
                        ciphertext[1..].to_vec(),
                        [&ciphertext[..], &[0]].concat(),
                        Vec::new(),
                        vec![0; modulus_bytes],
                        vec![0xff; modulus_bytes],
                        [&vec![0; modulus_bytes - 1][..], &[1]].concat(),
                    ] {
                        assert_eq!(decrypt(wrong), Err(HsmError::BadCiphertext));
                    }
                }
            }
        },
    );
}

#[test]
fn both_sides_agree_on_a_secret_of_the_length_of_the_curve() {
    story(
        "wrapped_key_kinds::both_sides_agree_on_a_secret_of_the_length_of_the_curve",
        || site(1, 100),
        |keys| {
            keys.opened();
            for (spec, algorithm, bytes) in [
                (KeySpec::EccNistP256, &ECDH_P256, 32),
                (KeySpec::EccNistP384, &ECDH_P384, 48),
                (KeySpec::EccNistP521, &ECDH_P521, 66),
            ] {
                let (key, public_key) = keys.pair(kind(spec, KeyUsage::KeyAgreement));
                // Some secrets have leading zeros.
                for _ in 0..50 {
                    let peer = PrivateKey::generate(algorithm).unwrap();
                    let peer_key = peer.compute_public_key().unwrap();
                    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = peer_key.as_der().unwrap();
                    let ours =
                        keys.compute(&key, Computation::Agree { peer: spki.as_ref().to_vec() }).unwrap();
                    assert_eq!(ours.len(), bytes);
                    agreement::agree(&peer, UnparsedPublicKey::new(algorithm, &public_key), (), |theirs| {
                        assert_eq!(ours, theirs);
                        Ok(())
                    })
                    .unwrap();
                }
                let mut off_curve = public_key.clone();
                *off_curve.last_mut().unwrap() ^= 1;
                for peer in [off_curve, Vec::new(), public_key[1..].to_vec()] {
                    assert_eq!(
                        keys.compute(&key, Computation::Agree { peer }),
                        Err(HsmError::BadKeyMaterial)
                    );
                }
            }
        },
    );
}

#[test]
fn a_key_does_what_it_is_for_and_nothing_else() {
    story(
        "wrapped_key_kinds::a_key_does_what_it_is_for_and_nothing_else",
        || site(1, 100),
        |keys| {
            keys.opened();
            let (signing, _) = keys.pair(kind(KeySpec::Rsa2048, KeyUsage::SignVerify));
            let (decrypting, public_key) = keys.pair(kind(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt));
            let algorithm = EncryptionAlgorithm::RsaesOaepSha1;
            let decrypt = Computation::DecryptOaep { algorithm, ciphertext: encrypt(algorithm, &public_key) };
            assert_eq!(keys.compute(&signing, decrypt), Err(HsmError::UsageRefused));
            let algorithm = SigningAlgorithm::RsassaPssSha256;
            let sign = Computation::Sign { algorithm, input: to_sign(algorithm) };
            assert_eq!(keys.compute(&decrypting, sign), Err(HsmError::UsageRefused));
            let (agreeing, public_key) = keys.pair(kind(KeySpec::EccNistP256, KeyUsage::KeyAgreement));
            let algorithm = SigningAlgorithm::EcdsaSha256;
            let sign = Computation::Sign { algorithm, input: to_sign(algorithm) };
            assert_eq!(keys.compute(&agreeing, sign), Err(HsmError::UsageRefused));
            let (signing, _) = keys.pair(kind(KeySpec::EccNistP256, KeyUsage::SignVerify));
            let agreed = keys.compute(&signing, Computation::Agree { peer: public_key });
            assert_eq!(agreed, Err(HsmError::UsageRefused));
        },
    );
}

#[test]
fn a_signature_costs_two_calls_once_the_key_is_unwrapped() {
    story(
        "wrapped_key_kinds::a_signature_costs_two_calls_once_the_key_is_unwrapped",
        || site(1, 100),
        |keys| {
            keys.opened();
            for spec in [KeySpec::Rsa2048, KeySpec::EccNistP256] {
                let (key, _) = keys.pair(kind(spec, KeyUsage::SignVerify));
                let algorithm = key.kind.signing_algorithms()[0];
                let sign = || {
                    let computation = Computation::Sign { algorithm, input: to_sign(algorithm) };
                    keys.compute(&key, computation).unwrap();
                };
                sign();
                let made = keys.calls_during(|| (0..10).for_each(|_| sign()));
                assert_eq!(made, calls([("C_Sign", 10), ("C_SignInit", 10)]));
            }
        },
    );
}

#[test]
fn what_the_token_lacks_is_named() {
    story(
        "wrapped_key_kinds::what_the_token_lacks_is_named",
        || site(1, 100),
        |keys| {
            keys.opened();
            for (spec, usage, mechanism) in [
                (KeySpec::MlDsa65, KeyUsage::SignVerify, "CKM_ML_DSA_KEY_PAIR_GEN"),
                (KeySpec::MlKem768, KeyUsage::EncapsulateDecapsulate, "CKM_ML_KEM_KEY_PAIR_GEN"),
            ] {
                let made = keys.try_made(kind(spec, usage)).map(|(_, public_key)| public_key);
                assert_eq!(made, Err(HsmError::Unsupported(format!("HSM softhsm lacks {mechanism}"))));
            }
        },
    );
}

#[test]
fn a_lost_handle_is_healed_and_a_broken_call_is_an_error_of_the_hsm() {
    story(
        "wrapped_key_kinds::a_lost_handle_is_healed_and_a_broken_call_is_an_error_of_the_hsm",
        || site(1, 100),
        |keys| {
            keys.opened();
            for spec in [KeySpec::Rsa2048, KeySpec::EccNistP256] {
                let (key, _) = keys.pair(kind(spec, KeyUsage::SignVerify));
                let algorithm = key.kind.signing_algorithms()[0];
                let sign = || keys.compute(&key, Computation::Sign { algorithm, input: to_sign(algorithm) });
                for healed in [
                    "C_SignInit code=CKR_KEY_HANDLE_INVALID count=1",
                    "C_SignInit code=CKR_SESSION_HANDLE_INVALID count=1",
                    "C_Sign code=CKR_SESSION_HANDLE_INVALID count=1",
                ] {
                    keys.inject(healed);
                    assert!(sign().is_ok(), "{healed}");
                }
                for broken in
                    ["C_Sign code=CKR_DEVICE_ERROR", "C_Sign short", "C_SignInit code=CKR_HOST_MEMORY"]
                {
                    keys.inject(broken);
                    assert!(matches!(sign(), Err(HsmError::Device(_))), "{broken}");
                }
                keys.inject("");
                assert!(sign().is_ok());
            }
            for broken in ["C_GenerateKeyPair code=CKR_DEVICE_ERROR", "C_WrapKey corrupt", "C_Sign corrupt"] {
                keys.inject(broken);
                let made = keys.try_made(kind(KeySpec::EccNistP256, KeyUsage::SignVerify)).map(drop);
                assert!(matches!(made, Err(HsmError::Device(_))), "{broken}: {made:?}");
            }
            keys.inject("");
            keys.pair(kind(KeySpec::EccNistP256, KeyUsage::SignVerify));
        },
    );
}

#[test]
fn a_key_that_takes_long_to_make_makes_no_session_stuck() {
    story(
        "wrapped_key_kinds::a_key_that_takes_long_to_make_makes_no_session_stuck",
        || site(1, 100),
        |keys| {
            keys.opened();
            let symmetric = keys.key(1);
            keys.inject("C_GenerateKeyPair delay_ms=900");
            let before = keys.calls()["C_GenerateKeyPair"];
            std::thread::scope(|scope| {
                let made = scope.spawn(|| keys.try_made(kind(KeySpec::Rsa2048, KeyUsage::SignVerify)));
                keys.wait_until("the call", || keys.calls()["C_GenerateKeyPair"] > before);
                let started = SystemClock.instant();
                // Any other call would hang by now.
                keys.wait_until("the limit", || SystemClock.instant() - started > Duration::from_millis(400));
                assert!(!made.is_finished());
                keys.hsms[0].publish();
                assert_eq!(keys.metric("hsm_sessions_stuck"), 0);
                keys.assert_works(&symmetric);
                made.join().unwrap().unwrap();
            });
        },
    );
}
