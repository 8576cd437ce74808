//! The permissions reference: for each permission who can give it, who can be given it, and what conditions can test.

use crate::domain::kms::condition_key::ConditionKey as Key;
use crate::domain::kms::{AccountAction, KeyAction};

/// A permission `kms:…` on a kind of resource (AWS KMS Developer Guide, AWS KMS permissions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Without `kms:`.
    pub name: &'static str,
    pub given_by: GivenBy,
    pub cross_account: CrossAccount,
    /// In groups that rows share.
    condition_keys: &'static [&'static [Key]],
}

/// Which policies can give a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBy {
    /// Grants, and what their account delegates; identity policies cannot give it alone, key policies have no say.
    Grant,
    IdentityPolicy,
    /// Of key policies, and of identity policies where the key policy lets these decide.
    KeyPolicy,
}

/// Whether principals of other accounts than the key's can have a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossAccount {
    No,
    /// The resource is none that could belong to another account.
    NotApplicable,
    Yes,
}

/// Of every operation on one key.
const KEY: &[Key] = &[
    Key::CallerAccount,
    Key::CustomerMasterKeySpec,
    Key::CustomerMasterKeyUsage,
    Key::KeyOrigin,
    Key::KeySpec,
    Key::KeyUsage,
    Key::MultiRegion,
    Key::MultiRegionKeyType,
    Key::ResourceAliases,
    Key::ResourceTag,
    Key::ViaService,
];
const CONTEXT: &[Key] = &[Key::EncryptionContext, Key::EncryptionContextKeys];
const ENCRYPTION: &[Key] = &[Key::EncryptionAlgorithm, Key::RequestAlias];
const AGREEMENT: &[Key] = &[Key::KeyAgreementAlgorithm, Key::RequestAlias];
const PAIR: &[Key] = &[Key::DataKeyPairSpec];
const RECIPIENT: &[Key] = &[Key::RecipientAttestation];
const SIGNATURE: &[Key] = &[Key::MessageType, Key::RequestAlias, Key::SigningAlgorithm];
const MAC: &[Key] = &[Key::MacAlgorithm, Key::RequestAlias];
const TAGS: &[Key] = &[Key::RequestTag, Key::TagKeys];
const FOR_SERVICES: &[Key] = &[Key::GrantIsForAwsResource];
const NEW_GRANT: &[Key] = &[
    Key::GrantConstraintSourceArn,
    Key::GrantConstraintType,
    Key::GrantOperations,
    Key::GranteePrincipal,
    Key::GranteeServicePrincipal,
    Key::RetiringPrincipal,
    Key::RetiringServicePrincipal,
];

impl Permission {
    /// Every condition key that a request for it can have, besides the global ones.
    pub fn condition_keys(&self) -> impl Iterator<Item = Key> {
        self.condition_keys.iter().flat_map(|group| group.iter().copied())
    }

    pub fn has(&self, key: Key) -> bool {
        self.condition_keys().any(|own| own == key)
    }
}

