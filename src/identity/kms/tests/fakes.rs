//! A store that keeps identities and settings in memory, and an HSM that seals them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::kms::{
    AccountId, Alias, AliasName, CustomKeyStore, CustomKeyStoreId, Grant, GrantId, KeptKey, Key, KeyId,
    KeyKind, KeySpec, LifecycleEvent, MaterialId, RootKeyId, RootKeys, Scope, UnixMillis, WrappingKeySpec,
    XksKeyId,
};
use crate::key_manager::backing_key::{
    BackingKey, BackingKeys, ComputeUnder, DataKey, DataKeyUnder, DecryptUnder, EncryptUnder, ImportedKey,
    KeyOrder, KeyPair, MadeKey, ToImport, ToRewrap, WrappingKey,
};
use crate::key_manager::{Answer, Done, Encrypted, HsmError, MemberHealth};
use crate::secret::SecretBytes;
use crate::store::{
    DueWork, GrantQuery, IdentityName, IdentityRow, KeysToRewrap, LastUsage, Outbox, Resealed,
    RootKeyRotation, RootKeyStore, RootKeyUses, SealedPlace, Setting, Store, StoreError, Stored, UsageRecord,
};

#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) rows: Mutex<BTreeMap<IdentityName, Vec<u8>>>,
    settings: Mutex<BTreeMap<&'static str, Vec<u8>>>,
    /// The database fails.
    pub(super) is_gone: Mutex<bool>,
}

impl MemoryStore {
    fn answer<T: Send + 'static>(&self, answer: impl FnOnce() -> Result<T, StoreError>) -> Stored<'_, T> {
        let gone = Err(StoreError::Unavailable("gone".to_owned()));
        let result = if *self.is_gone.lock() { gone } else { answer() };
        Box::pin(std::future::ready(result))
    }
}

impl RootKeyStore for MemoryStore {
    fn root_keys(&self) -> Stored<'_, Option<RootKeys>> {
        self.answer(|| Ok(None))
    }
    fn rotate_root_key(&self, _: RootKeyRotation) -> Stored<'_, ()> {
        unreachable!()
    }
    fn retire_root_key(&self, _: RootKeyId) -> Stored<'_, ()> {
        unreachable!()
    }
    fn root_key_uses(&self) -> Stored<'_, RootKeyUses> {
        unreachable!()
    }
    fn keys_to_rewrap(&self, _: u64) -> Stored<'_, KeysToRewrap> {
        unreachable!()
    }
    fn reseal(&self, _: SealedPlace, _: Resealed) -> Stored<'_, ()> {
        unreachable!()
    }
}

