//! The return codes of PKCS#11 and what they are called: a bounded set, whatever a library returns.

use cryptoki::error::RvError;
use cryptoki_sys::{
    CK_RV, CKR_AEAD_DECRYPT_FAILED, CKR_KEY_EXHAUSTED, CKR_OPERATION_CANCEL_FAILED,
    CKR_OPERATION_NOT_VALIDATED, CKR_PARAMETER_SET_NOT_SUPPORTED, CKR_PENDING, CKR_SEED_RANDOM_REQUIRED,
    CKR_SESSION_ASYNC_NOT_SUPPORTED, CKR_TOKEN_NOT_INITIALIZED, CKR_TOKEN_RESOURCE_EXCEEDED,
};

/// Codes of PKCS#11 3.0 and 3.2 that cryptoki does not know.
pub(super) const LATER: [(CK_RV, &str); 10] = [
    (CKR_AEAD_DECRYPT_FAILED, "AeadDecryptFailed"),
    (CKR_TOKEN_RESOURCE_EXCEEDED, "TokenResourceExceeded"),
    (CKR_OPERATION_CANCEL_FAILED, "OperationCancelFailed"),
    (CKR_KEY_EXHAUSTED, "KeyExhausted"),
    (CKR_PENDING, "Pending"),
    (CKR_SESSION_ASYNC_NOT_SUPPORTED, "SessionAsyncNotSupported"),
    (CKR_SEED_RANDOM_REQUIRED, "SeedRandomRequired"),
    (CKR_OPERATION_NOT_VALIDATED, "OperationNotValidated"),
    (CKR_TOKEN_NOT_INITIALIZED, "TokenNotInitialized"),
    (CKR_PARAMETER_SET_NOT_SUPPORTED, "ParameterSetNotSupported"),
];

/// For metrics: a library that makes up codes makes no new series.
#[expect(clippy::wildcard_enum_match_arm, reason = "the name of every other code is that of its variant")]
pub(super) fn label(code: RvError) -> String {
    match code {
        RvError::UnknownErrorCode(number) => {
            let known = LATER.iter().find(|(later, _)| *later == number);
            known.map_or("Unknown", |(_, name)| name).to_owned()
        }
        RvError::VendorDefined(_) => "VendorDefined".to_owned(),
        known => format!("{known:?}"),
    }
}

/// For logs: with its number, if its name does not say which it is.
pub(super) fn name(code: RvError) -> String {
    match (label(code), code) {
        (label, RvError::VendorDefined(number)) => format!("{label} {number:#x}"),
        (label, RvError::UnknownErrorCode(number)) if label == "Unknown" => format!("{label} {number:#x}"),
        (label, _) => label,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::error::{Rv, RvError};

    use super::{label, name};

    fn code(number: u64) -> RvError {
        let Rv::Error(code) = Rv::from(number) else { panic!("{number:#x} is no error") };
        code
    }

    #[test]
    fn whatever_a_library_returns_the_labels_are_few_and_the_log_has_the_number() {
        for (number, its_label, its_name) in [
            (0x30, "DeviceError", "DeviceError"),
            (0x42, "AeadDecryptFailed", "AeadDecryptFailed"),
            (0x8000_0066, "VendorDefined", "VendorDefined 0x80000066"),
            (0x7777, "Unknown", "Unknown 0x7777"),
        ] {
            assert_eq!((&*label(code(number)), &*name(code(number))), (its_label, its_name));
        }
    }
}
