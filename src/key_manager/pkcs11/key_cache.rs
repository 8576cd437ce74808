//! Which key material is in the HSM unwrapped, and where; the least used gives way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::domain::kms::MaterialId;

/// An object of the token. Who uses it holds it: a session object is destroyed only when nobody else does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnwrappedKey {
    pub(super) handle: u64,
    /// The login that the handle belongs to.
    pub(super) login: u64,
    /// It stays when it is forgotten.
    pub(super) is_token_object: bool,
}

/// Second chance: what was used since it was looked at last goes to the end of the queue, the rest goes. So a hit
/// only sets a flag.
#[derive(Debug)]
pub(super) struct KeyCache {
    keys_max: usize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: HashMap<MaterialId, Entry>,
    /// Each key of `keys` once.
    queue: VecDeque<MaterialId>,
    /// To be destroyed, once nobody uses them.
    discarded: Vec<Arc<UnwrappedKey>>,
}

#[derive(Debug)]
struct Entry {
    key: Arc<UnwrappedKey>,
    used: AtomicBool,
}

impl KeyCache {
    pub(super) fn new(keys_max: usize) -> Self {
        Self { keys_max, state: RwLock::default() }
    }

    pub(super) fn find(&self, id: &MaterialId, login: u64) -> Option<Arc<UnwrappedKey>> {
        let state = self.state.read();
        let entry = state.keys.get(id).filter(|entry| entry.key.login == login)?;
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&entry.key))
    }

    /// Makes room first.
    pub(super) fn insert(&self, id: MaterialId, key: Arc<UnwrappedKey>) {
        let mut state = self.state.write();
        let former = state.remove(&id);
        state.discarded.extend(former);
        while state.keys.len() >= self.keys_max && state.evict_one() {}
        state.keys.insert(id, Entry { key, used: AtomicBool::new(false) });
        state.queue.push_back(id);
    }

    /// Takes a key out, to be destroyed.
    pub(super) fn discard(&self, id: &MaterialId) -> bool {
        let mut state = self.state.write();
        let removed = state.remove(id);
        let found = removed.is_some();
        state.discarded.extend(removed);
        found
    }

    /// Takes out everything, to be destroyed.
    pub(super) fn discard_all(&self) {
        let mut state = self.state.write();
        let keys = std::mem::take(&mut state.keys);
        state.discarded.extend(keys.into_values().map(|entry| entry.key));
        state.queue.clear();
    }

    /// Forgets everything, because all objects are gone.
    pub(super) fn clear(&self) {
        *self.state.write() = State::default();
    }

    /// Discarded keys that nobody uses, and now nobody can.
    pub(super) fn take_unused(&self) -> Vec<Arc<UnwrappedKey>> {
        if self.state.read().discarded.is_empty() {
            return Vec::new();
        }
        let mut state = self.state.write();
        let (unused, used) =
            std::mem::take(&mut state.discarded).into_iter().partition(|key| Arc::strong_count(key) == 1);
        state.discarded = used;
        unused
    }

    pub(super) fn len(&self) -> usize {
        let state = self.state.read();
        state.keys.len() + state.discarded.len()
    }
}

impl State {
    fn remove(&mut self, id: &MaterialId) -> Option<Arc<UnwrappedKey>> {
        let entry = self.keys.remove(id)?;
        self.queue.retain(|queued| queued != id);
        Some(entry.key)
    }

    /// False if there is nothing left.
    fn evict_one(&mut self) -> bool {
        // After one round every flag is down.
        for _ in 0..=self.queue.len() {
            let Some(id) = self.queue.pop_front() else { return false };
            let was_used = self.keys.get(&id).is_some_and(|entry| entry.used.swap(false, Ordering::Relaxed));
            if was_used {
                self.queue.push_back(id);
                continue;
            }
            self.discarded.extend(self.keys.remove(&id).map(|entry| entry.key));
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{KeyCache, UnwrappedKey};
    use crate::domain::kms::{MATERIAL_ID_BYTES, MaterialId};

    fn id(number: u8) -> MaterialId {
        MaterialId::new([number; MATERIAL_ID_BYTES])
    }

    fn insert(cache: &KeyCache, number: u8) -> Arc<UnwrappedKey> {
        let key = Arc::new(UnwrappedKey { handle: number.into(), login: 1, is_token_object: false });
        cache.insert(id(number), Arc::clone(&key));
        key
    }

    fn is_cached(cache: &KeyCache, number: u8) -> bool {
        cache.state.read().keys.contains_key(&id(number))
    }

    fn destroyed(cache: &KeyCache) -> Vec<u64> {
        cache.take_unused().iter().map(|key| key.handle).collect()
    }

    #[test]
    fn a_key_that_is_used_outlives_those_that_are_not() {
        let cache = KeyCache::new(3);
        (1..=3).for_each(|number| _ = insert(&cache, number));
        for number in 4..=50 {
            cache.find(&id(1), 1).unwrap();
            insert(&cache, number);
            assert!(is_cached(&cache, 1));
            assert_eq!(cache.state.read().keys.len(), 3);
            assert_eq!(cache.state.read().queue.len(), 3);
        }
        assert_eq!(destroyed(&cache).len(), 47);
    }

    #[test]
    fn when_all_are_used_the_oldest_goes() {
        let cache = KeyCache::new(2);
        (1..=2).for_each(|number| _ = insert(&cache, number));
        (1..=2).for_each(|number| _ = cache.find(&id(number), 1).unwrap());
        insert(&cache, 3);
        assert_eq!(destroyed(&cache), [1]);
    }

    #[test]
    fn a_discarded_key_is_destroyed_only_when_nobody_uses_it() {
        let cache = KeyCache::new(1);
        let lease = insert(&cache, 1);
        insert(&cache, 2);
        assert!(destroyed(&cache).is_empty());
        assert_eq!(cache.len(), 2);
        drop(lease);
        assert_eq!(destroyed(&cache), [1]);
        assert!(cache.discard(&id(2)) && !cache.discard(&id(2)));
        assert_eq!(destroyed(&cache), [2]);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_key_of_another_login_is_not_found() {
        let cache = KeyCache::new(1);
        insert(&cache, 1);
        assert_eq!(cache.find(&id(1), 2), None);
        assert!(cache.find(&id(1), 1).is_some());
    }

    #[test]
    fn a_key_that_is_replaced_is_destroyed_too() {
        let cache = KeyCache::new(4);
        insert(&cache, 1);
        let fresh = insert(&cache, 1);
        assert_eq!(destroyed(&cache), [1]);
        assert_eq!(cache.find(&id(1), 1), Some(fresh));
        assert_eq!(cache.len(), 1);
    }
}
