//! What a caller of STS can be told.

use http::StatusCode;
use proxy_api::sigv4::Refusal;

use crate::identity::kms::{SessionError, Unauthenticated};

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    AccessDenied(String),
    ExpiredToken,
    IncompleteSignature(String),
    InvalidAction(String),
    InvalidClientTokenId,
    MalformedPolicyDocument(String),
    MalformedQueryString(String),
    MissingAction,
    MissingAuthenticationToken,
    PackedPolicyTooLarge(usize),
    RegionDisabled,
    ServiceUnavailable,
    SignatureDoesNotMatch(String),
    Throttling,
    ValidationError(String),
}

/// What goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your \
                        AWS Secret Access Key and signing method. Consult the service documentation for details.";

impl Error {
    /// The one place where causes become what AWS STS calls them.
    pub fn wire(&self) -> Wire {
        let (bad, forbidden) = (StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN);
        let (status, code, message) = match self {
            Self::AccessDenied(text) => (forbidden, "AccessDenied", text.clone()),
            Self::ExpiredToken => (
                forbidden,
                "ExpiredToken",
                "The security token included in the request is expired".to_owned(),
            ),
            Self::IncompleteSignature(text) => (bad, "IncompleteSignature", text.clone()),
            Self::InvalidAction(text) => (bad, "InvalidAction", text.clone()),
            Self::InvalidClientTokenId => (
                forbidden,
                "InvalidClientTokenId",
                "The security token included in the request is invalid.".to_owned(),
            ),
            Self::MalformedPolicyDocument(text) => (bad, "MalformedPolicyDocument", text.clone()),
            Self::MalformedQueryString(text) => (bad, "MalformedQueryString", text.clone()),
            Self::MissingAction => (bad, "MissingAction", "Missing Action".to_owned()),
            Self::MissingAuthenticationToken => (
                forbidden,
                "MissingAuthenticationToken",
                "Request is missing Authentication Token".to_owned(),
            ),
            Self::PackedPolicyTooLarge(percent) => (
                bad,
                "PackedPolicyTooLarge",
                format!(
                    "Packed size of session tags and session policy consumes {percent}% of allotted space."
                ),
            ),
            Self::RegionDisabled => {
                (forbidden, "RegionDisabledException", "STS is not served in this Region.".to_owned())
            }
            Self::ServiceUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The request has failed due to a temporary failure of the server.".to_owned(),
            ),
            Self::SignatureDoesNotMatch(text) => (forbidden, "SignatureDoesNotMatch", text.clone()),
            Self::Throttling => (bad, "Throttling", "Rate exceeded".to_owned()),
            Self::ValidationError(text) => (bad, "ValidationError", text.clone()),
        };
        Wire { status, code, message }
    }

    pub(super) fn validation(text: impl Into<String>) -> Self {
        Self::ValidationError(text.into())
    }
}

impl From<Unauthenticated> for Error {
    fn from(cause: Unauthenticated) -> Self {
        match cause {
            Unauthenticated::AccessKeyUnknown => Self::InvalidClientTokenId,
            Unauthenticated::RegionUnknown => Self::RegionDisabled,
            Unauthenticated::Service(refused) => Self::AccessDenied(refused.to_string()),
            Unauthenticated::Signature(refusal) => refused(refusal),
            Unauthenticated::TokenExpired => Self::ExpiredToken,
        }
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::AuthorizationMissing => Error::MissingAuthenticationToken,
        Refusal::ClockSkew { seconds } if seconds < 0 => {
            Error::SignatureDoesNotMatch(format!("Signature expired: it is {} seconds old", -seconds))
        }
        Refusal::ClockSkew { seconds } => Error::SignatureDoesNotMatch(format!(
            "Signature not yet current: it is {seconds} seconds ahead of the server"
        )),
        Refusal::SignatureMismatch => Error::SignatureDoesNotMatch(MISMATCH.to_owned()),
        Refusal::DateOutsideScope | Refusal::ServiceWrong => {
            Error::SignatureDoesNotMatch(format!("Credential should be scoped correctly: {refusal}"))
        }
        Refusal::AlgorithmUnsupported
        | Refusal::AuthorizationDuplicated
        | Refusal::AuthorizationMalformed
        | Refusal::DateDuplicated
        | Refusal::DateMalformed
        | Refusal::DateMissing
        | Refusal::DateUnsigned
        | Refusal::HeaderUnsigned
        | Refusal::HostAmbiguous
        | Refusal::HostUnsigned
        | Refusal::QueryPresent
        | Refusal::SignedHeaderAbsent => Error::IncompleteSignature(refusal.to_string()),
    }
}

impl From<SessionError> for Error {
    fn from(cause: SessionError) -> Self {
        match cause {
            SessionError::NotReady => Self::ServiceUnavailable,
            SessionError::Policy(reason) => Self::MalformedPolicyDocument(reason),
            SessionError::TooLarge { percent } => Self::PackedPolicyTooLarge(percent),
        }
    }
}

#[cfg(test)]
mod tests;
