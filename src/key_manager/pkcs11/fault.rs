//! What a PKCS#11 return code says, and so what is done about it: one table.

use cryptoki::error::{Error, RvError};

use cryptoki_sys::{CKR_AEAD_DECRYPT_FAILED, CKR_PARAMETER_SET_NOT_SUPPORTED};

use crate::key_manager::pkcs11::ffi::CallFailed;
use crate::key_manager::pkcs11::quirks::{CAUTIOUS, Quirks};
use crate::key_manager::pkcs11::return_code;

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
    /// The library as a whole: it has to be initialized anew.
    Library,
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

/// What is done about it, from the cheapest to the dearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing is broken: session and login go on, the caller is told.
    Keep,
    /// A trial on data that is known to be good decides; then the token is asked once more, and believed.
    Try,
    /// Within the request: the object is searched for again.
    FindAgain,
    /// Within the request: another session, and another login if the old one is gone with it.
    Reopen,
    /// Within the request: another login and session.
    LogIn,
    /// The session is dropped. The watcher looks at the token: with a new session, then with the library initialized
    /// anew; a worker process that does not even answer then is ended and started anew.
    Check,
    /// The same, without trying a new session first.
    Reinitialize,
    /// Not before the configuration changes.
    Never,
}

/// What the call was for: tokens reuse general codes for a wrong tag, and for a corrupted wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Decrypting,
    LoggingIn,
    Unwrapping,
    Other,
}

/// Which of the two calls of an operation: one that did not start has seen no data yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Start,
    Rest,
}

impl Call {
    fn named(function: &str) -> Self {
        if function.ends_with("Init") { Self::Start } else { Self::Rest }
    }
}

/// Codes that blame the same.
type Rows = &'static [(Blame, &'static [RvError])];

const DECRYPTING: Rows = &[
    (
        Blame::Data,
        &[
            RvError::EncryptedDataInvalid,
            RvError::EncryptedDataLenRange,
            RvError::UnknownErrorCode(CKR_AEAD_DECRYPT_FAILED),
        ],
    ),
    // To a wrong tag SoftHSM and AWS CloudHSM say GENERAL_ERROR, nShield FUNCTION_FAILED. A parameter may be an IV that
    // the token would never have made.
    (
        Blame::DataOrToken,
        &[
            RvError::ArgumentsBad,
            RvError::DataInvalid,
            RvError::FunctionFailed,
            RvError::GeneralError,
            RvError::MechanismParamInvalid,
        ],
    ),
];

/// SoftHSM says GENERAL_ERROR to corrupted material, kryoptic DEVICE_ERROR. Whether it is the token after all, a trial
/// with material that is known to be good says.
const UNWRAPPING: Rows = &[(
    Blame::Material,
    &[
        RvError::ArgumentsBad,
        RvError::DataInvalid,
        RvError::DataLenRange,
        RvError::DeviceError,
        RvError::EncryptedDataInvalid,
        RvError::EncryptedDataLenRange,
        RvError::FunctionFailed,
        RvError::GeneralError,
        RvError::WrappedKeyInvalid,
        RvError::WrappedKeyLenRange,
    ],
)];

/// HSMs lock users: what does not say that it was something else is taken to mean the PIN.
const LOGGING_IN: Rows = &[
    (
        Blame::Pin,
        &[
            RvError::ArgumentsBad,
            RvError::DataInvalid,
            RvError::DataLenRange,
            RvError::FunctionRejected,
            RvError::NewPinMode,
            RvError::NextOtp,
            RvError::PinTooWeak,
        ],
    ),
    // We are about to log in.
    (Blame::Token, &[RvError::UserNotLoggedIn]),
];

/// What is not here blames the token.
const OTHERWISE: Rows = &[
    (Blame::Length, &[RvError::DataInvalid, RvError::DataLenRange]),
    (Blame::Usage, &[RvError::KeyFunctionNotPermitted, RvError::KeySizeRange, RvError::KeyTypeInconsistent]),
    (
        Blame::Handle,
        &[
            RvError::KeyChanged,
            RvError::KeyHandleInvalid,
            RvError::ObjectHandleInvalid,
            RvError::UnwrappingKeyHandleInvalid,
            RvError::WrappingKeyHandleInvalid,
        ],
    ),
    (
        Blame::Session,
        &[
            RvError::OperationActive,
            RvError::OperationNotInitialized,
            RvError::SessionClosed,
            RvError::SessionHandleInvalid,
        ],
    ),
    (Blame::Login, &[RvError::UserNotLoggedIn]),
    (
        Blame::Pin,
        &[
            RvError::PinExpired,
            RvError::PinIncorrect,
            RvError::PinInvalid,
            RvError::PinLenRange,
            RvError::PinLocked,
        ],
    ),
    (
        Blame::Library,
        &[
            RvError::CantLock,
            RvError::CryptokiNotInitialized,
            RvError::FipsSelfTestFailed,
            RvError::LibraryLoadFailed,
            RvError::MutexBad,
            RvError::MutexNotLocked,
            RvError::NeedToCreateThreads,
        ],
    ),
];

