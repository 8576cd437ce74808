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

fn algorithm(spec: KeySpec) -> Option<&'static Algorithm<AlgorithmId>> {
    let algorithms = [
        (KeySpec::MlKem512, &ML_KEM_512),
        (KeySpec::MlKem768, &ML_KEM_768),
        (KeySpec::MlKem1024, &ML_KEM_1024),
    ];
    algorithms.into_iter().find(|(own, _)| *own == spec).map(|(_, algorithm)| algorithm)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::kem::DecapsulationKey;

    use crate::domain::kms::KeySpec;
    use crate::public_key::Unreadable;
    use crate::public_key::encapsulation::{algorithm, encapsulate};

    /// SubjectPublicKeyInfo (RFC 9935) of a key whose object identifier ends so.
    fn public_key(last: u8, key: &[u8]) -> Vec<u8> {
        let long = |tag: u8, bytes: usize| {
            let bytes = u16::try_from(bytes).unwrap().to_be_bytes();
            [tag, 0x82, bytes[0], bytes[1]]
        };
        let algorithm = [0x30, 11, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 4, last];
        let bits = [&long(3, key.len() + 1)[..], &[0], key].concat();
        [&long(0x30, algorithm.len() + bits.len())[..], &algorithm, &bits].concat()
    }

    #[test]
    fn whoever_has_the_private_key_decapsulates_the_secret() {
        let specs = [(KeySpec::MlKem512, 1), (KeySpec::MlKem768, 2), (KeySpec::MlKem1024, 3)];
        for (spec, last) in specs {
            let own = DecapsulationKey::generate(algorithm(spec).unwrap()).unwrap();
            let key = own.encapsulation_key().unwrap().key_bytes().unwrap();
            let made = encapsulate(spec, &public_key(last, key.as_ref())).unwrap();
            assert_eq!(Some(made.ciphertext.len()), spec.encapsulated_bytes(), "{spec}");
            let secret = own.decapsulate(made.ciphertext.as_slice().into()).unwrap();
            assert_eq!(secret.as_ref(), made.shared_secret.expose(), "{spec}");
            let mut other = key.as_ref().to_vec();
            other[..3].fill(255);
            for wrong in [public_key(last, &other), public_key(last, &key.as_ref()[1..]), other] {
                assert_eq!(encapsulate(spec, &wrong).unwrap_err(), Unreadable, "{spec}");
            }
        }
        assert_eq!(encapsulate(KeySpec::Rsa2048, b"").unwrap_err(), Unreadable);
    }
}
