//! The errors that a proxy can answer with, their HTTP status codes and their body.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::wire::ERROR_MESSAGE_CHARS_MAX;

/// Why a proxy refuses (XKS v1, Error codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorName {
    /// Secondary authorization refuses.
    AccessDenied,
    /// The SigV4 signature does not verify.
    AuthenticationFailed,
    /// A dependency of the proxy timed out.
    DependencyTimeout,
    /// Any other fault of the proxy or the key manager.
    Internal,
    /// Ciphertext, initialization vector, AAD or tag are corrupt.
    InvalidCiphertext,
    /// The key does not permit the operation.
    InvalidKeyUsage,
    /// The key or the key store is disabled or blocked.
    InvalidState,
    /// No such path.
    InvalidUriPath,
    /// No such external key.
    KeyNotFound,
    /// Overload, or a quota is used up.
    Throttling,
    /// Not implemented, or above what this implementation supports.
    UnsupportedOperation,
    /// A parameter is invalid.
    Validation,
}

impl ErrorName {
    /// Every name, in alphabetical order.
    pub const ALL: [Self; 12] = [
        Self::AccessDenied,
        Self::AuthenticationFailed,
        Self::DependencyTimeout,
        Self::Internal,
        Self::InvalidCiphertext,
        Self::InvalidKeyUsage,
        Self::InvalidState,
        Self::InvalidUriPath,
        Self::KeyNotFound,
        Self::Throttling,
        Self::UnsupportedOperation,
        Self::Validation,
    ];

    /// HTTP status and `errorName`.
    #[must_use]
    pub const fn wire(self) -> (u16, &'static str) {
        match self {
            Self::AccessDenied => (403, "AccessDeniedException"),
            Self::AuthenticationFailed => (401, "AuthenticationFailedException"),
            Self::DependencyTimeout => (503, "DependencyTimeoutException"),
            Self::Internal => (500, "InternalException"),
            Self::InvalidCiphertext => (400, "InvalidCiphertextException"),
            Self::InvalidKeyUsage => (400, "InvalidKeyUsageException"),
            Self::InvalidState => (400, "InvalidStateException"),
            Self::InvalidUriPath => (404, "InvalidUriPathException"),
            Self::KeyNotFound => (404, "KeyNotFoundException"),
            Self::Throttling => (429, "ThrottlingException"),
            Self::UnsupportedOperation => (501, "UnsupportedOperationException"),
            Self::Validation => (400, "ValidationException"),
        }
    }

    /// The error with this `errorName`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.wire().1 == name)
    }

    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::DependencyTimeout | Self::Internal | Self::Throttling => true,
            Self::AccessDenied
            | Self::AuthenticationFailed
            | Self::InvalidCiphertext
            | Self::InvalidKeyUsage
            | Self::InvalidState
            | Self::InvalidUriPath
            | Self::KeyNotFound
            | Self::UnsupportedOperation
            | Self::Validation => false,
        }
    }
}

/// The body of an error response. The name stays text, because a client must cope with names it does not know.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody<'a> {
    /// One of [`ErrorName::wire`], or a name that is none of ours.
    #[serde(borrow)]
    pub error_name: Cow<'a, str>,
    /// For the operator; AWS KMS logs it and shows it to nobody.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<Cow<'a, str>>,
}

impl<'a> ErrorBody<'a> {
    /// A body that any client can take, whatever is in `message`.
    #[must_use]
    pub fn new(error: ErrorName, message: &'a str) -> Self {
        Self {
            error_name: Cow::Borrowed(error.wire().1),
            error_message: (!message.is_empty()).then(|| sanitize_error_message(message)),
        }
    }
}

/// Printable ASCII, shorter than 512 characters (XKS v1, Error codes); anything else becomes `?` or is cut.
#[must_use]
pub fn sanitize_error_message(message: &str) -> Cow<'_, str> {
    let is_printable = |character: char| matches!(character, ' '..='~');
    if message.len() <= ERROR_MESSAGE_CHARS_MAX && message.chars().all(is_printable) {
        return Cow::Borrowed(message);
    }
    let printable = |character: char| if is_printable(character) { character } else { '?' };
    message.chars().take(ERROR_MESSAGE_CHARS_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::{ErrorBody, ErrorName, sanitize_error_message};

    #[test]
    fn names_are_unique_and_found_again() {
        for error in ErrorName::ALL {
            assert_eq!(ErrorName::from_name(error.wire().1), Some(error));
        }
        assert_eq!(ErrorName::from_name("XksProxyUnreachableException"), None);
    }

    #[test]
    fn three_errors_are_retryable() {
        let retryable: Vec<_> = ErrorName::ALL.into_iter().filter(|error| error.is_retryable()).collect();
        assert_eq!(retryable, [ErrorName::DependencyTimeout, ErrorName::Internal, ErrorName::Throttling]);
    }

    #[test]
    fn the_body_is_one_line_and_omits_an_empty_message() {
        let body = |message| serde_json::to_string(&ErrorBody::new(ErrorName::Validation, message)).unwrap();
        assert_eq!(body(""), r#"{"errorName":"ValidationException"}"#);
        assert_eq!(body("a\nb"), r#"{"errorName":"ValidationException","errorMessage":"a?b"}"#);
    }

    #[test]
    fn messages_become_short_printable_ascii() {
        assert_eq!(sanitize_error_message("plain ~ text"), "plain ~ text");
        assert_eq!(sanitize_error_message("caf\u{e9}\t\u{7f}"), "caf???");
        assert_eq!(sanitize_error_message(&"x".repeat(511)).len(), 511);
        assert_eq!(sanitize_error_message(&"x".repeat(512)).len(), 511);
        assert_eq!(sanitize_error_message(&"\u{e9}".repeat(600)), "?".repeat(511));
    }
}
