//! Private keys as PKCS #8 has them (RFC 5208, RFC 5958): written for callers, read when they are imported.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use zeroize::Zeroizing;

use crate::domain::kms::KeySpec;
use crate::public_key::{der, spki};
use crate::secret::SecretBytes;

const ED25519_SEED_BYTES: usize = 32;
const NULL: &[u8] = &[5, 0];
const VERSION_0: &[u8] = &[2, 1, 0];
const VERSION_1: &[u8] = &[2, 1, 1];
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
/// Primitive: how ML-KEM marks a seed (RFC 9935), and PKCS #8 a public key.
const PRIMITIVE_0: u8 = 0x80;
const PRIMITIVE_1: u8 = 0x81;
const UNCOMPRESSED: u8 = 4;
const COMPRESSED: [u8; 2] = [2, 3];
const HYBRID: [u8; 2] = [6, 7];

/// A private key in its parts.
pub(super) enum PrivateKey {
    Rsa(Box<RsaParts>),
    /// As many bytes as a coordinate has, and the uncompressed point of the public key.
    Ec {
        scalar: Zeroizing<Vec<u8>>,
        point: Vec<u8>,
    },
    Ed25519 {
        seed: Zeroizing<Vec<u8>>,
        public_key: Vec<u8>,
    },
}

/// Big-endian, without leading zeros: modulus, public and private exponent, primes, their exponents, coefficient.
pub(super) struct RsaParts {
    pub(super) modulus: Vec<u8>,
    pub(super) exponent: Vec<u8>,
    /// d, p, q, d mod (p-1), d mod (q-1), q^-1 mod p.
    pub(super) secret: [Zeroizing<Vec<u8>>; 6],
}

impl PrivateKey {
    /// One of exactly this spec, whose parts fit each other, or nothing.
    pub(super) fn read(spec: KeySpec, bytes: &[u8]) -> Option<Self> {
        let mut info = der::only_sequence(bytes)?;
        // Version 1 has the public key too, which is computed here.
        info.integer().filter(|version| version.is_empty() || *version == [1])?;
        let algorithm = info.expect(der::SEQUENCE)?;
        let key = info.expect(der::OCTET_STRING)?;
        let _attributes = info.expect(CONTEXT_0);
        let _public_key = info.expect(PRIMITIVE_1);
        if !info.is_empty() {
            return None;
        }
        let expected = spki::algorithm(spec)?.concat();
        // Some leave the NULL of RSA out.
        let is_of_spec = algorithm == expected || expected.strip_suffix(NULL) == Some(algorithm);
        if !is_of_spec {
            return None;
        }
        if spec.rsa_bits().is_some() {
            Self::read_rsa(spec, key)
        } else if spec == KeySpec::EccNistEdwards25519 {
            let mut reader = der::Reader::new(key);
            let seed = reader.expect(der::OCTET_STRING)?;
            if reader.is_empty() { Self::of_ed25519(seed) } else { None }
        } else {
            Self::read_ec(spec, key)
        }
    }

    fn read_rsa(spec: KeySpec, key: &[u8]) -> Option<Self> {
        let mut reader = der::only_sequence(key)?;
        // Version 0: two primes.
        reader.integer().filter(|version| version.is_empty())?;
        let [modulus, exponent] = [reader.integer()?, reader.integer()?];
        let mut secret: [Zeroizing<Vec<u8>>; 6] = Default::default();
        for part in &mut secret {
            *part = Zeroizing::new(reader.integer()?.to_vec());
        }
        let [modulus, exponent] = [modulus, exponent].map(<[u8]>::to_vec);
        reader.is_empty().then_some(())?;
        Self::of_rsa(spec, RsaParts { modulus, exponent, secret })
    }

    /// If the parts fit each other, and the modulus has as many bits as it must.
    pub(super) fn of_rsa(spec: KeySpec, parts: RsaParts) -> Option<Self> {
        let is_whole = parts.modulus.first().is_some_and(|byte| byte & 0x80 != 0);
        let is_long = spec.rsa_bits() == Some(parts.modulus.len() * 8);
        let key = Self::Rsa(Box::new(parts));
        (is_whole && is_long && RsaKeyPair::from_pkcs8(key.write(spec)?.expose()).is_ok()).then_some(key)
    }

    fn read_ec(spec: KeySpec, key: &[u8]) -> Option<Self> {
        let mut reader = der::only_sequence(key)?;
        reader.integer().filter(|version| *version == [1])?;
        let scalar = reader.expect(der::OCTET_STRING)?;
        let curve = reader.expect(CONTEXT_0);
        let mut said = reader.expect(CONTEXT_1).map(der::Reader::new);
        if !reader.is_empty() || curve.is_some_and(|curve| spki::named_curve(spec) != Some(curve)) {
            return None;
        }
        let key = Self::of_ec(spec, scalar)?;
        let Self::Ec { point, .. } = &key else { return None };
        match &mut said {
            None => Some(key),
            Some(said) => {
                let fits = is_point(said.bit_string()?, point) && said.is_empty();
                fits.then_some(key)
            }
        }
    }

