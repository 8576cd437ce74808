//! Ciphertext blobs that nobody has authenticated yet.
#![no_main]

use holdfast::domain::kms::Ciphertext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    if let Some(ciphertext) = Ciphertext::parse(blob) {
        assert!(ciphertext.iv.len() < blob.len());
    }
});
