//! What can be asked of an external key, and in which state of the key: one table.

use crate::domain::KeyUsages;

/// An action on an external key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Decrypt,
    Encrypt,
    /// Encrypt with a CDIV: the check decryption needs the right to decrypt too.
    EncryptWithIntegrityValue,
    GetKeyMetadata,
}

/// The state of an external key as far as the proxy decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// The kill switch of the key, or of its key store, is on.
    Blocked,
    Disabled,
    Enabled,
}

/// Whether the state lets the action happen; if not, it is refused with InvalidStateException.
///
/// A disabled key is described, not refused (XKS v1, GetKeyMetadata); a blocked one does nothing at all.
pub const fn state_permits(state: KeyState, action: Action) -> bool {
    match (state, action) {
        (
            KeyState::Enabled,
            Action::Decrypt | Action::Encrypt | Action::EncryptWithIntegrityValue | Action::GetKeyMetadata,
        )
        | (KeyState::Disabled, Action::GetKeyMetadata) => true,
        (KeyState::Disabled, Action::Decrypt | Action::Encrypt | Action::EncryptWithIntegrityValue)
        | (
            KeyState::Blocked,
            Action::Decrypt | Action::Encrypt | Action::EncryptWithIntegrityValue | Action::GetKeyMetadata,
        ) => false,
    }
}

impl Action {
    /// Whether keys with these usages permit the action; if not, it is refused with InvalidKeyUsageException.
    pub const fn is_within(self, usages: KeyUsages) -> bool {
        match self {
            Self::Decrypt => usages.decrypt,
            Self::Encrypt => usages.encrypt,
            Self::EncryptWithIntegrityValue => usages.encrypt && usages.decrypt,
            Self::GetKeyMetadata => true,
        }
    }
}
