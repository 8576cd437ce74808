//! What others are told of the life of a key: that it was rotated or deleted, or that its imported material expired.

use crate::domain::kms::{KeyId, Scope, UnixMillis, Uuid, words};

words! {
    /// AWS KMS Developer Guide, Monitoring KMS keys with Amazon EventBridge: the `detail-type` of an event.
    pub enum LifecycleEventKind {
        Deletion = "KMS CMK Deletion",
        MaterialExpiration = "KMS Imported Key Material Expiration",
        Rotation = "KMS CMK Rotation",
    }
}

/// An event that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleEvent {
    pub id: Uuid,
    pub kind: LifecycleEventKind,
    pub scope: Scope,
    pub key_id: KeyId,
    pub at: UnixMillis,
}

impl LifecycleEventKind {
    /// Whether it is told at least once, however long that takes. The others are told as far as possible.
    pub const fn is_guaranteed(self) -> bool {
        matches!(self, Self::Deletion)
    }
}
