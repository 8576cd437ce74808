//! SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) of the kinds of keys that there are, made from what tokens show.

use crate::domain::kms::KeySpec;
use crate::public_key::der;

/// rsaEncryption with its NULL (RFC 8017, A.1).
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
/// id-ecPublicKey (RFC 5480).
const EC: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
const P521: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x23];
const SECP256K1: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x0a];
/// RFC 8410.
const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
/// RFC 9881.
const ML_DSA_44: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 17];
const ML_DSA_65: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18];
const ML_DSA_87: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 19];
/// RFC 9935.
const ML_KEM_512: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 4, 1];
const ML_KEM_768: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 4, 2];
const ML_KEM_1024: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 4, 3];

const UNCOMPRESSED: u8 = 4;

/// What an AlgorithmIdentifier of a spec has inside: the object identifier, and its parameters if there are any.
pub const fn algorithm(spec: KeySpec) -> Option<[&'static [u8]; 2]> {
    match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Some([RSA, &[]]),
        KeySpec::EccNistP256 => Some([EC, P256]),
        KeySpec::EccNistP384 => Some([EC, P384]),
        KeySpec::EccNistP521 => Some([EC, P521]),
        KeySpec::EccSecgP256k1 => Some([EC, SECP256K1]),
        KeySpec::EccNistEdwards25519 => Some([ED25519, &[]]),
        KeySpec::MlDsa44 => Some([ML_DSA_44, &[]]),
        KeySpec::MlDsa65 => Some([ML_DSA_65, &[]]),
        KeySpec::MlDsa87 => Some([ML_DSA_87, &[]]),
        KeySpec::MlKem512 => Some([ML_KEM_512, &[]]),
        KeySpec::MlKem768 => Some([ML_KEM_768, &[]]),
        KeySpec::MlKem1024 => Some([ML_KEM_1024, &[]]),
        KeySpec::Hmac224
        | KeySpec::Hmac256
        | KeySpec::Hmac384
        | KeySpec::Hmac512
        | KeySpec::Sm2
        | KeySpec::SymmetricDefault => None,
    }
}

/// Curves in the form of Weierstrass: the object identifier in DER, and the length of a coordinate.
const CURVES: [(KeySpec, &[u8], usize); 4] = [
    (KeySpec::EccNistP256, P256, 32),
    (KeySpec::EccNistP384, P384, 48),
    (KeySpec::EccNistP521, P521, 66),
    (KeySpec::EccSecgP256k1, SECP256K1, 32),
];

/// Public keys that are octets (RFC 8032; FIPS 203, table 3; FIPS 204, table 2), and how many.
const OCTETS: [(KeySpec, usize); 7] = [
    (KeySpec::EccNistEdwards25519, 32),
    (KeySpec::MlDsa44, 1312),
    (KeySpec::MlDsa65, 1952),
    (KeySpec::MlDsa87, 2592),
    (KeySpec::MlKem512, 800),
    (KeySpec::MlKem768, 1184),
    (KeySpec::MlKem1024, 1568),
];

/// Of a curve in the form of Weierstrass: its object identifier in DER.
pub fn named_curve(spec: KeySpec) -> Option<&'static [u8]> {
    CURVES.iter().find(|(curve, ..)| *curve == spec).map(|(_, identifier, _)| *identifier)
}

/// Of such a curve: the length of a coordinate, which is that of a private key.
pub fn coordinate_bytes(spec: KeySpec) -> Option<usize> {
    CURVES.iter().find(|(curve, ..)| *curve == spec).map(|(.., bytes)| *bytes)
}

/// Whether it is an uncompressed point, or octets, of the length that the spec has.
fn is_raw(spec: KeySpec, raw: &[u8]) -> bool {
    match coordinate_bytes(spec) {
        Some(bytes) => raw.len() == 1 + 2 * bytes && raw.first() == Some(&UNCOMPRESSED),
        None => OCTETS.contains(&(spec, raw.len())),
    }
}

/// From modulus and public exponent, big-endian.
pub fn of_rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = der::sequence(&[&der::integer(modulus), &der::integer(exponent)]);
    der::sequence(&[&der::sequence(&[RSA]), &der::bit_string(&key)])
}

/// From the public key of any other spec: an uncompressed point, or octets. Nothing if that is not what it is.
pub fn of_raw(spec: KeySpec, raw: &[u8]) -> Option<Vec<u8>> {
    let algorithm = der::sequence(&algorithm(spec)?);
    is_raw(spec, raw).then(|| der::sequence(&[&algorithm, &der::bit_string(raw)]))
}

/// Modulus and public exponent, without leading zeros.
pub fn rsa_parts(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut key = der::only_sequence(bits(KeySpec::Rsa2048, spki)?)?;
    let parts = (key.integer()?, key.integer()?);
    key.is_empty().then_some(parts)
}

/// The public key of any other spec, as [`of_raw`] takes it. Nothing if it is not one of this spec.
pub fn raw_of(spec: KeySpec, spki: &[u8]) -> Option<&[u8]> {
    bits(spec, spki).filter(|raw| is_raw(spec, raw))
}

fn bits(spec: KeySpec, spki: &[u8]) -> Option<&[u8]> {
    let mut info = der::only_sequence(spki)?;
    let found = info.expect(der::SEQUENCE)?;
    if found != algorithm(spec)?.concat() {
        return None;
    }
    let bits = info.bit_string()?;
    info.is_empty().then_some(bits)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
    };

    use super::{of_raw, of_rsa, raw_of, rsa_parts};
    use crate::domain::kms::KeySpec;

    #[test]
    fn an_rsa_key_is_encoded_as_another_library_encodes_it() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let expected = pair.public_key().as_der().unwrap();
        let (modulus, exponent) = rsa_parts(expected.as_ref()).unwrap();
        assert_eq!(modulus.len(), 256);
        assert_eq!(of_rsa(&[&[0], modulus].concat(), exponent), expected.as_ref());
    }

    #[test]
    fn points_and_octets_are_encoded_as_another_library_encodes_them() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_ASN1_SIGNING).unwrap();
        let expected = pair.public_key().as_der().unwrap();
        let spki = of_raw(KeySpec::EccNistP521, pair.public_key().as_ref()).unwrap();
        assert_eq!(spki, expected.as_ref());
        assert_eq!(raw_of(KeySpec::EccNistP521, &spki), Some(pair.public_key().as_ref()));
        assert_eq!(raw_of(KeySpec::EccNistP384, &spki), None);
        let pair = Ed25519KeyPair::generate().unwrap();
        let spki = of_raw(KeySpec::EccNistEdwards25519, pair.public_key().as_ref()).unwrap();
        assert_eq!(spki, pair.public_key().as_der().unwrap().as_ref());
        assert_eq!(of_raw(KeySpec::EccNistEdwards25519, &[0; 31]), None);
        assert_eq!(of_raw(KeySpec::EccNistP256, &[0; 65]), None);
    }
}
