//! The words everything else speaks: external keys, KMS keys, their states, actions and usages.

mod action;
mod external_key;
pub mod kms;

pub use action::{Action, KeyState, state_permits};
pub use external_key::{ExternalKeyId, InvalidExternalKeyId, KeyUsages, VersionMarker};
