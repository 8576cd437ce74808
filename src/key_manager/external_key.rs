//! What is known of an external key without asking the HSM: its versions, their state and use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::domain::{ExternalKeyId, KeyUsages, VersionMarker};

/// Encryptions with one AES-GCM key and random 96-bit IVs, at the most (NIST SP 800-38D, section 8.3).
pub const GCM_INVOCATIONS_MAX: u64 = 1 << 32;

/// An external key: the HSM keys behind one id, oldest first, never empty.
#[derive(Debug)]
pub struct ExternalKey {
    pub id: ExternalKeyId,
    versions: Vec<KeyVersion>,
}

/// One HSM key.
#[derive(Debug)]
pub struct KeyVersion {
    /// Absent for a key that another tool made: it is addressed by its label, and nothing made with it
    /// carries metadata.
    pub marker: Option<VersionMarker>,
    pub enabled: bool,
    pub usages: KeyUsages,
    pub spec: KeySpec,
    pub object: Arc<KeyObject>,
}

/// What kind of key it is, in the words of XKS v1, GetKeyMetadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySpec {
    Aes256,
    /// Anything else; AWS KMS refuses it at CreateKey.
    Other(String),
}

impl KeySpec {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Aes256 => proxy_api::wire::KEY_SPEC_AES_256,
            Self::Other(name) => name,
        }
    }
}

/// An HSM object: how to find it, where it was found last, how often it encrypted.
pub struct KeyObject {
    pub name: ObjectName,
    /// Encryptions since the key was made, as far as they were counted.
    invocations: AtomicU64,
    /// The login that `handle` belongs to; zero for none.
    handle_login: AtomicU64,
    handle: AtomicU64,
    copy: SessionCopy,
}

/// A copy of the object in memory of the HSM, and what leads to one.
#[derive(Default)]
struct SessionCopy {
    /// The login that `handle` belongs to; zero for none.
    login: AtomicU64,
    /// Invalid if the object cannot be copied in this login.
    handle: AtomicU64,
    /// When the original was looked at last, in milliseconds.
    looked_ms: AtomicU64,
    /// How often the object was used in the login `counted_login`, roughly.
    uses: AtomicU32,
    counted_login: AtomicU64,
}

/// Where an object is, as far as is known of the present login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    Known(u64),
    /// It was searched for in vain; not worth another search until the keys are read again.
    Missing,
}

/// PKCS#11: `CK_INVALID_HANDLE`, which no object has.
const INVALID_HANDLE: u64 = 0;

/// `CKA_LABEL` and `CKA_ID` of a secret key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    pub label: String,
    pub id: Vec<u8>,
}

impl ObjectName {
    /// The name without what changes in the life of the key: disabling a key changes its `CKA_ID`.
    pub fn identity(&self) -> Self {
        let id = match VersionMarker::from_object_id(&self.id) {
            Some((marker, _)) => marker.to_object_id(true).to_vec(),
            None => self.id.clone(),
        };
        Self { label: self.label.clone(), id }
    }

    /// The identity as one word, for the file that counts encryptions.
    pub fn ledger_name(&self) -> String {
        let id = self.identity().id;
        id.iter().fold(format!("{}/", self.label), |name, byte| name + &format!("{byte:02x}"))
    }
}

impl ExternalKey {
    /// Nothing if there is no version.
    pub fn new(id: ExternalKeyId, mut versions: Vec<KeyVersion>) -> Option<Self> {
        versions.sort_by_key(|version| version.marker);
        (!versions.is_empty()).then_some(Self { id, versions })
    }

    pub fn versions(&self) -> &[KeyVersion] {
        &self.versions
    }

    pub fn version(&self, index: usize) -> Option<&KeyVersion> {
        self.versions.get(index)
    }

    /// The version that encrypts, and whose state and use are those of the key.
    pub fn newest(&self) -> Option<&KeyVersion> {
        self.versions.last()
    }

