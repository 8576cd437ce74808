//! Callers of the KMS API: users, roles and their sessions, each in an account.

mod caller;
mod directory;

pub use caller::{Caller, Principal, Session};
pub use directory::{Directory, Unauthenticated};
