//! Attested recipients: which AWS Nitro enclave a document speaks for, and what is sealed for it alone.

mod cbor;
mod chain;
mod cose;
mod document;
mod envelope;
mod invalid;
mod recipient_key;
mod verified;

pub use chain::Roots;
pub use envelope::NotSealed;
pub use invalid::{Field, Invalid};
pub use verified::Attestation;