impl Store for MemoryStore {
    fn identities(&self) -> Stored<'_, Vec<IdentityRow>> {
        self.answer(|| {
            let rows = self.rows.lock();
            Ok(rows
                .iter()
                .map(|(name, sealed)| IdentityRow { name: name.clone(), sealed: sealed.clone() })
                .collect())
        })
    }
    fn put_identity(&self, row: IdentityRow) -> Stored<'_, ()> {
        self.answer(|| {
            self.rows.lock().insert(row.name, row.sealed);
            Ok(())
        })
    }
    fn delete_identity<'a>(&'a self, name: &'a IdentityName) -> Stored<'a, ()> {
        self.answer(|| self.rows.lock().remove(name).map(|_| ()).ok_or(StoreError::Missing))
    }
    fn setting(&self, name: Setting) -> Stored<'_, Option<Vec<u8>>> {
        self.answer(|| Ok(self.settings.lock().get(name.as_str()).cloned()))
    }
    fn set(&self, name: Setting, value: Vec<u8>) -> Stored<'_, ()> {
        self.answer(|| {
            self.settings.lock().insert(name.as_str(), value);
            Ok(())
        })
    }
    fn set_once(&self, name: Setting, value: Vec<u8>) -> Stored<'_, Vec<u8>> {
        self.answer(|| Ok(self.settings.lock().entry(name.as_str()).or_insert(value).clone()))
    }
    fn create_key(&self, _: Arc<Key>, _: u64) -> Stored<'_, ()> {
        unreachable!()
    }
    fn key<'a>(&'a self, _: &'a Scope, _: &'a KeyId) -> Stored<'a, Option<Key>> {
        unreachable!()
    }
    fn replace_key(&self, _: Arc<Key>) -> Stored<'_, ()> {
        unreachable!()
    }
    fn delete_key<'a>(&'a self, _: &'a Scope, _: &'a KeyId, _: u64) -> Stored<'a, ()> {
        unreachable!()
    }
    fn replace_key_with_event(&self, _: Arc<Key>, _: LifecycleEvent) -> Stored<'_, u64> {
        unreachable!()
    }
    fn delete_key_with_event<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a KeyId,
        _: u64,
        _: LifecycleEvent,
    ) -> Stored<'a, ()> {
        unreachable!()
    }
    fn related_keys<'a>(&'a self, _: &'a AccountId, _: &'a KeyId) -> Stored<'a, Vec<Key>> {
        unreachable!()
    }
    fn create_replica(&self, _: Arc<Key>, _: Arc<Key>, _: u64) -> Stored<'_, ()> {
        unreachable!()
    }
    fn replace_keys(&self, _: Vec<Arc<Key>>, _: Option<LifecycleEvent>) -> Stored<'_, u64> {
        unreachable!()
    }
    fn delete_replica(&self, _: Arc<Key>, _: Arc<Key>, _: Option<LifecycleEvent>) -> Stored<'_, ()> {
        unreachable!()
    }
    fn lifecycle_events(&self, _: usize) -> Stored<'_, Outbox> {
        unreachable!()
    }
    fn remove_lifecycle_event(&self, _: u64) -> Stored<'_, ()> {
        unreachable!()
    }
    fn keys_page<'a>(&'a self, _: &'a Scope, _: Option<&'a KeyId>, _: usize) -> Stored<'a, Vec<KeyId>> {
        unreachable!()
    }
    fn create_custom_key_store(&self, _: CustomKeyStore, _: u64) -> Stored<'_, ()> {
        unreachable!()
    }
    fn custom_key_store<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a CustomKeyStoreId,
    ) -> Stored<'a, Option<CustomKeyStore>> {
        unreachable!()
    }
    fn custom_key_stores<'a>(&'a self, _: Option<&'a Scope>) -> Stored<'a, Vec<CustomKeyStore>> {
        unreachable!()
    }
    fn replace_custom_key_store(&self, _: CustomKeyStore) -> Stored<'_, ()> {
        unreachable!()
    }
    fn delete_custom_key_store<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a CustomKeyStoreId,
        _: u64,
    ) -> Stored<'a, ()> {
        unreachable!()
    }
    fn is_xks_key_in_use<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a CustomKeyStoreId,
        _: &'a XksKeyId,
    ) -> Stored<'a, bool> {
        unreachable!()
    }
    fn keys_of_custom_key_store<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a CustomKeyStoreId,
    ) -> Stored<'a, Vec<KeyId>> {
        unreachable!()
    }
    fn alias<'a>(&'a self, _: &'a Scope, _: &'a AliasName) -> Stored<'a, Option<Alias>> {
        unreachable!()
    }
    fn create_alias(&self, _: Alias, _: u64) -> Stored<'_, ()> {
        unreachable!()
    }
    fn point_alias<'a>(&'a self, _: Alias, _: &'a KeyId, _: u64) -> Stored<'a, ()> {
        unreachable!()
    }
    fn delete_alias<'a>(&'a self, _: &'a Scope, _: &'a AliasName) -> Stored<'a, ()> {
        unreachable!()
    }
    fn aliases_page<'a>(
        &'a self,
        _: &'a Scope,
        _: Option<&'a KeyId>,
        _: Option<&'a AliasName>,
        _: usize,
    ) -> Stored<'a, Vec<Alias>> {
        unreachable!()
    }
    fn create_grant(&self, _: Grant, _: u64) -> Stored<'_, GrantId> {
        unreachable!()
    }
    fn grant<'a>(&'a self, _: &'a Scope, _: &'a KeyId, _: &'a GrantId) -> Stored<'a, Option<Grant>> {
        unreachable!()
    }
    fn delete_grant<'a>(&'a self, _: &'a Scope, _: &'a KeyId, _: &'a GrantId) -> Stored<'a, ()> {
        unreachable!()
    }
    fn grants_page<'a>(&'a self, _: GrantQuery<'a>, _: usize) -> Stored<'a, Vec<Grant>> {
        unreachable!()
    }
    fn due<'a>(&'a self, _: DueWork, _: UnixMillis, _: usize) -> Stored<'a, Vec<(Scope, KeyId)>> {
        unreachable!()
    }
    fn expiries(&self, _: usize) -> Stored<'_, Vec<(KeyId, UnixMillis)>> {
        unreachable!()
    }
    fn next_due(&self) -> Stored<'_, Option<UnixMillis>> {
        unreachable!()
    }
    fn record_usage(&self, _: Vec<UsageRecord>) -> Stored<'_, ()> {
        unreachable!()
    }
    fn last_usage<'a>(&'a self, _: &'a Scope, _: &'a KeyId) -> Stored<'a, Option<LastUsage>> {
        unreachable!()
    }
    fn back_up<'a>(&'a self, _: &'a Path) -> Stored<'a, ()> {
        unreachable!()
    }
    fn clear_keys(&self) -> Stored<'_, ()> {
        unreachable!()
    }
}

