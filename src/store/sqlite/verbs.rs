//! Each verb of the store as a job for a thread.

use std::path::Path;
use std::sync::Arc;

use crate::domain::kms::{
    AccountId, Alias, AliasName, CustomKeyStore, CustomKeyStoreId, Grant, GrantId, Key, KeyId,
    LifecycleEvent, RootKeyId, RootKeys, Scope, UnixMillis, XksKeyId,
};
use crate::store::sqlite::grants::{Page, PageOf};
use crate::store::sqlite::{
    SqliteStore, aliases, custom_key_stores, due, grants, identities, keys, lifecycle_events, related_keys,
    root_keys, usage,
};
use crate::store::{
    DueWork, GrantFilter, GrantQuery, IdentityName, IdentityRow, KeysToRewrap, LastUsage, Outbox, Resealed,
    RootKeyRotation, RootKeyStore, RootKeyUses, SealedPlace, Setting, Store, Stored, UsageRecord,
};

impl RootKeyStore for SqliteStore {
    fn root_keys(&self) -> Stored<'_, Option<RootKeys>> {
        self.read("root_keys", root_keys::get)
    }

    fn rotate_root_key(&self, rotation: RootKeyRotation) -> Stored<'_, ()> {
        self.write("rotate_root_key", move |connection| root_keys::rotate(connection, &rotation))
    }

    fn retire_root_key(&self, id: RootKeyId) -> Stored<'_, ()> {
        self.write("retire_root_key", move |connection| root_keys::retire(connection, &id))
    }

    fn root_key_uses(&self) -> Stored<'_, RootKeyUses> {
        self.read("root_key_uses", root_keys::uses)
    }

    fn keys_to_rewrap(&self, after: u64) -> Stored<'_, KeysToRewrap> {
        self.read("keys_to_rewrap", move |connection| root_keys::to_rewrap(connection, after))
    }

    fn reseal(&self, place: SealedPlace, change: Resealed) -> Stored<'_, ()> {
        self.write("reseal", move |connection| root_keys::reseal(connection, &place, &change))
    }
}

