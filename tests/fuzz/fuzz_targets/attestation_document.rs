//! Attestation documents that nobody has signed.
#![no_main]

use holdfast::attestation::Roots;
use holdfast::domain::kms::UnixMillis;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    assert!(Roots::default().verify(document, UnixMillis(1_780_272_000_000)).is_err());
});
