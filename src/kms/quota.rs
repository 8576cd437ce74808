//! Request quotas: how many requests a second an account may make in a Region.

mod demand;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::kms::{AccountId, Region, words};
use crate::identity::kms::Caller;
use crate::kms::error::{Error, THROTTLED};
use crate::kms::model::Document;
use crate::kms::operation::OperationName;
use crate::kms::quota::demand::Demand;
use crate::metrics::AlarmMetrics;

/// Which quotas are in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RequestQuotas {
    #[default]
    Off,
    /// Those of AWS, but for these, in requests a second.
    Aws { overrides: BTreeMap<QuotaClass, f64> },
}

words! {
    /// Requests that share a quota. Most operations have one of their own.
    pub enum QuotaClass {
        CancelKeyDeletion = "CancelKeyDeletion",
        ConnectCustomKeyStore = "ConnectCustomKeyStore",
        CreateAlias = "CreateAlias",
        CreateCustomKeyStore = "CreateCustomKeyStore",
        CreateGrant = "CreateGrant",
        CreateKey = "CreateKey",
        CryptographicOperationsEcc = "CryptographicOperationsEcc",
        CryptographicOperationsPostQuantum = "CryptographicOperationsPostQuantum",
        CryptographicOperationsRsa = "CryptographicOperationsRsa",
        CryptographicOperationsSymmetric = "CryptographicOperationsSymmetric",
        DeleteAlias = "DeleteAlias",
        DeleteCustomKeyStore = "DeleteCustomKeyStore",
        DeleteImportedKeyMaterial = "DeleteImportedKeyMaterial",
        DescribeCustomKeyStores = "DescribeCustomKeyStores",
        DescribeKey = "DescribeKey",
        DisableKey = "DisableKey",
        DisableKeyRotation = "DisableKeyRotation",
        DisconnectCustomKeyStore = "DisconnectCustomKeyStore",
        EnableKey = "EnableKey",
        EnableKeyRotation = "EnableKeyRotation",
        GenerateDataKeyPairEccNistP256 = "GenerateDataKeyPairEccNistP256",
        GenerateDataKeyPairEccNistP384 = "GenerateDataKeyPairEccNistP384",
        GenerateDataKeyPairEccNistP521 = "GenerateDataKeyPairEccNistP521",
        GenerateDataKeyPairEccSecgP256k1 = "GenerateDataKeyPairEccSecgP256k1",
        GenerateDataKeyPairOther = "GenerateDataKeyPairOther",
        GenerateDataKeyPairRsa2048 = "GenerateDataKeyPairRsa2048",
        GenerateDataKeyPairRsa3072 = "GenerateDataKeyPairRsa3072",
        GenerateDataKeyPairRsa4096 = "GenerateDataKeyPairRsa4096",
        GenerateDataKeyPairSm2 = "GenerateDataKeyPairSm2",
        GetKeyLastUsage = "GetKeyLastUsage",
        GetKeyPolicy = "GetKeyPolicy",
        GetKeyRotationStatus = "GetKeyRotationStatus",
        GetParametersForImport = "GetParametersForImport",
        GetPublicKey = "GetPublicKey",
        ImportKeyMaterial = "ImportKeyMaterial",
        ListAliases = "ListAliases",
        ListGrants = "ListGrants",
        ListKeyPolicies = "ListKeyPolicies",
        ListKeyRotations = "ListKeyRotations",
        ListKeys = "ListKeys",
        ListResourceTags = "ListResourceTags",
        ListRetirableGrants = "ListRetirableGrants",
        PutKeyPolicy = "PutKeyPolicy",
        ReplicateKey = "ReplicateKey",
        RetireGrant = "RetireGrant",
        RevokeGrant = "RevokeGrant",
        RotateKeyOnDemand = "RotateKeyOnDemand",
        ScheduleKeyDeletion = "ScheduleKeyDeletion",
        TagResource = "TagResource",
        UntagResource = "UntagResource",
        UpdateAlias = "UpdateAlias",
        UpdateCustomKeyStore = "UpdateCustomKeyStore",
        UpdateKeyDescription = "UpdateKeyDescription",
        UpdatePrimaryRegion = "UpdatePrimaryRegion",
    }
}

/// How large a Region is: the one quota that depends on it is that of symmetric cryptographic operations.
#[derive(Clone, Copy)]
enum RegionSize {
    Usual,
    Large,
    Largest,
}

/// What of a request tells which quota it uses.
#[derive(Clone, Copy)]
pub(super) struct Asked<'r> {
    operation: OperationName,
    key_pair_spec: Option<&'r str>,
    /// Of its one key, or of source and destination.
    algorithms: [Option<&'r str>; 2],
}

