//! Key objects in the clusters of CloudHSM key stores: made and destroyed with their keys, and compared with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Connection, CustomKeyStoreId, Key, KeyId, KeyPlace, KeyStoreBacking, Scope};
use crate::gate::kms::key_store_refused::KeyStoreRefused;
use crate::gate::kms::witness::backing_keys_text;
use crate::gate::kms::{Kms, Refused};
use crate::json::Object;
use crate::key_manager::cluster::ClusterKey;

/// How long a record of a deletion may wait for the names of key objects.
const FIND_TIMEOUT: Duration = Duration::from_secs(1);

/// What was found in the cluster of a key store.
#[derive(Debug, Deserialize, Serialize)]
pub struct ClusterFindings {
    pub custom_key_store_id: String,
    pub custom_key_store_name: String,
    pub cluster_id: String,
    /// Key objects that are of no KMS key of the key store: its key was deleted, or never came to be.
    pub orphans: Vec<OrphanedKey>,
    /// KMS keys whose key object is not in the cluster: they cannot be used.
    pub missing: Vec<String>,
    /// Why nothing could be found out.
    pub failure: Option<String>,
}

/// A key object without a KMS key.
#[derive(Debug, Deserialize, Serialize)]
pub struct OrphanedKey {
    pub label: String,
    pub backing_key_id: String,
    pub key_handle: String,
}

/// As a deletion record has it (AWS KMS Developer Guide, `DeleteKey` record).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeletedBackingKey<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_handle: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing_key_id: Option<&'a str>,
    deletion_status: &'static str,
}

impl Kms {
    /// Makes the key object of a new key, which has this id already.
    pub(super) async fn create_cluster_key(
        &self,
        (scope, store): (&Scope, &CustomKeyStoreId),
        key_id: &KeyId,
        deadline: Instant,
    ) -> Result<ClusterKey, Refused> {
        let known = self.find_key_store(scope, store).await?;
        let known = known.ok_or_else(|| KeyStoreRefused::Missing { named: store.to_string() })?;
        let cluster = self.cluster_of(&known)?;
        let made = cluster.create_key(key_id.as_str(), deadline).await.map_err(KeyStoreRefused::from)?;
        let ClusterKey { backing_key_id, key_handle, .. } = &made;
        tracing::info!(
            key.id = %key_id, key_store.id = %store, cluster.id = cluster.id(), backing_key.id = backing_key_id,
            backing_key.handle = key_handle, "made the key object of key {key_id}"
        );
        Ok(made)
    }

    /// Destroys the key object of a key that is gone, if that is possible now: what stays is an orphan (AWS KMS
    /// Developer Guide, Delete KMS keys from an AWS CloudHSM key store). Answers with what the record of it adds.
    pub(super) async fn destroy_cluster_key(&self, key: &Key, deadline: Instant) -> Option<Vec<u8>> {
        let KeyPlace::CloudHsm { store } = &key.place else { return None };
        let destroyed = self.try_destroy(&key.scope, store, (&key.id, deadline)).await;
        let made = destroyed.as_ref().ok().and_then(Option::as_ref);
        let deleted = DeletedBackingKey {
            key_handle: made.map(|made| made.key_handle.as_str()),
            backing_key_id: made.map(|made| made.backing_key_id.as_str()),
            deletion_status: if destroyed.is_ok() { "SUCCESS" } else { "FAILURE" },
        };
        let status = serde_json::to_string(&[deleted]).unwrap_or_default();
        let known = self.find_key_store(&key.scope, store).await.ok().flatten();
        let mut additional = Vec::new();
        let mut object = Object::begin(&mut additional);
        object.text("customKeyStoreId", store.as_str());
        object.text_if("clusterId", known.as_ref().and_then(|known| known.cluster_id()));
        object.text("backingKeys", &backing_keys_text(made.map(std::slice::from_ref).unwrap_or_default()));
        object.text("backingKeysDeletionStatus", &status);
        object.end();
        match destroyed {
            Ok(_) => tracing::info!(
                key.id = %key.id, key_store.id = %store, backing_keys_deletion_status = status,
                "destroyed the key object of key {}", key.id
            ),
            Err(refused) => tracing::warn!(
                key.id = %key.id, key_store.id = %store, backing_keys_deletion_status = status, reason = %refused,
                "the key object of key {} is left in its cluster; `holdfast cluster orphans` finds it", key.id
            ),
        }
        Some(additional)
    }

