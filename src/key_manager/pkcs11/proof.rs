//! Trials that show that a key came back from its wrapping as it was, and fits its public key.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::kem;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{self, VerificationAlgorithm};
use subtle::ConstantTimeEq;

use crate::domain::kms::{Hash, KeyKind, KeySpec, KeyUsage, SigningAlgorithm};
use crate::key_manager::backing_key::{Computation, ToSign};
use crate::key_manager::pkcs11::computing::{Computing, agreement_of};
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::key_form::{KeyForm, Purpose};
use crate::key_manager::pkcs11::wrapping::Temporary;
use crate::public_key::spki;
use crate::secret::SecretBytes;

const KNOWN: &[u8] = b"holdfast key proof";

/// Whether `key` works, and belongs to what it was made from: an object of its own, and the public key of a pair.
pub(super) fn prove(
    computing: &Computing<'_>,
    form: KeyForm,
    key: &Temporary<'_>,
    (made, public_key): (&Temporary<'_>, Option<&[u8]>),
) -> Result<(), Fault> {
    let is_proven = match (form.purpose, public_key) {
        (Purpose::Mac, None) => {
            let kind = KeyKind { spec: form.spec, usage: KeyUsage::GenerateVerifyMac };
            let Some(algorithm) = kind.mac_algorithms().first() else { return Err(unproven()) };
            let tag = |key: &Temporary<'_>| computing.mac(key.handle, *algorithm, KNOWN);
            tag(key)?.expose().ct_eq(tag(made)?.expose()).into()
        }
        (Purpose::Sign, Some(public_key)) => signs(computing, form.spec, key, public_key)?,
        (Purpose::Decrypt | Purpose::Import, Some(public_key)) => {
            let ciphertext = encrypt(public_key).ok_or_else(unproven)?;
            let plaintext = computing.decrypt_oaep(form.spec, key.handle, Hash::Sha256, &ciphertext)?;
            plaintext.expose() == KNOWN
        }
        (Purpose::Agree, Some(public_key)) => agrees(computing, form.spec, key, public_key)?,
        (Purpose::Decapsulate, Some(public_key)) => decapsulates(computing, form.spec, key, public_key)?,
        _ => false,
    };
    if is_proven { Ok(()) } else { Err(unproven()) }
}

fn unproven() -> Fault {
    Fault::new(Blame::Token, "the token made a key that does not work after it was wrapped and unwrapped")
}

/// Signs with the first algorithm of the kind, and has another implementation verify it.
fn signs(
    computing: &Computing<'_>,
    spec: KeySpec,
    key: &Temporary<'_>,
    public_key: &[u8],
) -> Result<bool, Fault> {
    let Some((algorithm, verification)) = first_algorithm(spec) else { return Ok(false) };
    let input = match algorithm.hash() {
        Some(Hash::Sha384) => ToSign::Digest(digest(&SHA384, KNOWN).as_ref().to_vec()),
        Some(Hash::Sha512) => ToSign::Digest(digest(&SHA512, KNOWN).as_ref().to_vec()),
        Some(Hash::Sha1 | Hash::Sha224 | Hash::Sha256) => {
            ToSign::Digest(digest(&SHA256, KNOWN).as_ref().to_vec())
        }
        None => ToSign::Message(SecretBytes::new(KNOWN.to_vec())),
    };
    let made = computing.compute(spec, key.handle, &Computation::Sign { algorithm, input })?;
    Ok(signature::UnparsedPublicKey::new(verification, public_key).verify(KNOWN, made.expose()).is_ok())
}

/// aws-lc-rs takes a SubjectPublicKeyInfo for each of them.
const VERIFICATIONS: [(SigningAlgorithm, KeySpec, &dyn VerificationAlgorithm); 10] = [
    (SigningAlgorithm::RsassaPkcs1V15Sha256, KeySpec::Rsa2048, &signature::RSA_PKCS1_2048_8192_SHA256),
    (SigningAlgorithm::RsassaPkcs1V15Sha256, KeySpec::Rsa3072, &signature::RSA_PKCS1_2048_8192_SHA256),
    (SigningAlgorithm::RsassaPkcs1V15Sha256, KeySpec::Rsa4096, &signature::RSA_PKCS1_2048_8192_SHA256),
    (SigningAlgorithm::EcdsaSha256, KeySpec::EccNistP256, &signature::ECDSA_P256_SHA256_ASN1),
    (SigningAlgorithm::EcdsaSha384, KeySpec::EccNistP384, &signature::ECDSA_P384_SHA384_ASN1),
    (SigningAlgorithm::EcdsaSha512, KeySpec::EccNistP521, &signature::ECDSA_P521_SHA512_ASN1),
    (SigningAlgorithm::EcdsaSha256, KeySpec::EccSecgP256k1, &signature::ECDSA_P256K1_SHA256_ASN1),
    (SigningAlgorithm::MlDsaShake256, KeySpec::MlDsa44, &signature::ML_DSA_44),
    (SigningAlgorithm::MlDsaShake256, KeySpec::MlDsa65, &signature::ML_DSA_65),
    (SigningAlgorithm::MlDsaShake256, KeySpec::MlDsa87, &signature::ML_DSA_87),
];

fn first_algorithm(spec: KeySpec) -> Option<(SigningAlgorithm, &'static dyn VerificationAlgorithm)> {
    if spec == KeySpec::EccNistEdwards25519 {
        return Some((SigningAlgorithm::Ed25519Sha512, &signature::ED25519));
    }
    let found = VERIFICATIONS.iter().find(|(_, verified, _)| *verified == spec);
    found.map(|(algorithm, _, verification)| (*algorithm, *verification))
}

fn encrypt(public_key: &[u8]) -> Option<Vec<u8>> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).ok()?).ok()?;
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let written = key.encrypt(&OAEP_SHA256_MGF1SHA256, KNOWN, &mut ciphertext, None).ok()?.len();
    ciphertext.truncate(written);
    Some(ciphertext)
}

