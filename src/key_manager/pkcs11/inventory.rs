//! Which keys a token holds: read in one pass, kept in memory, so that no request searches the token.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::domain::{ExternalKeyId, KeyUsages, VersionMarker};
use crate::key_manager::Lookup;
use crate::key_manager::external_key::{ExternalKey, Handle, KeyObject, KeySpec, KeyVersion, ObjectName};
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::object_handle;
use crate::key_manager::pkcs11::root_key;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::ObjectLock;

/// Object handles asked for in one call; a network HSM may answer each with a round trip.
const HANDLES_PER_CALL: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// The keys of one token by external key id.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    keys: HashMap<ExternalKeyId, Entry>,
    /// By identity.
    objects: HashMap<ObjectName, Arc<KeyObject>>,
    /// Encryptions counted for objects that are not in the token now, by ledger name.
    unclaimed: HashMap<String, u64>,
}

#[derive(Clone, Debug)]
enum Entry {
    Key(Arc<ExternalKey>),
    /// Its versions cannot be told from each other.
    Ambiguous(Arc<ExternalKey>),
}

/// Keys that are others than before.
#[derive(Debug, Default)]
pub(super) struct KeyChanges {
    /// What is not named is not in the token any more.
    pub(super) is_whole: bool,
    /// All that answers to an id; nothing if the key is gone.
    pub(super) keys: HashMap<ExternalKeyId, Vec<FoundKey>>,
}

impl Inventory {
    /// Knows no key yet, but how often keys have encrypted.
    pub(super) fn with_invocations(unclaimed: HashMap<String, u64>) -> Self {
        Self { unclaimed, ..Self::default() }
    }

    /// Reads the token. Objects that `known` has keep their identity, and with it their invocation count.
    pub(super) fn read(ready: Ready<'_>, known: &Self) -> Result<Self, Fault> {
        Self::read_telling(ready, known, &|| ())
    }

    /// `read`, which tells `answered` of each object that it has looked at.
    pub(super) fn read_telling(ready: Ready<'_>, known: &Self, answered: &dyn Fn()) -> Result<Self, Fault> {
        let mut changes = KeyChanges { is_whole: true, keys: HashMap::new() };
        let mut handles = Vec::new();
        for handle in find(ready.session, ready.objects, &[])? {
            let found = FoundKey::read(ready.session, handle)?;
            answered();
            let Some(found) = found else { continue };
            // The root key would be an external key for anyone who asks.
            if root_key::is_reserved(&found.name.label) {
                continue;
            }
            let Ok(id) = ExternalKeyId::parse(&found.name.label) else { continue };
            handles.push((found.name.identity(), handle));
            changes.keys.entry(id).or_default().push(found);
        }
        Ok(known.changed(changes).with_handles(ready, handles))
    }

    /// Reads the keys with this label alone.
    pub(super) fn read_label(ready: Ready<'_>, known: &Self, label: &ExternalKeyId) -> Result<Self, Fault> {
        let (mut keys, mut handles) = (Vec::new(), Vec::new());
        for handle in find_labelled(ready.session, ready.objects, label.as_str())? {
            let Some(found) = FoundKey::read(ready.session, handle)? else { continue };
            if found.name.label != label.as_str() || root_key::is_reserved(&found.name.label) {
                continue;
            }
            handles.push((found.name.identity(), handle));
            keys.push(found);
        }
        let changes = KeyChanges { is_whole: false, keys: HashMap::from([(label.clone(), keys)]) };
        Ok(known.changed(changes).with_handles(ready, handles))
    }

    fn with_handles(self, ready: Ready<'_>, handles: Vec<(ObjectName, ObjectHandle)>) -> Self {
        for (identity, handle) in handles {
            if let Some(object) = self.objects.get(&identity) {
                object.remember_handle(ready.login, handle.handle());
            }
        }
        self
    }

    /// The inventory with these changes. Objects that were known keep their identity.
    pub(super) fn changed(&self, changes: KeyChanges) -> Self {
        let KeyChanges { is_whole, keys } = changes;
        let mut inventory = if is_whole {
            Self { unclaimed: self.unclaimed.clone(), ..Self::default() }
        } else {
            self.clone()
        };
        inventory.objects.retain(|name, _| !keys.contains_key(name.label.as_str()));
        for (id, found) in keys {
            inventory.keys.remove(&id);
            let mut versions = Vec::new();
            for found in found {
                let object = self.object(&found.name);
                inventory.unclaimed.remove(&found.name.ledger_name());
                inventory.objects.insert(found.name.identity(), Arc::clone(&object));
                versions.push(found.into_version(object));
            }
            if let Some(entry) = Entry::of(id.clone(), versions) {
                inventory.keys.insert(id, entry);
            }
        }
        for (name, object) in self.objects.iter().filter(|(name, _)| !inventory.objects.contains_key(*name)) {
            inventory.unclaimed.insert(name.ledger_name(), object.invocations());
        }
        inventory
    }

