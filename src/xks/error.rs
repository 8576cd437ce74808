//! What a caller of the XKS proxy can be told, and what only the log is told.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http_body_util::Full;
use proxy_api::error::{ErrorBody, ErrorName};

use crate::gate::Refused;
use crate::http::{BodyError, Response};
use crate::identity::Untrusted;
use crate::key_manager::HsmError;

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    AuthenticationFailed(Untrusted),
    BodyTimedOut,
    BodyTooLarge,
    Disconnected,
    /// Not one of ours: the caller gets no details.
    Internal(String),
    KeyStoreBlocked,
    MethodNotAllowed,
    QuotaExceeded,
    Refused(Refused),
    TooLong(&'static str),
    UnknownPath,
    Validation(String),
}

/// What goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    pub name: ErrorName,
    pub message: String,
}

impl Error {
    /// XKS v1, Error codes. The message is for the operator, who finds it in CloudWatch: it holds no secret,
    /// and no name of a policy statement or an HSM.
    pub fn wire(&self) -> Wire {
        let (name, message) = match self {
            Self::AuthenticationFailed(_) => {
                (ErrorName::AuthenticationFailed, "the SigV4 signature does not verify")
            }
            Self::BodyTimedOut => (ErrorName::Validation, "the request body did not arrive in time"),
            Self::BodyTooLarge => {
                (ErrorName::UnsupportedOperation, "the request body is larger than this proxy takes")
            }
            Self::Disconnected => (ErrorName::Validation, "the request body ended early"),
            Self::Internal(_) => (ErrorName::Internal, "internal error"),
            Self::KeyStoreBlocked => (ErrorName::InvalidState, "the key store is blocked"),
            Self::MethodNotAllowed => (ErrorName::UnsupportedOperation, "only POST is allowed"),
            Self::QuotaExceeded => (ErrorName::Throttling, "the request quota of the key store is used up"),
            Self::Refused(refused) => refused_wire(refused),
            Self::TooLong(member) => {
                return Wire::new(
                    ErrorName::UnsupportedOperation,
                    format!("`{member}` is longer than this proxy takes"),
                );
            }
            Self::UnknownPath => (ErrorName::InvalidUriPath, "no key store has this path"),
            Self::Validation(reason) => return Wire::new(ErrorName::Validation, reason.clone()),
        };
        Wire::new(name, message.to_owned())
    }

    /// What the log says beyond the error name.
    pub fn reason(&self) -> String {
        match self {
            Self::AuthenticationFailed(untrusted) => untrusted.to_string(),
            Self::Internal(reason)
            | Self::Refused(
                Refused::Forbidden(reason)
                | Refused::KeyManager(
                    HsmError::Corrupted(reason) | HsmError::Device(reason) | HsmError::Unavailable(reason),
                ),
            ) => reason.clone(),
            Self::BodyTimedOut
            | Self::BodyTooLarge
            | Self::Disconnected
            | Self::KeyStoreBlocked
            | Self::MethodNotAllowed
            | Self::QuotaExceeded
            | Self::Refused(_)
            | Self::TooLong(_)
            | Self::UnknownPath
            | Self::Validation(_) => self.wire().message,
        }
    }

    /// The HTTP status; 405 is outside the table of errors (XKS v1, API operations).
    pub fn status(&self) -> http::StatusCode {
        if *self == Self::MethodNotAllowed {
            return http::StatusCode::METHOD_NOT_ALLOWED;
        }
        let (status, _) = self.wire().name.wire();
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn response(&self) -> Response {
        let wire = self.wire();
        let body = serde_json::to_vec(&ErrorBody::new(wire.name, &wire.message)).unwrap_or_default();
        let mut response = json_response(Bytes::from(body));
        *response.status_mut() = self.status();
        if *self == Self::MethodNotAllowed {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

const fn refused_wire(refused: &Refused) -> (ErrorName, &'static str) {
    match refused {
        Refused::Ambiguous => (ErrorName::InvalidState, "several HSM keys answer to this external key id"),
        Refused::Blocked => (ErrorName::InvalidState, "the external key is blocked"),
        Refused::Disabled => (ErrorName::InvalidState, "the external key is disabled"),
        Refused::Forbidden(_) => {
            (ErrorName::AccessDenied, "the policy of the key store does not allow this request")
        }
        Refused::InvocationsUsedUp => {
            (ErrorName::InvalidState, "the external key has made 2^32 encryptions and must be rotated")
        }
        Refused::KeyManager(error) => hsm_wire(error),
        Refused::KeyMissing => (ErrorName::KeyNotFound, "no such external key"),
        Refused::UnknownVersion => {
            (ErrorName::InvalidCiphertext, "the ciphertext metadata names no version of the external key")
        }
        Refused::UsageNotPermitted => {
            (ErrorName::InvalidKeyUsage, "the external key does not permit this operation")
        }
    }
}

/// A fault of the HSM is never blamed on the key, the ciphertext or the caller.
const fn hsm_wire(error: &HsmError) -> (ErrorName, &'static str) {
    match error {
        HsmError::BadCiphertext => {
            (ErrorName::InvalidCiphertext, "ciphertext, initialization vector, AAD or tag do not match")
        }
        HsmError::Busy => (ErrorName::Throttling, "all HSM sessions are busy"),
        HsmError::DeadlineExceeded => (ErrorName::DependencyTimeout, "the HSM did not answer in time"),
        HsmError::Corrupted(_) | HsmError::Device(_) => (ErrorName::Internal, "the HSM failed"),
        HsmError::KeyMissing => (ErrorName::KeyNotFound, "the external key is no longer in the HSM"),
        HsmError::TooLong => (ErrorName::UnsupportedOperation, "longer than the HSM takes in one call"),
        HsmError::Unavailable(_) => (ErrorName::Internal, "the HSM is not available"),
        HsmError::BadKeyMaterial | HsmError::Unsupported(_) => {
            (ErrorName::Internal, "the HSM did what nobody asked for")
        }
        HsmError::UsageRefused => (ErrorName::InvalidKeyUsage, "the HSM does not permit this use of the key"),
    }
}

impl Wire {
    fn new(name: ErrorName, message: String) -> Self {
        Self { name, message }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<HsmError> for Error {
    fn from(error: HsmError) -> Self {
        Self::Refused(Refused::KeyManager(error))
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Disconnected => Self::Disconnected,
            BodyError::TimedOut => Self::BodyTimedOut,
            BodyError::TooLarge => Self::BodyTooLarge,
        }
    }
}

/// 200 with a JSON body.
pub(super) fn json_response(body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(proxy_api::wire::CONTENT_TYPE));
    response
}

#[cfg(test)]
mod tests;
