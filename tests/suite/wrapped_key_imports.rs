//! Key material from outside, in every way of wrapping it, and key pairs that go outside.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the kinds that it is about, and the rest is one"
)]

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use aws_lc_rs::{hmac, rand};
use holdfast::domain::kms::{KeyKind, KeySpec, KeyUsage, WrappingAlgorithm, WrappingKeySpec};
use holdfast::key_manager::HsmError;
use holdfast::key_manager::backing_key::{Computation, WrappingKey};
use holdfast::secret::SecretBytes;

use crate::support::wrapped::{Keys, site, story};
use crate::wrapped_key_kinds::{MESSAGE, kind, to_sign, verification};

const DIRECT: [WrappingAlgorithm; 2] = [WrappingAlgorithm::RsaesOaepSha1, WrappingAlgorithm::RsaesOaepSha256];
const TWO_STEPS: [WrappingAlgorithm; 2] =
    [WrappingAlgorithm::RsaAesKeyWrapSha1, WrappingAlgorithm::RsaAesKeyWrapSha256];

pub fn oaep(public_key: &[u8], is_sha1: bool, plaintext: &[u8]) -> Vec<u8> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).unwrap()).unwrap();
    let hash = if is_sha1 { &OAEP_SHA1_MGF1SHA1 } else { &OAEP_SHA256_MGF1SHA256 };
    let mut ciphertext = vec![0; key.ciphertext_size()];
    key.encrypt(hash, plaintext, &mut ciphertext, None).unwrap();
    ciphertext
}

/// As whoever imports it wraps it.
pub fn wrap(key: &WrappingKey, algorithm: WrappingAlgorithm, material: &[u8]) -> Vec<u8> {
    let is_sha1 =
        matches!(algorithm, WrappingAlgorithm::RsaesOaepSha1 | WrappingAlgorithm::RsaAesKeyWrapSha1);
    if DIRECT.contains(&algorithm) {
        return oaep(&key.public_key, is_sha1, material);
    }
    let mut aes = [0; 32];
    rand::fill(&mut aes).unwrap();
    let mut wrapped = vec![0; material.len() + 15];
    let bytes = AesKek::new(&AES_256, &aes).unwrap().wrap_with_padding(material, &mut wrapped).unwrap().len();
    wrapped.truncate(bytes);
    [oaep(&key.public_key, is_sha1, &aes), wrapped].concat()
}

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    rand::fill(&mut random).unwrap();
    random
}

/// Imports, and says the fingerprint.
#[track_caller]
pub fn assert_imports_secrets(keys: &Keys) {
    for wrapping_spec in [WrappingKeySpec::Rsa2048, WrappingKeySpec::Rsa4096] {
        let wrapping_key = keys.wrapping_key(wrapping_spec);
        for spec in [KeySpec::SymmetricDefault, KeySpec::Hmac224, KeySpec::Hmac384] {
            let material = random(spec.hmac_bytes().unwrap_or(32));
            let kind = match spec {
                KeySpec::SymmetricDefault => KeyKind::SYMMETRIC,
                _ => kind(spec, KeyUsage::GenerateVerifyMac),
            };
            let mut fingerprints = Vec::new();
            for algorithm in DIRECT.into_iter().chain(TWO_STEPS) {
                let import = |material: &[u8]| {
                    let encrypted = wrap(&wrapping_key, algorithm, material);
                    keys.import(kind, (&wrapping_key, wrapping_spec), algorithm, encrypted)
                };
                let (key, imported) = import(&material).unwrap();
                assert_eq!(imported.fingerprint.len(), 32);
                fingerprints.push(imported.fingerprint.expose().to_vec());
                if spec == KeySpec::SymmetricDefault {
                    keys.assert_works(&key);
                } else {
                    let tag = hmac_of(spec, &material);
                    let algorithm = kind.mac_algorithms()[0];
                    let message = SecretBytes::new(MESSAGE.to_vec());
                    assert_eq!(keys.compute(&key, Computation::Mac { algorithm, message }).unwrap(), tag);
                }
                for wrong in [material[1..].to_vec(), [&material[..], &[0]].concat(), random(16)] {
                    assert_eq!(import(&wrong).map(drop), Err(HsmError::BadKeyMaterial), "{spec} {algorithm}");
                }
                let (_, other) = import(&random(material.len())).unwrap();
                assert_ne!(other.fingerprint, imported.fingerprint);
            }
            fingerprints.dedup();
            assert_eq!(fingerprints.len(), 1, "{spec}");
        }
    }
}

