//! Keys and aliases in memory, so that a hot key costs no query. What is here is what the store says now: every
//! change is followed by [`KeyCache::forget`], and a read that a change overtook is not kept.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::domain::kms::{
    AliasName, BlobStart, CiphertextHeader, Key, KeyId, KeyPlace, Layers, Material, Scope,
};
use crate::policy::PolicyDocument;

/// A key, and what is derived from it once.
#[derive(Debug)]
pub(super) struct CachedKey {
    pub(super) key: Arc<Key>,
    pub(super) arn: String,
    pub(super) policy: PolicyDocument,
    /// Of the current material, if there is one.
    pub(super) blob_start: Option<BlobStart>,
}

impl CachedKey {
    pub(super) fn new(key: Key, policy: PolicyDocument) -> Self {
        let header = |material: &Material| CiphertextHeader {
            layers: match key.place {
                KeyPlace::CloudHsm { .. } | KeyPlace::Default => Layers::One,
                KeyPlace::External { .. } => Layers::Two,
            },
            scope: key.scope.clone(),
            key_id: key.id.clone(),
            material_id: material.id,
        };
        let blob_start = key.current_material().map(|material| header(material).to_bytes());
        Self { arn: key.arn(), policy, blob_start, key: Arc::new(key) }
    }
}

pub(super) struct KeyCache {
    keys: Shelf<(Scope, KeyId), Arc<CachedKey>>,
    aliases: Shelf<(Scope, AliasName), KeyId>,
}

/// A read of the store that may be kept, if nothing changes before it is.
#[derive(Clone, Copy)]
pub(super) struct Reading(u64);

impl KeyCache {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { keys: Shelf::new(entries_max), aliases: Shelf::new(entries_max) }
    }

    pub(super) fn key(&self, scope: &Scope, id: &KeyId) -> Result<Arc<CachedKey>, Reading> {
        self.keys.find(&(scope.clone(), id.clone()))
    }

    pub(super) fn keep_key(&self, reading: Reading, key: &Arc<CachedKey>) {
        self.keys.keep(reading, (key.key.scope.clone(), key.key.id.clone()), Arc::clone(key));
    }

    pub(super) fn alias(&self, scope: &Scope, name: &AliasName) -> Result<KeyId, Reading> {
        self.aliases.find(&(scope.clone(), name.clone()))
    }

    pub(super) fn keep_alias(&self, reading: Reading, scope: &Scope, name: &AliasName, target: &KeyId) {
        self.aliases.keep(reading, (scope.clone(), name.clone()), target.clone());
    }

    /// After a change of the key, or of its aliases.
    pub(super) fn forget(&self, scope: &Scope, id: &KeyId) {
        self.keys.forget(&(scope.clone(), id.clone()));
    }

    /// After a change of several keys, all at the same moment.
    pub(super) fn forget_all(&self, names: &[(Scope, KeyId)]) {
        self.keys.forget_all(names);
    }

    pub(super) fn forget_alias(&self, scope: &Scope, name: &AliasName) {
        self.aliases.forget(&(scope.clone(), name.clone()));
    }

    pub(super) fn forget_everything(&self) {
        self.keys.clear();
        self.aliases.clear();
    }
}

pub(super) struct Shelf<K, V> {
    entries: RwLock<HashMap<K, V>>,
    entries_max: usize,
    /// Goes up with every change, while `entries` is held.
    changes: AtomicU64,
}

impl<K: Hash + Eq + Clone, V: Clone> Shelf<K, V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries: RwLock::default(), entries_max, changes: AtomicU64::new(0) }
    }

    pub(super) fn find(&self, name: &K) -> Result<V, Reading> {
        let entries = self.entries.read();
        entries.get(name).cloned().ok_or_else(|| Reading(self.changes.load(Ordering::Acquire)))
    }

    pub(super) fn keep(&self, reading: Reading, name: K, value: V) {
        let mut entries = self.entries.write();
        if self.changes.load(Ordering::Acquire) != reading.0 {
            return;
        }
        if entries.len() >= self.entries_max {
            // Any eighth will do: what is used will be back.
            let leaving: Vec<_> = entries.keys().take(self.entries_max.div_ceil(8)).cloned().collect();
            leaving.iter().for_each(|name| drop(entries.remove(name)));
        }
        entries.insert(name, value);
    }

    pub(super) fn forget(&self, name: &K) {
        let mut entries = self.entries.write();
        self.changes.fetch_add(1, Ordering::AcqRel);
        entries.remove(name);
    }

    fn forget_all(&self, names: &[K]) {
        let mut entries = self.entries.write();
        self.changes.fetch_add(1, Ordering::AcqRel);
        names.iter().for_each(|name| drop(entries.remove(name)));
    }

    pub(super) fn clear(&self) {
        let mut entries = self.entries.write();
        self.changes.fetch_add(1, Ordering::AcqRel);
        entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Shelf;

    #[test]
    fn a_read_that_a_change_overtook_is_not_kept() {
        let shelf = Shelf::<u8, u8>::new(8);
        let reading = shelf.find(&1).unwrap_err();
        shelf.forget(&1);
        shelf.keep(reading, 1, 1);
        let reading = shelf.find(&1).unwrap_err();
        shelf.keep(reading, 1, 2);
        assert_eq!(shelf.find(&1).ok(), Some(2));
    }

    #[test]
    fn there_are_never_more_entries_than_may_be() {
        let shelf = Shelf::<u32, u32>::new(16);
        for number in 0..1000 {
            let reading = shelf.find(&number).unwrap_err();
            shelf.keep(reading, number, number);
            assert!(shelf.entries.read().len() <= 16);
            assert_eq!(shelf.find(&number).ok(), Some(number));
        }
    }
}
