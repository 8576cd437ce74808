//! What can be asked of a key, and in which state of the key: one table.

use crate::domain::kms::{KeyState, words};

words! {
    /// An action on one key: a row of the key state table, and a permission `kms:…`.
    pub enum KeyAction {
        CancelKeyDeletion = "CancelKeyDeletion",
        CreateAlias = "CreateAlias",
        CreateGrant = "CreateGrant",
        Decapsulate = "Decapsulate",
        Decrypt = "Decrypt",
        DeleteAlias = "DeleteAlias",
        DeleteImportedKeyMaterial = "DeleteImportedKeyMaterial",
        DeriveSharedSecret = "DeriveSharedSecret",
        DescribeKey = "DescribeKey",
        DisableKey = "DisableKey",
        DisableKeyRotation = "DisableKeyRotation",
        EnableKey = "EnableKey",
        EnableKeyRotation = "EnableKeyRotation",
        Encapsulate = "Encapsulate",
        Encrypt = "Encrypt",
        GenerateDataKey = "GenerateDataKey",
        GenerateDataKeyPair = "GenerateDataKeyPair",
        GenerateDataKeyPairWithoutPlaintext = "GenerateDataKeyPairWithoutPlaintext",
        GenerateDataKeyWithoutPlaintext = "GenerateDataKeyWithoutPlaintext",
        GenerateMac = "GenerateMac",
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
        ListResourceTags = "ListResourceTags",
        PutKeyPolicy = "PutKeyPolicy",
        ReEncryptFrom = "ReEncryptFrom",
        ReEncryptTo = "ReEncryptTo",
        ReplicateKey = "ReplicateKey",
        RetireGrant = "RetireGrant",
        RevokeGrant = "RevokeGrant",
        RotateKeyOnDemand = "RotateKeyOnDemand",
        ScheduleKeyDeletion = "ScheduleKeyDeletion",
        Sign = "Sign",
        TagResource = "TagResource",
        UntagResource = "UntagResource",
        UpdateAlias = "UpdateAlias",
        /// UpdateAlias, of the key that loses the alias.
        UpdateAliasFrom = "UpdateAliasFrom",
        UpdateKeyDescription = "UpdateKeyDescription",
        UpdatePrimaryRegion = "UpdatePrimaryRegion",
        Verify = "Verify",
        VerifyMac = "VerifyMac",
    }
}

words! {
    /// An action on an account and Region, not on one key.
    pub enum AccountAction {
        ConnectCustomKeyStore = "ConnectCustomKeyStore",
        CreateCustomKeyStore = "CreateCustomKeyStore",
        CreateKey = "CreateKey",
        DeleteCustomKeyStore = "DeleteCustomKeyStore",
        DescribeCustomKeyStores = "DescribeCustomKeyStores",
        DisconnectCustomKeyStore = "DisconnectCustomKeyStore",
        GenerateRandom = "GenerateRandom",
        ListAliases = "ListAliases",
        ListKeys = "ListKeys",
        ListRetirableGrants = "ListRetirableGrants",
        TagResource = "TagResource",
        UpdateCustomKeyStore = "UpdateCustomKeyStore",
    }
}

/// Why the state of a key does not let an action happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateRefusal {
    /// `DisabledException`: "is disabled."
    Disabled,
    /// `KMSInvalidStateException`: "is not pending deletion."
    NotPendingDeletion,
    /// `KMSInvalidStateException`: "is pending deletion.", "is unavailable." and so on.
    State(KeyState),
}

impl StateRefusal {
    /// Those that an operation with key material can meet.
    pub const OF_USE: [Self; 7] = [
        Self::Disabled,
        Self::State(KeyState::Creating),
        Self::State(KeyState::PendingDeletion),
        Self::State(KeyState::PendingImport),
        Self::State(KeyState::PendingReplicaDeletion),
        Self::State(KeyState::Unavailable),
        Self::State(KeyState::Updating),
    ];

    /// For metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::NotPendingDeletion => "not_pending_deletion",
            Self::State(state) => match state {
                KeyState::Creating => "creating",
                KeyState::Disabled => "disabled",
                KeyState::Enabled => "enabled",
                KeyState::PendingDeletion => "pending_deletion",
                KeyState::PendingImport => "pending_import",
                KeyState::PendingReplicaDeletion => "pending_replica_deletion",
                KeyState::Unavailable => "unavailable",
                KeyState::Updating => "updating",
            },
        }
    }
}

/// A cell of the key state table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Yes,
    Disabled,
    NotPending,
    State,
}

/// Enabled, Disabled, PendingDeletion and PendingReplicaDeletion, PendingImport, Unavailable, Creating, Updating.
type Row = [Cell; 7];

