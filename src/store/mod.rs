//! The seam to the database: one method is one transaction, and what it answered is durable.

mod root_keys;
pub mod sqlite;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use crate::domain::kms::{
    AccountId, Alias, AliasName, CustomKeyStore, CustomKeyStoreId, Grant, GrantId, GrantPrincipal, Key,
    KeyId, KeyStoreConflict, LifecycleEvent, LifecycleEventKind, MaterialId, Scope, UnixMillis, XksKeyId,
};

pub use root_keys::{KeysToRewrap, Resealed, RootKeyRotation, RootKeyStore, RootKeyUses, SealedPlace};

pub type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keys, aliases, grants, custom key stores, identities and settings. Nothing here blocks an async thread.
///
/// Pages are in the order of their names, start behind `after` and have at most `limit` entries.
pub trait Store: RootKeyStore {
    /// Adds a key with its materials, policy and tags. `LimitExceeded` if its account and Region have
    /// `keys_max` already. A key in a custom key store: `KeyStoreMissing` if there is no such key store in the
    /// account and Region, `KeyStoreNotConnected` if it is not connected, `XksKeyInUse` if another key of it has
    /// the same external key.
    fn create_key(&self, key: Arc<Key>, keys_max: u64) -> Stored<'_, ()>;

    /// A key with its tags, aliases and materials.
    fn key<'a>(&'a self, scope: &'a Scope, id: &'a KeyId) -> Stored<'a, Option<Key>>;

    /// Replaces a key by its next revision, with materials that are new; its aliases and its place are not
    /// touched. `Conflict` if the stored revision is not the one before `key.revision`; `Missing` if there is no
    /// such key.
    fn replace_key(&self, key: Arc<Key>) -> Stored<'_, ()>;

    /// Deletes a key of this revision with everything that belongs to it: materials, aliases, grants, usage.
    /// `Conflict` or `Missing` as above.
    fn delete_key<'a>(&'a self, scope: &'a Scope, id: &'a KeyId, revision: u64) -> Stored<'a, ()>;

    /// [`Self::replace_key`], and with it the event that tells of it. How many older events had to be forgotten.
    fn replace_key_with_event(&self, key: Arc<Key>, event: LifecycleEvent) -> Stored<'_, u64>;

    /// [`Self::delete_key`], and with it the event that tells of it.
    fn delete_key_with_event<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a KeyId,
        revision: u64,
        event: LifecycleEvent,
    ) -> Stored<'a, ()>;

    /// Related multi-Region keys, which have account and id in common, in the order of their Regions.
    ///
    /// INVARIANT: whoever adds one, takes one away or makes another the primary key replaces the primary key in the same
    /// transaction. So what was decided by who is related is refused if that is not so any more.
    fn related_keys<'a>(&'a self, account: &'a AccountId, id: &'a KeyId) -> Stored<'a, Vec<Key>>;

    /// [`Self::replace_key`] of the primary key and [`Self::create_key`] of a replica; encryptions with its material
    /// count for it too. `AlreadyExists` if there is a key with the id in the Region.
    fn create_replica(&self, replica: Arc<Key>, primary: Arc<Key>, keys_max: u64) -> Stored<'_, ()>;

    /// [`Self::replace_key`] of several keys, all or none, and if there is an event, with it. How many older events had
    /// to be forgotten.
    fn replace_keys(&self, keys: Vec<Arc<Key>>, event: Option<LifecycleEvent>) -> Stored<'_, u64>;

    /// [`Self::delete_key`] of a replica and [`Self::replace_key`] of its primary key, and if there is an event, with it.
    fn delete_replica(
        &self,
        replica: Arc<Key>,
        primary: Arc<Key>,
        event: Option<LifecycleEvent>,
    ) -> Stored<'_, ()>;

    /// Events that are still to be told, the oldest first.
    fn lifecycle_events(&self, limit: usize) -> Stored<'_, Outbox>;

    /// After it was told.
    fn remove_lifecycle_event(&self, number: u64) -> Stored<'_, ()>;

    fn keys_page<'a>(
        &'a self,
        scope: &'a Scope,
        after: Option<&'a KeyId>,
        limit: usize,
    ) -> Stored<'a, Vec<KeyId>>;

    /// Adds a custom key store. `KeyStoreConflict` if it shares with another what it must not,
    /// `LimitExceeded` if its account and Region have `stores_max` already, `AlreadyExists` if the id is taken.
    fn create_custom_key_store(&self, store: CustomKeyStore, stores_max: u64) -> Stored<'_, ()>;

    fn custom_key_store<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
    ) -> Stored<'a, Option<CustomKeyStore>>;

    /// Of one scope, or all, in the order of scopes and ids.
    fn custom_key_stores<'a>(&'a self, scope: Option<&'a Scope>) -> Stored<'a, Vec<CustomKeyStore>>;

    /// Replaces a custom key store by its next revision; it stays of its type. `Conflict` and `Missing` as for
    /// keys, `KeyStoreConflict` as above.
    fn replace_custom_key_store(&self, store: CustomKeyStore) -> Stored<'_, ()>;

    /// Deletes a custom key store of this revision. `Conflict` and `Missing` as above; `NotEmpty` if keys are in
    /// it, be it that their deletion is scheduled.
    fn delete_custom_key_store<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
        revision: u64,
    ) -> Stored<'a, ()>;

    /// All keys in a custom key store, in the order of their ids; none if there is no such key store.
    fn keys_of_custom_key_store<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
    ) -> Stored<'a, Vec<KeyId>>;

    fn alias<'a>(&'a self, scope: &'a Scope, name: &'a AliasName) -> Stored<'a, Option<Alias>>;

    /// `AlreadyExists` if the name is taken, `LimitExceeded` if the key has `aliases_max` already, `Missing` if
    /// there is no such key.
    fn create_alias(&self, alias: Alias, aliases_max: u64) -> Stored<'_, ()>;

    /// Points an alias, which now points at `before`, at `alias.target`. `Conflict` if it points elsewhere now,
    /// `LimitExceeded` and `Missing` as above.
    fn point_alias<'a>(&'a self, alias: Alias, before: &'a KeyId, aliases_max: u64) -> Stored<'a, ()>;

    /// `Missing` if there is no such alias.
    fn delete_alias<'a>(&'a self, scope: &'a Scope, name: &'a AliasName) -> Stored<'a, ()>;

    /// Of one key, or of the whole scope.
    fn aliases_page<'a>(
        &'a self,
        scope: &'a Scope,
        key_id: Option<&'a KeyId>,
        after: Option<&'a AliasName>,
        limit: usize,
    ) -> Stored<'a, Vec<Alias>>;

    /// Adds a grant. If the key has one of the same name with the same content, that one is returned instead and
    /// nothing is added; a name alone does not make two grants the same. `LimitExceeded` if the key has
    /// `grants_max` already, `Missing` if there is no such key.
    fn create_grant(&self, grant: Grant, grants_max: u64) -> Stored<'_, GrantId>;

    fn grant<'a>(&'a self, scope: &'a Scope, key_id: &'a KeyId, id: &'a GrantId)
    -> Stored<'a, Option<Grant>>;

    /// `Missing` if there is no such grant.
    fn delete_grant<'a>(&'a self, scope: &'a Scope, key_id: &'a KeyId, id: &'a GrantId) -> Stored<'a, ()>;

    fn grants_page<'a>(&'a self, query: GrantQuery<'a>, limit: usize) -> Stored<'a, Vec<Grant>>;

    /// Keys whose deletion or rotation is due at `now`, the longest due first.
    fn due<'a>(&'a self, work: DueWork, now: UnixMillis, limit: usize) -> Stored<'a, Vec<(Scope, KeyId)>>;

    /// When the next deletion or rotation is due.
    fn next_due(&self) -> Stored<'_, Option<UnixMillis>>;

    /// Keys with imported material that expires, and when; the next first.
    fn expiries(&self, limit: usize) -> Stored<'_, Vec<(KeyId, UnixMillis)>>;

    /// Writes down what keys were used for last, and adds to the encryptions of their materials. Keys that are
    /// gone are passed over.
    fn record_usage(&self, usages: Vec<UsageRecord>) -> Stored<'_, ()>;

    fn last_usage<'a>(&'a self, scope: &'a Scope, id: &'a KeyId) -> Stored<'a, Option<LastUsage>>;

    /// Every identity of every account.
    fn identities(&self) -> Stored<'_, Vec<IdentityRow>>;

    /// Adds an identity or replaces it.
    fn put_identity(&self, row: IdentityRow) -> Stored<'_, ()>;

    /// `Missing` if there is no such identity.
    fn delete_identity<'a>(&'a self, name: &'a IdentityName) -> Stored<'a, ()>;

    fn setting(&self, name: Setting) -> Stored<'_, Option<Vec<u8>>>;

    /// Sets what is not set yet; returns what is set now.
    fn set_once(&self, name: Setting, value: Vec<u8>) -> Stored<'_, Vec<u8>>;

    /// Sets what may be set already.
    fn set(&self, name: Setting, value: Vec<u8>) -> Stored<'_, ()>;

    /// Writes a consistent copy of everything to a new file, while others go on reading and writing.
    fn back_up<'a>(&'a self, to: &'a Path) -> Stored<'a, ()>;

    /// Whether a key of this custom key store has the external key already.
    fn is_xks_key_in_use<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
        xks_key_id: &'a XksKeyId,
    ) -> Stored<'a, bool>;

    /// Deletes all keys, aliases, grants, usage and custom key stores; identities and settings stay. For
    /// development.
    fn clear_keys(&self) -> Stored<'_, ()>;
}

