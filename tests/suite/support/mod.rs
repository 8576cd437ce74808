//! What every story needs: a token, a daemon, and a client that signs.

pub mod client;
pub mod pki;
pub mod provisioned;
pub mod requests;
pub mod site;
pub mod tls;
pub mod tools;

pub use client::{Reply, metadata};
pub use site::{Setup, Site};
