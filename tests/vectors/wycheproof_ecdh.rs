//! Wycheproof: public keys of peers. The secrets are compared over the daemon, in `tests/suite/wrapped_key_vectors.rs`.

use holdfast::domain::kms::KeySpec;
use holdfast::public_key::peer::parse_peer;
use wycheproof::{TestResult, ecdh};

#[test]
fn who_is_a_peer() {
    use ecdh::TestName;
    for (set, spec) in [
        (TestName::EcdhSecp256r1, KeySpec::EccNistP256),
        (TestName::EcdhSecp384r1, KeySpec::EccNistP384),
        (TestName::EcdhSecp521r1, KeySpec::EccNistP521),
    ] {
        let (mut valid, mut acceptable) = (0, Vec::new());
        for group in ecdh::TestSet::load(set).unwrap().test_groups {
            for test in group.tests {
                let is_peer = parse_peer(spec, &test.public_key).is_some();
                let name = format!("{set:?} {} {} {:?}", test.tc_id, test.comment, test.flags);
                match test.result {
                    TestResult::Valid => {
                        valid += 1;
                        assert!(is_peer, "{name}");
                    }
                    TestResult::Invalid => assert!(!is_peer, "{name}"),
                    TestResult::Acceptable => acceptable.push((name, is_peer)),
                }
            }
        }
        assert!(valid > 100, "{valid}");
        for (name, is_peer) in acceptable {
            assert_eq!(is_peer, name.contains("Compressed"), "{name}");
        }
    }
}
