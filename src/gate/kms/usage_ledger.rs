//! What keys were used for since it was last written down.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::kms::{Key, KeyId, MaterialId, Scope, UnixMillis};
use crate::gate::kms::call::RequestId;
use crate::store::{LastUsage, UsageRecord};

#[derive(Default)]
pub(super) struct UsageLedger {
    /// One lock for all: it is held for a hash lookup.
    entries: Mutex<Entries>,
}

type Entries = HashMap<(Scope, KeyId), Entry>;

struct Entry {
    last: Last,
    encryptions: Vec<(MaterialId, u64)>,
}

#[derive(Clone, Copy)]
struct Last {
    operation: &'static str,
    at: UnixMillis,
    request_id: RequestId,
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

/// What was noted, on its way to the store.
#[derive(Default)]
pub(super) struct Noted(Entries);

impl UsageLedger {
    pub(super) fn note(&self, key: &Key, used: Used) {
        let Used { operation, at, request_id, encrypted_with } = used;
        let last = Last { operation, at, request_id };
        let mut entries = self.entries.lock();
        let name = (key.scope.clone(), key.id.clone());
        let entry = entries.entry(name).or_insert(Entry { last, encryptions: Vec::new() });
        entry.last = last;
        if let Some(material) = encrypted_with {
            entry.add(material, 1);
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
        entries.get(&(key.scope.clone(), key.id.clone())).map(|entry| entry.last.to_stored())
    }

    /// Everything noted since the last time, to be written down.
    pub(super) fn take(&self) -> Noted {
        Noted(std::mem::take(&mut *self.entries.lock()))
    }

    /// What could not be written down, for the next time. Whoever used a key meanwhile was the last.
    pub(super) fn put_back(&self, noted: Noted) {
        let mut entries = self.entries.lock();
        for (name, older) in noted.0 {
            let entry = entries.entry(name).or_insert(Entry { last: older.last, encryptions: Vec::new() });
            for (material, count) in older.encryptions {
                entry.add(material, count);
            }
        }
    }
}

impl Noted {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn records(&self) -> Vec<UsageRecord> {
        let record = |((scope, key_id), entry): (&(Scope, KeyId), &Entry)| UsageRecord {
            scope: scope.clone(),
            key_id: key_id.clone(),
            last: entry.last.to_stored(),
            encryptions: entry.encryptions.clone(),
        };
        self.0.iter().map(record).collect()
    }
}

impl Entry {
    fn add(&mut self, material: MaterialId, encryptions: u64) {
        match self.encryptions.iter_mut().find(|(id, _)| *id == material) {
            Some((_, count)) => *count += encryptions,
            None => self.encryptions.push((material, encryptions)),
        }
    }
}

impl Last {
    fn to_stored(self) -> LastUsage {
        LastUsage {
            operation: self.operation.to_owned(),
            at: self.at,
            request_id: self.request_id.to_string(),
        }
    }
}
