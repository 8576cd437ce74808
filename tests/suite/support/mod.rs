//! What every story needs: a token, a daemon, and a client that signs.

pub mod changes;
pub mod client;
pub mod pki;
pub mod provisioned;
pub mod requests;
pub mod site;
pub mod traffic;

pub use client::{Reply, metadata};
pub use site::{Setup, Site};
