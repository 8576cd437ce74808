//! Keys in PKCS#11 tokens: worker threads that own sessions, behind an async seam.

mod alarm;
mod fault;
mod ffi;
mod gcm;
mod group;
mod health;
mod hsm;
mod inventory;
mod key_admin;
mod module;
mod thread_session;
mod token;
mod watcher;
mod worker;

pub use group::HsmGroup;
pub use hsm::{Hsm, HsmParts};
pub use inventory::Inventory;
pub use key_admin::{KeyAdmin, KeyAdminError, NewKey};
pub use module::Module;