/// Why the store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    AlreadyExists,
    /// Somebody else changed it first: look again.
    Conflict,
    /// With another custom key store.
    KeyStoreConflict(KeyStoreConflict),
    KeyStoreMissing,
    KeyStoreNotConnected,
    LimitExceeded,
    Missing,
    /// Keys are in it.
    NotEmpty,
    /// The database failed, is full, or is gone; says why, for the log.
    Unavailable(String),
    /// Another key of the key store has this external key.
    XksKeyInUse,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists => f.write_str("it exists already"),
            Self::Conflict => f.write_str("it was changed meanwhile"),
            Self::KeyStoreConflict(conflict) => {
                let shared = match conflict {
                    KeyStoreConflict::Cluster => "cluster",
                    KeyStoreConflict::Name => "name",
                    KeyStoreConflict::Uri => "URI",
                    KeyStoreConflict::UriEndpoint => "URI endpoint",
                    KeyStoreConflict::VpcEndpointService => "VPC endpoint service",
                };
                write!(f, "another custom key store has its {shared}")
            }
            Self::KeyStoreMissing => f.write_str("its custom key store does not exist"),
            Self::KeyStoreNotConnected => f.write_str("its custom key store is not connected"),
            Self::LimitExceeded => f.write_str("there are as many as there may be"),
            Self::Missing => f.write_str("it does not exist"),
            Self::NotEmpty => f.write_str("there are keys in it"),
            Self::Unavailable(reason) => f.write_str(reason),
            Self::XksKeyInUse => f.write_str("another key has its external key"),
        }
    }
}

