//! The door to KMS keys: everything an operation can do, it does through a [`Call`].

mod account;
mod call;
mod changes;
mod cipher;
mod cluster_keys;
mod computation;
mod connections;
mod custom_key_stores;
mod due_work;
mod facts;
mod granted;
mod grants;
mod import;
mod key_cache;
mod key_creation;
mod key_store_refused;
mod key_store_secrets;
mod key_store_update;
mod known_grants;
mod known_key_stores;
mod lifecycle;
mod material;
mod multi_region;
mod open_key;
mod recipient;
mod refused;
mod retirement;
mod rewrapping;
mod service_event;
mod simulated;
mod usage_ledger;
mod vpc_endpoint_service;
mod witness;

use std::num::NonZeroU64;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::attestation::Roots;
use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::domain::kms::{LifecycleEventKind, StateRefusal, UnixMillis};
use crate::gate::kms::key_cache::KeyCache;
use crate::gate::kms::known_grants::KnownGrants;
use crate::gate::kms::known_key_stores::KeyStores;
use crate::gate::kms::usage_ledger::UsageLedger;
use crate::key_manager::backing_key::BackingKeys;
use crate::metrics::Metrics;
use crate::store::Store;

pub use account::Account;
pub use call::{Call, HandedOn, Request, RequestId, Use};
pub use cluster_keys::{ClusterFindings, OrphanedKey};
pub use computation::{GeneratedKeyPair, Message};
pub use connections::{KeyStoreName, Resumed};
pub use custom_key_stores::{CustomKeyStores, NewBacking, NewCustomKeyStore, NewExternal, ProxyCredential};
pub use due_work::DueWorkDone;
pub use facts::RequestFacts;
pub use grants::NewGrant;
pub use import::{
    BroughtMaterial, ImportParameters, ImportRefused, ImportTerms, has_generations, import_type_of,
};
pub use key_creation::{Created, NewKey};
pub use key_store_refused::{ClusterRefused, KeyStoreRefused, ProxyUse, VpcEndpointServiceRefused};
pub use key_store_update::{ClusterUpdate, ExternalUpdate, KeyStoreUpdate};
pub use known_key_stores::{KeyStoreParts, KeyStoreSettings};
pub use multi_region::{Elsewhere, MultiRegionRefused, Replicated};
pub use open_key::{Decrypted, GeneratedDataKey, OpenKey, Sealed};
pub use refused::{Forbidden, Refused};
pub use simulated::{Simulated, SimulatedOn};
pub use vpc_endpoint_service::DeclaredVpcEndpointService;
pub use witness::{SecondHalf, Things, Touched, TouchedAlias, TouchedKey, TouchedKeyStore, Witness};
pub use witness::{backing_key_text, backing_keys_text};

/// Resource quotas (AWS KMS Developer Guide, Resource quotas).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceQuotas {
    /// Keys of one account and Region.
    pub keys: u64,
    pub aliases_per_key: u64,
    pub grants_per_key: u64,
    pub on_demand_rotations_per_key: usize,
    /// Custom key stores of one account and Region.
    pub custom_key_stores: u64,
}

impl Default for ResourceQuotas {
    fn default() -> Self {
        Self {
            keys: 100_000,
            aliases_per_key: 50,
            grants_per_key: 50_000,
            on_demand_rotations_per_key: 25,
            custom_key_stores: 10,
        }
    }
}

/// Where the keys are: store, key material, and what is known of both in memory.
pub struct Kms {
    store: Arc<dyn Store>,
    backing_keys: Arc<dyn BackingKeys>,
    /// KMS time: what rotation, deletion and expiry go by. Development can move it.
    clock: Arc<dyn Clock>,
    cache: Arc<KeyCache>,
    key_stores: Arc<KeyStores>,
    grants: Arc<KnownGrants>,
    usage: UsageLedger,
    quotas: ResourceQuotas,
    /// Absent: no call can have an attested recipient.
    attestation_roots: ArcSwapOption<Roots>,
    due_work_changed: Notify,
    audit: Arc<dyn AuditLog>,
    metrics: Arc<Metrics>,
    /// Whether anybody is told of lifecycle events.
    are_events_told: bool,
    lifecycle_event: Notify,
}

pub struct KmsParts {
    pub store: Arc<dyn Store>,
    pub backing_keys: Arc<dyn BackingKeys>,
    pub key_stores: KeyStoreParts,
    pub key_store_settings: KeyStoreSettings,
    pub clock: Arc<dyn Clock>,
    pub quotas: ResourceQuotas,
    /// Hears of every change before it is made.
    pub audit: Arc<dyn AuditLog>,
    pub metrics: Arc<Metrics>,
    /// Whether anybody is told of lifecycle events.
    pub are_events_told: bool,
    /// Keys whose metadata is kept in memory.
    pub known_keys_max: NonZeroU64,
    /// Grants that are kept in memory.
    pub known_grants_max: usize,
}

impl Kms {
    pub fn new(parts: KmsParts) -> Self {
        let KmsParts { store, backing_keys, key_stores, key_store_settings, clock, quotas, audit, .. } =
            parts;
        let (known_keys_max, known_grants_max) = (parts.known_keys_max, parts.known_grants_max);
        let alarms = &parts.metrics.alarms;
        alarms.show_refusals(StateRefusal::OF_USE.iter().map(|refusal| refusal.as_str()));
        alarms.show_lifecycle(LifecycleEventKind::ALL.iter().map(|kind| kind.as_str()));
        let cache = Arc::new(KeyCache::new(usize::try_from(known_keys_max.get()).unwrap_or(usize::MAX)));
        Self {
            store,
            backing_keys,
            clock,
            cache,
            key_stores: Arc::new(KeyStores::new(key_stores, key_store_settings)),
            grants: Arc::new(KnownGrants::new(known_grants_max)),
            usage: UsageLedger::default(),
            quotas,
            attestation_roots: ArcSwapOption::empty(),
            due_work_changed: Notify::new(),
            audit,
            metrics: parts.metrics,
            are_events_told: parts.are_events_told,
            lifecycle_event: Notify::new(),
        }
    }

    /// Completes when something may have become due earlier than was known.
    pub async fn due_work_changed(&self) {
        self.due_work_changed.notified().await;
    }

    /// Something may have become due earlier than was known.
    pub fn wake_due_work(&self) {
        self.due_work_changed.notify_one();
    }

    /// What time it is for keys.
    pub fn now(&self) -> UnixMillis {
        let since_epoch = self.clock.now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        UnixMillis(since_epoch.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }
}
