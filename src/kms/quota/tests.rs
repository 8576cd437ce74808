//! Request quotas: which class a request counts as, and what is left when it is used up.

use std::collections::BTreeMap;

use crate::domain::kms::Region;
use crate::identity::kms::Caller;
use crate::kms::error::{Error, THROTTLED};
use crate::kms::model::Document;
use crate::kms::operation::OperationName;
use crate::kms::quota::{Asked, QuotaClass, RegionSize, RequestQuota, RequestQuotas};
use crate::metrics::Metrics;

fn caller(account: &str, region: &str) -> Caller {
    Caller::of_root_user(account, region)
}

fn quota(overrides: &[(QuotaClass, f64)]) -> RequestQuota {
    let overrides = BTreeMap::from_iter(overrides.iter().copied());
    RequestQuota::new(&RequestQuotas::Aws { overrides }, Metrics::new().unwrap().alarms)
}

fn asked(operation: OperationName, key_pair_spec: Option<&str>) -> Asked<'_> {
    Asked { operation, key_pair_spec, algorithms: [None, None] }
}

/// How many of a thousand requests at once are served.
fn served(quota: &RequestQuota, caller: &Caller, operation: OperationName, spec: Option<&str>) -> usize {
    (0..1000).filter(|_| quota.admit(caller, &asked(operation, spec)).is_ok()).count()
}

#[test]
fn each_operation_counts_as_its_own_or_a_shared_class() {
    use OperationName as Name;
    let shared = |name: &OperationName| {
        let class = QuotaClass::of(&asked(*name, None));
        let known = [
            (QuotaClass::CryptographicOperationsSymmetric, "symmetric"),
            (QuotaClass::CryptographicOperationsEcc, "ecc"),
            (QuotaClass::CryptographicOperationsPostQuantum, "post-quantum"),
            (QuotaClass::GenerateDataKeyPairOther, "pair"),
        ];
        let shared = known.iter().find(|(shared, _)| *shared == class).map(|(_, text)| *text);
        assert!(shared.is_some() || class.as_str() == name.as_str(), "{name}");
        shared
    };
    let of = |class| OperationName::ALL.iter().filter(move |name| shared(name) == Some(class)).copied();
    assert_eq!(
        of("symmetric").collect::<Vec<_>>(),
        [
            Name::Decrypt,
            Name::Encrypt,
            Name::GenerateDataKey,
            Name::GenerateDataKeyWithoutPlaintext,
            Name::GenerateMac,
            Name::GenerateRandom,
            Name::ReEncrypt,
            Name::VerifyMac,
        ]
    );
    assert_eq!(of("ecc").collect::<Vec<_>>(), [Name::DeriveSharedSecret, Name::Sign, Name::Verify]);
    assert_eq!(of("post-quantum").collect::<Vec<_>>(), [Name::Decapsulate, Name::Encapsulate]);
    assert_eq!(of("pair").count(), 2);
}

#[test]
fn the_algorithm_tells_which_kind_of_key_it_is() {
    use OperationName as Name;
    let class = |operation, body: &str| {
        QuotaClass::of(&Asked::of(operation, &Document::parse(body.as_bytes()).unwrap()))
    };
    for operation in [Name::Sign, Name::Verify] {
        for (algorithm, expected) in [
            ("RSASSA_PSS_SHA_256", QuotaClass::CryptographicOperationsRsa),
            ("RSASSA_PKCS1_V1_5_SHA_512", QuotaClass::CryptographicOperationsRsa),
            ("ECDSA_SHA_384", QuotaClass::CryptographicOperationsEcc),
            ("ED25519_SHA_512", QuotaClass::CryptographicOperationsEcc),
            ("ML_DSA_SHAKE_256", QuotaClass::CryptographicOperationsPostQuantum),
        ] {
            let body = format!(r#"{{"SigningAlgorithm":"{algorithm}"}}"#);
            assert_eq!(class(operation, &body), expected, "{algorithm}");
        }
    }
    let symmetric = QuotaClass::CryptographicOperationsSymmetric;
    for operation in [Name::Encrypt, Name::Decrypt] {
        let rsa = r#"{"EncryptionAlgorithm":"RSAES_OAEP_SHA_1"}"#;
        assert_eq!(class(operation, rsa), QuotaClass::CryptographicOperationsRsa);
        assert_eq!(class(operation, r#"{"EncryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#), symmetric);
    }
    for member in ["SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"] {
        let body = format!(r#"{{"{member}":"RSAES_OAEP_SHA_256"}}"#);
        assert_eq!(class(Name::ReEncrypt, &body), QuotaClass::CryptographicOperationsRsa);
    }
    assert_eq!(class(Name::ReEncrypt, "{}"), symmetric);
}

#[test]
fn what_shares_a_quota_uses_it_up_together() {
    let quota = quota(&[(QuotaClass::CryptographicOperationsSymmetric, 3.0)]);
    let caller = caller("123456789012", "us-east-1");
    for operation in [OperationName::Encrypt, OperationName::Decrypt, OperationName::GenerateMac] {
        assert_eq!(quota.admit(&caller, &asked(operation, None)), Ok(()));
    }
    let throttled = Err(Error::Throttling(THROTTLED.to_owned()));
    assert_eq!(quota.admit(&caller, &asked(OperationName::ReEncrypt, None)), throttled);
    assert_eq!(quota.admit(&caller, &asked(OperationName::DescribeKey, None)), Ok(()));
}

#[test]
fn accounts_and_regions_do_not_share() {
    let quota = quota(&[]);
    for (account, region) in
        [("123456789012", "us-east-1"), ("123456789012", "us-east-2"), ("210987654321", "us-east-1")]
    {
        assert_eq!(served(&quota, &caller(account, region), OperationName::CreateKey, None), 5);
    }
}

#[test]
fn less_than_one_a_second_is_one_at_once() {
    let quota = quota(&[]);
    let caller = caller("123456789012", "eu-north-1");
    assert_eq!(served(&quota, &caller, OperationName::GetParametersForImport, None), 1);
    let pair = OperationName::GenerateDataKeyPair;
    assert_eq!(served(&quota, &caller, pair, Some("RSA_4096")), 1);
    assert_eq!(served(&quota, &caller, pair, Some("SM2")), 25);
    let without = OperationName::GenerateDataKeyPairWithoutPlaintext;
    assert_eq!(served(&quota, &caller, without, Some("RSA_4096")), 0);
}

#[test]
fn symmetric_quotas_depend_on_the_region() {
    let rate = |region| {
        let size = RegionSize::of(&Region::parse(region).unwrap());
        QuotaClass::CryptographicOperationsSymmetric.per_second(size)
    };
    assert_eq!(["eu-west-1", "eu-central-1", "eu-west-3"].map(rate), [50_000.0, 10_000.0, 5_500.0]);
}

#[test]
fn senseless_rates_serve_one_request_and_off_serves_all() {
    let caller = caller("123456789012", "us-east-1");
    for rate in [0.0, -1.0, f64::NAN, f64::MIN_POSITIVE] {
        let quota = quota(&[(QuotaClass::ListKeys, rate)]);
        assert_eq!(served(&quota, &caller, OperationName::ListKeys, None), 1, "{rate}");
    }
    let off = RequestQuota::new(&RequestQuotas::Off, Metrics::new().unwrap().alarms);
    assert_eq!(served(&off, &caller, OperationName::CreateKey, None), 1000);
}