    /// The index of the version that made a ciphertext with this marker.
    pub fn find_version(&self, marker: Option<VersionMarker>) -> Option<usize> {
        self.versions.iter().position(|version| version.marker == marker)
    }
}

impl KeyVersion {
    /// Version 0 is the key another tool made.
    pub fn number(&self) -> u32 {
        self.marker.map_or(0, |marker| marker.number)
    }
}

impl KeyObject {
    pub fn new(name: ObjectName) -> Self {
        Self {
            name,
            invocations: AtomicU64::new(0),
            handle_login: AtomicU64::new(0),
            handle: AtomicU64::new(INVALID_HANDLE),
            copy: SessionCopy::default(),
        }
    }

    pub fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    pub fn count_invocation(&self) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes up the count of an earlier run.
    pub fn add_invocations(&self, count: u64) {
        self.invocations.fetch_add(count, Ordering::Relaxed);
    }

    /// Nothing if the object was not searched for since the login.
    pub(super) fn handle(&self, login: u64) -> Option<Handle> {
        (self.handle_login.load(Ordering::Acquire) == login).then(|| {
            match self.handle.load(Ordering::Relaxed) {
                INVALID_HANDLE => Handle::Missing,
                handle => Handle::Known(handle),
            }
        })
    }

    pub(super) fn remember_handle(&self, login: u64, handle: u64) {
        let is_known = self.handle_login.load(Ordering::Acquire) == login
            && self.handle.load(Ordering::Relaxed) == handle;
        if !is_known {
            // Under the same name it may be another key.
            self.forget_copy();
        }
        self.handle.store(handle, Ordering::Relaxed);
        self.handle_login.store(login, Ordering::Release);
    }

    pub(super) fn remember_missing(&self, login: u64) {
        self.remember_handle(login, INVALID_HANDLE);
    }

    pub(super) fn forget_handle(&self) {
        self.forget_copy();
        self.handle_login.store(0, Ordering::Release);
    }

    /// The handle of a copy that was made in this login.
    pub(super) fn copy(&self, login: u64) -> Option<u64> {
        let is_of_login = self.copy.login.load(Ordering::Acquire) == login;
        let handle = self.copy.handle.load(Ordering::Relaxed);
        (is_of_login && handle != INVALID_HANDLE).then_some(handle)
    }

    pub(super) fn remember_copy(&self, login: u64, handle: u64, now_ms: u64) {
        self.copy.looked_ms.store(now_ms, Ordering::Relaxed);
        self.copy.handle.store(handle, Ordering::Relaxed);
        self.copy.login.store(login, Ordering::Release);
    }

    /// There will be none in this login.
    pub(super) fn refuse_copy(&self, login: u64) {
        self.remember_copy(login, INVALID_HANDLE, 0);
    }

    /// True if there was one.
    pub(super) fn forget_copy(&self) -> bool {
        self.copy.uses.store(0, Ordering::Relaxed);
        self.copy.login.swap(0, Ordering::AcqRel) != 0
            && self.copy.handle.load(Ordering::Relaxed) != INVALID_HANDLE
    }

    /// True for one of those who ask when the last look is longer ago than `age_max_ms`: it has to look now.
    pub(super) fn take_look(&self, now_ms: u64, age_max_ms: u64) -> bool {
        let looked_ms = self.copy.looked_ms.load(Ordering::Relaxed);
        now_ms.saturating_sub(looked_ms) > age_max_ms
            && self
                .copy
                .looked_ms
                .compare_exchange(looked_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Uses without a copy in this login, this one included; none if there cannot be one.
    pub(super) fn count_use(&self, login: u64) -> u32 {
        if self.copy.login.load(Ordering::Acquire) == login {
            return 0;
        }
        if self.copy.counted_login.swap(login, Ordering::Relaxed) != login {
            self.copy.uses.store(0, Ordering::Relaxed);
        }
        self.copy.uses.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}

impl fmt::Debug for KeyObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyObject").field("name", &self.name).finish_non_exhaustive()
    }
}