    /// If it is in the range of the curve; the public key is computed.
    pub(super) fn of_ec(spec: KeySpec, scalar: &[u8]) -> Option<Self> {
        let bytes = spki::coordinate_bytes(spec)?;
        let mut padded = Zeroizing::new(vec![0; bytes]);
        padded.get_mut(bytes.checked_sub(scalar.len())?..)?.copy_from_slice(scalar);
        let curve = der::element(CONTEXT_0, &[spki::named_curve(spec)?]);
        let key = Zeroizing::new(der::element(der::OCTET_STRING, &[&padded]));
        let key = Zeroizing::new(der::sequence(&[VERSION_1, &key, &curve]));
        let pair = EcdsaKeyPair::from_private_key_der(signing(spec)?, &key).ok()?;
        Some(Self::Ec { scalar: padded, point: pair.public_key().as_ref().to_vec() })
    }

    pub(super) fn of_ed25519(seed: &[u8]) -> Option<Self> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).ok().filter(|_| seed.len() == ED25519_SEED_BYTES)?;
        let public_key = pair.public_key().as_ref().to_vec();
        Some(Self::Ed25519 { seed: Zeroizing::new(seed.to_vec()), public_key })
    }

    /// SubjectPublicKeyInfo in DER.
    pub(super) fn public_key(&self, spec: KeySpec) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(parts) => Some(spki::of_rsa(&parts.modulus, &parts.exponent)),
            Self::Ec { point, .. } => spki::of_raw(spec, point),
            Self::Ed25519 { public_key, .. } => spki::of_raw(spec, public_key),
        }
    }

    /// As OpenSSL writes it.
    pub(super) fn write(&self, spec: KeySpec) -> Option<SecretBytes> {
        match self {
            Self::Rsa(parts) => {
                let secret = parts.secret.each_ref().map(|part| Zeroizing::new(der::integer(part)));
                let [d, p, q, dp, dq, coefficient] = secret.each_ref().map(|part| part.as_slice());
                let [modulus, exponent] = [&parts.modulus, &parts.exponent].map(|part| der::integer(part));
                let key = [VERSION_0, &modulus, &exponent, d, p, q, dp, dq, coefficient];
                info(spec, &Zeroizing::new(der::sequence(&key)))
            }
            Self::Ec { scalar, point } => {
                let scalar = Zeroizing::new(der::element(der::OCTET_STRING, &[scalar]));
                let point = der::element(CONTEXT_1, &[&der::bit_string(point)]);
                info(spec, &Zeroizing::new(der::sequence(&[VERSION_1, &scalar, &point])))
            }
            Self::Ed25519 { seed, .. } => {
                info(spec, &Zeroizing::new(der::element(der::OCTET_STRING, &[seed])))
            }
        }
    }
}

/// An ML-KEM private key as its seed (RFC 9935, 6).
pub(super) fn of_ml_kem_seed(spec: KeySpec, seed: &[u8]) -> Option<SecretBytes> {
    info(spec, &Zeroizing::new(der::element(PRIMITIVE_0, &[seed])))
}

/// PrivateKeyInfo.
fn info(spec: KeySpec, key: &[u8]) -> Option<SecretBytes> {
    let algorithm = der::sequence(&spki::algorithm(spec)?);
    let key = Zeroizing::new(der::element(der::OCTET_STRING, &[key]));
    Some(SecretBytes::new(der::sequence(&[VERSION_0, &algorithm, &key])))
}

/// Whether `said`, in any of the forms of SEC 1, is this uncompressed point.
fn is_point(said: &[u8], point: &[u8]) -> bool {
    let Some((form, coordinates)) = said.split_first() else { return false };
    let Some((_, known)) = point.split_first() else { return false };
    let parity = usize::from(known.last().is_some_and(|byte| byte & 1 == 1));
    let x = known.get(..known.len() / 2).unwrap_or_default();
    match *form {
        UNCOMPRESSED => coordinates == known,
        form if HYBRID.get(parity) == Some(&form) => coordinates == known,
        form if COMPRESSED.get(parity) == Some(&form) => coordinates == x,
        _ => false,
    }
}

