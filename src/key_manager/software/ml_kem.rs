//! ML-KEM (FIPS 203) from a seed.

use ml_kem::{
    Decapsulate, DecapsulationKey512, DecapsulationKey768, DecapsulationKey1024, KeyExport, Seed, ml_kem_512,
    ml_kem_768, ml_kem_1024,
};
use zeroize::{Zeroize, Zeroizing};

use crate::domain::kms::KeySpec;
use crate::secret::SecretBytes;

/// The traits of the library that a parameter set has cannot be named outside it.
macro_rules! with_key {
    ($Key:ty, $seed:expr, $key:ident => $then:expr) => {{
        let mut seed = Seed::try_from($seed.expose()).ok()?;
        let $key = <$Key>::from_seed(seed);
        seed.zeroize();
        $then
    }};
}

pub(super) fn public_key(spec: KeySpec, seed: &SecretBytes) -> Option<Vec<u8>> {
    if spec == KeySpec::MlKem512 {
        with_key!(DecapsulationKey512, seed, key => Some(key.encapsulation_key().to_bytes().to_vec()))
    } else if spec == KeySpec::MlKem768 {
        with_key!(DecapsulationKey768, seed, key => Some(key.encapsulation_key().to_bytes().to_vec()))
    } else if spec == KeySpec::MlKem1024 {
        with_key!(DecapsulationKey1024, seed, key => Some(key.encapsulation_key().to_bytes().to_vec()))
    } else {
        None
    }
}

/// Nothing if the ciphertext does not have the length of the parameter set.
pub(super) fn decapsulate(spec: KeySpec, seed: &SecretBytes, ciphertext: &[u8]) -> Option<SecretBytes> {
    let secret = if spec == KeySpec::MlKem512 {
        let ciphertext = ml_kem_512::Ciphertext::try_from(ciphertext).ok()?;
        with_key!(DecapsulationKey512, seed, key => Zeroizing::new(key.decapsulate(&ciphertext)))
    } else if spec == KeySpec::MlKem768 {
        let ciphertext = ml_kem_768::Ciphertext::try_from(ciphertext).ok()?;
        with_key!(DecapsulationKey768, seed, key => Zeroizing::new(key.decapsulate(&ciphertext)))
    } else if spec == KeySpec::MlKem1024 {
        let ciphertext = ml_kem_1024::Ciphertext::try_from(ciphertext).ok()?;
        with_key!(DecapsulationKey1024, seed, key => Zeroizing::new(key.decapsulate(&ciphertext)))
    } else {
        return None;
    };
    Some(SecretBytes::new(secret.to_vec()))
}
