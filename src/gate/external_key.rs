//! The only door to a key: find it, authorize, check state and use, and only then hand it out.

use std::sync::Arc;
use std::time::Instant;

use proxy_api::wire::RequestMetadata;

use crate::authorizer::{Authorizer, Question, Ruling};
use crate::domain::{Action, KeyState, VersionMarker, state_permits};
use crate::key_manager::external_key::{ExternalKey, GCM_INVOCATIONS_MAX, KeyVersion};
use crate::key_manager::{
    BoundAad, Decrypt, Done, Encrypt, Encrypted, HsmError, KeyManager, Lookup, MemberHealth,
};
use crate::kill_switch::KillSwitch;
use crate::secret::SecretBytes;

/// A key store: which keys it may use, where they are, and who says what may be done with them.
pub struct KeyStore {
    pub name: String,
    pub key_manager: Arc<dyn KeyManager>,
    /// External key ids; `*` stands for any run of characters.
    pub keys: Vec<String>,
    pub authorizer: Authorizer,
    pub kill_switch: Arc<KillSwitch>,
}

/// One authenticated request to a key store.
pub struct Call<'a> {
    pub key_store: &'a KeyStore,
    pub metadata: &'a RequestMetadata<'a>,
    pub deadline: Instant,
}

/// A key that may be used for the action it was opened for, and for nothing else.
pub struct OpenKey<'a> {
    call: &'a Call<'a>,
    key: Arc<ExternalKey>,
    state: KeyState,
    /// The policy statement that allowed it, if there is a policy.
    pub policy_statement: Option<String>,
}

/// Why a key is not handed out or not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Ambiguous,
    Blocked,
    Disabled,
    /// Names the policy statement, or says that none allows.
    Forbidden(String),
    /// NIST SP 800-38D, section 8.3: the key version must not encrypt any more.
    InvocationsUsedUp,
    KeyManager(HsmError),
    KeyMissing,
    /// No version made such a ciphertext: its metadata is missing, changed, or of a deleted version.
    UnknownVersion,
    UsageNotPermitted,
}

/// What Encrypt answers with.
pub struct Sealed {
    pub encrypted: Encrypted,
    pub metadata: Option<Vec<u8>>,
}

impl KeyStore {
    pub fn is_blocked(&self) -> bool {
        self.kill_switch.is_key_store_blocked(&self.name)
    }

    pub fn health(&self) -> Vec<MemberHealth> {
        self.key_manager.health()
    }

    /// Whether it may use a key with this id that an HSM is known to have.
    pub fn has(&self, external_key_id: &str) -> bool {
        self.lists(external_key_id) && !matches!(self.key_manager.find(external_key_id), Lookup::Missing)
    }

    fn lists(&self, external_key_id: &str) -> bool {
        self.keys.iter().any(|pattern| matches_pattern(pattern, external_key_id))
    }

    fn state_of(&self, key: &ExternalKey) -> KeyState {
        if self.is_blocked() || self.kill_switch.is_key_blocked(key.id.as_str()) {
            KeyState::Blocked
        } else if key.newest().is_some_and(|version| version.enabled) {
            KeyState::Enabled
        } else {
            KeyState::Disabled
        }
    }
}

impl<'a> Call<'a> {
    /// Opens the key for the action.
    pub async fn open(&'a self, action: Action, external_key_id: &str) -> Result<OpenKey<'a>, Refused> {
        let key = self.find(external_key_id).await?;
        let question = Question { action, external_key_id, metadata: self.metadata };
        let policy_statement = match self.key_store.authorizer.rule(&question) {
            Ruling::Allowed { statement } => statement,
            Ruling::Denied { reason } => return Err(Refused::Forbidden(reason)),
        };
        let state = self.key_store.state_of(&key);
        if !state_permits(state, action) {
            return Err(if state == KeyState::Blocked { Refused::Blocked } else { Refused::Disabled });
        }
        if !key.newest().is_some_and(|version| action.is_within(version.usages)) {
            return Err(Refused::UsageNotPermitted);
        }
        Ok(OpenKey { call: self, key, state, policy_statement })
    }

    async fn find(&self, external_key_id: &str) -> Result<Arc<ExternalKey>, Refused> {
        if !self.key_store.lists(external_key_id) {
            return Err(Refused::KeyMissing);
        }
        let manager = &self.key_store.key_manager;
        let found = match manager.find(external_key_id) {
            Lookup::Missing | Lookup::Ambiguous => {
                manager.find_again(external_key_id, self.deadline).await.map_err(Refused::KeyManager)?
            }
            known @ Lookup::Found(_) => known,
        };
        match found {
            Lookup::Found(key) => Ok(key),
            Lookup::Missing => Err(Refused::KeyMissing),
            Lookup::Ambiguous => Err(Refused::Ambiguous),
        }
    }
}

impl OpenKey<'_> {
    /// The version that stands for the key.
    pub fn newest(&self) -> Option<&KeyVersion> {
        self.key.newest()
    }

