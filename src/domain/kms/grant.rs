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

impl Grant {
    /// Whether it permits the operation, with this encryption context if the operation takes one.
    pub fn permits(&self, operation: GrantOperation, context: Option<&EncryptionContext>) -> bool {
        self.operations.contains(&operation) && context.is_none_or(|context| self.constraints.hold(context))
    }

    /// Whether its grantee may give this on: nothing that it does not have, and with constraints as tight.
    pub fn covers(&self, operations: &[GrantOperation], constraints: &GrantConstraints) -> bool {
        operations.iter().all(|operation| self.operations.contains(operation))
            && self.constraints.cover(constraints)
    }
}

impl GrantConstraints {
    /// Requests say nothing of a source, so that a constraint on it never holds.
    fn hold(&self, context: &EncryptionContext) -> bool {
        self.source_arn.is_none()
            && self.context_equals.as_ref().is_none_or(|equals| equals == context)
            && self.context_subset.as_ref().is_none_or(|subset| context.includes(subset))
    }

    /// Whether whatever satisfies the others satisfies these.
    fn cover(&self, others: &Self) -> bool {
        let equals = |equals: &EncryptionContext| others.context_equals.as_ref() == Some(equals);
        let subset = |subset: &EncryptionContext| {
            [&others.context_equals, &others.context_subset]
                .into_iter()
                .flatten()
                .any(|other| other.includes(subset))
        };
        (self.source_arn.is_none() || self.source_arn == others.source_arn)
            && self.context_equals.as_ref().is_none_or(equals)
            && self.context_subset.as_ref().is_none_or(subset)
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
