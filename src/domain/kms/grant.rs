//! Grants: permissions on one key for one principal.

use crate::domain::kms::{
    AccountId, EncryptionContext, GrantRequester, GrantedTo, KeyId, RequesterName, Scope, UnixMillis, words,
};

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
    /// An ARN, or the name of a service.
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
    /// Whether somebody may retire it, and by which name: its retiring principal, its grantee if RetireGrant is among its operations, the account in
    /// which it was made, and the account of the key (AWS KMS Developer Guide, Retiring and revoking grants).
    pub fn retired_by(&self, requester: GrantRequester<'_>) -> Option<GrantedTo> {
        let grantee = self.operations.contains(&GrantOperation::RetireGrant).then_some(&self.grantee);
        let principals = || self.retiring.iter().chain(grantee);
        if principals().any(|principal| principal.is_named(requester.own)) {
            return Some(GrantedTo::Itself);
        }
        let role = requester.role.map(RequesterName::Principal);
        if role.is_some_and(|role| principals().any(|principal| principal.is_named(role))) {
            return Some(GrantedTo::ItsRole);
        }
        let account = requester.account?.as_str();
        let is_of_account = self.scope.account.as_str() == account
            || account_of(&self.issuing_account) == Some(account)
            || principals().any(|principal| principal.account() == Some(account));
        is_of_account.then_some(GrantedTo::Account)
    }
}

impl GrantOperation {
    /// Whether a request for it has an encryption context, which constraints can demand.
    pub const fn takes_encryption_context(self) -> bool {
        match self {
            Self::Decrypt
            | Self::Encrypt
            | Self::GenerateDataKey
            | Self::GenerateDataKeyPair
            | Self::GenerateDataKeyPairWithoutPlaintext
            | Self::GenerateDataKeyWithoutPlaintext
            | Self::ReEncryptFrom
            | Self::ReEncryptTo => true,
            Self::CreateGrant
            | Self::Decapsulate
            | Self::DeriveSharedSecret
            | Self::DescribeKey
            | Self::Encapsulate
            | Self::GenerateMac
            | Self::GetPublicKey
            | Self::RetireGrant
            | Self::Sign
            | Self::Verify
            | Self::VerifyMac => false,
        }
    }

    /// Who may retire a grant is not decided by looking for one that permits it.
    pub(super) fn is_permitted_by_grants(self) -> bool {
        self != Self::RetireGrant
    }
}

/// Operations as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GrantOperations(u32);

impl GrantOperations {
    pub(super) fn contains(self, operation: GrantOperation) -> bool {
        self.0 & Self::bit(operation) != 0
    }

    pub(super) const fn includes(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = GrantOperation> {
        GrantOperation::ALL.iter().copied().filter(move |operation| self.contains(*operation))
    }

    const fn bit(operation: GrantOperation) -> u32 {
        1 << operation as u32
    }
}

impl FromIterator<GrantOperation> for GrantOperations {
    fn from_iter<T: IntoIterator<Item = GrantOperation>>(operations: T) -> Self {
        Self(operations.into_iter().fold(0, |bits, operation| bits | Self::bit(operation)))
    }
}

impl GrantPrincipal {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Principal(text) | Self::Service(text) => text,
        }
    }

    /// The id of the account, if it is a whole account.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Principal(text) => account_of(text),
            Self::Service(_) => None,
        }
    }

    /// Whether it is this one, and no account.
    fn is_named(&self, name: RequesterName<'_>) -> bool {
        match (self, name) {
            (Self::Principal(own), RequesterName::Principal(arn)) => own == arn && self.account().is_none(),
            (Self::Service(own), RequesterName::Service(name)) => own == name,
            (Self::Principal(_), RequesterName::Service(_))
            | (Self::Service(_), RequesterName::Principal(_)) => false,
        }
    }
}

/// The id in the ARN of an account's root, or the id itself.
fn account_of(text: &str) -> Option<&str> {
    let id = match text.strip_prefix("arn:") {
        None => text,
        Some(rest) => {
            let (_partition, rest) = rest.split_once(':')?;
            rest.strip_prefix("iam::")?.strip_suffix(":root")?
        }
    };
    AccountId::parse(id).map(|_| id)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantConstraints {
    pub context_equals: Option<EncryptionContext>,
    pub context_subset: Option<EncryptionContext>,
    pub source_arn: Option<String>,
}