fn look_up(rows: Rows, code: RvError) -> Option<Blame> {
    rows.iter().find(|(_, codes)| codes.contains(&code)).map(|(blame, _)| *blame)
}

/// A vendor's own code, or one that PKCS#11 does not have.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other code has a meaning")]
fn says_nothing(code: RvError) -> bool {
    match code {
        RvError::VendorDefined(_) => true,
        RvError::UnknownErrorCode(number) => return_code::LATER.iter().all(|(later, _)| *later != number),
        _ => false,
    }
}

impl Blame {
    /// PKCS#11 3.1, section 5.1 (return values), and what tokens do in fact. The whole of it is printed in
    /// `tests/golden/pkcs11_return_codes.txt`.
    pub(super) fn of(code: RvError, doing: Doing, call: Call, quirks: &Quirks) -> Self {
        if call == Call::Start && quirks.stale_handle.contains(&code) {
            return Self::Handle;
        }
        match doing {
            Doing::Decrypting if quirks.bad_data.contains(&code) => Self::DataOrToken,
            Doing::Unwrapping if quirks.bad_material.contains(&code) => Self::Material,
            Doing::Decrypting => look_up(DECRYPTING, code).unwrap_or(Self::otherwise(code)),
            Doing::LoggingIn if says_nothing(code) => Self::Pin,
            Doing::LoggingIn => look_up(LOGGING_IN, code).unwrap_or(Self::otherwise(code)),
            Doing::Unwrapping => look_up(UNWRAPPING, code).unwrap_or(Self::otherwise(code)),
            Doing::Other => Self::otherwise(code),
        }
    }

    fn otherwise(code: RvError) -> Self {
        look_up(OTHERWISE, code).unwrap_or(Self::Token)
    }

    pub(super) const fn remedy(self) -> Remedy {
        match self {
            Self::Busy
            | Self::Data
            | Self::Disconnected
            | Self::ForeignKey
            | Self::Length
            | Self::Unsupported
            | Self::Usage => Remedy::Keep,
            Self::DataOrToken | Self::Material | Self::Missing => Remedy::Try,
            Self::Handle => Remedy::FindAgain,
            Self::Session => Remedy::Reopen,
            Self::Login => Remedy::LogIn,
            Self::Token => Remedy::Check,
            Self::Library => Remedy::Reinitialize,
            Self::Pin => Remedy::Never,
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
                | RvError::MechanismParamInvalid
                | RvError::UnknownErrorCode(CKR_PARAMETER_SET_NOT_SUPPORTED),
            ) => Self { blame: Blame::Unsupported, ..self },
            _ => self,
        }
    }

    /// A token that unwraps keys, but none that can be wrapped again, is not broken.
    pub(super) fn or_not_to_wrap(self) -> Self {
        match self.return_code {
            Some(
                RvError::AttributeReadOnly
                | RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::KeyNotWrappable
                | RvError::KeyUnextractable
                | RvError::TemplateIncomplete
                | RvError::TemplateInconsistent,
            ) => {
                let what = format!(
                    "the HSM does not wrap a key again that it has unwrapped (CKA_EXTRACTABLE): {}",
                    self.what
                );
                Self { blame: Blame::Unsupported, what, ..self }
            }
            _ => self,
        }
    }

    pub(super) fn of_call(failed: CallFailed, doing: Doing) -> Self {
        let blame = Blame::of(failed.code, doing, Call::named(failed.function), failed.quirks);
        Self::returned(blame, failed.function, failed.code)
    }

    /// C_Login failed, with PINs that it may have counted.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only return codes carry meaning")]
    pub(super) fn of_login(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, _) => {
                Self::returned(Blame::of(code, Doing::LoggingIn, Call::Rest, &CAUTIOUS), "C_Login", code)
            }
            other => other.into(),
        }
    }

    fn returned(blame: Blame, function: &str, code: RvError) -> Self {
        Self {
            blame,
            what: format!("{function} returned {}", return_code::name(code)),
            code: return_code::label(code),
            return_code: Some(code),
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
            Error::Pkcs11(code, function) => {
                let function = format!("C_{function:?}");
                Self::returned(Blame::otherwise(code), &function, code)
            }
            other => Self::new(Blame::Token, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
