//! The XKS proxy API (XKS v1): from an HTTP request to an open key and back.

mod accounting;
mod error;
mod operations;
mod record;
mod server;

pub use error::Error;
pub use server::{KeyStores, Server, ServerParts, StoreParts, StoreWithAccess};
