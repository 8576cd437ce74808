//! Grants in memory, by key. What is here is what the store says now: whoever changes grants of a key holds its lock
//! from before the store is changed until memory is, and whoever reads them from the store holds it too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::domain::kms::{Grant, GrantId, GrantIndex, KeyId, Scope};
use crate::store::{GrantFilter, GrantQuery, Store, StoreError};

/// Grants that are read from the store in one go.
const PAGE: usize = 1000;

/// The grants of some keys. When there is room for no more, those of the keys that were asked for least recently are
/// forgotten.
pub(super) struct KnownGrants {
    keys: Mutex<HashMap<(Scope, KeyId), Arc<GrantsOfKey>>>,
    /// Of all these keys.
    grants: AtomicUsize,
    grants_max: usize,
    /// Goes up with every look, and orders them.
    looks: AtomicU64,
}

/// The grants of one key, if they are known.
#[derive(Default)]
struct GrantsOfKey {
    index: RwLock<Option<GrantIndex>>,
    /// Held while they are changed or read.
    turn: tokio::sync::Mutex<()>,
    looked_at: AtomicU64,
}

/// A change of the grants of one key. What is in memory is forgotten unless the change is told how it ended: whatever
/// happens, nothing is believed that may be wrong.
struct Change<'a> {
    known: &'a KnownGrants,
    of_key: &'a GrantsOfKey,
    is_settled: bool,
}

impl KnownGrants {
    pub(super) fn new(grants_max: usize) -> Self {
        Self { keys: Mutex::default(), grants: AtomicUsize::new(0), grants_max, looks: AtomicU64::new(0) }
    }

    /// What the grants of a key say, if they are in memory.
    pub(super) fn ask<A>(
        &self,
        scope: &Scope,
        id: &KeyId,
        question: impl FnOnce(&GrantIndex) -> A,
    ) -> Option<A> {
        let of_key = self.keys.lock().get(&(scope.clone(), id.clone())).map(Arc::clone)?;
        self.look_at(&of_key);
        let index = of_key.index.read();
        index.as_ref().map(question)
    }

    /// Reads the grants of a key, unless somebody else did meanwhile.
    pub(super) async fn load(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        (scope, id): (Scope, KeyId),
    ) -> Result<(), StoreError> {
        let of_key = self.of_key(&scope, &id);
        let _turn = of_key.turn.lock().await;
        if of_key.index.read().is_some() {
            return Ok(());
        }
        let mut index = GrantIndex::default();
        let mut after: Option<GrantId> = None;
        loop {
            let filter = GrantFilter::OfKey { key_id: &id, grantee: None };
            let query = GrantQuery { scope: &scope, filter, after: after.as_ref() };
            let grants = store.grants_page(query, PAGE).await?;
            grants.iter().for_each(|grant| index.insert(grant));
            if grants.len() < PAGE {
                break;
            }
            after = grants.last().map(|grant| grant.id.clone());
        }
        self.change(&of_key, |known| *known = Some(index));
        self.make_room(&of_key);
        Ok(())
    }

    /// Adds a grant to the store and to memory, unless there is one of the same name and content.
    pub(super) async fn create(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        grant: Grant,
        grants_max: u64,
    ) -> Result<GrantId, StoreError> {
        let of_key = self.of_key(&grant.scope, &grant.key_id);
        let _turn = of_key.turn.lock().await;
        let mut change = Change { known: &self, of_key: &of_key, is_settled: false };
        let result = store.create_grant(grant.clone(), grants_max).await;
        match &result {
            Ok(id) if *id == grant.id => change.settle(|index| index.insert(&grant)),
            // The other one is known, if any is.
            Ok(_) | Err(StoreError::LimitExceeded) => change.settle(|_| {}),
            Err(_) => {}
        }
        drop(change);
        self.make_room(&of_key);
        result
    }

    /// Deletes a grant from the store and from memory.
    pub(super) async fn delete(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        (scope, key_id): (Scope, KeyId),
        id: GrantId,
    ) -> Result<(), StoreError> {
        let of_key = self.of_key(&scope, &key_id);
        let _turn = of_key.turn.lock().await;
        let mut change = Change { known: &self, of_key: &of_key, is_settled: false };
        let result = store.delete_grant(&scope, &key_id, &id).await;
        if matches!(result, Ok(()) | Err(StoreError::Missing)) {
            change.settle(|index| index.remove(&id));
        }
        result
    }

    /// After the key is gone.
    pub(super) fn forget(&self, scope: &Scope, id: &KeyId) {
        let of_key = self.keys.lock().remove(&(scope.clone(), id.clone()));
        if let Some(of_key) = of_key {
            self.change(&of_key, |known| *known = None);
        }
    }

    /// After all keys are gone.
    pub(super) fn forget_everything(&self) {
        let mut keys = self.keys.lock();
        keys.values().for_each(|of_key| self.change(of_key, |known| *known = None));
        keys.retain(|_, of_key| Arc::strong_count(of_key) > 1);
    }

    fn of_key(&self, scope: &Scope, id: &KeyId) -> Arc<GrantsOfKey> {
        let mut keys = self.keys.lock();
        let of_key = keys.entry((scope.clone(), id.clone())).or_default();
        self.look_at(of_key);
        Arc::clone(of_key)
    }

    fn look_at(&self, of_key: &GrantsOfKey) {
        of_key.looked_at.store(self.looks.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Changes what is known of a key, and keeps count.
    fn change(&self, of_key: &GrantsOfKey, change: impl FnOnce(&mut Option<GrantIndex>)) {
        let count = |known: &Option<GrantIndex>| known.as_ref().map_or(0, GrantIndex::len);
        let mut known = of_key.index.write();
        let before = count(&known);
        change(&mut known);
        let after = count(&known);
        self.grants.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Forgets the grants of other keys until there are no more than there may be; a key without any costs as much
    /// memory as a grant. What somebody is at keeps its lock, so that nobody gets a second one.
    fn make_room(&self, newest: &Arc<GrantsOfKey>) {
        let mut keys = self.keys.lock();
        let held = |keys: &HashMap<_, _>| self.grants.load(Ordering::Relaxed).saturating_add(keys.len());
        if held(&keys) <= self.grants_max {
            return;
        }
        let mut oldest: Vec<_> = keys
            .iter()
            .filter(|(_, of_key)| !Arc::ptr_eq(of_key, newest))
            .map(|(name, of_key)| (of_key.looked_at.load(Ordering::Relaxed), name.clone()))
            .collect();
        oldest.sort_unstable_by_key(|(looked_at, _)| *looked_at);
        // An eighth more than is needed, so that this is not done for every key.
        let enough = self.grants_max - self.grants_max / 8;
        for (_, name) in oldest {
            if held(&keys) <= enough {
                return;
            }
            let Some(of_key) = keys.get(&name) else { continue };
            self.change(of_key, |known| *known = None);
            if Arc::strong_count(of_key) == 1 {
                keys.remove(&name);
            }
        }
    }
}

impl Change<'_> {
    fn settle(&mut self, change: impl FnMut(&mut GrantIndex)) {
        self.known.change(self.of_key, |known| known.iter_mut().for_each(change));
        self.is_settled = true;
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.known.change(self.of_key, |known| *known = None);
        }
    }
}