impl<'r> Asked<'r> {
    pub(super) fn of(operation: OperationName, document: &'r Document<'_>) -> Self {
        let algorithms = if operation == OperationName::ReEncrypt {
            ["SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"]
        } else {
            ["EncryptionAlgorithm", "SigningAlgorithm"]
        };
        Self {
            operation,
            key_pair_spec: document.text("KeyPairSpec"),
            algorithms: algorithms.map(|member| document.text(member)),
        }
    }
}

type Limiter = DefaultKeyedRateLimiter<(AccountId, Region)>;

/// Counts requests.
pub(super) struct RequestQuota {
    /// In the order of [`QuotaClass::ALL`], one for each size of Region, with its rate a second.
    limiters: Vec<[(f64, Limiter); 3]>,
    demand: Demand,
}

/// Accounts and Regions that one limiter remembers. What has not called for a while is forgotten first.
const CALLERS_MAX: usize = 10_000;

impl QuotaClass {
    /// AWS KMS Developer Guide, Request quotas for each AWS KMS API operation: requests per second.
    const fn per_second(self, size: RegionSize) -> f64 {
        match self {
            Self::CryptographicOperationsSymmetric => match size {
                RegionSize::Usual => 5_500.0,
                RegionSize::Large => 10_000.0,
                RegionSize::Largest => 50_000.0,
            },
            Self::DescribeKey | Self::GetKeyLastUsage | Self::GetPublicKey | Self::ListResourceTags => {
                2_000.0
            }
            Self::GetKeyPolicy | Self::GetKeyRotationStatus => 1_000.0,
            Self::CryptographicOperationsRsa | Self::ListAliases | Self::ListKeys => 500.0,
            // What AWS gives post-quantum keys is not documented.
            Self::CryptographicOperationsEcc | Self::CryptographicOperationsPostQuantum => 300.0,
            Self::GenerateDataKeyPairEccNistP256
            | Self::GenerateDataKeyPairEccNistP384
            | Self::GenerateDataKeyPairEccNistP521
            | Self::GenerateDataKeyPairEccSecgP256k1
            | Self::GenerateDataKeyPairOther
            | Self::ListGrants
            | Self::ListKeyPolicies
            | Self::ListKeyRotations
            | Self::ListRetirableGrants => 100.0,
            Self::CreateGrant => 50.0,
            Self::RetireGrant | Self::RevokeGrant => 30.0,
            Self::GenerateDataKeyPairSm2 => 25.0,
            Self::DeleteAlias | Self::EnableKeyRotation | Self::PutKeyPolicy | Self::ScheduleKeyDeletion => {
                15.0
            }
            Self::TagResource => 10.0,
            Self::CancelKeyDeletion
            | Self::ConnectCustomKeyStore
            | Self::CreateAlias
            | Self::CreateCustomKeyStore
            | Self::CreateKey
            | Self::DeleteCustomKeyStore
            | Self::DeleteImportedKeyMaterial
            | Self::DescribeCustomKeyStores
            | Self::DisableKey
            | Self::DisableKeyRotation
            | Self::DisconnectCustomKeyStore
            | Self::EnableKey
            | Self::ImportKeyMaterial
            | Self::ReplicateKey
            | Self::RotateKeyOnDemand
            | Self::UntagResource
            | Self::UpdateAlias
            | Self::UpdateCustomKeyStore
            | Self::UpdateKeyDescription
            | Self::UpdatePrimaryRegion => 5.0,
            Self::GenerateDataKeyPairRsa2048 => 1.0,
            Self::GenerateDataKeyPairRsa3072 => 0.5,
            Self::GetParametersForImport => 0.25,
            Self::GenerateDataKeyPairRsa4096 => 0.1,
        }
    }

    /// What a request counts as. Which kind of key it uses is not known before the key is found, but the algorithm
    /// that it names tells. ReEncrypt counts once, as what is rarer.
    fn of(asked: &Asked<'_>) -> Self {
        use OperationName as Name;
        let operation = asked.operation;
        let names = |start: &str| asked.algorithms.iter().flatten().any(|name| name.starts_with(start));
        if matches!(operation, Name::GenerateDataKeyPair | Name::GenerateDataKeyPairWithoutPlaintext) {
            return Self::of_pair(asked.key_pair_spec.unwrap_or_default());
        }
        let is_signature = matches!(operation, Name::Sign | Name::Verify);
        let can_be_rsa = is_signature || matches!(operation, Name::Decrypt | Name::Encrypt | Name::ReEncrypt);
        let is_encapsulation = matches!(operation, Name::Decapsulate | Name::Encapsulate);
        if can_be_rsa && names("RSA") {
            Self::CryptographicOperationsRsa
        } else if is_encapsulation || (is_signature && names("ML_DSA")) {
            Self::CryptographicOperationsPostQuantum
        } else if is_signature || operation == Name::DeriveSharedSecret {
            Self::CryptographicOperationsEcc
        } else {
            // INVARIANT: what shares no quota has a class of its own name; a test walks them.
            Self::parse(operation.as_str()).unwrap_or(Self::CryptographicOperationsSymmetric)
        }
    }

