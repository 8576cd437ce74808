//! Wycheproof: signatures of RSA, ECDSA and Ed25519.

use holdfast::domain::kms::{KeySpec, SigningAlgorithm};
use holdfast::public_key::hashing::hashed;
use holdfast::public_key::signature::{Signed, Signer};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use crate::tally::Tally;

/// As Verify does it. A key that is none has signed nothing.
fn holds(signer: Signer<'_>, algorithm: SigningAlgorithm, message: &[u8], signature: &[u8]) -> bool {
    let signed = match algorithm.hash() {
        Some(hash) => signer.signed(algorithm, Signed::Digest(&hashed(hash, message)), signature),
        None => signer.signed(algorithm, Signed::Message(message), signature),
    };
    signed.unwrap_or(false)
}

#[test]
fn rsa_pkcs1() {
    use rsa_pkcs1_verify::TestName;
    let mut tally = Tally::default();
    for (set, spec, algorithm) in [
        (TestName::Rsa2048Sha256, KeySpec::Rsa2048, SigningAlgorithm::RsassaPkcs1V15Sha256),
        (TestName::Rsa2048Sha384, KeySpec::Rsa2048, SigningAlgorithm::RsassaPkcs1V15Sha384),
        (TestName::Rsa2048Sha512, KeySpec::Rsa2048, SigningAlgorithm::RsassaPkcs1V15Sha512),
        (TestName::Rsa3072Sha256, KeySpec::Rsa3072, SigningAlgorithm::RsassaPkcs1V15Sha256),
        (TestName::Rsa3072Sha384, KeySpec::Rsa3072, SigningAlgorithm::RsassaPkcs1V15Sha384),
        (TestName::Rsa3072Sha512, KeySpec::Rsa3072, SigningAlgorithm::RsassaPkcs1V15Sha512),
        (TestName::Rsa4096Sha256, KeySpec::Rsa4096, SigningAlgorithm::RsassaPkcs1V15Sha256),
        (TestName::Rsa4096Sha384, KeySpec::Rsa4096, SigningAlgorithm::RsassaPkcs1V15Sha384),
        (TestName::Rsa4096Sha512, KeySpec::Rsa4096, SigningAlgorithm::RsassaPkcs1V15Sha512),
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let signer = Signer { spec, public_key: &group.der };
            for test in group.tests {
                let name = format!("{set:?} {}", test.tc_id);
                tally.case(&name, test.result, &test.comment, holds(signer, algorithm, &test.msg, &test.sig));
            }
        }
    }
    tally.assert_some("RSASSA-PKCS1-v1_5");
    // The NULL that is missing: nobody's but an attacker's encoder leaves it out.
    assert!(tally.acceptable.values().all(|accepted| !accepted), "{:?}", tally.acceptable);
}

#[test]
fn rsa_pss() {
    use rsa_pss_verify::TestName;
    let mut tally = Tally::default();
    for (set, spec, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, KeySpec::Rsa2048, SigningAlgorithm::RsassaPssSha256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, KeySpec::Rsa2048, SigningAlgorithm::RsassaPssSha384),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, KeySpec::Rsa3072, SigningAlgorithm::RsassaPssSha256),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, KeySpec::Rsa4096, SigningAlgorithm::RsassaPssSha256),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, KeySpec::Rsa4096, SigningAlgorithm::RsassaPssSha384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, KeySpec::Rsa4096, SigningAlgorithm::RsassaPssSha512),
    ] {
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let signer = Signer { spec, public_key: &group.der };
            for test in group.tests {
                let name = format!("{set:?} {}", test.tc_id);
                tally.case(&name, test.result, &test.comment, holds(signer, algorithm, &test.msg, &test.sig));
            }
        }
    }
    tally.assert_some("RSASSA-PSS");
    assert!(tally.acceptable.is_empty(), "{:?}", tally.acceptable);
}

/// AWS KMS has salts as long as the digest, and MGF1 with the hash of the message.
#[test]
fn rsa_pss_with_other_parameters_is_refused() {
    use rsa_pss_verify::TestName;
    let mut refused = 0;
    for (set, spec, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, KeySpec::Rsa2048, SigningAlgorithm::RsassaPssSha256),
        (TestName::RsaPss2048Sha256Mgf1Sha1_20, KeySpec::Rsa2048, SigningAlgorithm::RsassaPssSha256),
        (TestName::RsaPss4096Sha512Mgf1SaltLen32, KeySpec::Rsa4096, SigningAlgorithm::RsassaPssSha512),
    ] {
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let signer = Signer { spec, public_key: &group.der };
            // What is right with its own parameters; some that are wrong with them are right with ours.
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                assert!(!holds(signer, algorithm, &test.msg, &test.sig), "{set:?} {}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn elliptic_curves() {
    use ecdsa::TestName;
    for (set, spec, algorithm) in [
        (TestName::EcdsaSecp256r1Sha256, KeySpec::EccNistP256, SigningAlgorithm::EcdsaSha256),
        (TestName::EcdsaSecp384r1Sha384, KeySpec::EccNistP384, SigningAlgorithm::EcdsaSha384),
        (TestName::EcdsaSecp521r1Sha512, KeySpec::EccNistP521, SigningAlgorithm::EcdsaSha512),
        (TestName::EcdsaSecp256k1Sha256, KeySpec::EccSecgP256k1, SigningAlgorithm::EcdsaSha256),
    ] {
        let mut tally = Tally::default();
        for group in ecdsa::TestSet::load(set).unwrap().test_groups {
            let signer = Signer { spec, public_key: &group.der };
            for test in group.tests {
                let name = format!("{set:?} {}", test.tc_id);
                tally.case(&name, test.result, &test.comment, holds(signer, algorithm, &test.msg, &test.sig));
            }
        }
        tally.assert_some("ECDSA");
        assert!(tally.acceptable.is_empty(), "{:?}", tally.acceptable);
    }
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    let algorithm = SigningAlgorithm::Ed25519Sha512;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let signer = Signer { spec: KeySpec::EccNistEdwards25519, public_key: &group.der };
        for test in group.tests {
            let name = format!("Ed25519 {}", test.tc_id);
            tally.case(&name, test.result, &test.comment, holds(signer, algorithm, &test.msg, &test.sig));
        }
    }
    tally.assert_some("Ed25519");
    assert!(tally.acceptable.is_empty(), "{:?}", tally.acceptable);
}
