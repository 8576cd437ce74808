//! What a token says of the user PIN in its flags.

use cryptoki_sys::{
    CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKF_USER_PIN_TO_BE_CHANGED,
};

use crate::key_manager::pkcs11::token_info::TokenInfo;

/// The worst that is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PinState {
    #[default]
    Fine,
    /// It works, but nothing else does before it is another.
    ToBeChanged,
    /// Somebody has tried a wrong one since the last login.
    CountLow,
    /// One more wrong one locks the user.
    FinalTry,
    Locked,
}

impl PinState {
    pub(super) const ALL: [&str; 5] = ["fine", "to_be_changed", "count_low", "final_try", "locked"];

    pub(super) fn of(info: &TokenInfo) -> Self {
        if info.has(CKF_USER_PIN_LOCKED) {
            Self::Locked
        } else if info.has(CKF_USER_PIN_FINAL_TRY) {
            Self::FinalTry
        } else if info.has(CKF_USER_PIN_COUNT_LOW) {
            Self::CountLow
        } else if info.has(CKF_USER_PIN_TO_BE_CHANGED) {
            Self::ToBeChanged
        } else {
            Self::Fine
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::ToBeChanged => "to_be_changed",
            Self::CountLow => "count_low",
            Self::FinalTry => "final_try",
            Self::Locked => "locked",
        }
    }

    /// For logs and reasons; nothing if there is nothing to say.
    pub(super) const fn words(self) -> Option<&'static str> {
        match self {
            Self::Fine => None,
            Self::ToBeChanged => Some("the user PIN must be changed (CKF_USER_PIN_TO_BE_CHANGED)"),
            Self::CountLow => {
                Some("a wrong user PIN was tried since the last login (CKF_USER_PIN_COUNT_LOW)")
            }
            Self::FinalTry => Some("one more wrong user PIN locks the user (CKF_USER_PIN_FINAL_TRY)"),
            Self::Locked => Some("the user PIN is locked (CKF_USER_PIN_LOCKED)"),
        }
    }

    /// Whether the token counted a wrong PIN, if it was in the state `before`.
    pub(super) fn is_worse_than(self, before: Self) -> bool {
        matches!(self, Self::CountLow | Self::FinalTry | Self::Locked) && self != before
    }
}
