//! What is signed verifies, and nothing else does.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the kinds that it is about, and the rest is one"
)]

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding, RsaKeyPair,
};
use ed25519_dalek::SigningKey;

use crate::domain::kms::{KeySpec, SigningAlgorithm};
use crate::public_key::hashing::hashed;
use crate::public_key::prehashed::Prehashed;
use crate::public_key::signature::{Signed, Signer};

const MESSAGE: &[u8] = b"a message";

struct Made {
    spec: KeySpec,
    algorithm: SigningAlgorithm,
    public_key: Vec<u8>,
    signature: Vec<u8>,
}

fn der(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
    key.as_der().unwrap().as_ref().to_vec()
}

fn of_rsa(key: &RsaKeyPair, algorithm: SigningAlgorithm, encoding: &'static dyn RsaEncoding) -> Made {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
    Made { spec: KeySpec::Rsa2048, algorithm, public_key: der(key.public_key()), signature }
}

fn of_curve(spec: KeySpec, algorithm: SigningAlgorithm, signing: &'static EcdsaSigningAlgorithm) -> Made {
    let key = EcdsaKeyPair::generate(signing).unwrap();
    let signature = key.sign(&SystemRandom::new(), MESSAGE).unwrap().as_ref().to_vec();
    Made { spec, algorithm, public_key: der(key.public_key()), signature }
}

fn of_lattice(spec: KeySpec, signing: &'static PqdsaSigningAlgorithm) -> Made {
    let key = PqdsaKeyPair::generate(signing).unwrap();
    let mut signature = vec![0; signing.signature_len()];
    key.sign(MESSAGE, &mut signature).unwrap();
    Made { spec, algorithm: SigningAlgorithm::MlDsaShake256, public_key: der(key.public_key()), signature }
}