/// A permission that key policies give on keys of the own account.
const fn own(name: &'static str, condition_keys: &'static [&'static [Key]]) -> Permission {
    Permission { name, given_by: GivenBy::KeyPolicy, cross_account: CrossAccount::No, condition_keys }
}

/// A permission that key policies give, to other accounts too.
const fn any(name: &'static str, condition_keys: &'static [&'static [Key]]) -> Permission {
    Permission { cross_account: CrossAccount::Yes, ..own(name, condition_keys) }
}

impl KeyAction {
    /// The row of the permissions reference, on the key.
    pub const fn required_permission(self) -> Permission {
        let name = self.permission();
        match self {
            Self::CancelKeyDeletion
            | Self::CreateAlias
            | Self::DeleteAlias
            | Self::DeleteImportedKeyMaterial
            | Self::DisableKey
            | Self::DisableKeyRotation
            | Self::EnableKey
            | Self::GetKeyLastUsage
            | Self::GetKeyPolicy
            | Self::ListKeyPolicies
            | Self::ListKeyRotations
            | Self::ListResourceTags
            | Self::RotateKeyOnDemand
            | Self::UpdateAlias
            | Self::UpdateAliasFrom
            | Self::UpdateKeyDescription => own(name, &[KEY]),
            Self::CreateGrant => any(name, &[KEY, CONTEXT, FOR_SERVICES, NEW_GRANT]),
            Self::Decapsulate | Self::Encapsulate => any(name, &[KEY, ENCRYPTION, RECIPIENT]),
            Self::Decrypt | Self::GenerateDataKey => any(name, &[KEY, CONTEXT, ENCRYPTION, RECIPIENT]),
            Self::Encrypt | Self::GenerateDataKeyWithoutPlaintext => any(name, &[KEY, CONTEXT, ENCRYPTION]),
            Self::DeriveSharedSecret => any(name, &[KEY, AGREEMENT, RECIPIENT]),
            Self::DescribeKey | Self::GetPublicKey => any(name, &[KEY, &[Key::RequestAlias]]),
            Self::EnableKeyRotation => own(name, &[KEY, &[Key::RotationPeriodInDays]]),
            Self::GenerateDataKeyPair => any(name, &[KEY, CONTEXT, ENCRYPTION, PAIR, RECIPIENT]),
            Self::GenerateDataKeyPairWithoutPlaintext => any(name, &[KEY, CONTEXT, ENCRYPTION, PAIR]),
            Self::GenerateMac | Self::VerifyMac => any(name, &[KEY, MAC]),
            Self::GetKeyRotationStatus => any(name, &[KEY]),
            Self::GetParametersForImport => {
                own(name, &[KEY, &[Key::WrappingAlgorithm, Key::WrappingKeySpec]])
            }
            Self::ImportKeyMaterial => own(name, &[KEY, &[Key::ExpirationModel, Key::ValidTo]]),
            // Decided as an account action; the key only narrows the list.
            Self::ListAliases => own(name, &[]),
            Self::ListGrants | Self::RevokeGrant => any(name, &[KEY, FOR_SERVICES]),
            Self::PutKeyPolicy => own(name, &[KEY, &[Key::BypassPolicyLockoutSafetyCheck]]),
            Self::ReEncryptFrom | Self::ReEncryptTo => {
                any(name, &[KEY, CONTEXT, ENCRYPTION, &[Key::ReEncryptOnSameKey]])
            }
            Self::ReplicateKey => own(name, &[KEY, &[Key::ReplicaRegion]]),
            Self::RetireGrant => Permission {
                given_by: GivenBy::Grant,
                ..any(name, &[&[Key::CallerAccount, Key::ResourceAliases, Key::ResourceTag, Key::ViaService]])
            },
            Self::ScheduleKeyDeletion => own(name, &[KEY, &[Key::ScheduleKeyDeletionPendingWindowInDays]]),
            Self::Sign | Self::Verify => any(name, &[KEY, SIGNATURE]),
            Self::TagResource | Self::UntagResource => own(name, &[KEY, TAGS]),
            Self::UpdatePrimaryRegion => own(name, &[KEY, &[Key::PrimaryRegion]]),
        }
    }

    /// The row of the permissions reference, on the alias that the operation is about.
    pub const fn permission_on_alias(self) -> Permission {
        of_identity(self.permission(), &[])
    }
}

const fn of_identity(name: &'static str, condition_keys: &'static [&'static [Key]]) -> Permission {
    Permission {
        name,
        given_by: GivenBy::IdentityPolicy,
        cross_account: CrossAccount::NotApplicable,
        condition_keys,
    }
}

/// What CreateKey says of the key to come.
const NEW_KEY: &[Key] = &[
    Key::BypassPolicyLockoutSafetyCheck,
    Key::CallerAccount,
    Key::CustomerMasterKeySpec,
    Key::CustomerMasterKeyUsage,
    Key::KeyOrigin,
    Key::KeySpec,
    Key::KeyUsage,
    Key::MultiRegion,
    Key::MultiRegionKeyType,
    Key::RequestTag,
    Key::TagKeys,
    Key::ViaService,
];

impl AccountAction {
    /// The row of the permissions reference, on `*`.
    pub const fn required_permission(self) -> Permission {
        let name = self.permission();
        match self {
            Self::ConnectCustomKeyStore
            | Self::CreateCustomKeyStore
            | Self::DeleteCustomKeyStore
            | Self::DescribeCustomKeyStores
            | Self::DisconnectCustomKeyStore
            | Self::UpdateCustomKeyStore => of_identity(name, &[&[Key::CallerAccount]]),
            // Of a key that is to have tags (Controlling access to tags: not restricted to particular keys).
            Self::CreateKey | Self::TagResource => of_identity(name, &[NEW_KEY]),
            Self::GenerateRandom => of_identity(name, &[RECIPIENT]),
            Self::ListAliases | Self::ListKeys | Self::ListRetirableGrants => of_identity(name, &[]),
        }
    }
}
