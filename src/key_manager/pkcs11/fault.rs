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
    /// The object handle is stale: find the object again.
    Handle,
    /// The object was searched for and is not there.
    Missing,
    /// The session is gone or unusable: open another.
    Session,
    /// The token has logged us out: log in again.
    Login,
    /// The user PIN is wrong, expired or locked: do not try it again.
    Pin,
    /// The token or the library: drop the session, look at the token.
    Token,
    /// The wrapped key material: the token does not take it, though it unwraps other material.
    Material,
    /// Nobody has connected the key store of this cluster: the token is logged out on purpose.
    Disconnected,
    /// Another call is in the way, and perhaps hangs: that of the session that holds unwrapped keys, or a search.
    Busy,
    /// Key material or a public key from outside is not what it must be.
    ForeignKey,
    /// The token does not know the mechanism, or not with this parameter.
    Unsupported,
    /// Either the caller's data or the token; only a trial on known good data can tell.
    DataOrToken,
}

/// What the call was for: tokens reuse general codes for a wrong tag, and for a corrupted wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Decrypting,
    Unwrapping,
    Other,
}

impl Blame {
    /// PKCS#11 3.1, section 5.1 (return values), and what tokens do in fact. The whole of it is printed in
    /// `tests/golden/pkcs11_return_codes.txt`.
    pub(super) const fn of(code: RvError, doing: Doing) -> Self {
        match (code, doing) {
            (
                RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::UnknownErrorCode(CKR_AEAD_DECRYPT_FAILED),
                Doing::Decrypting,
            ) => Self::Data,
            // To a wrong tag SoftHSM says GENERAL_ERROR, nShield FUNCTION_FAILED; kryoptic says GENERAL_ERROR when
            // another process destroyed the key. A parameter may be an IV that the token would never have made.
            (
                RvError::ArgumentsBad
                | RvError::DataInvalid
                | RvError::FunctionFailed
                | RvError::GeneralError
                | RvError::MechanismParamInvalid,
                Doing::Decrypting,
            ) => Self::DataOrToken,
            // SoftHSM says GENERAL_ERROR, kryoptic DEVICE_ERROR. Whether it is the token after all, a trial with
            // material that is known to be good says.
            (
                RvError::ArgumentsBad
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::DeviceError
                | RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::FunctionFailed
                | RvError::GeneralError
                | RvError::WrappedKeyInvalid
                | RvError::WrappedKeyLenRange,
                Doing::Unwrapping,
            ) => Self::Material,
            (RvError::DataInvalid | RvError::DataLenRange, _) => Self::Length,
            (RvError::KeyFunctionNotPermitted | RvError::KeySizeRange | RvError::KeyTypeInconsistent, _) => {
                Self::Usage
            }
            (
                RvError::KeyChanged
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::UnwrappingKeyHandleInvalid
                | RvError::WrappingKeyHandleInvalid,
                _,
            ) => Self::Handle,
            (
                RvError::OperationActive
                | RvError::OperationNotInitialized
                | RvError::SessionClosed
                | RvError::SessionHandleInvalid,
                _,
            ) => Self::Session,
            (RvError::UserNotLoggedIn, _) => Self::Login,
            (
                RvError::PinExpired
                | RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinLocked,
                _,
            ) => Self::Pin,
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
    /// Absent if no call failed.
    pub(super) return_code: Option<RvError>,
}

impl Fault {
    pub(super) fn new(blame: Blame, what: impl Into<String>) -> Self {
        Self { blame, what: what.into(), code: "none".to_owned(), return_code: None }
    }

    pub(super) fn disconnected() -> Self {
        Self::new(Blame::Disconnected, "the key store is not connected")
    }

    /// Whether a key was refused because it may not leave the token wrapped.
    pub(super) const fn is_not_wrappable(&self) -> bool {
        // kryoptic says the last of keys that it has no encoding for.
        matches!(
            self.return_code,
            Some(RvError::KeyNotWrappable | RvError::KeyUnextractable | RvError::FunctionNotSupported)
        )
    }

    /// A token that does not know a mechanism is not broken.
    pub(super) fn or_unsupported(self) -> Self {
        match self.return_code {
            Some(
                RvError::CurveNotSupported
                | RvError::FunctionNotSupported
                | RvError::MechanismInvalid
                | RvError::MechanismParamInvalid,
            ) => Self { blame: Blame::Unsupported, ..self },
            _ => self,
        }
    }

    pub(super) fn of_call(failed: CallFailed, doing: Doing) -> Self {
        Self {
            blame: Blame::of(failed.code, doing),
            what: format!("{} returned {}", failed.function, code_name(failed.code)),
            code: code_name(failed.code),
            return_code: Some(failed.code),
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
                what: format!("C_{function:?} returned {}", code_name(code)),
                code: code_name(code),
                return_code: Some(code),
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
    use std::fmt::Write;
    use std::path::Path;

    use cryptoki::error::{Rv, RvError};

    use super::{Blame, CKR_AEAD_DECRYPT_FAILED, Doing, code_name};

    /// One more than the largest code of PKCS#11 3.1.
    const CODES_END: u64 = 0x210;
    const VENDOR_DEFINED: u64 = 0x8000_0000;

    /// Every code, and what is blamed for it when decrypting and otherwise.
    fn table() -> String {
        let mut table =
            format!("{:<12}{:<32}{:<14}{:<14}OTHERWISE\n", "CODE", "NAME", "DECRYPTING", "UNWRAPPING");
        for number in (0..CODES_END).chain([VENDOR_DEFINED]) {
            let Rv::Error(code) = Rv::from(number) else { continue };
            if matches!(code, RvError::UnknownErrorCode(other) if other != CKR_AEAD_DECRYPT_FAILED) {
                continue;
            }
            let [decrypting, unwrapping, otherwise] = [Doing::Decrypting, Doing::Unwrapping, Doing::Other]
                .map(|doing| format!("{:?}", Blame::of(code, doing)));
            let number = format!("{number:#x}");
            writeln!(table, "{number:<12}{:<32}{decrypting:<14}{unwrapping:<14}{otherwise}", code_name(code))
                .unwrap();
        }
        table
    }

    /// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
    #[test]
    fn every_return_code_blames_what_the_golden_table_says() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pkcs11_return_codes.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, table()).unwrap();
        }
        assert_eq!(table(), std::fs::read_to_string(golden).unwrap());
    }

    #[test]
    fn codes_that_the_golden_table_does_not_list_blame_the_token() {
        for code in [RvError::VendorDefined(u64::MAX), RvError::UnknownErrorCode(CODES_END)] {
            assert_eq!(Blame::of(code, Doing::Decrypting), Blame::Token);
        }
    }
}
