//! The AWS KMS External Key Store (XKS) proxy API, version 1, on the wire: types, errors, SigV4, a client.
//!
//! No server, no database, no HSM. Clauses are cited as `XKS v1, <section>` after the specification.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(feature = "client")]
pub mod client;
pub mod error;
pub mod sigv4;
pub mod wire;