fn hmac_of(spec: KeySpec, material: &[u8]) -> Vec<u8> {
    let algorithm = match spec {
        KeySpec::Hmac224 => hmac::HMAC_SHA224,
        KeySpec::Hmac256 => hmac::HMAC_SHA256,
        KeySpec::Hmac384 => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, material), MESSAGE).as_ref().to_vec()
}

#[test]
fn secret_material_is_imported_in_every_way_and_works_like_the_original() {
    story(
        "wrapped_key_imports::secret_material_is_imported_in_every_way_and_works_like_the_original",
        || site(1, 100),
        |keys| {
            keys.opened();
            assert_imports_secrets(keys);
        },
    );
}

/// PKCS #8 and public key of fresh pairs of every spec that can be imported.
fn pairs() -> Vec<(KeySpec, Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    for (spec, size) in [(KeySpec::Rsa2048, KeySize::Rsa2048), (KeySpec::Rsa4096, KeySize::Rsa4096)] {
        let pair = RsaKeyPair::generate(size).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        pairs.push((spec, pkcs8.as_ref().to_vec(), pair.public_key().as_der().unwrap().as_ref().to_vec()));
    }
    for (spec, algorithm) in [
        (KeySpec::EccNistP256, &ECDSA_P256_SHA256_ASN1_SIGNING),
        (KeySpec::EccNistP384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        (KeySpec::EccNistP521, &ECDSA_P521_SHA512_ASN1_SIGNING),
        (KeySpec::EccSecgP256k1, &ECDSA_P256K1_SHA256_ASN1_SIGNING),
    ] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let public_key = pair.public_key().as_der().unwrap().as_ref().to_vec();
        pairs.push((spec, pair.to_pkcs8v1().unwrap().as_ref().to_vec(), public_key));
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let public_key = pair.public_key().as_der().unwrap().as_ref().to_vec();
    pairs.push((KeySpec::EccNistEdwards25519, pair.to_pkcs8v1().unwrap().as_ref().to_vec(), public_key));
    pairs
}

#[test]
fn private_keys_are_imported_with_their_public_key_and_sign() {
    story(
        "wrapped_key_imports::private_keys_are_imported_with_their_public_key_and_sign",
        || site(1, 100),
        |keys| {
            keys.opened();
            let wrapping = (&keys.wrapping_key(WrappingKeySpec::Rsa3072), WrappingKeySpec::Rsa3072);
            for (spec, pkcs8, public_key) in pairs() {
                let is_rsa = spec.rsa_bits().is_some();
                let algorithms = TWO_STEPS.into_iter().chain(DIRECT.into_iter().filter(|_| !is_rsa));
                let mut fingerprints = Vec::new();
                for algorithm in algorithms {
                    let kind = kind(spec, KeyUsage::SignVerify);
                    let encrypted = wrap(wrapping.0, algorithm, &pkcs8);
                    let (key, imported) = keys.import(kind, wrapping, algorithm, encrypted).unwrap();
                    assert_eq!(imported.made.public_key.as_ref(), Some(&public_key), "{spec} {algorithm}");
                    fingerprints.push(imported.fingerprint.expose().to_vec());
                    let algorithm = kind.signing_algorithms()[0];
                    let computation = Computation::Sign { algorithm, input: to_sign(algorithm) };
                    let made = keys.compute(&key, computation).unwrap();
                    let verifying =
                        signature::UnparsedPublicKey::new(verification(spec, algorithm), &public_key);
                    assert!(verifying.verify(MESSAGE, &made).is_ok(), "{spec}");
                    keys.destroy(&key);
                }
                fingerprints.dedup();
                assert_eq!(fingerprints.len(), 1);
            }
        },
    );
}

#[test]
fn what_does_not_unwrap_or_is_another_kind_of_key_is_refused_without_saying_more() {
    let name =
        "wrapped_key_imports::what_does_not_unwrap_or_is_another_kind_of_key_is_refused_without_saying_more";
    story(
        name,
        || site(1, 100),
        |keys| {
            keys.opened();
            let wrapping = (&keys.wrapping_key(WrappingKeySpec::Rsa2048), WrappingKeySpec::Rsa2048);
            let other = keys.wrapping_key(WrappingKeySpec::Rsa2048);
            for algorithm in DIRECT.into_iter().chain(TWO_STEPS) {
                let import =
                    |encrypted| keys.import(KeyKind::SYMMETRIC, wrapping, algorithm, encrypted).map(drop);
                let good = wrap(wrapping.0, algorithm, &random(32));
                let flipped = |place: usize| {
                    let mut encrypted = good.clone();
                    encrypted[place] ^= 1;
                    encrypted
                };
                for wrong in [
                    wrap(&other, algorithm, &random(32)),
                    flipped(100),
                    flipped(good.len() - 1),
                    good[..good.len() - 1].to_vec(),
                    good[..200].to_vec(),
                    Vec::new(),
                    vec![0; good.len()],
                    vec![0xff; good.len()],
                ] {
                    assert_eq!(import(wrong), Err(HsmError::BadCiphertext), "{algorithm}");
                }
                assert_eq!(import(good), Ok(()));
            }
            let algorithm = WrappingAlgorithm::RsaAesKeyWrapSha256;
            let all = pairs();
            for (spec, pkcs8, _) in &all {
                for (other, ..) in all.iter().filter(|(other, ..)| other != spec) {
                    let encrypted = wrap(wrapping.0, algorithm, pkcs8);
                    let kind = kind(*other, KeyUsage::SignVerify);
                    let imported = keys.import(kind, wrapping, algorithm, encrypted).map(drop);
                    assert_eq!(imported, Err(HsmError::BadKeyMaterial), "{spec} as {other}");
                }
            }
        },
    );
}

#[test]
fn a_pair_for_a_caller_belongs_together_and_leaves_nothing_in_the_token() {
    story(
        "wrapped_key_imports::a_pair_for_a_caller_belongs_together_and_leaves_nothing_in_the_token",
        || site(1, 100),
        |keys| {
            keys.opened();
            for spec in [
                KeySpec::Rsa2048,
                KeySpec::EccNistP256,
                KeySpec::EccNistP384,
                KeySpec::EccNistP521,
                KeySpec::EccSecgP256k1,
                KeySpec::EccNistEdwards25519,
                KeySpec::MlKem768,
            ] {
                let before = keys.calls();
                let pair = keys.key_pair(spec);
                let after = keys.calls();
                let pkcs8 = pair.private_key.expose();
                let made = after["C_GenerateKeyPair"] - before["C_GenerateKeyPair"];
                let destroyed = after["C_DestroyObject"] - before["C_DestroyObject"];
                assert_eq!(
                    (made, destroyed),
                    if spec == KeySpec::MlKem768 { (0, 0) } else { (1, 2) },
                    "{spec}"
                );
                let public_key: Vec<u8> = match spec {
                    KeySpec::Rsa2048 => {
                        let pair = RsaKeyPair::from_pkcs8(pkcs8).unwrap();
                        pair.public_key().as_der().unwrap().as_ref().to_vec()
                    }
                    KeySpec::EccNistEdwards25519 => {
                        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).unwrap();
                        pair.public_key().as_der().unwrap().as_ref().to_vec()
                    }
                    KeySpec::MlKem768 => {
                        assert_eq!(pkcs8.len(), 86);
                        continue;
                    }
                    _ => {
                        let algorithm = match spec {
                            KeySpec::EccNistP256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
                            KeySpec::EccNistP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
                            KeySpec::EccNistP521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
                            _ => &ECDSA_P256K1_SHA256_ASN1_SIGNING,
                        };
                        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).unwrap();
                        pair.public_key().as_der().unwrap().as_ref().to_vec()
                    }
                };
                assert_eq!(pair.public_key, public_key, "{spec}");
            }
        },
    );
}
