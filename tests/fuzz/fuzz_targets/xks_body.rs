//! The bodies of the API: what is accepted as a request prints as JSON that reads as the same request.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use proxy_api::error::ErrorBody;
use proxy_api::wire::DecryptRequest;
use proxy_api::wire::EncryptRequest;
use proxy_api::wire::HealthRequest;
use proxy_api::wire::MetadataRequest;
use proxy_api::wire::Operation;
use proxy_api::wire::parse_body;

/// Reads the body, prints what was read, and reads that again.
macro_rules! round_trip {
    ($Body:ty, $body:expr) => {
        parse_body::<$Body>($body).ok().map(|read| {
            let printed = serde_json::to_vec(&read).expect("it can be printed");
            assert_same(&parse_body::<$Body>(&printed).expect("what was printed can be read"), &read);
            read
        })
    };
}

fn assert_same<T: Debug + PartialEq>(a: &T, b: &T) {
    assert_eq!(a, b);
}

fuzz_target!(|body: &[u8]| {
    if let Some(request) = round_trip!(DecryptRequest<'_>, body) {
        let _ = request.request_metadata.missing_member(Operation::Decrypt);
    }
    let _ = round_trip!(EncryptRequest<'_>, body);
    let _ = round_trip!(HealthRequest<'_>, body);
    let _ = round_trip!(MetadataRequest<'_>, body);
    let _ = parse_body::<ErrorBody<'_>>(body);
});