/// Seals by putting the context in front and turning the bits over.
pub(super) struct Sealer;

fn done<T: Send + 'static>(result: Result<T, HsmError>) -> Answer<'static, T> {
    let done = Done { result, hsm: None, queue_wait: Duration::ZERO, hsm_time: Duration::ZERO };
    Box::pin(std::future::ready(done))
}

impl BackingKeys for Sealer {
    fn random(&self, bytes: usize, _: Instant) -> Answer<'_, SecretBytes> {
        done(Ok(SecretBytes::new(vec![9; bytes])))
    }
    fn seal(&self, secret: SecretBytes, context: Vec<u8>, _: Instant) -> Answer<'_, Vec<u8>> {
        let inverted = secret.expose().iter().map(|byte| !byte);
        done(Ok(context.into_iter().chain(inverted).collect()))
    }
    fn unseal(&self, sealed: Vec<u8>, context: Vec<u8>, _: Instant) -> Answer<'_, SecretBytes> {
        let rest = sealed.strip_prefix(&*context);
        let secret = rest.map(|rest| SecretBytes::new(rest.iter().map(|byte| !byte).collect()));
        done(secret.ok_or(HsmError::BadCiphertext))
    }
    fn open_root_key(&self, _: Option<RootKeyId>, _: Instant) -> Answer<'_, RootKeyId> {
        unreachable!()
    }
    fn generate(&self, _: KeyOrder, _: Instant) -> Answer<'_, MadeKey> {
        unreachable!()
    }
    fn compute(&self, _: ComputeUnder, _: Instant) -> Answer<'_, SecretBytes> {
        unreachable!()
    }
    fn generate_key_pair(&self, _: KeySpec, _: Instant) -> Answer<'_, KeyPair> {
        unreachable!()
    }
    fn generate_wrapping_key(&self, _: WrappingKeySpec, _: Instant) -> Answer<'_, WrappingKey> {
        unreachable!()
    }
    fn import(&self, _: ToImport, _: Instant) -> Answer<'_, ImportedKey> {
        unreachable!()
    }
    fn destroy(&self, _: BackingKey, _: Instant) -> Answer<'_, ()> {
        unreachable!()
    }
    fn encrypt(&self, _: EncryptUnder, _: Instant) -> Answer<'_, Encrypted> {
        unreachable!()
    }
    fn decrypt(&self, _: DecryptUnder, _: Instant) -> Answer<'_, SecretBytes> {
        unreachable!()
    }
    fn generate_data_key(&self, _: DataKeyUnder, _: Instant) -> Answer<'_, DataKey> {
        unreachable!()
    }
    fn rewrap(&self, _: ToRewrap, _: Instant) -> Answer<'_, KeptKey> {
        unreachable!()
    }
    fn reseal(&self, _: Vec<u8>, _: Vec<u8>, _: Instant) -> Answer<'_, Vec<u8>> {
        unreachable!()
    }
    fn forget(&self, _: &MaterialId) {}
    fn supports(&self, _: KeyKind) -> Result<(), String> {
        unreachable!()
    }
    fn health(&self) -> Vec<MemberHealth> {
        Vec::new()
    }
}
