//! ML-KEM with a public key (FIPS 203).

use aws_lc_rs::kem::{Algorithm, AlgorithmId, EncapsulationKey, ML_KEM_512, ML_KEM_768, ML_KEM_1024};

use crate::domain::kms::KeySpec;
use crate::public_key::{Unreadable, raw};
use crate::secret::SecretBytes;

/// A fresh shared secret, in both forms.
#[derive(Debug)]
pub struct Encapsulated {
    pub shared_secret: SecretBytes,
    pub ciphertext: Vec<u8>,
}

/// FIPS 203, algorithm 20, with the check of the key that 7.2 demands.
pub fn encapsulate(spec: KeySpec, public_key: &[u8]) -> Result<Encapsulated, Unreadable> {
    let algorithm = algorithm(spec).ok_or(Unreadable)?;
    let key = EncapsulationKey::new(algorithm, raw(public_key)?).map_err(|_| Unreadable)?;
    let (ciphertext, shared_secret) = key.encapsulate().map_err(|_| Unreadable)?;
    Ok(Encapsulated {
        shared_secret: SecretBytes::new(shared_secret.as_ref().to_vec()),
        ciphertext: ciphertext.as_ref().to_vec(),
    })
}

const fn algorithm(spec: KeySpec) -> Option<&'static Algorithm<AlgorithmId>> {
    match spec {
        KeySpec::MlKem512 => Some(&ML_KEM_512),
        KeySpec::MlKem768 => Some(&ML_KEM_768),
        KeySpec::MlKem1024 => Some(&ML_KEM_1024),
        _ => None,
    }
}
