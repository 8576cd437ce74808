//! The service model: agrees with AWS's, lets every valid request through, and names every mistake.

mod messages;
mod source;
mod walk;

use proptest::prelude::*;

use crate::kms::error::Error;
use crate::kms::model::{Document, Model};
use crate::kms::operation::OperationName;

fn check(operation: OperationName, body: &[u8]) -> Result<(), Error> {
    Model::new().unwrap().check(operation, &Document::parse(body)?)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        text in r#"\{("(KeyId|Plaintext|EncryptionContext|GrantTokens|DryRun)":([0-9]|null|"[a-z=]{0,5}"|\[\]|\{\}|\["", 1\]),?){0,4}\}"#,
    ) {
        let model = Model::new().unwrap();
        for body in [&bytes[..], text.as_bytes()] {
            let Ok(document) = Document::parse(body) else { continue };
            for &operation in OperationName::ALL {
                let _ = model.check(operation, &document);
            }
        }
    }
}