    /// What is another than in `before`.
    pub(super) fn changes_since(&self, before: &Self) -> HashMap<ExternalKeyId, Vec<FoundKey>> {
        let is_same = |id: &ExternalKeyId, entry: &Entry| {
            before.keys.get(id).is_some_and(|before| before.found().eq(entry.found()))
        };
        let changed = self.keys.iter().filter(|(id, entry)| !is_same(id, entry));
        let changed = changed.map(|(id, entry)| (id.clone(), entry.found().collect()));
        let gone = before.keys.keys().filter(|id| !self.keys.contains_key(*id));
        changed.chain(gone.map(|id| (id.clone(), Vec::new()))).collect()
    }

    /// The key that has an object of this name, and the object.
    pub(super) fn find_named(&self, name: &ObjectName) -> Option<(Arc<ExternalKey>, Arc<KeyObject>)> {
        let (Entry::Key(key) | Entry::Ambiguous(key)) = self.keys.get(name.label.as_str())?;
        let version = key.versions().iter().find(|version| version.object.name == *name)?;
        Some((Arc::clone(key), Arc::clone(&version.object)))
    }

    /// The object of this name, with the invocations counted so far.
    fn object(&self, name: &ObjectName) -> Arc<KeyObject> {
        match self.objects.get(&name.identity()) {
            Some(object) if object.name == *name => Arc::clone(object),
            Some(renamed) => {
                let object = KeyObject::new(name.clone());
                object.add_invocations(renamed.invocations());
                Arc::new(object)
            }
            None => {
                let object = KeyObject::new(name.clone());
                object.add_invocations(self.unclaimed.get(&name.ledger_name()).copied().unwrap_or(0));
                Arc::new(object)
            }
        }
    }

    pub fn unclaimed_invocations(&self) -> impl Iterator<Item = (String, u64)> {
        self.unclaimed.iter().map(|(name, count)| (name.clone(), *count))
    }

    pub fn find(&self, external_key_id: &str) -> Lookup {
        match self.keys.get(external_key_id) {
            Some(Entry::Key(key)) => Lookup::Found(Arc::clone(key)),
            Some(Entry::Ambiguous(_)) => Lookup::Ambiguous,
            None => Lookup::Missing,
        }
    }

    /// All keys that can be addressed, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<ExternalKey>> {
        self.keys.values().filter_map(|entry| match entry {
            Entry::Key(key) => Some(key),
            Entry::Ambiguous(_) => None,
        })
    }

    /// Ids to which several keys answer.
    pub fn ambiguous(&self) -> impl Iterator<Item = &ExternalKeyId> {
        self.keys.iter().filter(|(_, entry)| matches!(entry, Entry::Ambiguous(_))).map(|(id, _)| id)
    }

    pub fn objects(&self) -> impl Iterator<Item = &Arc<KeyObject>> {
        self.objects.values()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Entry {
    /// One key for each marker, and at most one without: else nothing says which is meant.
    fn of(id: ExternalKeyId, versions: Vec<KeyVersion>) -> Option<Self> {
        let key = ExternalKey::new(id, versions)?;
        let ambiguous = key.versions().windows(2).any(|pair| match pair {
            [older, newer] => older.number() == newer.number(),
            _ => false,
        });
        let key = Arc::new(key);
        Some(if ambiguous { Self::Ambiguous(key) } else { Self::Key(key) })
    }

    fn found(&self) -> impl Iterator<Item = FoundKey> {
        let (Self::Key(key) | Self::Ambiguous(key)) = self;
        key.versions().iter().map(|version| FoundKey {
            name: version.object.name.clone(),
            spec: version.spec.clone(),
            usages: version.usages,
        })
    }
}

/// Secret keys of the token that match `template`.
fn find(session: &Session, objects: &ObjectLock, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Fault> {
    let _shared = objects.share()?;
    let mut all = vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true)];
    all.extend_from_slice(template);
    let found: Result<Vec<_>, _> = session.iter_objects_with_cache_size(&all, HANDLES_PER_CALL)?.collect();
    Ok(found?)
}

/// Secret keys with this label.
pub(super) fn find_labelled(
    session: &Session,
    objects: &ObjectLock,
    label: &str,
) -> Result<Vec<ObjectHandle>, Fault> {
    find(session, objects, &[Attribute::Label(label.as_bytes().to_vec())])
}

/// Every secret key that can be read, with its handle; with a label, those that have it.
pub(super) fn list(ready: Ready<'_>, label: Option<&str>) -> Result<Vec<(ObjectName, ObjectHandle)>, Fault> {
    let handles = match label {
        Some(label) => find_labelled(ready.session, ready.objects, label)?,
        None => find(ready.session, ready.objects, &[])?,
    };
    let mut keys = Vec::new();
    for handle in handles {
        let found = FoundKey::read(ready.session, handle)?;
        keys.extend(found.map(|found| (found.name, handle)));
    }
    // Tokens differ in what a label matches.
    keys.retain(|(name, _)| label.is_none_or(|label| name.label == label));
    Ok(keys)
}

