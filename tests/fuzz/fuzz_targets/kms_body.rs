//! The bodies of the KMS API against the service model: any bytes are valid or refused, for each operation.
#![no_main]

use std::sync::LazyLock;

use holdfast::kms::Document;
use holdfast::kms::{EndpointPorts, Model};
use holdfast::kms::OperationName;
use libfuzzer_sys::fuzz_target;

static MODEL: LazyLock<Model> =
    LazyLock::new(|| Model::new(EndpointPorts::Refused).expect("the description can be read"));

fuzz_target!(|input: &[u8]| {
    let Ok(document) = Document::parse(input) else { return };
    if !input.trim_ascii().is_empty() {
        let read = serde_json::from_slice::<serde_json::Value>(input);
        // Numbers beyond a double are the one thing that ours takes and the other does not.
        assert!(read.is_ok() || read.is_err_and(|error| error.to_string().contains("out of range")));
    }
    for &operation in OperationName::ALL {
        if let Err(error) = MODEL.check(operation, &document) {
            assert!(!error.wire().message.is_empty());
        }
    }
});
