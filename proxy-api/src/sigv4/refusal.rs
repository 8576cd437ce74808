//! Why a signature is not accepted: for the log, never for the caller, who is only told that it failed.

use std::fmt;

/// Why a signature is not accepted. Holds no secret and no part of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    AlgorithmUnsupported,
    AuthorizationDuplicated,
    AuthorizationMalformed,
    AuthorizationMissing,
    /// How far the request is ahead of our clock; negative if it is behind.
    ClockSkew {
        seconds: i64,
    },
    DateDuplicated,
    DateMalformed,
    DateMissing,
    /// `x-amz-date` has another day than the scope.
    DateOutsideScope,
    DateUnsigned,
    /// A header that services of AWS go by (`x-amz-…`) is not signed.
    HeaderUnsigned,
    /// Several `Host` headers, or one that differs from `:authority`.
    HostAmbiguous,
    HostUnsigned,
    QueryPresent,
    ServiceWrong,
    SignatureMismatch,
    /// A header that `SignedHeaders` names is not in the request.
    SignedHeaderAbsent,
}

impl Refusal {
    /// A name for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlgorithmUnsupported => "algorithm_unsupported",
            Self::AuthorizationDuplicated => "authorization_duplicated",
            Self::AuthorizationMalformed => "authorization_malformed",
            Self::AuthorizationMissing => "authorization_missing",
            Self::ClockSkew { .. } => "clock_skew",
            Self::DateDuplicated => "date_duplicated",
            Self::DateMalformed => "date_malformed",
            Self::DateMissing => "date_missing",
            Self::DateOutsideScope => "date_outside_scope",
            Self::DateUnsigned => "date_unsigned",
            Self::HeaderUnsigned => "header_unsigned",
            Self::HostAmbiguous => "host_ambiguous",
            Self::HostUnsigned => "host_unsigned",
            Self::QueryPresent => "query_present",
            Self::ServiceWrong => "service_wrong",
            Self::SignatureMismatch => "signature_mismatch",
            Self::SignedHeaderAbsent => "signed_header_absent",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlgorithmUnsupported => "the signature algorithm is not `AWS4-HMAC-SHA256`",
            Self::AuthorizationDuplicated => "several `Authorization` headers",
            Self::AuthorizationMalformed => "the `Authorization` header is malformed",
            Self::AuthorizationMissing => "no `Authorization` header",
            Self::ClockSkew { seconds } => {
                return write!(f, "the request is {seconds} seconds ahead of this clock");
            }
            Self::DateDuplicated => "several `x-amz-date` headers",
            Self::DateMalformed => "`x-amz-date` is malformed",
            Self::DateMissing => "no `x-amz-date` header",
            Self::DateOutsideScope => "`x-amz-date` is of another day than the credential scope",
            Self::DateUnsigned => "`x-amz-date` is not signed",
            Self::HeaderUnsigned => "an `x-amz-` header is not signed",
            Self::HostAmbiguous => "several different hosts",
            Self::HostUnsigned => "`host` is not signed",
            Self::QueryPresent => "the request has a query string",
            Self::ServiceWrong => "the credential scope is for another service",
            Self::SignatureMismatch => "the signature does not match",
            Self::SignedHeaderAbsent => "a signed header is absent",
        })
    }
}

impl std::error::Error for Refusal {}
