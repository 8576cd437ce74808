//! Signatures verified, of every algorithm.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
    ED25519, ML_DSA_44, ML_DSA_65, ML_DSA_87, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey};
use ml_dsa::{EncodedVerifyingKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams};

use crate::domain::kms::{KeySpec, SigningAlgorithm};
use crate::public_key::prehashed::Prehashed;
use crate::public_key::{Unreadable, hashing, raw};

/// Whose signature it is.
#[derive(Clone, Copy)]
pub struct Signer<'k> {
    pub spec: KeySpec,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: &'k [u8],
}

/// What was signed.
#[derive(Clone, Copy)]
pub enum Signed<'m> {
    /// Of the algorithm's hash.
    Digest(&'m [u8]),
    /// The µ of ML-DSA (FIPS 204, algorithm 7, line 6).
    ExternalMu(&'m [u8]),
    Message(&'m [u8]),
}

impl Signer<'_> {
    /// Whether it signed this. What does not go with the algorithm, it never signed.
    pub fn signed(
        self,
        algorithm: SigningAlgorithm,
        signed: Signed<'_>,
        signature: &[u8],
    ) -> Result<bool, Unreadable> {
        match signed {
            Signed::Digest(digest) if algorithm == SigningAlgorithm::Ed25519PhSha512 => {
                self.signed_prehashed(digest, signature)
            }
            Signed::Digest(digest) => {
                let Some(hash) = algorithm.hash() else { return Ok(false) };
                let key = self.parse(algorithm)?;
                let digest = Digest::import_less_safe(digest, hashing::function(hash));
                Ok(digest.is_ok_and(|digest| key.verify_digest_sig(&digest, signature).is_ok()))
            }
            Signed::ExternalMu(mu) => self.signed_mu(mu, signature),
            Signed::Message(message) => Ok(self.parse(algorithm)?.verify_sig(message, signature).is_ok()),
        }
    }

    fn parse(self, algorithm: SigningAlgorithm) -> Result<ParsedPublicKey, Unreadable> {
        let verification = verification(self.spec, algorithm).ok_or(Unreadable)?;
        ParsedPublicKey::new(verification, self.public_key).map_err(|_| Unreadable)
    }

    /// Ed25519ph without a context (RFC 8032, 5.1).
    fn signed_prehashed(self, digest: &[u8], signature: &[u8]) -> Result<bool, Unreadable> {
        let key = <&[u8; 32]>::try_from(raw(self.public_key)?).map_err(|_| Unreadable)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| Unreadable)?;
        let (Some(digest), Ok(signature)) = (Prehashed::new(digest), Ed25519Signature::from_slice(signature))
        else {
            return Ok(false);
        };
        Ok(key.verify_prehashed(digest, None, &signature).is_ok())
    }

    fn signed_mu(self, mu: &[u8], signature: &[u8]) -> Result<bool, Unreadable> {
        let key = raw(self.public_key)?;
        if self.spec == KeySpec::MlDsa44 {
            signed_mu::<MlDsa44>(key, mu, signature)
        } else if self.spec == KeySpec::MlDsa65 {
            signed_mu::<MlDsa65>(key, mu, signature)
        } else if self.spec == KeySpec::MlDsa87 {
            signed_mu::<MlDsa87>(key, mu, signature)
        } else {
            Ok(false)
        }
    }
}

fn signed_mu<P: MlDsaParams>(key: &[u8], mu: &[u8], signature: &[u8]) -> Result<bool, Unreadable> {
    let key = EncodedVerifyingKey::<P>::try_from(key).map_err(|_| Unreadable)?;
    let (Ok(mu), Ok(signature)) = (mu.try_into(), ml_dsa::Signature::<P>::try_from(signature)) else {
        return Ok(false);
    };
    Ok(ml_dsa::VerifyingKey::<P>::decode(&key).verify_mu(&mu, &signature))
}

/// What aws-lc calls an algorithm with a kind of key; none that it lacks, or that do not go together.
fn verification(spec: KeySpec, algorithm: SigningAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (algorithm, spec) {
        (SigningAlgorithm::RsassaPssSha256, _) => &RSA_PSS_2048_8192_SHA256,
        (SigningAlgorithm::RsassaPssSha384, _) => &RSA_PSS_2048_8192_SHA384,
        (SigningAlgorithm::RsassaPssSha512, _) => &RSA_PSS_2048_8192_SHA512,
        (SigningAlgorithm::RsassaPkcs1V15Sha256, _) => &RSA_PKCS1_2048_8192_SHA256,
        (SigningAlgorithm::RsassaPkcs1V15Sha384, _) => &RSA_PKCS1_2048_8192_SHA384,
        (SigningAlgorithm::RsassaPkcs1V15Sha512, _) => &RSA_PKCS1_2048_8192_SHA512,
        (SigningAlgorithm::EcdsaSha256, KeySpec::EccSecgP256k1) => &ECDSA_P256K1_SHA256_ASN1,
        (SigningAlgorithm::EcdsaSha256, _) => &ECDSA_P256_SHA256_ASN1,
        (SigningAlgorithm::EcdsaSha384, _) => &ECDSA_P384_SHA384_ASN1,
        (SigningAlgorithm::EcdsaSha512, _) => &ECDSA_P521_SHA512_ASN1,
        (SigningAlgorithm::Ed25519Sha512, _) => &ED25519,
        (SigningAlgorithm::MlDsaShake256, KeySpec::MlDsa44) => &ML_DSA_44,
        (SigningAlgorithm::MlDsaShake256, KeySpec::MlDsa65) => &ML_DSA_65,
        (SigningAlgorithm::MlDsaShake256, KeySpec::MlDsa87) => &ML_DSA_87,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