impl KeyAction {
    /// The permission that policies speak of, without `kms:`.
    pub const fn permission(self) -> &'static str {
        if matches!(self, Self::UpdateAliasFrom) { Self::UpdateAlias.as_str() } else { self.as_str() }
    }

    /// Whether key material is used.
    pub const fn is_cryptographic(self) -> bool {
        matches!(
            self,
            Self::Decapsulate
                | Self::Decrypt
                | Self::DeriveSharedSecret
                | Self::Encapsulate
                | Self::Encrypt
                | Self::GenerateDataKey
                | Self::GenerateDataKeyPair
                | Self::GenerateDataKeyPairWithoutPlaintext
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::GenerateMac
                | Self::ReEncryptFrom
                | Self::ReEncryptTo
                | Self::Sign
                | Self::Verify
                | Self::VerifyMac
        )
    }

    /// The key state table (AWS KMS Developer Guide, Key states of AWS KMS keys). What origin and kind of a key
    /// forbid (its notes 6, 7 and 9) is in `capability` and comes first, but for a key that is being created.
    const fn row(self) -> Row {
        use Cell::{Disabled as D, NotPending as N, State as S, Yes as Y};
        match self {
            Self::CancelKeyDeletion => [N, N, Y, N, N, N, N],
            Self::CreateAlias
            | Self::TagResource
            | Self::UntagResource
            | Self::UpdateAlias
            | Self::UpdateKeyDescription => [Y, Y, S, Y, Y, Y, Y],
            Self::CreateGrant => [Y, D, S, S, Y, S, Y],
            Self::Decapsulate
            | Self::Decrypt
            | Self::DeriveSharedSecret
            | Self::Encapsulate
            | Self::Encrypt
            | Self::GenerateDataKey
            | Self::GenerateDataKeyPair
            | Self::GenerateDataKeyPairWithoutPlaintext
            | Self::GenerateDataKeyWithoutPlaintext
            | Self::GenerateMac
            | Self::GetPublicKey
            | Self::ReEncryptFrom
            | Self::ReEncryptTo
            | Self::Sign
            | Self::UpdatePrimaryRegion
            | Self::Verify
            | Self::VerifyMac => [Y, D, S, S, S, S, Y],
            Self::DeleteAlias
            | Self::DescribeKey
            | Self::GetKeyLastUsage
            | Self::GetKeyPolicy
            | Self::GetKeyRotationStatus
            | Self::ListAliases
            | Self::ListGrants
            | Self::ListKeyPolicies
            | Self::ListKeyRotations
            | Self::ListResourceTags
            | Self::PutKeyPolicy
            | Self::RetireGrant
            | Self::RevokeGrant
            | Self::UpdateAliasFrom => [Y, Y, Y, Y, Y, Y, Y],
            Self::DeleteImportedKeyMaterial => [Y, Y, Y, Y, Y, S, S],
            Self::DisableKey | Self::EnableKey => [Y, Y, S, S, Y, S, S],
            Self::DisableKeyRotation | Self::EnableKeyRotation | Self::RotateKeyOnDemand => {
                [Y, D, S, S, S, S, Y]
            }
            Self::GetParametersForImport => [Y, Y, S, Y, Y, S, S],
            Self::ImportKeyMaterial => [Y, Y, S, Y, Y, S, Y],
            Self::ReplicateKey => [Y, D, S, S, S, S, S],
            Self::ScheduleKeyDeletion => [Y, Y, S, Y, Y, Y, S],
        }
    }
}

/// Whether the state of a key lets the action happen.
pub const fn check_state(state: KeyState, action: KeyAction) -> Result<(), StateRefusal> {
    let [enabled, disabled, pending_deletion, pending_import, unavailable, creating, updating] = action.row();
    let cell = match state {
        KeyState::Enabled => enabled,
        KeyState::Disabled => disabled,
        KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => pending_deletion,
        KeyState::PendingImport => pending_import,
        KeyState::Unavailable => unavailable,
        KeyState::Creating => creating,
        KeyState::Updating => updating,
    };
    match cell {
        Cell::Yes => Ok(()),
        Cell::Disabled => Err(StateRefusal::Disabled),
        Cell::NotPending => Err(StateRefusal::NotPendingDeletion),
        Cell::State => Err(StateRefusal::State(state)),
    }
}

impl AccountAction {
    /// The permission that policies speak of, without `kms:`.
    pub const fn permission(self) -> &'static str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::{KeyAction, StateRefusal, check_state};
    use crate::domain::kms::KeyState;

    fn table() -> String {
        let mut table = format!("{:<36}", "ACTION");
        KeyState::ALL.iter().for_each(|state| write!(table, "{state:<26}").unwrap());
        for action in KeyAction::ALL {
            write!(table, "\n{action:<36}").unwrap();
            for state in KeyState::ALL {
                let cell = match check_state(*state, *action) {
                    Ok(()) => "yes".to_owned(),
                    Err(StateRefusal::Disabled) => "disabled".to_owned(),
                    Err(StateRefusal::NotPendingDeletion) => "not pending deletion".to_owned(),
                    Err(StateRefusal::State(state)) => format!("is {state}"),
                };
                write!(table, "{cell:<26}").unwrap();
            }
        }
        table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
    }

    /// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
    #[test]
    fn the_key_state_table_is_the_golden_one() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/key_states.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, table()).unwrap();
        }
        assert_eq!(table(), std::fs::read_to_string(golden).unwrap());
    }
}
