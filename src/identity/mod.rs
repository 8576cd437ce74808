//! Who signed a request: AWS KMS itself at the XKS proxy, users and roles at the KMS front end.

pub mod kms;
mod proxy_credential;
mod signing_keys;

pub use proxy_credential::{Caller, Credentials, Untrusted};
