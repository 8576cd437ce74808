//! What keys were used for since it was last written down.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::kms::{Key, KeyId, MaterialId, Scope, UnixMillis};
use crate::gate::kms::call::RequestId;
use crate::store::{LastUsage, UsageRecord};

#[derive(Default)]
pub(super) struct UsageLedger {
    /// One lock for all: it is held for a hash lookup.
    entries: Mutex<HashMap<(Scope, KeyId), Entry>>,
}

struct Entry {
    operation: &'static str,
    at: UnixMillis,
    request_id: RequestId,
    encryptions: Vec<(MaterialId, u64)>,
}

/// One successful use of a key.
#[derive(Clone, Copy)]
pub(super) struct Used {
    pub(super) operation: &'static str,
    pub(super) at: UnixMillis,
    pub(super) request_id: RequestId,
    /// The material, if something was encrypted with it.
    pub(super) encrypted_with: Option<MaterialId>,
}

impl UsageLedger {
    pub(super) fn note(&self, key: &Key, used: Used) {
        let Used { operation, at, request_id, encrypted_with } = used;
        let mut entries = self.entries.lock();
        let entry = entries.entry((key.scope.clone(), key.id.clone())).or_insert(Entry {
            operation,
            at,
            request_id,
            encryptions: Vec::new(),
        });
        (entry.operation, entry.at, entry.request_id) = (operation, at, request_id);
        let Some(material) = encrypted_with else { return };
        match entry.encryptions.iter_mut().find(|(id, _)| *id == material) {
            Some((_, count)) => *count += 1,
            None => entry.encryptions.push((material, 1)),
        }
    }

    /// Not yet written down.
    pub(super) fn encryptions(&self, key: &Key, material: &MaterialId) -> u64 {
        let entries = self.entries.lock();
        let entry = entries.get(&(key.scope.clone(), key.id.clone()));
        let counts = entry.map(|entry| entry.encryptions.as_slice()).unwrap_or_default();
        counts.iter().find(|(id, _)| id == material).map_or(0, |(_, count)| *count)
    }

    pub(super) fn last(&self, key: &Key) -> Option<LastUsage> {
        let entries = self.entries.lock();
        entries.get(&(key.scope.clone(), key.id.clone())).map(Entry::last)
    }

    /// Everything noted since the last time, to be written down.
    pub(super) fn take(&self) -> Vec<UsageRecord> {
        let entries = std::mem::take(&mut *self.entries.lock());
        let record = |((scope, key_id), entry): ((Scope, KeyId), Entry)| UsageRecord {
            scope,
            key_id,
            last: entry.last(),
            encryptions: entry.encryptions,
        };
        entries.into_iter().map(record).collect()
    }
}

impl Entry {
    fn last(&self) -> LastUsage {
        LastUsage {
            operation: self.operation.to_owned(),
            at: self.at,
            request_id: self.request_id.to_string(),
        }
    }
}
