//! Public keys of others, with which secrets are agreed on.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ParsedPublicKey,
    VerificationAlgorithm,
};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::domain::kms::KeySpec;
use crate::public_key::raw;

/// How an uncompressed point begins (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// The public key of a peer on the named curve of a key, with its point uncompressed; none if it is none, or if the
/// point is not on the curve (SP 800-56A, 5.6.2.3.3).
pub fn parse_peer(spec: KeySpec, public_key: &[u8]) -> Option<Vec<u8>> {
    let (curve, parser) = curve(spec)?;
    let (rest, info) = SubjectPublicKeyInfo::from_der(public_key).ok()?;
    let named = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is_on_curve = info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && named == Some(curve);
    if !is_on_curve || !rest.is_empty() {
        return None;
    }
    let key = ParsedPublicKey::new(parser, public_key).ok()?;
    let der: PublicKeyX509Der<'_> = key.as_der().ok()?;
    let der = der.as_ref().to_vec();
    raw(&der).ok()?.first().is_some_and(|first| *first == UNCOMPRESSED).then_some(der)
}

fn curve(spec: KeySpec) -> Option<(Oid<'static>, &'static dyn VerificationAlgorithm)> {
    let curves: [(KeySpec, Oid<'static>, &dyn VerificationAlgorithm); 3] = [
        (KeySpec::EccNistP256, OID_EC_P256, &ECDSA_P256_SHA256_ASN1),
        (KeySpec::EccNistP384, OID_NIST_EC_P384, &ECDSA_P384_SHA384_ASN1),
        (KeySpec::EccNistP521, OID_NIST_EC_P521, &ECDSA_P521_SHA512_ASN1),
    ];
    curves.into_iter().find(|(own, ..)| *own == spec).map(|(_, curve, parser)| (curve, parser))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey};
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair};

    use crate::domain::kms::KeySpec;
    use crate::public_key::peer::{UNCOMPRESSED, parse_peer};
    use crate::public_key::raw;

    const SPECS: [KeySpec; 3] = [KeySpec::EccNistP256, KeySpec::EccNistP384, KeySpec::EccNistP521];

    fn public_key(spec: KeySpec) -> Vec<u8> {
        let algorithms = SPECS.iter().zip([&ECDH_P256, &ECDH_P384, &ECDH_P521]);
        let algorithm = algorithms.into_iter().find(|(own, _)| **own == spec).unwrap().1;
        let key = PrivateKey::generate(algorithm).unwrap().compute_public_key().unwrap();
        let der: PublicKeyX509Der<'_> = key.as_der().unwrap();
        der.as_ref().to_vec()
    }

    #[test]
    fn a_key_on_the_same_curve_is_a_peer_and_none_on_another() {
        for spec in SPECS {
            let own = public_key(spec);
            for other in SPECS {
                assert_eq!(parse_peer(other, &own).is_some(), other == spec, "{spec} {other}");
            }
            assert_eq!(parse_peer(spec, &own).unwrap(), own);
            assert_eq!(parse_peer(KeySpec::EccSecgP256k1, &own), None);
        }
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_no_peer() {
        for spec in SPECS {
            let mut own = public_key(spec);
            let last = own.len() - 1;
            own[last] ^= 1;
            assert_eq!(parse_peer(spec, &own), None, "{spec}");
        }
    }

    #[test]
    fn a_compressed_point_is_the_same_peer() {
        let own = public_key(KeySpec::EccNistP256);
        let point = raw(&own).unwrap();
        let parity = 2 + (point[64] & 1);
        let head = &own[..own.len() - 65];
        let mut compressed = head.to_vec();
        compressed.push(parity);
        compressed.extend_from_slice(&point[1..33]);
        // The lengths of the sequence and of the bit string.
        compressed[1] -= 32;
        let bits = head.len() - 2;
        compressed[bits] -= 32;
        let parsed = parse_peer(KeySpec::EccNistP256, &compressed).unwrap();
        assert_eq!((&parsed, raw(&parsed).unwrap()[0]), (&own, UNCOMPRESSED));
    }

    #[test]
    fn nothing_but_a_whole_subject_public_key_info_is_a_peer() {
        let own = public_key(KeySpec::EccNistP256);
        let mut longer = own.clone();
        longer.push(0);
        let point = raw(&own).unwrap();
        let edwards = Ed25519KeyPair::generate().unwrap();
        assert_eq!(edwards.public_key().as_ref().len(), 32, "{ED25519:?}");
        let edwards: PublicKeyX509Der<'_> = edwards.public_key().as_der().unwrap();
        for other in [&longer[..], &own[..own.len() - 1], point, b"", edwards.as_ref()] {
            assert_eq!(parse_peer(KeySpec::EccNistP256, other), None);
        }
    }
}
