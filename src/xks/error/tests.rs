//! The whole table of errors, as it goes over the wire, compared with a file that a reviewer reads.

use std::fmt::Write;
use std::path::Path;

use proxy_api::sigv4::Refusal;
use proxy_api::wire::InvalidBody;

use super::Error;
use crate::gate::Refused;
use crate::identity::Untrusted;
use crate::key_manager::HsmError;

/// What only the log may say.
const SECRET: &str = "statement 7 of hsm-3";

fn validation(reason: &str) -> Error {
    Error::Validation(reason.to_owned())
}

/// The error after this one, in the order of the enum. A new variant does not compile before it has its place.
fn next(error: &Error) -> Option<Error> {
    Some(match error {
        Error::AuthenticationFailed(Untrusted::RegionNotAllowed) => {
            Error::AuthenticationFailed(Untrusted::Signature(Refusal::SignatureMismatch))
        }
        Error::AuthenticationFailed(Untrusted::Signature(_)) => {
            Error::AuthenticationFailed(Untrusted::UnknownAccessKeyId)
        }
        Error::AuthenticationFailed(Untrusted::UnknownAccessKeyId) => Error::BodyTimedOut,
        Error::BodyTimedOut => Error::BodyTooLarge,
        Error::BodyTooLarge => Error::Disconnected,
        Error::Disconnected => Error::Internal(SECRET.to_owned()),
        Error::Internal(_) => Error::KeyStoreBlocked,
        Error::KeyStoreBlocked => Error::MethodNotAllowed,
        Error::MethodNotAllowed => Error::QuotaExceeded,
        Error::QuotaExceeded => Error::Refused(Refused::Ambiguous),
        Error::Refused(refused) => next_refused(refused).map_or(Error::TooLong("plaintext"), Error::Refused),
        Error::TooLong(_) => Error::UnknownPath,
        Error::UnknownPath => validation("`authenticationTag` must be 16 bytes"),
        Error::Validation(_) => return None,
    })
}

fn next_refused(refused: &Refused) -> Option<Refused> {
    Some(match refused {
        Refused::Ambiguous => Refused::Blocked,
        Refused::Blocked => Refused::Disabled,
        Refused::Disabled => Refused::Forbidden(SECRET.to_owned()),
        Refused::Forbidden(_) => Refused::InvocationsUsedUp,
        Refused::InvocationsUsedUp => Refused::KeyManager(HsmError::BadCiphertext),
        Refused::KeyManager(error) => next_of_hsm(error).map_or(Refused::KeyMissing, Refused::KeyManager),
        Refused::KeyMissing => Refused::UnknownVersion,
        Refused::UnknownVersion => Refused::UsageNotPermitted,
        Refused::UsageNotPermitted => return None,
    })
}

fn next_of_hsm(error: &HsmError) -> Option<HsmError> {
    Some(match error {
        HsmError::BadCiphertext => HsmError::BadKeyMaterial,
        HsmError::BadKeyMaterial => HsmError::Busy,
        HsmError::Busy => HsmError::Corrupted(SECRET.to_owned()),
        HsmError::Corrupted(_) => HsmError::DeadlineExceeded,
        HsmError::DeadlineExceeded => HsmError::Device(SECRET.to_owned()),
        HsmError::Device(_) => HsmError::KeyMissing,
        HsmError::KeyMissing => HsmError::TooLong,
        HsmError::TooLong => HsmError::Unavailable(SECRET.to_owned()),
        HsmError::Unavailable(_) => HsmError::Unsupported(SECRET.to_owned()),
        HsmError::Unsupported(_) => HsmError::UsageRefused,
        HsmError::UsageRefused => return None,
    })
}

/// Every error, and the reasons of a `Validation` that come from parsing.
fn errors() -> Vec<Error> {
    let first = Error::AuthenticationFailed(Untrusted::RegionNotAllowed);
    let parsing = [
        InvalidBody::DuplicateMember("plaintext".to_owned()),
        InvalidBody::MissingMember("plaintext".to_owned()),
        InvalidBody::NotUtf8,
        InvalidBody::Syntax { line: usize::MAX, column: usize::MAX },
        InvalidBody::WrongType { line: usize::MAX, column: usize::MAX },
    ];
    let parsing = parsing.iter().map(|invalid| validation(&invalid.to_string()));
    std::iter::successors(Some(first), next).chain(parsing).collect()
}

fn table() -> String {
    let mut table = format!("{:<8}{:<32}MESSAGE\n", "STATUS", "NAME");
    for error in errors() {
        let wire = error.wire();
        let (_, name) = wire.name.wire();
        writeln!(table, "{:<8}{name:<32}{}", error.status().as_str(), wire.message).unwrap();
        writeln!(table, "        {error:?}").unwrap();
    }
    table
}

/// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
#[test]
fn every_error_goes_over_the_wire_as_the_golden_table_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/errors.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, table()).unwrap();
    }
    assert_eq!(table(), std::fs::read_to_string(golden).unwrap());
}

/// XKS v1, Error codes: shorter than 512 characters, printable ASCII; and nothing that is for the log alone.
#[test]
fn every_message_is_short_printable_and_keeps_what_is_for_the_log() {
    for error in errors() {
        let message = error.wire().message;
        let is_printable = message.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        assert!(is_printable && (1..512).contains(&message.len()), "{message}");
        assert!(!message.contains(SECRET), "{message}");
    }
}
