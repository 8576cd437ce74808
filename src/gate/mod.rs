//! The only doors to a key: find it, authorize, check its state, and only then hand it out.

mod external_key;
pub mod kms;

pub use external_key::{Call, KeyStore, OpenKey, Refused, Sealed, matches_pattern};
