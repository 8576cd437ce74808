//! New keys: their material first, wherever it is to be, and then the key in one transaction.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::kms::{
    Connection, CustomKeyStore, CustomKeyStoreId, Key, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage,
    MATERIAL_ID_BYTES, Material, MaterialId, MaterialSource, MultiRegionKeyType, Origin, Tag, XksKeyId,
};
use crate::gate::kms::changes::{Changes, to_the_end};
use crate::gate::kms::custom_key_stores::{HSMS_MIN, explained, require_hsms};
use crate::gate::kms::key_store_refused::{ClusterRefused, KeyStoreRefused, ProxyUse};
use crate::gate::kms::known_key_stores::KnownKeyStore;
use crate::gate::kms::material::random;
use crate::gate::kms::{Account, Refused};
use crate::key_manager::cluster::Cluster;
use crate::key_manager::cluster::ClusterError;
use crate::key_manager::xks_proxy::{ExternalKeyMetadata, Origin as RequestOrigin};
use crate::store::StoreError;

/// What a key is made from.
#[derive(Debug)]
pub struct NewKey {
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub place: KeyPlace,
    pub multi_region: bool,
    pub policy: Arc<str>,
    pub tags: Vec<Tag>,
}

/// A key that was made, and the custom key store that it is in.
pub struct Created {
    pub key: Arc<Key>,
    pub key_store: Option<CustomKeyStore>,
}

/// XKS v1, GetKeyMetadata: what the external key of a KMS key has to be.
const EXTERNAL_KEY_SPEC: &str = "AES_256";
const EXTERNAL_KEY_USAGES: [&str; 2] = ["ENCRYPT", "DECRYPT"];

