//! Changes of keys and aliases: in the store, and then forgotten in memory, whatever becomes of who asked.

use std::sync::Arc;

use crate::domain::kms::{
    Alias, AliasName, CustomKeyStore, CustomKeyStoreId, Grant, GrantId, Key, KeyId, LifecycleEvent, Scope,
};
use crate::gate::kms::key_cache::KeyCache;
use crate::gate::kms::known_grants::KnownGrants;
use crate::gate::kms::known_key_stores::KeyStores;
use crate::store::{Store, StoreError};

pub(super) struct Changes {
    pub(super) store: Arc<dyn Store>,
    pub(super) cache: Arc<KeyCache>,
    pub(super) key_stores: Arc<KeyStores>,
    pub(super) grants: Arc<KnownGrants>,
}

/// Runs a change to its end, also when the request that wants it is dropped because its client went away. Otherwise
/// the store would change, and memory would go on saying what was.
#[expect(clippy::disallowed_methods, reason = "it ends by itself, in the time that the store takes")]
pub(super) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let stopped = |_| StoreError::Unavailable("the daemon is stopping".to_owned());
    tokio::spawn(change).await.map_err(stopped)?
}

/// What is in memory is forgotten after a failure too: a conflict says that it is old.
impl Changes {
    pub(super) async fn replace_key(self, key: Arc<Key>) -> Result<(), StoreError> {
        let result = self.store.replace_key(Arc::clone(&key)).await;
        self.cache.forget(&key.scope, &key.id);
        result
    }

    /// How many older events had to be forgotten for the one that tells of it.
    pub(super) async fn rotate_key(self, key: Arc<Key>, event: LifecycleEvent) -> Result<u64, StoreError> {
        let result = self.store.replace_key_with_event(Arc::clone(&key), event).await;
        self.cache.forget(&key.scope, &key.id);
        result
    }

    /// Related keys: nobody sees one of them as it was who has seen another as it is.
    pub(super) async fn replace_keys(
        self,
        keys: Vec<Arc<Key>>,
        event: Option<LifecycleEvent>,
    ) -> Result<u64, StoreError> {
        let names: Vec<_> = keys.iter().map(|key| name_of(key)).collect();
        let result = self.store.replace_keys(keys, event).await;
        self.cache.forget_all(&names);
        result
    }

    pub(super) async fn create_replica(
        self,
        replica: Arc<Key>,
        primary: Arc<Key>,
        keys_max: u64,
    ) -> Result<(), StoreError> {
        let names = [name_of(&primary), name_of(&replica)];
        let result = self.store.create_replica(replica, primary, keys_max).await;
        self.cache.forget_all(&names);
        result
    }

    /// With the next revision of its primary key.
    pub(super) async fn delete_replica(
        self,
        replica: Key,
        primary: Arc<Key>,
        event: Option<LifecycleEvent>,
    ) -> Result<(), StoreError> {
        let names = [name_of(&primary), name_of(&replica)];
        let replica = Arc::new(replica);
        let result = self.store.delete_replica(Arc::clone(&replica), primary, event).await;
        self.cache.forget_all(&names);
        self.forget_what_belonged_to(&replica, result.is_ok());
        result
    }

    fn forget_what_belonged_to(&self, key: &Key, is_gone: bool) {
        key.aliases.iter().for_each(|name| self.cache.forget_alias(&key.scope, name));
        if is_gone {
            self.grants.forget(&key.scope, &key.id);
        }
    }

    pub(super) async fn delete_key(self, key: Key, event: Option<LifecycleEvent>) -> Result<(), StoreError> {
        let result = match event {
            Some(event) => self.store.delete_key_with_event(&key.scope, &key.id, key.revision, event).await,
            None => self.store.delete_key(&key.scope, &key.id, key.revision).await,
        };
        self.cache.forget(&key.scope, &key.id);
        self.forget_what_belonged_to(&key, result.is_ok());
        result
    }

    pub(super) async fn create_alias(self, alias: Alias, aliases_max: u64) -> Result<(), StoreError> {
        let result = self.store.create_alias(alias.clone(), aliases_max).await;
        self.forget_alias(&alias.scope, &alias.name, &[&alias.target]);
        result
    }

    pub(super) async fn point_alias(
        self,
        alias: Alias,
        before: KeyId,
        aliases_max: u64,
    ) -> Result<(), StoreError> {
        let result = self.store.point_alias(alias.clone(), &before, aliases_max).await;
        self.forget_alias(&alias.scope, &alias.name, &[&before, &alias.target]);
        result
    }

    pub(super) async fn delete_alias(self, alias: Alias) -> Result<(), StoreError> {
        let result = self.store.delete_alias(&alias.scope, &alias.name).await;
        self.forget_alias(&alias.scope, &alias.name, &[&alias.target]);
        result
    }

    pub(super) async fn create_grant(self, grant: Grant, grants_max: u64) -> Result<GrantId, StoreError> {
        self.grants.create(self.store, grant, grants_max).await
    }

    pub(super) async fn delete_grant(self, key: (Scope, KeyId), id: GrantId) -> Result<(), StoreError> {
        self.grants.delete(self.store, key, id).await
    }

    pub(super) async fn create_key(&self, key: Arc<Key>, keys_max: u64) -> Result<(), StoreError> {
        self.store.create_key(key, keys_max).await
    }

    pub(super) async fn create_key_store(
        self,
        store: CustomKeyStore,
        stores_max: u64,
    ) -> Result<(), StoreError> {
        self.store.create_custom_key_store(store, stores_max).await
    }

    pub(super) async fn replace_key_store(self, store: CustomKeyStore) -> Result<(), StoreError> {
        let (scope, id) = (store.scope.clone(), store.id.clone());
        let result = self.store.replace_custom_key_store(store).await;
        self.key_stores.forget(&scope, &id);
        result
    }

    pub(super) async fn delete_key_store(
        self,
        scope: Scope,
        id: CustomKeyStoreId,
        revision: u64,
    ) -> Result<(), StoreError> {
        let result = self.store.delete_custom_key_store(&scope, &id, revision).await;
        match result {
            Ok(()) => self.key_stores.forget_deleted(&scope, &id),
            Err(_) => self.key_stores.forget(&scope, &id),
        }
        result
    }

    fn forget_alias(&self, scope: &Scope, name: &AliasName, keys: &[&KeyId]) {
        self.cache.forget_alias(scope, name);
        keys.iter().for_each(|id| self.cache.forget(scope, id));
    }
}

fn name_of(key: &Key) -> (Scope, KeyId) {
    (key.scope.clone(), key.id.clone())
}
