//! What keys were used for since it was last written down.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::kms::{Key, KeyId, MaterialId, Scope, UnixMillis};
use crate::gate::kms::call::RequestId;
use crate::store::{LastUsage, UsageRecord};

#[derive(Default)]
pub(super) struct UsageLedger {
    /// One lock for all: it is held for a hash lookup.
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    noted: Entries,
    /// On their way to the store, and not known to be there.
    leaving: Entries,
    /// Encryptions of both, by material: related multi-Region keys have theirs in common.
    encryptions: HashMap<MaterialId, u64>,
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

impl UsageLedger {
    pub(super) fn note(&self, key: &Key, used: Used) {
        let Used { operation, at, request_id, encrypted_with } = used;
        let last = Last { operation, at, request_id };
        let mut books = self.books.lock();
        let Books { noted, encryptions, .. } = &mut *books;
        let name = (key.scope.clone(), key.id.clone());
        let entry = noted.entry(name).or_insert(Entry { last, encryptions: Vec::new() });
        entry.last = last;
        if let Some(material) = encrypted_with {
            entry.add(material, 1);
            *encryptions.entry(material).or_default() += 1;
        }
    }

    /// Not known to be written down, whichever key of the material made them.
    pub(super) fn encryptions(&self, material: &MaterialId) -> u64 {
        self.books.lock().encryptions.get(material).copied().unwrap_or_default()
    }

    pub(super) fn last(&self, key: &Key) -> Option<LastUsage> {
        let name = (key.scope.clone(), key.id.clone());
        let books = self.books.lock();
        let entry = books.noted.get(&name).or_else(|| books.leaving.get(&name));
        entry.map(|entry| entry.last.to_stored())
    }

    /// Everything noted since the last time, to be written down. It stays known until it is [`Self::written`].
    pub(super) fn take(&self) -> Vec<UsageRecord> {
        let mut books = self.books.lock();
        books.put_back();
        books.leaving = std::mem::take(&mut books.noted);
        let record = |((scope, key_id), entry): (&(Scope, KeyId), &Entry)| UsageRecord {
            scope: scope.clone(),
            key_id: key_id.clone(),
            last: entry.last.to_stored(),
            encryptions: entry.encryptions.clone(),
        };
        books.leaving.iter().map(record).collect()
    }

    /// What was taken is in the store.
    pub(super) fn written(&self) {
        let mut books = self.books.lock();
        let written = std::mem::take(&mut books.leaving);
        for (material, count) in written.into_values().flat_map(|entry| entry.encryptions) {
            books.forget_encryptions(material, count);
        }
    }

    /// What was taken could not be written down: it is for the next time.
    pub(super) fn put_back(&self) {
        self.books.lock().put_back();
    }

    pub(super) fn clear(&self) {
        *self.books.lock() = Books::default();
    }
}

impl Books {
    fn forget_encryptions(&mut self, material: MaterialId, written: u64) {
        let Some(count) = self.encryptions.get_mut(&material) else { return };
        *count = count.saturating_sub(written);
        if *count == 0 {
            self.encryptions.remove(&material);
        }
    }

    /// Whoever used a key meanwhile was the last.
    fn put_back(&mut self) {
        for (name, older) in self.leaving.drain() {
            let entry = self.noted.entry(name).or_insert(Entry { last: older.last, encryptions: Vec::new() });
            for (material, count) in older.encryptions {
                entry.add(material, count);
            }
        }
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

#[cfg(test)]
mod tests {
    use crate::domain::kms::{
        AccountId, Key, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage, MaterialId, Origin, Region, Scope,
        UnixMillis,
    };
    use crate::gate::kms::call::RequestId;
    use crate::gate::kms::usage_ledger::{UsageLedger, Used};

    const MATERIAL: MaterialId = MaterialId::new([1; 32]);

    fn key() -> Key {
        Key {
            scope: Scope {
                account: AccountId::parse("123456789012").unwrap(),
                region: Region::parse("us-east-1").unwrap(),
            },
            id: KeyId::from_random([7; 16], false),
            revision: 0,
            created: UnixMillis(0),
            description: String::new(),
            spec: KeySpec::SymmetricDefault,
            usage: KeyUsage::EncryptDecrypt,
            origin: Origin::AwsKms,
            place: KeyPlace::Default,
            multi_region: None,
            state: KeyState::Enabled,
            deletion: None,
            rotation: None,
            policy: "".into(),
            tags: Vec::new(),
            aliases: Vec::new(),
            materials: Vec::new(),
        }
    }

    fn note(ledger: &UsageLedger, operation: &'static str) {
        let request_id = RequestId([0; 16]);
        let used = Used { operation, at: UnixMillis(0), request_id, encrypted_with: Some(MATERIAL) };
        ledger.note(&key(), used);
    }

    fn known(ledger: &UsageLedger) -> (Option<String>, u64) {
        (ledger.last(&key()).map(|last| last.operation), ledger.encryptions(&MATERIAL))
    }

    #[test]
    fn what_is_being_written_down_is_known_until_it_is_written() {
        let ledger = UsageLedger::default();
        note(&ledger, "Encrypt");
        assert_eq!(ledger.take().len(), 1);
        assert_eq!(known(&ledger), (Some("Encrypt".to_owned()), 1));
        note(&ledger, "GenerateDataKey");
        assert_eq!(known(&ledger), (Some("GenerateDataKey".to_owned()), 2));
        ledger.written();
        assert_eq!(known(&ledger), (Some("GenerateDataKey".to_owned()), 1));
    }

    #[test]
    fn what_could_not_be_written_down_is_for_the_next_time() {
        let ledger = UsageLedger::default();
        note(&ledger, "Encrypt");
        ledger.take();
        note(&ledger, "GenerateDataKey");
        ledger.put_back();
        let records = ledger.take();
        assert_eq!(records[0].last.operation, "GenerateDataKey");
        assert_eq!(records[0].encryptions, [(MATERIAL, 2)]);
        ledger.clear();
        assert_eq!(known(&ledger), (None, 0));
    }
}