    /// The key object of a key, if its cluster can be asked now: only a record needs it, which is not worth a wait.
    pub(super) async fn find_cluster_key(&self, key: &Key) -> Option<ClusterKey> {
        let deadline = self.clock.instant() + FIND_TIMEOUT;
        let store = key.place.custom_key_store()?;
        let known = self.find_key_store(&key.scope, store).await.ok()??;
        if known.store.connection != Connection::Connected {
            return None;
        }
        let keys = self.cluster_of(&known).ok()?.keys(deadline).await.ok()?;
        keys.into_iter().find(|object| object.label == key.id.as_str())
    }

    async fn try_destroy(
        &self,
        scope: &Scope,
        store: &CustomKeyStoreId,
        (key_id, deadline): (&KeyId, Instant),
    ) -> Result<Option<ClusterKey>, Refused> {
        let known = self.find_key_store(scope, store).await?;
        let known = known.ok_or_else(|| KeyStoreRefused::Missing { named: store.to_string() })?;
        if known.store.connection != Connection::Connected {
            return Err(KeyStoreRefused::ClusterNotConnected.into());
        }
        let cluster = self.cluster_of(&known)?;
        Ok(cluster.destroy_key(key_id.as_str(), deadline).await.map_err(KeyStoreRefused::from)?)
    }

    /// Compares the key objects of every connected cluster with the keys that should have one.
    pub async fn compare_clusters(&self, deadline: Instant) -> Result<Vec<ClusterFindings>, Refused> {
        let mut findings = Vec::new();
        for store in self.store.custom_key_stores(None).await? {
            let KeyStoreBacking::CloudHsm(backing) = &store.backing else { continue };
            let mut found = ClusterFindings {
                custom_key_store_id: store.id.to_string(),
                custom_key_store_name: store.name.clone(),
                cluster_id: backing.cluster_id.clone(),
                orphans: Vec::new(),
                missing: Vec::new(),
                failure: None,
            };
            if store.connection == Connection::Connected {
                if let Err(refused) = self.compare(&store.scope, &store.id, (&mut found, deadline)).await {
                    found.failure = Some(refused.to_string());
                }
            } else {
                found.failure = Some(format!("the key store is {}", store.connection.state()));
            }
            findings.push(found);
        }
        Ok(findings)
    }

    async fn compare(
        &self,
        scope: &Scope,
        id: &CustomKeyStoreId,
        (found, deadline): (&mut ClusterFindings, Instant),
    ) -> Result<(), Refused> {
        let cluster = self.key_stores.cluster(&found.cluster_id)?;
        // The keys first: one that is made meanwhile has its object before it is a key.
        let keys = self.store.keys_of_custom_key_store(scope, id).await?;
        let objects = cluster.keys(deadline).await.map_err(KeyStoreRefused::from)?;
        let later = self.store.keys_of_custom_key_store(scope, id).await?;
        let mut objects: BTreeMap<_, _> =
            objects.into_iter().map(|object| (object.label.clone(), object)).collect();
        let is_there = |key: &KeyId| objects.contains_key(key.as_str());
        // A key that was deleted meanwhile misses nothing.
        let missing = keys.iter().filter(|key| later.contains(key) && !is_there(key));
        found.missing = missing.map(ToString::to_string).collect();
        keys.iter().chain(&later).for_each(|key| drop(objects.remove(key.as_str())));
        // Others may use the cluster too: what is named like no KMS key is theirs.
        let orphans = objects.into_values().filter(|object| KeyId::parse(&object.label).is_some());
        found.orphans = orphans
            .map(|ClusterKey { label, backing_key_id, key_handle }| OrphanedKey {
                label,
                backing_key_id,
                key_handle,
            })
            .collect();
        Ok(())
    }
}