/// The one object of this name. An empty `CKA_ID` is not searched for, since tokens differ in what it matches.
pub(super) fn find_object(
    session: &Session,
    objects: &ObjectLock,
    name: &ObjectName,
) -> Result<Option<ObjectHandle>, Fault> {
    let mut template = vec![Attribute::Label(name.label.clone().into_bytes())];
    if !name.id.is_empty() {
        template.push(Attribute::Id(name.id.clone()));
    }
    let mut matches = Vec::new();
    for handle in find(session, objects, &template)? {
        if FoundKey::read(session, handle)?.is_some_and(|found| found.name == *name) {
            matches.push(handle);
        }
    }
    match *matches {
        [] => Ok(None),
        [handle] => Ok(Some(handle)),
        _ => Err(Fault::new(Blame::Usage, "several HSM keys have the same CKA_LABEL and CKA_ID")),
    }
}

/// The object's handle: remembered, or searched for, which happens once a login.
pub(super) fn handle_of(object: &KeyObject, ready: Ready<'_>) -> Result<u64, Fault> {
    let missing = || Fault::new(Blame::Missing, "the key is not in the token");
    match object.handle(ready.login) {
        Some(Handle::Known(handle)) => Ok(handle),
        Some(Handle::Missing) => Err(missing()),
        None => {
            let found =
                find_object(ready.session, ready.objects, &object.name)?.ok_or_else(missing)?.handle();
            object.remember_handle(ready.login, found);
            Ok(found)
        }
    }
}

/// Whether the object is still where it was found: asks for its attributes, which costs no search.
pub(super) fn exists(ready: Ready<'_>, object: &KeyObject) -> Result<bool, Fault> {
    let Some(Handle::Known(handle)) = object.handle(ready.login) else { return Ok(false) };
    let found = FoundKey::read(ready.session, object_handle(handle))?;
    Ok(found.is_some_and(|found| found.name == object.name))
}

/// The attributes of a secret key that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundKey {
    pub(super) name: ObjectName,
    pub(super) spec: KeySpec,
    pub(super) usages: KeyUsages,
}

impl FoundKey {
    /// Nothing if the object vanished since it was found, or is of an unknown kind, or its label is not text.
    fn read(session: &Session, handle: ObjectHandle) -> Result<Option<Self>, Fault> {
        let wanted = [
            AttributeType::Label,
            AttributeType::Id,
            AttributeType::KeyType,
            AttributeType::ValueLen,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
        ];
        let attributes = match session.get_attributes(handle, &wanted) {
            Ok(attributes) => attributes,
            Err(Error::Pkcs11(RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid, _)) => {
                return Ok(None);
            }
            Err(error @ Error::Pkcs11(..)) => return Err(error.into()),
            // cryptoki does not know its kind: not a key that we could use.
            Err(_) => return Ok(None),
        };
        Ok(Self::from_attributes(attributes))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum has an entry for every attribute of PKCS#11; six were asked for"
    )]
    fn from_attributes(attributes: Vec<Attribute>) -> Option<Self> {
        let (mut label, mut id, mut key_type, mut value_bytes) = (None, Vec::new(), None, None);
        let mut usages = KeyUsages { encrypt: false, decrypt: false };
        for attribute in attributes {
            match attribute {
                Attribute::Label(bytes) => label = String::from_utf8(bytes).ok(),
                Attribute::Id(bytes) => id = bytes,
                Attribute::KeyType(value) => key_type = Some(value),
                Attribute::ValueLen(value) => value_bytes = Some(usize::from(value)),
                Attribute::Encrypt(value) => usages.encrypt = value,
                Attribute::Decrypt(value) => usages.decrypt = value,
                _ => {}
            }
        }
        Some(Self { name: ObjectName { label: label?, id }, spec: spec_of(key_type, value_bytes), usages })
    }

    fn into_version(self, object: Arc<KeyObject>) -> KeyVersion {
        let (marker, enabled) = match VersionMarker::from_object_id(&self.name.id) {
            Some((marker, enabled)) => (Some(marker), enabled),
            None => (None, true),
        };
        KeyVersion { marker, enabled, usages: self.usages, spec: self.spec, object }
    }
}

fn spec_of(key_type: Option<KeyType>, value_bytes: Option<usize>) -> KeySpec {
    match (key_type, value_bytes) {
        (Some(KeyType::AES), Some(32)) => KeySpec::Aes256,
        (Some(KeyType::AES), Some(bytes)) => KeySpec::Other(format!("AES_{}", bytes.saturating_mul(8))),
        (Some(KeyType::GENERIC_SECRET), Some(bytes)) => {
            KeySpec::Other(format!("GENERIC_SECRET_{}", bytes.saturating_mul(8)))
        }
        _ => KeySpec::Other("UNKNOWN".to_owned()),
    }
}
