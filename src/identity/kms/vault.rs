//! Identities in the store, each sealed under the root key of the HSM and bound to its name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::domain::kms::{RootKeyId, RootKeys, SealedParts};
use crate::identity::kms::administration::AdminError;
use crate::identity::kms::record::Records;
use crate::identity::kms::session_token::{SESSION_KEY_BYTES, SessionKey};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::BackingKeys;
use crate::secret::SecretBytes;
use crate::store::{
    IdentityKind, IdentityName, IdentityRow, Resealed, SealedPlace, Setting, Store, StoreError,
};

/// Sealing happens at the start and for administrators, who wait.
const HSM_TIMEOUT: Duration = Duration::from_secs(10);
const SESSION_KEY_CONTEXT: &[u8] = b"holdfast session token key v1";
/// Room for the usual document, so that a secret in it is not copied while the buffer grows.
const DOCUMENT_BYTES_USUAL: usize = 16 * 1024;

pub(super) struct Vault {
    pub(super) store: Arc<dyn Store>,
    pub(super) backing_keys: Arc<dyn BackingKeys>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Vault {
    /// Everything that is stored, and how many are under a former root key that is missing.
    pub(super) async fn read(&self, keys: Option<RootKeys>) -> Result<(Records, usize), AdminError> {
        let (mut records, mut unread) = (Records::default(), 0);
        for IdentityRow { name, sealed } in self.store.identities().await? {
            let may_be_lost = is_under_former(keys, &sealed);
            match self.read_one(name, sealed, &mut records).await {
                // A root key that is missing looks like this. If it was something else, it is read again soon.
                Err(AdminError::Hsm(HsmError::Unavailable(_))) if may_be_lost => unread += 1,
                result => result?,
            }
        }
        Ok((records, unread))
    }

    async fn read_one(
        &self,
        name: IdentityName,
        sealed: Vec<u8>,
        records: &mut Records,
    ) -> Result<(), AdminError> {
        let IdentityName { account, kind, name: own } = name.clone();
        match kind {
            IdentityKind::AccessKey => {
                records.access_keys.insert(own, self.open(&name, sealed).await?);
            }
            IdentityKind::Role => {
                records.roles.insert((account, own), self.open(&name, sealed).await?);
            }
            IdentityKind::User => {
                records.users.insert((account, own), self.open(&name, sealed).await?);
            }
        }
        Ok(())
    }

    /// Returns when it is durable.
    pub(super) async fn write(&self, name: IdentityName, record: &impl Serialize) -> Result<(), AdminError> {
        let mut document = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES_USUAL));
        serde_json::to_writer(&mut *document, record).map_err(|_| damaged(&name))?;
        let document = SecretBytes::new(std::mem::take(&mut *document));
        let sealed = self.backing_keys.seal(document, context(&name), self.deadline()).await.result?;
        Ok(self.store.put_identity(IdentityRow { name, sealed }).await?)
    }

    pub(super) async fn delete(&self, name: &IdentityName) -> Result<(), AdminError> {
        Ok(self.store.delete_identity(name).await?)
    }

    /// The key that session tokens are sealed with; made once, whoever comes first. None if it is under a former root
    /// key that is missing.
    pub(super) async fn session_key(&self, keys: Option<RootKeys>) -> Result<Option<SessionKey>, AdminError> {
        let sealed = match self.store.setting(Setting::SessionTokenKey).await? {
            Some(sealed) => sealed,
            None => {
                let fresh = self.backing_keys.random(SESSION_KEY_BYTES, self.deadline()).await.result?;
                let context = SESSION_KEY_CONTEXT.to_vec();
                let sealed = self.backing_keys.seal(fresh, context, self.deadline()).await.result?;
                self.store.set_once(Setting::SessionTokenKey, sealed).await?
            }
        };
        let (context, may_be_lost) = (SESSION_KEY_CONTEXT.to_vec(), is_under_former(keys, &sealed));
        let bytes = match self.backing_keys.unseal(sealed, context, self.deadline()).await.result {
            Err(HsmError::Unavailable(_)) if may_be_lost => return Ok(None),
            result => result?,
        };
        let key = SessionKey::new(&bytes);
        key.map(Some).ok_or_else(|| AdminError::Damaged("the session token key".to_owned()))
    }

    /// Puts what is sealed under the current root key: how many were, and the first that could not be, which keeps none
    /// of the others. What is changed meanwhile is under it already.
    pub(super) async fn reseal(&self, current: RootKeyId) -> Result<(usize, Option<AdminError>), AdminError> {
        let identities = self.store.identities().await?.into_iter().map(|IdentityRow { name, sealed }| {
            let context = context(&name);
            (SealedPlace::Identity(name), sealed, context)
        });
        let session_key = self.store.setting(Setting::SessionTokenKey).await?.map(|sealed| {
            (SealedPlace::Setting(Setting::SessionTokenKey), sealed, SESSION_KEY_CONTEXT.to_vec())
        });
        let (mut resealed, mut failure) = (0, None);
        for (place, sealed, context) in identities.chain(session_key) {
            match self.reseal_one(place, (sealed, context), current).await {
                Ok(count) => resealed += count,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Ok((resealed, failure))
    }

    async fn reseal_one(
        &self,
        place: SealedPlace,
        (before, context): (Vec<u8>, Vec<u8>),
        current: RootKeyId,
    ) -> Result<usize, AdminError> {
        if SealedParts::parse(&before).and_then(|parts| parts.root_key) == Some(current) {
            return Ok(0);
        }
        let after = self.backing_keys.reseal(before.clone(), context, self.deadline()).await.result?;
        match self.store.reseal(place, Resealed { before, after }).await {
            Ok(()) => Ok(1),
            Err(StoreError::Conflict) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn open<T: DeserializeOwned>(&self, name: &IdentityName, sealed: Vec<u8>) -> Result<T, AdminError> {
        let opened = self.backing_keys.unseal(sealed, context(name), self.deadline()).await.result?;
        serde_json::from_slice(opened.expose()).map_err(|_| damaged(name))
    }

    fn deadline(&self) -> Instant {
        let now = self.clock.instant();
        now.checked_add(HSM_TIMEOUT).unwrap_or(now)
    }
}

/// Whether it is under another root key than the current one.
fn is_under_former(keys: Option<RootKeys>, sealed: &[u8]) -> bool {
    let named = SealedParts::parse(sealed).and_then(|parts| parts.root_key);
    keys.is_some_and(|keys| keys.former.is_some() && named != Some(keys.current))
}

/// A row that is copied over another one does not open. No part of a name has a slash in it.
fn context(name: &IdentityName) -> Vec<u8> {
    format!("holdfast identity v1/{}/{}/{}", kind(name.kind), name.account, name.name).into_bytes()
}

fn damaged(name: &IdentityName) -> AdminError {
    AdminError::Damaged(format!("{} `{}` of account {}", kind(name.kind), name.name, name.account))
}

const fn kind(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::AccessKey => "access key",
        IdentityKind::Role => "role",
        IdentityKind::User => "user",
    }
}