    fn of_pair(key_pair_spec: &str) -> Self {
        match key_pair_spec {
            "ECC_NIST_P256" => Self::GenerateDataKeyPairEccNistP256,
            "ECC_NIST_P384" => Self::GenerateDataKeyPairEccNistP384,
            "ECC_NIST_P521" => Self::GenerateDataKeyPairEccNistP521,
            "ECC_SECG_P256K1" => Self::GenerateDataKeyPairEccSecgP256k1,
            "RSA_2048" => Self::GenerateDataKeyPairRsa2048,
            "RSA_3072" => Self::GenerateDataKeyPairRsa3072,
            "RSA_4096" => Self::GenerateDataKeyPairRsa4096,
            "SM2" => Self::GenerateDataKeyPairSm2,
            _ => Self::GenerateDataKeyPairOther,
        }
    }
}

impl RegionSize {
    const ALL: [Self; 3] = [Self::Usual, Self::Large, Self::Largest];

    fn of(region: &Region) -> Self {
        match region.as_str() {
            "eu-west-1" | "us-east-1" | "us-west-2" => Self::Largest,
            "ap-northeast-1" | "ap-southeast-1" | "ap-southeast-2" | "eu-central-1" | "eu-west-2"
            | "us-east-2" => Self::Large,
            _ => Self::Usual,
        }
    }
}

impl RequestQuota {
    pub(super) fn new(quotas: &RequestQuotas, metrics: AlarmMetrics) -> Self {
        let demand = Demand::new(metrics);
        let RequestQuotas::Aws { overrides } = quotas else { return Self { limiters: Vec::new(), demand } };
        let limiter = |class: QuotaClass, size| {
            let per_second = overrides.get(&class).copied().unwrap_or(class.per_second(size));
            (per_second, RateLimiter::keyed(quota(per_second)))
        };
        let limiters = QuotaClass::ALL.iter().map(|&class| RegionSize::ALL.map(|size| limiter(class, size)));
        Self { limiters: limiters.collect(), demand }
    }

    /// Counts against the account that calls, also where the key is another's.
    pub(super) fn admit(&self, caller: &Caller, asked: &Asked<'_>) -> Result<(), Error> {
        self.count(QuotaClass::of(asked), (&caller.account, &caller.region))
    }

    /// What an operation does in another Region counts there: ReplicateKey creates a key, after it has rehearsed that
    /// (AWS KMS Developer Guide, Request quotas).
    pub(super) fn admit_elsewhere(
        &self,
        account: &AccountId,
        operation: OperationName,
        region: Option<&str>,
    ) -> Result<(), Error> {
        let Some(region) = region.and_then(Region::parse) else { return Ok(()) };
        let classes: &[QuotaClass] = if operation == OperationName::ReplicateKey {
            &[QuotaClass::CreateKey, QuotaClass::CreateKey]
        } else if operation == OperationName::UpdatePrimaryRegion {
            &[QuotaClass::UpdatePrimaryRegion]
        } else {
            &[]
        };
        classes.iter().try_for_each(|class| self.count(*class, (account, &region)))
    }

    fn count(&self, class: QuotaClass, (account, region): (&AccountId, &Region)) -> Result<(), Error> {
        let limiters = self.limiters.get(class as usize);
        let Some((per_second, limiter)) = limiters.and_then(|of| of.get(RegionSize::of(region) as usize))
        else {
            return Ok(());
        };
        if limiter.len() >= CALLERS_MAX {
            limiter.retain_recent();
        }
        let name = (account.clone(), region.clone());
        self.demand.count(&name, class, *per_second);
        let is_admitted = limiter.len() <= CALLERS_MAX && limiter.check_key(&name).is_ok();
        if is_admitted { Ok(()) } else { Err(Error::Throttling(THROTTLED.to_owned())) }
    }
}

/// As many at once as come in a second, and at least one. Not a rate means none.
fn quota(per_second: f64) -> Quota {
    let period = Duration::try_from_secs_f64(per_second.recip()).unwrap_or(Duration::MAX);
    let period = period.clamp(Duration::from_nanos(1), LONGEST_PERIOD);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let burst = NonZeroU32::new(per_second as u32).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(period).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

const LONGEST_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
