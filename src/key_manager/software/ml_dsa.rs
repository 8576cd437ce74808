//! ML-DSA (FIPS 204) from a seed: messages by one library, message representatives by one that takes them.

use aws_lc_rs::signature::{
    KeyPair, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm,
};
use ml_dsa::signature::rand_core::{TryCryptoRng, TryRng};
use ml_dsa::{ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Seed};
use zeroize::Zeroize;

use crate::domain::kms::KeySpec;
use crate::key_manager::backing_key::EXTERNAL_MU_BYTES;
use crate::secret::SecretBytes;

fn key(spec: KeySpec, seed: &SecretBytes) -> Option<PqdsaKeyPair> {
    let algorithms: [(KeySpec, &'static PqdsaSigningAlgorithm); 3] = [
        (KeySpec::MlDsa44, &ML_DSA_44_SIGNING),
        (KeySpec::MlDsa65, &ML_DSA_65_SIGNING),
        (KeySpec::MlDsa87, &ML_DSA_87_SIGNING),
    ];
    let (_, algorithm) = algorithms.into_iter().find(|(set, _)| *set == spec)?;
    PqdsaKeyPair::from_seed(algorithm, seed.expose()).ok()
}

pub(super) fn public_key(spec: KeySpec, seed: &SecretBytes) -> Option<Vec<u8>> {
    key(spec, seed).map(|key| key.public_key().as_ref().to_vec())
}

/// With an empty context.
pub(super) fn sign(spec: KeySpec, seed: &SecretBytes, message: &[u8]) -> Option<Vec<u8>> {
    let key = key(spec, seed)?;
    let mut signature = vec![0; key.algorithm().signature_len()];
    let written = key.sign(message, &mut signature).ok()?;
    signature.truncate(written);
    Some(signature)
}

/// Signs a message representative (algorithm 7 from line 7 on).
pub(super) fn sign_mu(spec: KeySpec, seed: &SecretBytes, mu: &[u8; EXTERNAL_MU_BYTES]) -> Option<Vec<u8>> {
    type SignMu = fn(&SecretBytes, &[u8; EXTERNAL_MU_BYTES]) -> Option<Vec<u8>>;
    let by_set: [(KeySpec, SignMu); 3] = [
        (KeySpec::MlDsa44, sign_mu_by::<MlDsa44>),
        (KeySpec::MlDsa65, sign_mu_by::<MlDsa65>),
        (KeySpec::MlDsa87, sign_mu_by::<MlDsa87>),
    ];
    let (_, sign) = by_set.into_iter().find(|(set, _)| *set == spec)?;
    sign(seed, mu)
}

fn sign_mu_by<P: MlDsaParams>(seed: &SecretBytes, mu: &[u8; EXTERNAL_MU_BYTES]) -> Option<Vec<u8>> {
    let mut bytes = Seed::try_from(seed.expose()).ok()?;
    let key = ExpandedSigningKey::<P>::from_seed(&bytes);
    bytes.zeroize();
    let signature = key.sign_mu_randomized(&(*mu).into(), &mut SystemRandom).ok()?;
    Some(signature.encode().to_vec())
}

/// The generator of the operating system, in the clothes that the library wants.
struct SystemRandom;

#[derive(Debug)]
struct NoRandom;

impl std::fmt::Display for NoRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the operating system gave no random bytes")
    }
}

impl std::error::Error for NoRandom {}

impl TryRng for SystemRandom {
    type Error = NoRandom;

    fn try_next_u32(&mut self) -> Result<u32, NoRandom> {
        let mut bytes = [0; size_of::<u32>()];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandom> {
        let mut bytes = [0; size_of::<u64>()];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| NoRandom)
    }
}

impl TryCryptoRng for SystemRandom {}

#[cfg(test)]
mod tests {
    use ml_dsa::{MlDsa65, Signature, SigningKey};

    use super::{public_key, sign_mu};
    use crate::domain::kms::KeySpec;
    use crate::secret::SecretBytes;

    #[test]
    fn a_message_representative_is_signed_by_the_same_key_that_signs_messages() {
        let seed = SecretBytes::new(vec![7; 32]);
        let key = SigningKey::<MlDsa65>::from_seed(&[7; 32].into());
        let verifying = key.expanded_key().verifying_key();
        assert_eq!(verifying.encode().to_vec(), public_key(KeySpec::MlDsa65, &seed).unwrap());
        let made = sign_mu(KeySpec::MlDsa65, &seed, &[9; 64]).unwrap();
        let signature = Signature::<MlDsa65>::try_from(made.as_slice()).unwrap();
        assert!(verifying.verify_mu(&[9; 64].into(), &signature));
        assert!(!verifying.verify_mu(&[8; 64].into(), &signature));
    }
}
