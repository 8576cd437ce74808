//! Condition keys of AWS KMS, and those global ones that say something of a key or of a request to KMS.

use crate::domain::kms::words;

words! {
    /// A condition key, or what the keys of a family start with (AWS KMS Developer Guide, Condition keys for AWS KMS).
    pub enum ConditionKey {
        BypassPolicyLockoutSafetyCheck = "kms:BypassPolicyLockoutSafetyCheck",
        CallerAccount = "kms:CallerAccount",
        CustomerMasterKeySpec = "kms:CustomerMasterKeySpec",
        CustomerMasterKeyUsage = "kms:CustomerMasterKeyUsage",
        DataKeyPairSpec = "kms:DataKeyPairSpec",
        EncryptionAlgorithm = "kms:EncryptionAlgorithm",
        EncryptionContext = "kms:EncryptionContext:",
        EncryptionContextKeys = "kms:EncryptionContextKeys",
        ExpirationModel = "kms:ExpirationModel",
        GrantConstraintSourceArn = "kms:GrantConstraintSourceArn",
        GrantConstraintType = "kms:GrantConstraintType",
        GrantIsForAwsResource = "kms:GrantIsForAWSResource",
        GrantOperations = "kms:GrantOperations",
        GranteePrincipal = "kms:GranteePrincipal",
        GranteeServicePrincipal = "kms:GranteeServicePrincipal",
        KeyAgreementAlgorithm = "kms:KeyAgreementAlgorithm",
        KeyOrigin = "kms:KeyOrigin",
        KeySpec = "kms:KeySpec",
        KeyUsage = "kms:KeyUsage",
        MacAlgorithm = "kms:MacAlgorithm",
        MessageType = "kms:MessageType",
        MultiRegion = "kms:MultiRegion",
        MultiRegionKeyType = "kms:MultiRegionKeyType",
        PrimaryRegion = "kms:PrimaryRegion",
        ReEncryptOnSameKey = "kms:ReEncryptOnSameKey",
        RecipientAttestation = "kms:RecipientAttestation:",
        ReplicaRegion = "kms:ReplicaRegion",
        RequestAlias = "kms:RequestAlias",
        RequestTag = "aws:RequestTag/",
        ResourceAliases = "kms:ResourceAliases",
        ResourceTag = "aws:ResourceTag/",
        RetiringPrincipal = "kms:RetiringPrincipal",
        RetiringServicePrincipal = "kms:RetiringServicePrincipal",
        RotationPeriodInDays = "kms:RotationPeriodInDays",
        ScheduleKeyDeletionPendingWindowInDays = "kms:ScheduleKeyDeletionPendingWindowInDays",
        SigningAlgorithm = "kms:SigningAlgorithm",
        TagKeys = "aws:TagKeys",
        ValidTo = "kms:ValidTo",
        ViaService = "kms:ViaService",
        WrappingAlgorithm = "kms:WrappingAlgorithm",
        WrappingKeySpec = "kms:WrappingKeySpec",
    }
}

/// Which policies can test a condition key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestedBy {
    AnyPolicy,
    /// Key policies do not see it.
    IdentityPolicies,
}

impl ConditionKey {
    pub const fn tested_by(self) -> TestedBy {
        if matches!(self, Self::ResourceAliases | Self::ResourceTag) {
            TestedBy::IdentityPolicies
        } else {
            TestedBy::AnyPolicy
        }
    }

    /// Which one has this name, or whose family has a key of this name, without regard to case.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| {
            let own = key.as_str();
            let length = if own.ends_with([':', '/']) { own.len() } else { name.len() };
            name.get(..length).is_some_and(|start| start.eq_ignore_ascii_case(own))
        })
    }

    /// Whether it has this name, or its family has a key of this name.
    pub fn covers(self, name: &str) -> bool {
        let own = self.as_str();
        if own.ends_with([':', '/']) { name.starts_with(own) } else { name == own }
    }

    /// Whether a request can have several values of it.
    pub const fn is_multivalued(self) -> bool {
        matches!(
            self,
            Self::EncryptionContextKeys | Self::GrantOperations | Self::ResourceAliases | Self::TagKeys
        )
    }
}
