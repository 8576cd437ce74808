//! The words everything else speaks: external keys, their versions and usages, actions and states.

mod action;
mod external_key;

pub use action::{Action, KeyState, state_permits};
pub use external_key::{ExternalKeyId, InvalidExternalKeyId, KeyUsages, VersionMarker};
