//! Grants as a case states them.

use serde::Deserialize;

use crate::domain::kms::{EncryptionContext, GrantOperation};
use crate::policy::{Naming, Principal};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Grant {
    #[serde(default)]
    pub(super) grant_id: Option<String>,
    grantee_principal: String,
    operations: Vec<GrantOperation>,
    #[serde(default)]
    constraints: Constraints,
}

/// In the spelling of CreateGrant, or in that of the other members.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Constraints {
    #[serde(alias = "encryptionContextEquals")]
    encryption_context_equals: Option<EncryptionContext>,
    #[serde(alias = "encryptionContextSubset")]
    encryption_context_subset: Option<EncryptionContext>,
    #[serde(alias = "sourceArn")]
    source_arn: Option<String>,
}

/// What a request says to grants.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) caller: Principal<'a>,
    /// Absent: no operation that can be granted.
    pub(super) operation: Option<GrantOperation>,
    pub(super) encryption_context: &'a EncryptionContext,
    /// `aws:SourceArn`
    pub(super) source_arn: Option<&'a str>,
}

impl Grant {
    /// By which name it permits the request, if it does.
    pub(super) fn permits(&self, asked: Asked<'_>) -> Option<Naming> {
        let operation = asked.operation.filter(|operation| self.operations.contains(operation))?;
        let holds = self.constraints.hold(operation, asked);
        asked.caller.is_named_by(&self.grantee_principal).filter(|_| holds)
    }
}

impl Constraints {
    fn hold(&self, operation: GrantOperation, asked: Asked<'_>) -> bool {
        let context = asked.encryption_context;
        let of_context = self.encryption_context_equals.as_ref().is_none_or(|equals| equals == context)
            && self.encryption_context_subset.as_ref().is_none_or(|subset| context.includes(subset));
        let of_source = self.source_arn.as_deref().is_none_or(|arn| asked.source_arn == Some(arn));
        (of_context || !takes_encryption_context(operation)) && of_source
    }
}

/// Encryption contexts constrain only what has one (AWS KMS Developer Guide, Grant constraints).
const fn takes_encryption_context(operation: GrantOperation) -> bool {
    matches!(
        operation,
        GrantOperation::Decrypt
            | GrantOperation::Encrypt
            | GrantOperation::GenerateDataKey
            | GrantOperation::GenerateDataKeyPair
            | GrantOperation::GenerateDataKeyPairWithoutPlaintext
            | GrantOperation::GenerateDataKeyWithoutPlaintext
            | GrantOperation::ReEncryptFrom
            | GrantOperation::ReEncryptTo
    )
}