fn made() -> Vec<Made> {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let edwards = Ed25519KeyPair::generate().unwrap();
    vec![
        of_rsa(&rsa, SigningAlgorithm::RsassaPkcs1V15Sha256, &RSA_PKCS1_SHA256),
        of_rsa(&rsa, SigningAlgorithm::RsassaPkcs1V15Sha384, &RSA_PKCS1_SHA384),
        of_rsa(&rsa, SigningAlgorithm::RsassaPkcs1V15Sha512, &RSA_PKCS1_SHA512),
        of_rsa(&rsa, SigningAlgorithm::RsassaPssSha256, &RSA_PSS_SHA256),
        of_rsa(&rsa, SigningAlgorithm::RsassaPssSha384, &RSA_PSS_SHA384),
        of_rsa(&rsa, SigningAlgorithm::RsassaPssSha512, &RSA_PSS_SHA512),
        of_curve(KeySpec::EccNistP256, SigningAlgorithm::EcdsaSha256, &ECDSA_P256_SHA256_ASN1_SIGNING),
        of_curve(KeySpec::EccSecgP256k1, SigningAlgorithm::EcdsaSha256, &ECDSA_P256K1_SHA256_ASN1_SIGNING),
        of_curve(KeySpec::EccNistP384, SigningAlgorithm::EcdsaSha384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        of_curve(KeySpec::EccNistP521, SigningAlgorithm::EcdsaSha512, &ECDSA_P521_SHA512_ASN1_SIGNING),
        of_lattice(KeySpec::MlDsa44, &ML_DSA_44_SIGNING),
        of_lattice(KeySpec::MlDsa65, &ML_DSA_65_SIGNING),
        of_lattice(KeySpec::MlDsa87, &ML_DSA_87_SIGNING),
        Made {
            spec: KeySpec::EccNistEdwards25519,
            algorithm: SigningAlgorithm::Ed25519Sha512,
            public_key: der(edwards.public_key()),
            signature: edwards.sign(MESSAGE).as_ref().to_vec(),
        },
        prehashed(),
    ]
}

fn prehashed() -> Made {
    let algorithm = SigningAlgorithm::Ed25519PhSha512;
    let key = SigningKey::from_bytes(&[7; 32]);
    let digest = Prehashed::new(&hashed(algorithm.hash().unwrap(), MESSAGE)).unwrap();
    let signature = key.sign_prehashed(digest, None).unwrap().to_bytes().to_vec();
    let same = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public_key = der(same.public_key());
    Made { spec: KeySpec::EccNistEdwards25519, algorithm, public_key, signature }
}

fn holds(made: &Made, message: &[u8], signature: &[u8]) -> bool {
    let signer = Signer { spec: made.spec, public_key: &made.public_key };
    match made.algorithm.hash() {
        Some(hash) => signer.signed(made.algorithm, Signed::Digest(&hashed(hash, message)), signature),
        None => signer.signed(made.algorithm, Signed::Message(message), signature),
    }
    .unwrap()
}

#[test]
fn what_was_signed_verifies_and_nothing_else_does() {
    for made in made() {
        let name = format!("{} {}", made.spec, made.algorithm);
        assert!(holds(&made, MESSAGE, &made.signature), "{name}");
        assert!(!holds(&made, b"another message", &made.signature), "{name}");
        for wrong in 0..made.signature.len().min(64) {
            let mut signature = made.signature.clone();
            signature[wrong] ^= 1;
            assert!(!holds(&made, MESSAGE, &signature), "{name} {wrong}");
        }
        let mut longer = made.signature.clone();
        longer.push(0);
        for signature in [&longer[..], &made.signature[1..], b"", b"\0"] {
            assert!(!holds(&made, MESSAGE, signature), "{name}");
        }
    }
}

/// FIPS 204, algorithm 7: µ is a function of public key and message.
#[test]
fn a_signature_of_a_message_is_one_of_its_external_mu() {
    use ml_dsa::{EncodedVerifyingKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, VerifyingKey};
    fn mu<P: MlDsaParams>(public_key: &[u8]) -> Vec<u8> {
        let key = EncodedVerifyingKey::<P>::try_from(crate::public_key::raw(public_key).unwrap()).unwrap();
        let absorb = |hash: &mut _| {
            digest::Update::update(hash, MESSAGE);
            Ok(())
        };
        VerifyingKey::<P>::decode(&key).compute_mu(absorb, &[]).unwrap().to_vec()
    }
    for made in made().iter().filter(|made| made.algorithm == SigningAlgorithm::MlDsaShake256) {
        let mu = match made.spec {
            KeySpec::MlDsa44 => mu::<MlDsa44>(&made.public_key),
            KeySpec::MlDsa65 => mu::<MlDsa65>(&made.public_key),
            _ => mu::<MlDsa87>(&made.public_key),
        };
        let signer = Signer { spec: made.spec, public_key: &made.public_key };
        let holds = |mu: &[u8]| signer.signed(made.algorithm, Signed::ExternalMu(mu), &made.signature);
        assert_eq!(holds(&mu), Ok(true), "{}", made.spec);
        let mut other = mu.clone();
        other[0] ^= 1;
        for wrong in [&other[..], &mu[1..], b""] {
            assert_eq!(holds(wrong), Ok(false), "{}", made.spec);
        }
    }
}

#[test]
fn what_goes_with_no_algorithm_was_never_signed_and_what_is_no_key_is_none() {
    for made in made() {
        let signer = Signer { spec: made.spec, public_key: &made.public_key };
        let digest = Signed::Digest(&[0; 3]);
        assert_eq!(signer.signed(made.algorithm, digest, &made.signature), Ok(false), "{}", made.algorithm);
        let nobody = Signer { spec: made.spec, public_key: b"no key" };
        let signed =
            if made.algorithm.hash().is_some() { Signed::Digest(&[0; 32]) } else { Signed::Message(MESSAGE) };
        assert!(nobody.signed(made.algorithm, signed, &made.signature).is_err(), "{}", made.algorithm);
    }
}