impl Account<'_> {
    /// The key is there whole, or not at all. A crash can leave a key object in a cluster, where it can be found.
    pub async fn create_key(&self, new: NewKey) -> Result<Created, Refused> {
        let made = self.make_key(new).await;
        if made.is_err() {
            self.call().touched().forget_made();
        }
        made
    }

    async fn make_key(&self, new: NewKey) -> Result<Created, Refused> {
        let kms = self.call().kms;
        let (now, deadline) = (self.call().now(), self.call().deadline());
        let place = new.place.clone();
        let known = match place.custom_key_store() {
            Some(store) => Some(self.check_place(store, &place).await?),
            None => None,
        };
        let mut key = self.unmade(new)?;
        self.call().touched().note_made(&key);
        let announced = self.call().announce().await?;
        match (&place, key.origin) {
            (KeyPlace::CloudHsm { store }, _) => {
                let made = kms.create_cluster_key((self.scope(), store), &key.id, deadline).await?;
                self.call().touched().note_backing_key(made);
                key.materials.push(Material {
                    id: MaterialId::new(random::<MATERIAL_ID_BYTES>()?),
                    created: now,
                    rotation: None,
                    encryptions: 0,
                    source: MaterialSource::ClusterObject,
                    public_key: None,
                    import: None,
                });
            }
            (KeyPlace::Default, Origin::External) => key.state = KeyState::PendingImport,
            (KeyPlace::Default | KeyPlace::External { .. }, _) => {
                key.materials.push(kms.new_material(key.kind(), now, deadline).await?);
            }
        }
        let key = Arc::new(key);
        let cluster = known.as_ref().filter(|_| matches!(place, KeyPlace::CloudHsm { .. }));
        let cluster = cluster.map(|known| kms.cluster_of(known)).transpose()?;
        let stored = to_the_end(store_or_destroy(
            (kms.changes(announced), cluster),
            (Arc::clone(&key), kms.quotas.keys),
            deadline,
        ));
        let stored = stored.await;
        // An outcome that is not known may be a key.
        if !matches!(stored, Ok(()) | Err(StoreError::Unavailable(_))) {
            kms.destroy_material(&key, deadline).await;
        }
        stored.map_err(|error| match (error, &place) {
            (StoreError::KeyStoreNotConnected, KeyPlace::CloudHsm { .. }) => {
                KeyStoreRefused::ClusterNotConnected.into()
            }
            (error, _) => explained(error, &store_id(&place)),
        })?;
        Ok(Created { key, key_store: known.map(|known| known.store.clone()) })
    }

    fn unmade(&self, new: NewKey) -> Result<Key, Refused> {
        Ok(Key {
            scope: self.scope().clone(),
            id: KeyId::from_random(random()?, new.multi_region),
            revision: 1,
            created: self.call().now(),
            description: new.description,
            spec: new.spec,
            usage: new.usage,
            origin: new.origin,
            place: new.place,
            multi_region: new.multi_region.then_some(MultiRegionKeyType::Primary),
            state: KeyState::Enabled,
            deletion: None,
            rotation: None,
            policy: new.policy,
            tags: new.tags,
            aliases: Vec::new(),
            materials: Vec::new(),
        })
    }

    /// Whether the key store takes a new key.
    async fn check_place(
        &self,
        store: &CustomKeyStoreId,
        place: &KeyPlace,
    ) -> Result<Arc<KnownKeyStore>, Refused> {
        let known = self.custom_key_store(store).await?;
        self.check_backing(&known, place).await?;
        Ok(known)
    }

    async fn check_backing(&self, known: &KnownKeyStore, place: &KeyPlace) -> Result<(), Refused> {
        let kms = self.call().kms;
        match place {
            KeyPlace::Default => Ok(()),
            KeyPlace::CloudHsm { .. } => {
                let cluster = kms.cluster_of(known)?;
                if known.store.connection != Connection::Connected {
                    return Err(KeyStoreRefused::ClusterNotConnected.into());
                }
                let enough = require_hsms(&*cluster, HSMS_MIN, self.call().deadline()).await;
                enough.map_err(|refused| {
                    // CreateKey has one exception for none and for one.
                    let none = KeyStoreRefused::Cluster(ClusterRefused::NoActiveHsm);
                    if refused == Refused::KeyStore(none) {
                        return KeyStoreRefused::from(ClusterError::TooFewHsms { active: 0 }).into();
                    }
                    refused
                })
            }
            KeyPlace::External { store, xks_key_id } => {
                if known.store.connection != Connection::Connected {
                    return Err(KeyStoreRefused::NotConnected { while_: ProxyUse::CreateKey }.into());
                }
                // Before the proxy hears of it.
                if kms.store.is_xks_key_in_use(self.scope(), store, xks_key_id).await? {
                    return Err(KeyStoreRefused::XksKeyInUse.into());
                }
                self.check_external_key(known, xks_key_id).await
            }
        }
    }

    /// A custom key store of the account and Region.
    pub(super) async fn custom_key_store(
        &self,
        id: &CustomKeyStoreId,
    ) -> Result<Arc<KnownKeyStore>, Refused> {
        let known = self.call().kms.find_key_store(self.scope(), id).await?;
        let known = known.ok_or_else(|| KeyStoreRefused::Missing { named: id.to_string() })?;
        self.call().touched().note_key_store(&known);
        Ok(known)
    }

    async fn check_external_key(&self, known: &KnownKeyStore, xks_key_id: &XksKeyId) -> Result<(), Refused> {
        let call = self.call();
        let proxy = call.kms.proxy_of(known, call.deadline()).await?;
        let request_id = call.id().to_string();
        let origin = RequestOrigin {
            kms_operation: "CreateKey",
            kms_request_id: &request_id,
            aws_principal_arn: Some(&call.caller().arn),
            kms_key_arn: None,
        };
        let failed = |failure| KeyStoreRefused::Proxy { while_: ProxyUse::CreateKey, failure };
        let metadata = proxy.key_metadata(xks_key_id.as_str(), origin).await.map_err(failed)?;
        check_metadata(&metadata).map_err(Refused::from)
    }
}

/// Runs to its end: a key object that became no key is destroyed, if that is possible.
async fn store_or_destroy(
    (changes, cluster): (Changes, Option<Arc<dyn Cluster>>),
    (key, keys_max): (Arc<Key>, u64),
    deadline: Instant,
) -> Result<(), StoreError> {
    let stored = changes.create_key(Arc::clone(&key), keys_max).await;
    if let (Err(_), Some(cluster)) = (&stored, cluster)
        && let Err(error) = cluster.destroy_key(key.id.as_str(), deadline).await
    {
        let id = &key.id;
        tracing::warn!(
            key.id = %id, cluster.id = cluster.id(), reason = %error,
            "the key object of {id}, which was not created, is left in its cluster"
        );
    }
    stored
}

fn store_id(place: &KeyPlace) -> String {
    place.custom_key_store().map(ToString::to_string).unwrap_or_default()
}

fn check_metadata(metadata: &ExternalKeyMetadata) -> Result<(), KeyStoreRefused> {
    let ExternalKeyMetadata { key_spec, key_usage, is_enabled } = metadata;
    if key_spec != EXTERNAL_KEY_SPEC {
        return Err(KeyStoreRefused::XksKeySpec { spec: key_spec.clone() });
    }
    if !is_enabled {
        return Err(KeyStoreRefused::XksKeyNotEnabled);
    }
    let permits = |usage: &&str| key_usage.iter().any(|permitted| permitted == usage);
    if EXTERNAL_KEY_USAGES.iter().all(permits) {
        Ok(())
    } else {
        Err(KeyStoreRefused::XksKeyUsage { usage: key_usage.join(", ") })
    }
}
