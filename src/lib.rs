//! Holdfast: an AWS KMS External Key Store (XKS) proxy over PKCS#11 HSMs.
//!
//! ARCHITECTURE.md has the map of these modules and what each may use.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod secret;