    pub fn is_enabled(&self) -> bool {
        self.state == KeyState::Enabled
    }

    /// Encrypts with the newest version, which goes into the metadata and so into what the tag covers.
    pub async fn encrypt(
        &self,
        plaintext: SecretBytes,
        aad: &[u8],
        integrity_value: bool,
    ) -> Result<Done<Sealed>, Refused> {
        let key_manager = &self.call.key_store.key_manager;
        let newest = self.key.newest().ok_or(Refused::KeyMissing)?;
        if key_manager.invocations(&self.key) >= GCM_INVOCATIONS_MAX {
            return Err(Refused::InvocationsUsedUp);
        }
        let metadata = newest.marker.map(|marker| marker.to_metadata().to_vec());
        let aad = BoundAad::new(aad, metadata.as_deref().unwrap_or_default())
            .ok_or(Refused::KeyManager(HsmError::TooLong))?;
        let request = Encrypt { key: Arc::clone(&self.key), plaintext, aad, integrity_value };
        let done = key_manager.encrypt(request, self.call.deadline).await;
        Ok(Done {
            result: done.result.map(|encrypted| Sealed { encrypted, metadata }),
            hsm: done.hsm,
            queue_wait: done.queue_wait,
            hsm_time: done.hsm_time,
        })
    }

    /// The version that the metadata of a ciphertext names, if it may decrypt.
    pub fn version_for(&self, metadata: &[u8]) -> Result<usize, Refused> {
        let marker = if metadata.is_empty() {
            None
        } else {
            Some(VersionMarker::from_metadata(metadata).ok_or(Refused::UnknownVersion)?)
        };
        let index = self.key.find_version(marker).ok_or(Refused::UnknownVersion)?;
        let version = self.key.version(index).ok_or(Refused::UnknownVersion)?;
        if !version.enabled {
            return Err(Refused::Disabled);
        }
        if !version.usages.decrypt {
            return Err(Refused::UsageNotPermitted);
        }
        Ok(index)
    }

    /// The number of a version, for logs.
    pub fn version_number(&self, index: usize) -> Option<u32> {
        self.key.version(index).map(KeyVersion::number)
    }

    /// Decrypts with the version at `index`.
    pub async fn decrypt(
        &self,
        index: usize,
        iv: Vec<u8>,
        ciphertext_and_tag: Vec<u8>,
        aad: BoundAad,
    ) -> Done<SecretBytes> {
        let request = Decrypt { key: Arc::clone(&self.key), version: index, iv, ciphertext_and_tag, aad };
        self.call.key_store.key_manager.decrypt(request, self.call.deadline).await
    }
}

/// `*` stands for any run of characters.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(head).and_then(|text| text.strip_suffix(tail)) else {
        return false;
    };
    // The leftmost match of each piece leaves the most text for the next.
    middle.split('*').all(|piece| match text.find(piece) {
        Some(at) => {
            text = text.get(at + piece.len()..).unwrap_or_default();
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, text) in
            [("*", "foo"), ("foo", "foo"), ("f*", "foo"), ("*o", "foo"), ("a*b*c", "axxbyyc"), ("f*", "f")]
        {
            assert!(matches_pattern(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("foo", "fo"), ("foo", "fooo"), ("f*", "xf"), ("a*b*c", "acb"), ("", "a")] {
            assert!(!matches_pattern(pattern, text), "{pattern} {text}");
        }
    }
}
