//! Key pairs for callers, where no HSM makes them or lets them out.

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{EcdsaKeyPair, RsaKeyPair};

use crate::domain::kms::{KeySpec, KeyUsage};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::KeyPair;
use crate::key_manager::pkcs8::{self, PrivateKey};
use crate::key_manager::software::{public_key, random, seed_bytes, unsupported};
use crate::public_key::spki;
use crate::secret::SecretBytes;

/// A fresh pair of this spec.
pub fn key_pair(spec: KeySpec) -> Result<KeyPair, HsmError> {
    let sizes = [
        (KeySpec::Rsa2048, KeySize::Rsa2048),
        (KeySpec::Rsa3072, KeySize::Rsa3072),
        (KeySpec::Rsa4096, KeySize::Rsa4096),
    ];
    let size = sizes.into_iter().find(|(sized, _)| *sized == spec);
    let made = match size {
        Some((_, size)) => rsa(spec, size),
        None if spec == KeySpec::EccNistEdwards25519 => {
            seed_bytes(spec).and_then(random).and_then(|seed| of(spec, &PrivateKey::of_ed25519(&seed)?))
        }
        None => ec(spec).or_else(|| ml_kem(spec)),
    };
    made.ok_or_else(|| unsupported(spec))
}

fn of(spec: KeySpec, key: &PrivateKey) -> Option<KeyPair> {
    Some(KeyPair { private_key: key.write(spec)?, public_key: key.public_key(spec)? })
}

fn rsa(spec: KeySpec, size: KeySize) -> Option<KeyPair> {
    let pair = RsaKeyPair::generate(size).ok()?;
    let written: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    of(spec, &PrivateKey::read(spec, written.as_ref())?)
}

fn ec(spec: KeySpec) -> Option<KeyPair> {
    spki::named_curve(spec)?;
    let pair = EcdsaKeyPair::generate(pkcs8::signing(spec)?).ok()?;
    let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
    of(spec, &PrivateKey::of_ec(spec, scalar.as_ref())?)
}

fn ml_kem(spec: KeySpec) -> Option<KeyPair> {
    spec.permits(KeyUsage::EncapsulateDecapsulate).then_some(())?;
    let seed = SecretBytes::new(random(seed_bytes(spec)?)?.to_vec());
    let private_key = pkcs8::of_ml_kem_seed(spec, seed.expose())?;
    Some(KeyPair { private_key, public_key: public_key(spec, &seed).ok()? })
}

#[cfg(test)]
mod tests {
    use super::key_pair;
    use crate::domain::kms::KeySpec;
    use crate::key_manager::pkcs8::PrivateKey;

    #[test]
    fn a_pair_belongs_together_and_no_two_are_the_same() {
        for spec in [
            KeySpec::Rsa2048,
            KeySpec::EccNistP256,
            KeySpec::EccNistP384,
            KeySpec::EccNistP521,
            KeySpec::EccSecgP256k1,
            KeySpec::EccNistEdwards25519,
        ] {
            let (first, second) = (key_pair(spec).unwrap(), key_pair(spec).unwrap());
            assert_ne!(first.public_key, second.public_key);
            let read = PrivateKey::read(spec, first.private_key.expose()).unwrap();
            assert_eq!(read.public_key(spec).unwrap(), first.public_key);
        }
        assert!(key_pair(KeySpec::Hmac256).is_err() && key_pair(KeySpec::MlDsa44).is_err());
    }
}