impl Store for SqliteStore {
    fn create_key(&self, key: Arc<Key>, keys_max: u64) -> Stored<'_, ()> {
        self.write("create_key", move |connection| keys::create(connection, &key, keys_max))
    }

    fn key<'a>(&'a self, scope: &'a Scope, id: &'a KeyId) -> Stored<'a, Option<Key>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("key", move |connection| keys::get(connection, &scope, &id))
    }

    fn replace_key(&self, key: Arc<Key>) -> Stored<'_, ()> {
        self.write("replace_key", move |connection| keys::replace(connection, &key))
    }

    fn delete_key<'a>(&'a self, scope: &'a Scope, id: &'a KeyId, revision: u64) -> Stored<'a, ()> {
        let (scope, id) = (scope.clone(), id.clone());
        self.write("delete_key", move |connection| keys::delete(connection, &scope, &id, revision))
    }

    fn replace_key_with_event(&self, key: Arc<Key>, event: LifecycleEvent) -> Stored<'_, u64> {
        self.write("replace_key_with_event", move |connection| {
            keys::replace(connection, &key)?;
            lifecycle_events::add(connection, &event)
        })
    }

    fn delete_key_with_event<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a KeyId,
        revision: u64,
        event: LifecycleEvent,
    ) -> Stored<'a, ()> {
        let (scope, id) = (scope.clone(), id.clone());
        self.write("delete_key_with_event", move |connection| {
            keys::delete(connection, &scope, &id, revision)?;
            lifecycle_events::add(connection, &event).map(drop)
        })
    }

    fn related_keys<'a>(&'a self, account: &'a AccountId, id: &'a KeyId) -> Stored<'a, Vec<Key>> {
        let (account, id) = (account.clone(), id.clone());
        self.read("related_keys", move |connection| related_keys::get(connection, &account, &id))
    }

    fn create_replica(&self, replica: Arc<Key>, primary: Arc<Key>, keys_max: u64) -> Stored<'_, ()> {
        self.write("create_replica", move |connection| {
            related_keys::create_replica(connection, &replica, &primary, keys_max)
        })
    }

    fn replace_keys(&self, keys: Vec<Arc<Key>>, event: Option<LifecycleEvent>) -> Stored<'_, u64> {
        self.write("replace_keys", move |connection| {
            related_keys::replace(connection, keys.iter().map(|key| &**key))?;
            event.map_or(Ok(0), |event| lifecycle_events::add(connection, &event))
        })
    }

    fn delete_replica(
        &self,
        replica: Arc<Key>,
        primary: Arc<Key>,
        event: Option<LifecycleEvent>,
    ) -> Stored<'_, ()> {
        self.write("delete_replica", move |connection| {
            related_keys::delete_replica(connection, &replica, &primary)?;
            event.map_or(Ok(0), |event| lifecycle_events::add(connection, &event)).map(drop)
        })
    }

    fn lifecycle_events(&self, limit: usize) -> Stored<'_, Outbox> {
        self.read("lifecycle_events", move |connection| lifecycle_events::first(connection, limit))
    }

    fn remove_lifecycle_event(&self, number: u64) -> Stored<'_, ()> {
        self.write("remove_lifecycle_event", move |connection| lifecycle_events::remove(connection, number))
    }

    fn keys_page<'a>(
        &'a self,
        scope: &'a Scope,
        after: Option<&'a KeyId>,
        limit: usize,
    ) -> Stored<'a, Vec<KeyId>> {
        let (scope, after) = (scope.clone(), after.cloned());
        self.read("keys_page", move |connection| keys::page(connection, &scope, after.as_ref(), limit))
    }

    fn create_custom_key_store(&self, store: CustomKeyStore, stores_max: u64) -> Stored<'_, ()> {
        self.write("create_custom_key_store", move |connection| {
            custom_key_stores::create(connection, &store, stores_max)
        })
    }

    fn custom_key_store<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
    ) -> Stored<'a, Option<CustomKeyStore>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("custom_key_store", move |connection| custom_key_stores::get(connection, &scope, &id))
    }

    fn custom_key_stores<'a>(&'a self, scope: Option<&'a Scope>) -> Stored<'a, Vec<CustomKeyStore>> {
        let scope = scope.cloned();
        self.read("custom_key_stores", move |connection| custom_key_stores::list(connection, scope.as_ref()))
    }

    fn replace_custom_key_store(&self, store: CustomKeyStore) -> Stored<'_, ()> {
        self.write("replace_custom_key_store", move |connection| {
            custom_key_stores::replace(connection, &store)
        })
    }

    fn delete_custom_key_store<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
        revision: u64,
    ) -> Stored<'a, ()> {
        let (scope, id) = (scope.clone(), id.clone());
        self.write("delete_custom_key_store", move |connection| {
            custom_key_stores::delete(connection, &scope, &id, revision)
        })
    }

    fn is_xks_key_in_use<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
        xks_key_id: &'a XksKeyId,
    ) -> Stored<'a, bool> {
        let (scope, id, xks_key_id) = (scope.clone(), id.clone(), xks_key_id.clone());
        self.read("is_xks_key_in_use", move |connection| {
            custom_key_stores::is_xks_key_in_use(connection, (&scope, &id), &xks_key_id)
        })
    }

    fn keys_of_custom_key_store<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a CustomKeyStoreId,
    ) -> Stored<'a, Vec<KeyId>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("keys_of_custom_key_store", move |connection| {
            custom_key_stores::keys_of(connection, &scope, &id)
        })
    }

    fn alias<'a>(&'a self, scope: &'a Scope, name: &'a AliasName) -> Stored<'a, Option<Alias>> {
        let (scope, name) = (scope.clone(), name.clone());
        self.read("alias", move |connection| aliases::get(connection, &scope, &name))
    }

    fn create_alias(&self, alias: Alias, aliases_max: u64) -> Stored<'_, ()> {
        self.write("create_alias", move |connection| aliases::create(connection, &alias, aliases_max))
    }

    fn point_alias<'a>(&'a self, alias: Alias, before: &'a KeyId, aliases_max: u64) -> Stored<'a, ()> {
        let before = before.clone();
        self.write("point_alias", move |connection| aliases::point(connection, &alias, &before, aliases_max))
    }

    fn delete_alias<'a>(&'a self, scope: &'a Scope, name: &'a AliasName) -> Stored<'a, ()> {
        let (scope, name) = (scope.clone(), name.clone());
        self.write("delete_alias", move |connection| aliases::delete(connection, &scope, &name))
    }

    fn aliases_page<'a>(
        &'a self,
        scope: &'a Scope,
        key_id: Option<&'a KeyId>,
        after: Option<&'a AliasName>,
        limit: usize,
    ) -> Stored<'a, Vec<Alias>> {
        let (scope, key_id, after) = (scope.clone(), key_id.cloned(), after.cloned());
        self.read("aliases_page", move |connection| {
            aliases::page(connection, &scope, key_id.as_ref(), (after.as_ref(), limit))
        })
    }

    fn create_grant(&self, grant: Grant, grants_max: u64) -> Stored<'_, GrantId> {
        self.write("create_grant", move |connection| grants::create(connection, &grant, grants_max))
    }

    fn grant<'a>(
        &'a self,
        scope: &'a Scope,
        key_id: &'a KeyId,
        id: &'a GrantId,
    ) -> Stored<'a, Option<Grant>> {
        let (scope, key_id, id) = (scope.clone(), key_id.clone(), id.clone());
        self.read("grant", move |connection| grants::get(connection, &scope, &key_id, &id))
    }

    fn delete_grant<'a>(&'a self, scope: &'a Scope, key_id: &'a KeyId, id: &'a GrantId) -> Stored<'a, ()> {
        let (scope, key_id, id) = (scope.clone(), key_id.clone(), id.clone());
        self.write("delete_grant", move |connection| grants::delete(connection, &scope, &key_id, &id))
    }

    fn grants_page<'a>(&'a self, query: GrantQuery<'a>, limit: usize) -> Stored<'a, Vec<Grant>> {
        let of = match query.filter {
            GrantFilter::OfKey { key_id, grantee: None } => PageOf::Key(key_id.clone()),
            GrantFilter::OfKey { key_id, grantee: Some(grantee) } => {
                PageOf::Grantee(key_id.clone(), grantee.clone())
            }
            GrantFilter::RetirableBy(retiring) => PageOf::Retiring(retiring.clone()),
        };
        let page = Page { scope: query.scope.clone(), of, after: query.after.cloned(), limit };
        self.read("grants_page", move |connection| grants::page(connection, &page))
    }

    fn due<'a>(&'a self, work: DueWork, now: UnixMillis, limit: usize) -> Stored<'a, Vec<(Scope, KeyId)>> {
        self.read("due", move |connection| due::page(connection, work, now, limit))
    }

    fn next_due(&self) -> Stored<'_, Option<UnixMillis>> {
        self.read("next_due", due::next)
    }

    fn expiries(&self, limit: usize) -> Stored<'_, Vec<(KeyId, UnixMillis)>> {
        self.read("expiries", move |connection| due::expiries(connection, limit))
    }

    fn record_usage(&self, usages: Vec<UsageRecord>) -> Stored<'_, ()> {
        self.write("record_usage", move |connection| usage::record(connection, usages))
    }

    fn last_usage<'a>(&'a self, scope: &'a Scope, id: &'a KeyId) -> Stored<'a, Option<LastUsage>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("last_usage", move |connection| usage::get(connection, &scope, &id))
    }

    fn identities(&self) -> Stored<'_, Vec<IdentityRow>> {
        self.read("identities", identities::list)
    }

    fn put_identity(&self, row: IdentityRow) -> Stored<'_, ()> {
        self.write("put_identity", move |connection| identities::put(connection, &row))
    }

    fn delete_identity<'a>(&'a self, name: &'a IdentityName) -> Stored<'a, ()> {
        let name = name.clone();
        self.write("delete_identity", move |connection| identities::delete(connection, &name))
    }

    fn setting(&self, name: Setting) -> Stored<'_, Option<Vec<u8>>> {
        self.read("setting", move |connection| Ok(identities::setting(connection, name)?))
    }

    fn set_once(&self, name: Setting, value: Vec<u8>) -> Stored<'_, Vec<u8>> {
        self.write("set_once", move |connection| identities::set_once(connection, name, &value))
    }

    fn set(&self, name: Setting, value: Vec<u8>) -> Stored<'_, ()> {
        self.write("set", move |connection| identities::set(connection, name, &value))
    }

    fn back_up<'a>(&'a self, to: &'a Path) -> Stored<'a, ()> {
        Box::pin(self.backup.copy_to(to.to_owned()))
    }

    fn clear_keys(&self) -> Stored<'_, ()> {
        self.write("clear_keys", keys::clear)
    }
}
