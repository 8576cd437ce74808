//! Which permissions each operation needs: all of them.

use crate::domain::kms::{AccountAction, KeyAction, Permission};
use crate::kms::operation::OperationName;

/// One permission that an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// On `*`.
    Account(AccountAction),
    /// On `*`, if the request has tags.
    AccountIfTagged(AccountAction),
    /// On the alias of the request.
    Alias(KeyAction),
    /// On a key. With several, in the order in which their keys are looked at.
    Key(KeyAction),
}

impl Check {
    pub const fn permission(self) -> Permission {
        match self {
            Self::Account(action) | Self::AccountIfTagged(action) => action.required_permission(),
            Self::Alias(action) => action.permission_on_alias(),
            Self::Key(action) => action.required_permission(),
        }
    }
}

/// The permissions reference by operation (AWS KMS Developer Guide, AWS KMS permissions).
#[expect(clippy::too_many_lines, reason = "a table with a row an operation")]
pub const fn checks(operation: OperationName) -> &'static [Check] {
    use Check::{Account, AccountIfTagged, Alias, Key};
    use OperationName as Name;
    match operation {
        Name::CancelKeyDeletion => &[Key(KeyAction::CancelKeyDeletion)],
        Name::ConnectCustomKeyStore => &[Account(AccountAction::ConnectCustomKeyStore)],
        Name::CreateAlias => &[Alias(KeyAction::CreateAlias), Key(KeyAction::CreateAlias)],
        Name::CreateCustomKeyStore => &[Account(AccountAction::CreateCustomKeyStore)],
        Name::CreateGrant => &[Key(KeyAction::CreateGrant)],
        Name::CreateKey => &[Account(AccountAction::CreateKey), AccountIfTagged(AccountAction::TagResource)],
        Name::Decapsulate => &[Key(KeyAction::Decapsulate)],
        Name::Decrypt => &[Key(KeyAction::Decrypt)],
        Name::DeleteAlias => &[Alias(KeyAction::DeleteAlias), Key(KeyAction::DeleteAlias)],
        Name::DeleteCustomKeyStore => &[Account(AccountAction::DeleteCustomKeyStore)],
        Name::DeleteImportedKeyMaterial => &[Key(KeyAction::DeleteImportedKeyMaterial)],
        Name::DeriveSharedSecret => &[Key(KeyAction::DeriveSharedSecret)],
        Name::DescribeCustomKeyStores => &[Account(AccountAction::DescribeCustomKeyStores)],
        Name::DescribeKey => &[Key(KeyAction::DescribeKey)],
        Name::DisableKey => &[Key(KeyAction::DisableKey)],
        Name::DisableKeyRotation => &[Key(KeyAction::DisableKeyRotation)],
        Name::DisconnectCustomKeyStore => &[Account(AccountAction::DisconnectCustomKeyStore)],
        Name::EnableKey => &[Key(KeyAction::EnableKey)],
        Name::EnableKeyRotation => &[Key(KeyAction::EnableKeyRotation)],
        Name::Encapsulate => &[Key(KeyAction::Encapsulate)],
        Name::Encrypt => &[Key(KeyAction::Encrypt)],
        Name::GenerateDataKey => &[Key(KeyAction::GenerateDataKey)],
        Name::GenerateDataKeyPair => &[Key(KeyAction::GenerateDataKeyPair)],
        Name::GenerateDataKeyPairWithoutPlaintext => &[Key(KeyAction::GenerateDataKeyPairWithoutPlaintext)],
        Name::GenerateDataKeyWithoutPlaintext => &[Key(KeyAction::GenerateDataKeyWithoutPlaintext)],
        Name::GenerateMac => &[Key(KeyAction::GenerateMac)],
        Name::GenerateRandom => &[Account(AccountAction::GenerateRandom)],
        Name::GetKeyLastUsage => &[Key(KeyAction::GetKeyLastUsage)],
        Name::GetKeyPolicy => &[Key(KeyAction::GetKeyPolicy)],
        Name::GetKeyRotationStatus => &[Key(KeyAction::GetKeyRotationStatus)],
        Name::GetParametersForImport => &[Key(KeyAction::GetParametersForImport)],
        Name::GetPublicKey => &[Key(KeyAction::GetPublicKey)],
        Name::ImportKeyMaterial => &[Key(KeyAction::ImportKeyMaterial)],
        Name::ListAliases => &[Account(AccountAction::ListAliases)],
        Name::ListGrants => &[Key(KeyAction::ListGrants)],
        Name::ListKeyPolicies => &[Key(KeyAction::ListKeyPolicies)],
        Name::ListKeyRotations => &[Key(KeyAction::ListKeyRotations)],
        Name::ListKeys => &[Account(AccountAction::ListKeys)],
        Name::ListResourceTags => &[Key(KeyAction::ListResourceTags)],
        Name::ListRetirableGrants => &[Account(AccountAction::ListRetirableGrants)],
        Name::PutKeyPolicy => &[Key(KeyAction::PutKeyPolicy)],
        Name::ReEncrypt => &[Key(KeyAction::ReEncryptFrom), Key(KeyAction::ReEncryptTo)],
        // In the Region of the replica.
        Name::ReplicateKey => &[
            Key(KeyAction::ReplicateKey),
            Account(AccountAction::CreateKey),
            AccountIfTagged(AccountAction::TagResource),
        ],
        Name::RetireGrant => &[Key(KeyAction::RetireGrant)],
        Name::RevokeGrant => &[Key(KeyAction::RevokeGrant)],
        Name::RotateKeyOnDemand => &[Key(KeyAction::RotateKeyOnDemand)],
        Name::ScheduleKeyDeletion => &[Key(KeyAction::ScheduleKeyDeletion)],
        Name::Sign => &[Key(KeyAction::Sign)],
        Name::TagResource => &[Key(KeyAction::TagResource)],
        Name::UntagResource => &[Key(KeyAction::UntagResource)],
        Name::UpdateAlias => {
            &[Alias(KeyAction::UpdateAlias), Key(KeyAction::UpdateAliasFrom), Key(KeyAction::UpdateAlias)]
        }
        Name::UpdateCustomKeyStore => &[Account(AccountAction::UpdateCustomKeyStore)],
        Name::UpdateKeyDescription => &[Key(KeyAction::UpdateKeyDescription)],
        // Of the primary key, and of the replica that becomes it.
        Name::UpdatePrimaryRegion => {
            &[Key(KeyAction::UpdatePrimaryRegion), Key(KeyAction::UpdatePrimaryRegion)]
        }
        Name::Verify => &[Key(KeyAction::Verify)],
        Name::VerifyMac => &[Key(KeyAction::VerifyMac)],
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::{Check, checks};
    use crate::kms::operation::OperationName;

    fn table() -> String {
        let mut table = String::new();
        for operation in OperationName::ALL {
            writeln!(table, "{operation}").unwrap();
            for check in checks(*operation) {
                let permission = check.permission();
                let resource = match check {
                    Check::Account(_) => "*",
                    Check::AccountIfTagged(_) => "* (with tags)",
                    Check::Alias(_) => "alias",
                    Check::Key(_) => "key",
                };
                let keys: Vec<_> = permission.condition_keys().map(|key| key.to_string()).collect();
                writeln!(
                    table,
                    "  kms:{} on {resource}, given by {:?}, cross-account {:?}\n    {}",
                    permission.name,
                    permission.given_by,
                    permission.cross_account,
                    keys.join(" ")
                )
                .unwrap();
            }
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
    #[test]
    fn the_permissions_reference_is_the_golden_one() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/permissions.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, table()).unwrap();
        }
        assert_eq!(table(), std::fs::read_to_string(golden).unwrap());
    }
}