fn agrees(
    computing: &Computing<'_>,
    spec: KeySpec,
    key: &Temporary<'_>,
    public_key: &[u8],
) -> Result<bool, Fault> {
    let Some(algorithm) = agreement_of(spec) else { return Ok(false) };
    let peer = PrivateKey::generate(algorithm).map_err(|_| unproven())?;
    let peer_point = peer.compute_public_key().map_err(|_| unproven())?;
    let point = spki::raw_of(spec, public_key).ok_or_else(unproven)?;
    let ours = computing.agree(spec, key.handle, peer_point.as_ref())?;
    agreement::agree(&peer, UnparsedPublicKey::new(algorithm, point), unproven(), |theirs| {
        Ok(ours.expose().ct_eq(theirs).into())
    })
}

fn decapsulates(
    computing: &Computing<'_>,
    spec: KeySpec,
    key: &Temporary<'_>,
    public_key: &[u8],
) -> Result<bool, Fault> {
    let algorithms = [
        (KeySpec::MlKem512, &kem::ML_KEM_512),
        (KeySpec::MlKem768, &kem::ML_KEM_768),
        (KeySpec::MlKem1024, &kem::ML_KEM_1024),
    ];
    let Some((_, algorithm)) = algorithms.into_iter().find(|(set, _)| *set == spec) else {
        return Ok(false);
    };
    let raw = spki::raw_of(spec, public_key).ok_or_else(unproven)?;
    let key_of_peer = kem::EncapsulationKey::new(algorithm, raw).map_err(|_| unproven())?;
    let (ciphertext, theirs) = key_of_peer.encapsulate().map_err(|_| unproven())?;
    let computation = Computation::Decapsulate { ciphertext: ciphertext.as_ref().to_vec() };
    let ours = computing.compute(spec, key.handle, &computation)?;
    Ok(ours.expose().ct_eq(theirs.as_ref()).into())
}