pub(super) fn signing(spec: KeySpec) -> Option<&'static EcdsaSigningAlgorithm> {
    let algorithms: [(KeySpec, &'static EcdsaSigningAlgorithm); 4] = [
        (KeySpec::EccNistP256, &ECDSA_P256_SHA256_ASN1_SIGNING),
        (KeySpec::EccNistP384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        (KeySpec::EccNistP521, &ECDSA_P521_SHA512_ASN1_SIGNING),
        (KeySpec::EccSecgP256k1, &ECDSA_P256K1_SHA256_ASN1_SIGNING),
    ];
    algorithms.into_iter().find(|(curve, _)| *curve == spec).map(|(_, algorithm)| algorithm)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};

    use super::{PrivateKey, VERSION_1, is_point, signing};
    use crate::domain::kms::KeySpec;
    use crate::public_key::{der, spki};

    const CURVES: [KeySpec; 4] =
        [KeySpec::EccNistP256, KeySpec::EccNistP384, KeySpec::EccNistP521, KeySpec::EccSecgP256k1];

    #[test]
    fn what_another_library_writes_is_read_and_written_the_same() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let theirs: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let key = PrivateKey::read(KeySpec::Rsa2048, theirs.as_ref()).unwrap();
        assert_eq!(key.write(KeySpec::Rsa2048).unwrap().expose(), theirs.as_ref());
        let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        assert_eq!(key.public_key(KeySpec::Rsa2048).unwrap(), public_key.as_ref());
        assert!(PrivateKey::read(KeySpec::Rsa3072, theirs.as_ref()).is_none());
        for spec in CURVES {
            let pair = EcdsaKeyPair::generate(signing(spec).unwrap()).unwrap();
            let theirs = pair.to_pkcs8v1().unwrap();
            let key = PrivateKey::read(spec, theirs.as_ref()).unwrap();
            assert_eq!(key.write(spec).unwrap().expose(), theirs.as_ref());
            assert_eq!(key.public_key(spec), spki::of_raw(spec, pair.public_key().as_ref()));
            for other in CURVES.into_iter().filter(|other| *other != spec) {
                assert!(PrivateKey::read(other, theirs.as_ref()).is_none());
            }
        }
        let spec = KeySpec::EccNistEdwards25519;
        let theirs = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        let key = PrivateKey::read(spec, theirs.as_ref()).unwrap();
        assert_eq!(key.write(spec).unwrap().expose(), theirs.as_ref());
    }

    fn ec(spec: KeySpec, scalar: &[u8], said: Option<&[u8]>) -> Vec<u8> {
        let point = said.map(|point| der::element(0xa1, &[&der::bit_string(point)])).unwrap_or_default();
        let key = der::sequence(&[VERSION_1, &der::element(der::OCTET_STRING, &[scalar]), &point]);
        super::info(spec, &key).unwrap().expose().to_vec()
    }

    #[test]
    fn a_point_may_have_any_form_or_be_absent_but_not_be_another_one() {
        for spec in CURVES {
            let bytes = spki::coordinate_bytes(spec).unwrap();
            let scalar = vec![1; bytes];
            let key = PrivateKey::read(spec, &ec(spec, &scalar, None)).unwrap();
            let PrivateKey::Ec { point, .. } = &key else { panic!() };
            let odd = point.last().unwrap() & 1;
            let (x, xy) = (&point[1..=bytes], &point[1..]);
            let compressed = [&[2 + odd][..], x].concat();
            let hybrid = [&[6 + odd][..], xy].concat();
            for right in [point.clone(), compressed.clone(), hybrid.clone()] {
                assert!(is_point(&right, point));
                assert!(PrivateKey::read(spec, &ec(spec, &scalar, Some(&right))).is_some());
                let mut wrong = right.clone();
                wrong[0] ^= 1;
                assert!(PrivateKey::read(spec, &ec(spec, &scalar, Some(&wrong))).is_none());
                wrong = right;
                *wrong.last_mut().unwrap() ^= 1;
                assert!(PrivateKey::read(spec, &ec(spec, &scalar, Some(&wrong))).is_none());
            }
            for scalar in [vec![0; bytes], vec![0xff; bytes], vec![1; bytes + 1], Vec::new()] {
                assert!(PrivateKey::read(spec, &ec(spec, &scalar, None)).is_none());
            }
        }
    }

    #[test]
    fn whatever_else_is_in_the_way_nothing_is_read() {
        let spec = KeySpec::EccNistP256;
        let good = ec(spec, &[1; 32], None);
        for length in 0..good.len() {
            assert!(PrivateKey::read(spec, &good[..length]).is_none());
        }
        assert!(PrivateKey::read(spec, &[good.as_slice(), &[0]].concat()).is_none());
        // Explicit parameters.
        let explicit = der::sequence(&[spki::algorithm(spec).unwrap()[0], &der::sequence(&[&[2, 1, 1]])]);
        let key = der::sequence(&[VERSION_1, &der::element(der::OCTET_STRING, &[&[1; 32]])]);
        let key = der::element(der::OCTET_STRING, &[&key]);
        assert!(PrivateKey::read(spec, &der::sequence(&[&[2, 1, 0], &explicit, &key])).is_none());
    }
}
