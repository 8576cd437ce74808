//! The seam to the database, for root keys: which there are, what is under them, and what comes under another one.

use crate::domain::kms::{KeyId, RootKeyId, RootKeys, Scope};
use crate::store::{IdentityName, Setting, Stored};

/// INVARIANT: nothing is written that names a root key other than [`RootKeyStore::root_keys`] says (`Conflict`). So
/// nothing can come under a root key any more that was found to be unused and retired.
pub trait RootKeyStore: Send + Sync {
    /// None before the first was made.
    fn root_keys(&self) -> Stored<'_, Option<RootKeys>>;

    /// Makes another root key the current one. `Conflict` if `before` is not, `NotEmpty` as long as there is a former
    /// one besides.
    fn rotate_root_key(&self, rotation: RootKeyRotation) -> Stored<'_, ()>;

    /// Forgets the former root key. `Missing` if it is another, `NotEmpty` if anything is under it.
    fn retire_root_key(&self, id: RootKeyId) -> Stored<'_, ()>;

    /// How much is under the current root key, and how much is not.
    fn root_key_uses(&self) -> Stored<'_, RootKeyUses>;

    /// Some keys behind this number that have something under another root key than the current one.
    fn keys_to_rewrap(&self, after: u64) -> Stored<'_, KeysToRewrap>;

    /// Replaces a sealed secret by the same one under another root key. `Conflict` if it is another by now.
    fn reseal(&self, place: SealedPlace, change: Resealed) -> Stored<'_, ()>;
}

/// What a rotation writes, all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeyRotation {
    pub before: RootKeyId,
    pub after: RootKeyId,
    /// The known text, sealed under `after`.
    pub check: Vec<u8>,
}

/// Wrapped material, software keys, fingerprints and other secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootKeyUses {
    pub current: u64,
    pub others: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysToRewrap {
    pub keys: Vec<(Scope, KeyId)>,
    /// Where to go on; none at the end.
    pub next: Option<u64>,
}

/// Where a sealed secret is. Those of custom key stores and keys are replaced with their next revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedPlace {
    Identity(IdentityName),
    Setting(Setting),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}
