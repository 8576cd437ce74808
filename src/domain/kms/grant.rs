//! Grants: permissions on one key for one principal.

use crate::domain::kms::{EncryptionContext, KeyId, Scope, UnixMillis, words};

words! {
    /// What a grant can permit.
    pub enum GrantOperation {
        Decrypt = "Decrypt",
        Encrypt = "Encrypt",
        GenerateDataKey = "GenerateDataKey",
        GenerateDataKeyWithoutPlaintext = "GenerateDataKeyWithoutPlaintext",
        ReEncryptFrom = "ReEncryptFrom",
        ReEncryptTo = "ReEncryptTo",
        Sign = "Sign",
        Verify = "Verify",
        GetPublicKey = "GetPublicKey",
        CreateGrant = "CreateGrant",
        RetireGrant = "RetireGrant",
        DescribeKey = "DescribeKey",
        GenerateDataKeyPair = "GenerateDataKeyPair",
        GenerateDataKeyPairWithoutPlaintext = "GenerateDataKeyPairWithoutPlaintext",
        GenerateMac = "GenerateMac",
        VerifyMac = "VerifyMac",
        DeriveSharedSecret = "DeriveSharedSecret",
        Encapsulate = "Encapsulate",
        Decapsulate = "Decapsulate",
    }
}

/// The id of a grant: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId(pub String);

/// A permission on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub scope: Scope,
    pub key_id: KeyId,
    pub id: GrantId,
    pub name: Option<String>,
    pub created: UnixMillis,
    /// The ARN of the account that made it.
    pub issuing_account: String,
    /// A principal ARN, or the name of a service.
    pub grantee: GrantPrincipal,
    pub retiring: Option<GrantPrincipal>,
    /// As given.
    pub operations: Vec<GrantOperation>,
    pub constraints: GrantConstraints,
}

/// Who is granted, or who may retire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantPrincipal {
    Principal(String),
    Service(String),
}

impl Grant {
    /// By its retiring principal, and by its grantee if RetireGrant is among its operations.
    pub fn may_be_retired_by(&self, principal_arn: &str) -> bool {
        let is_caller = |principal: &GrantPrincipal| principal.as_str() == principal_arn;
        self.retiring.as_ref().is_some_and(is_caller)
            || (self.operations.contains(&GrantOperation::RetireGrant) && is_caller(&self.grantee))
    }
}

impl GrantPrincipal {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Principal(text) | Self::Service(text) => text,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantConstraints {
    pub context_equals: Option<EncryptionContext>,
    pub context_subset: Option<EncryptionContext>,
    pub source_arn: Option<String>,
}
