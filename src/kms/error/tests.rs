//! The whole table of errors, as it goes over the wire, compared with a file that a reviewer reads.

use std::fmt::Write as _;
use std::path::Path;

use proxy_api::sigv4::Refusal;

use crate::identity::kms::Unauthenticated;
use crate::kms::authentication::Presented;
use crate::kms::error::Error;
use crate::kms::key_store_error::KeyStoreException;

/// What varies from request to request.
fn text() -> String {
    "<text>".to_owned()
}

/// The error after this one, in the order of the enum. A new variant does not compile before it has its place.
fn next(error: &Error) -> Option<Error> {
    Some(match error {
        Error::AccessDenied(_) => Error::AlreadyExists(text()),
        Error::AlreadyExists(_) => Error::BodyTimedOut,
        Error::BodyTimedOut => Error::BodyTooLarge,
        Error::BodyTooLarge => {
            Error::Caused { error: Box::new(Error::InvalidState(text())), cause: "for the log".to_owned() }
        }
        Error::Caused { .. } => Error::Conflict,
        Error::Conflict => Error::Disabled(text()),
        Error::Disabled(_) => Error::Disconnected,
        Error::Disconnected => Error::DryRun,
        Error::DryRun => Error::ExpiredImportToken,
        Error::ExpiredImportToken => Error::ExpiredToken,
        Error::ExpiredToken => Error::IncompleteSignature(text()),
        Error::IncompleteSignature(_) => Error::IncorrectKey,
        Error::IncorrectKey => Error::IncorrectKeyMaterial("<text>"),
        Error::IncorrectKeyMaterial(_) => Error::Internal(text()),
        Error::Internal(_) => Error::InternalWithText("<text>"),
        Error::InternalWithText(_) => Error::InvalidAliasName(text()),
        Error::InvalidAliasName(_) => Error::InvalidArn(text()),
        Error::InvalidArn(_) => Error::InvalidCiphertext,
        Error::InvalidCiphertext => Error::InvalidGrantId(text()),
        Error::InvalidGrantId(_) => Error::InvalidGrantToken(text()),
        Error::InvalidGrantToken(_) => Error::InvalidImportToken,
        Error::InvalidImportToken => Error::InvalidKeyUsage(text()),
        Error::InvalidKeyUsage(_) => Error::InvalidMac,
        Error::InvalidMac => Error::InvalidMarker(text()),
        Error::InvalidMarker(_) => Error::InvalidSignature(text()),
        Error::InvalidSignature(_) => Error::InvalidSignatureOfMessage,
        Error::InvalidSignatureOfMessage => Error::InvalidState(text()),
        Error::InvalidState(_) => Error::KeyStore(KeyStoreException::CloudHsmClusterInUse, text()),
        Error::KeyStore(exception, _) => match KeyStoreException::ALL.iter().find(|next| *next > exception) {
            Some(next) => Error::KeyStore(*next, text()),
            None => Error::KeyUnavailable(text()),
        },
        Error::KeyUnavailable(_) => Error::LimitExceeded(text()),
        Error::LimitExceeded(_) => Error::MalformedPolicyDocument(text()),
        Error::MalformedPolicyDocument(_) => Error::MissingAuthenticationToken(text()),
        Error::MissingAuthenticationToken(_) => Error::NotAuthorized,
        Error::NotAuthorized => Error::NotFound(text()),
        Error::NotFound(_) => Error::Serialization(text()),
        Error::Serialization(_) => Error::Tag(text()),
        Error::Tag(_) => Error::Throttling(text()),
        Error::Throttling(_) => Error::TooBusy,
        Error::TooBusy => Error::TimedOut,
        Error::TimedOut => Error::UnknownOperation,
        Error::UnknownOperation => Error::UnknownPath,
        Error::UnknownPath => Error::UnrecognizedClient,
        Error::UnrecognizedClient => Error::UnsupportedOperation(text()),
        Error::UnsupportedOperation(_) => Error::Validation(text()),
        Error::Validation(_) => return None,
    })
}

fn next_refusal(refusal: Refusal) -> Option<Refusal> {
    Some(match refusal {
        Refusal::AlgorithmUnsupported => Refusal::AuthorizationDuplicated,
        Refusal::AuthorizationDuplicated => Refusal::AuthorizationMalformed,
        Refusal::AuthorizationMalformed => Refusal::AuthorizationMissing,
        Refusal::AuthorizationMissing => Refusal::ClockSkew { seconds: -360 },
        Refusal::ClockSkew { .. } => Refusal::DateDuplicated,
        Refusal::DateDuplicated => Refusal::DateMalformed,
        Refusal::DateMalformed => Refusal::DateMissing,
        Refusal::DateMissing => Refusal::DateOutsideScope,
        Refusal::DateOutsideScope => Refusal::DateUnsigned,
        Refusal::DateUnsigned => Refusal::HeaderUnsigned,
        Refusal::HeaderUnsigned => Refusal::HostAmbiguous,
        Refusal::HostAmbiguous => Refusal::HostUnsigned,
        Refusal::HostUnsigned => Refusal::QueryPresent,
        Refusal::QueryPresent => Refusal::ServiceWrong,
        Refusal::ServiceWrong => Refusal::SignatureMismatch,
        Refusal::SignatureMismatch => Refusal::SignedHeaderAbsent,
        Refusal::SignedHeaderAbsent => return None,
    })
}

fn row(out: &mut String, error: &Error) {
    let wire = error.wire();
    writeln!(out, "{} {} {}", wire.status.as_u16(), wire.name, wire.message).unwrap();
}

fn table() -> String {
    let mut out = String::new();
    let mut error = Some(Error::AccessDenied(text()));
    while let Some(known) = error {
        row(&mut out, &known);
        error = next(&known);
    }
    let headers = http::HeaderMap::new();
    // 2015-08-30T12:36:00Z.
    let presented = Presented { headers: &headers, now_unix_seconds: 1_440_938_160 };
    out.push_str("\nauthentication\n");
    for unauthenticated in
        [Unauthenticated::AccessKeyUnknown, Unauthenticated::RegionUnknown, Unauthenticated::TokenExpired]
    {
        row(&mut out, &presented.error(unauthenticated));
    }
    let mut refusal = Some(Refusal::AlgorithmUnsupported);
    while let Some(known) = refusal {
        row(&mut out, &presented.error(Unauthenticated::Signature(known)));
        refusal = next_refusal(known);
    }
    out
}

#[test]
fn the_table_of_errors_is_the_one_that_was_reviewed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kms_errors.txt");
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(&path).unwrap(), "UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn internal_causes_are_told_to_the_log_only() {
    let error = Error::Internal("statement 7 of hsm-3".to_owned());
    assert!(!error.wire().message.contains("hsm-3"));
    assert_eq!(error.reason(), "statement 7 of hsm-3");
}
