//! Base64: what is accepted is the one spelling of its bytes, and its length was known before.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_api::wire::decode_base64;
use proxy_api::wire::decoded_bytes;
use proxy_api::wire::encode_base64;

fuzz_target!(|text: &str| {
    let expected_bytes = decoded_bytes(text);
    if let Ok(bytes) = decode_base64(text) {
        assert_eq!(encode_base64(&bytes), text);
        assert_eq!(bytes.len(), expected_bytes);
    }
});
