//! Holdfast: an AWS KMS External Key Store (XKS) proxy over PKCS#11 HSMs.
//!
//! ARCHITECTURE.md has the map of these modules and what each may use.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod admin;
pub mod app;
pub mod attestation;
pub mod audit;
pub mod authorizer;
pub mod check;
pub mod cli;
pub mod clock;
pub mod cloudtrail;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod events;
pub mod gate;
pub mod http;
pub mod identity;
pub mod json;
pub mod key_manager;
pub mod kill_switch;
pub mod kms;
pub mod logging;
pub mod metrics;
pub mod outbound;
pub mod policy;
pub mod provision;
pub mod public_key;
pub mod secret;
pub mod simulation;
pub mod spans;
pub mod store;
pub mod sts;
pub mod tasks;
pub mod traces;
pub mod xks;
