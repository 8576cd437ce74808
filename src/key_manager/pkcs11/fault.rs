//! What a PKCS#11 return code says, and so what is done about it: one table.

use cryptoki::error::{Error, RvError};

use crate::key_manager::pkcs11::ffi::CallFailed;

/// PKCS#11 3.0; cryptoki does not know it.
const CKR_AEAD_DECRYPT_FAILED: u64 = 0x42;

/// What a failed call says about the things it touched, from the least to the most broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The caller's ciphertext, IV, AAD or tag: the session is fine.
    Data,
    /// Longer than the token takes.
    Length,
    /// The key does not permit the operation.
    Usage,
    /// The object handle is stale or the object is gone: find it again.
    Handle,
    /// The session is gone, or logged out: open another.
    Session,
    /// The user PIN is wrong, expired or locked: do not try it again.
    Pin,
    /// The token or the library: drop the session, look at the token.
    Token,
    /// Either the caller's data or the token; only a trial on known good data can tell.
    DataOrToken,
}

/// Whether the call was decrypting; tokens reuse general codes for a wrong tag then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Decrypting,
    Other,
}

impl Blame {
    /// PKCS#11 3.1, section 5.1 (return values), and what tokens do in fact.
    pub(super) const fn of(code: RvError, doing: Doing) -> Self {
        match (code, doing) {
            (
                RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::UnknownErrorCode(CKR_AEAD_DECRYPT_FAILED),
                _,
            ) => Self::Data,
            // SoftHSM says GENERAL_ERROR to a wrong tag, nShield FUNCTION_FAILED; kryoptic says GENERAL_ERROR
            // when another process destroyed the key.
            (RvError::GeneralError | RvError::FunctionFailed, Doing::Decrypting) => Self::DataOrToken,
            (RvError::DataLenRange | RvError::DataInvalid, _) => Self::Length,
            (RvError::KeyFunctionNotPermitted | RvError::KeyTypeInconsistent, _) => Self::Usage,
            (RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid | RvError::KeyChanged, _) => {
                Self::Handle
            }
            (
                RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::OperationActive
                | RvError::OperationNotInitialized,
                _,
            ) => Self::Session,
            (RvError::PinIncorrect | RvError::PinExpired | RvError::PinLocked | RvError::PinInvalid, _) => {
                Self::Pin
            }
            _ => Self::Token,
        }
    }
}

/// A failure of a token operation, for logs, metrics and the decision what to do.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) blame: Blame,
    /// PKCS#11 call and return code; never data.
    pub(super) what: String,
    /// The return code's name, a bounded metric label.
    pub(super) code: String,
}

impl Fault {
    pub(super) fn new(blame: Blame, what: impl Into<String>) -> Self {
        Self { blame, what: what.into(), code: "none".to_owned() }
    }

    pub(super) fn of_call(failed: CallFailed, doing: Doing) -> Self {
        Self {
            blame: Blame::of(failed.code, doing),
            what: format!("{} returned {}", failed.function, code_name(failed.code)),
            code: code_name(failed.code),
        }
    }
}

impl From<Error> for Fault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only return codes carry meaning; the rest is a broken library"
    )]
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, function) => Self {
                blame: Blame::of(code, Doing::Other),
                what: format!("C_{function} returned {}", code_name(code)),
                code: code_name(code),
            },
            other => Self::new(Blame::Token, other.to_string()),
        }
    }
}

/// cryptoki's name of a code (`DeviceError`), and the number alone of one it does not know.
fn code_name(code: RvError) -> String {
    format!("{code:?}")
}

#[cfg(test)]
mod tests {
    use cryptoki::error::RvError;

    use super::{Blame, Doing};

    #[test]
    fn a_general_error_is_only_ambiguous_when_decrypting() {
        assert_eq!(Blame::of(RvError::GeneralError, Doing::Decrypting), Blame::DataOrToken);
        assert_eq!(Blame::of(RvError::GeneralError, Doing::Other), Blame::Token);
        assert_eq!(Blame::of(RvError::DeviceError, Doing::Decrypting), Blame::Token);
        assert_eq!(Blame::of(RvError::VendorDefined(0x8000_0001), Doing::Decrypting), Blame::Token);
    }
}
