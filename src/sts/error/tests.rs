//! Every error of STS, as it goes over the wire.

use std::fmt::Write;
use std::path::Path;

use crate::sts::error::Error;

fn text() -> String {
    "<text>".to_owned()
}

/// The variant that follows, so that a new one is not forgotten.
fn next(error: &Error) -> Option<Error> {
    Some(match error {
        Error::AccessDenied(_) => Error::ExpiredToken,
        Error::ExpiredToken => Error::IncompleteSignature(text()),
        Error::IncompleteSignature(_) => Error::InvalidAction(text()),
        Error::InvalidAction(_) => Error::InvalidClientTokenId,
        Error::InvalidClientTokenId => Error::MalformedPolicyDocument(text()),
        Error::MalformedPolicyDocument(_) => Error::MalformedQueryString(text()),
        Error::MalformedQueryString(_) => Error::MissingAction,
        Error::MissingAction => Error::MissingAuthenticationToken,
        Error::MissingAuthenticationToken => Error::PackedPolicyTooLarge(101),
        Error::PackedPolicyTooLarge(_) => Error::RegionDisabled,
        Error::RegionDisabled => Error::ServiceUnavailable,
        Error::ServiceUnavailable => Error::SignatureDoesNotMatch(text()),
        Error::SignatureDoesNotMatch(_) => Error::Throttling,
        Error::Throttling => Error::ValidationError(text()),
        Error::ValidationError(_) => return None,
    })
}

/// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
#[test]
fn the_table_of_errors_is_the_one_that_was_reviewed() {
    let mut table = String::new();
    for error in std::iter::successors(Some(Error::AccessDenied(text())), next) {
        let wire = error.wire();
        writeln!(table, "{} {} {}", wire.status.as_u16(), wire.code, wire.message).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sts_errors.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(&path).unwrap(), "UPDATE_GOLDEN=1 rewrites it");
}