impl std::error::Error for StoreError {}

/// What is still to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    pub entries: Vec<OutboxEntry>,
    /// How many there are of each kind in all.
    pub waiting: Vec<(LifecycleEventKind, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Of later events it is higher.
    pub number: u64,
    pub event: LifecycleEvent,
}

/// Which grants a page is of.
#[derive(Clone, Copy, Debug)]
pub struct GrantQuery<'a> {
    pub scope: &'a Scope,
    pub filter: GrantFilter<'a>,
    pub after: Option<&'a GrantId>,
}

#[derive(Clone, Copy, Debug)]
pub enum GrantFilter<'a> {
    /// Of one key, perhaps only for one grantee.
    OfKey { key_id: &'a KeyId, grantee: Option<&'a GrantPrincipal> },
    /// That this principal may retire, of the keys of the Region, whosever they are; a service, of those of the account.
    RetirableBy(&'a GrantPrincipal),
}

/// Work that becomes due by the passing of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueWork {
    /// Of keys that are `PendingDeletion`.
    Deletion,
    /// Of imported material.
    Expiry,
    /// Of keys that are `Enabled`.
    Rotation,
}

/// What a key was used for, since it was last written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    pub scope: Scope,
    pub key_id: KeyId,
    pub last: LastUsage,
    /// By how much each material's count goes up.
    pub encryptions: Vec<(MaterialId, u64)>,
}

/// The last successful cryptographic operation with a key (`GetKeyLastUsage`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUsage {
    pub operation: String,
    pub at: UnixMillis,
    pub request_id: String,
}

/// What names an identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityName {
    pub account: AccountId,
    pub kind: IdentityKind,
    /// The name of the user or role, or the access key id.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityKind {
    AccessKey,
    Role,
    User,
}

/// An identity, sealed under the root key of the HSM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRow {
    pub name: IdentityName,
    pub sealed: Vec<u8>,
}

/// What the installation has one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Which key of the HSM wraps all others: its `CKA_ID`.
    RootKeyId,
    /// A known text sealed under the root key, to tell a wrong root key from damage.
    RootKeyCheck,
    /// The root key before, as long as it is needed.
    FormerRootKeyId,
    /// The same text, sealed under that one.
    FormerRootKeyCheck,
    /// The key, sealed, that session tokens are made with.
    SessionTokenKey,
    /// The last line of the audit trail that was signed.
    TrailEnd,
    /// Which key of the HSM signs the audit trail: its id and its public key.
    TrailKey,
    /// When usage began to be tracked.
    UsageTrackingStart,
}

impl Setting {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FormerRootKeyCheck => "former_root_key_check",
            Self::FormerRootKeyId => "former_root_key_id",
            Self::RootKeyCheck => "root_key_check",
            Self::RootKeyId => "root_key_id",
            Self::SessionTokenKey => "session_token_key",
            Self::TrailEnd => "trail_end",
            Self::TrailKey => "trail_key",
            Self::UsageTrackingStart => "usage_tracking_start",
        }
    }
}
