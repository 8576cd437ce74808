//! Puts requests to the policies that decide them: of an XKS key store, of a KMS key and its callers.

pub mod assume_role;
pub mod evaluation;
pub mod facts;
mod global_keys;
pub mod kms;
mod secondary;

pub use global_keys::{GLOBAL_KEYS, GlobalKey, ValueKind, Values};
pub use secondary::{Authorizer, CONDITION_KEYS, Question, Ruling};
