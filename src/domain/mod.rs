//! The words everything else speaks: external keys, their versions and usages, actions.

mod external_key;

pub use external_key::{ExternalKeyId, InvalidExternalKeyId, KeyUsages, VersionMarker};
