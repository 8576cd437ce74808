//! The service model: agrees with AWS's, lets every valid request through, and names every mistake.

mod messages;
mod source;
mod walk;

use proptest::prelude::*;

use crate::kms::error::Error;
use crate::kms::model::{Document, EndpointPorts, Model};
use crate::kms::operation::OperationName;

fn check(operation: OperationName, body: &[u8]) -> Result<(), Error> {
    Model::new(EndpointPorts::Refused).unwrap().check(operation, &Document::parse(body)?)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        text in r#"\{("(KeyId|Plaintext|EncryptionContext|GrantTokens|DryRun)":([0-9]|null|"[a-z=]{0,5}"|\[\]|\{\}|\["", 1\]),?){0,4}\}"#,
    ) {
        let model = Model::new(EndpointPorts::Refused).unwrap();
        for body in [&bytes[..], text.as_bytes()] {
            let Ok(document) = Document::parse(body) else { continue };
            for &operation in OperationName::ALL {
                let _ = model.check(operation, &document);
            }
        }
    }
}

#[test]
fn an_endpoint_has_a_port_only_where_that_is_allowed() {
    let message = |endpoint_ports, endpoint: &str| {
        let body = format!(r#"{{"CustomKeyStoreId":"cks-1","XksProxyUriEndpoint":"{endpoint}"}}"#);
        let operation = OperationName::parse("UpdateCustomKeyStore").unwrap();
        let document = Document::parse(body.as_bytes()).unwrap();
        Model::new(endpoint_ports).unwrap().check(operation, &document).err()
    };
    let with_port = "https://proxy.example.com:8440";
    let refused = "1 validation error detected: Value 'https://proxy.example.com:8440' at 'xksProxyUriEndpoint' \
                   failed to satisfy constraint: Member must satisfy regular expression pattern: \
                   ^https://[a-zA-Z0-9.-]+$";
    assert_eq!(message(EndpointPorts::Refused, with_port), Some(Error::Validation(refused.to_owned())));
    assert_eq!(message(EndpointPorts::Allowed, with_port), None);
    for endpoint_ports in [EndpointPorts::Allowed, EndpointPorts::Refused] {
        assert_eq!(message(endpoint_ports, "https://proxy.example.com"), None);
        for endpoint in
            ["https://proxy.example.com:", "https://proxy.example.com:8440/path", "https://a:123456"]
        {
            assert!(message(endpoint_ports, endpoint).is_some(), "{endpoint}");
        }
    }
}
