//! Puts requests to the policies that decide them: of an XKS key store, of a KMS key and its callers.

pub mod assume_role;
pub mod evaluation;
pub mod facts;
pub mod kms;
mod secondary;

pub use secondary::{Authorizer, CONDITION_KEYS, Question, Ruling};
