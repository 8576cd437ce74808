//! What a call touches, and what it says to the audit trail before it changes anything.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::attestation::Attestation;
use crate::audit::Record;
use crate::domain::kms::{
    AccountId, CustomKeyStoreId, GrantId, Key, KeyAction, KeyPlace, KeySpec, KeyUsage, Material, Origin,
    Region,
};
use crate::gate::kms::key_cache::CachedKey;
use crate::gate::kms::known_key_stores::KnownKeyStore;
use crate::gate::kms::{Call, Refused};
use crate::json::{Object, push_array};
use crate::key_manager::cluster::ClusterKey;

/// Who writes the record of a call.
pub trait Witness: Sync {
    /// Where the gate notes what the call touched.
    fn touched(&self) -> &Touched;

    /// The record as far as it is known.
    fn intent(&self) -> Record;
}

/// What a call touched so far.
#[derive(Default)]
pub struct Touched(Mutex<Things>);

#[derive(Default)]
pub struct Things {
    /// Of ReEncrypt the source.
    pub key: Option<TouchedKey>,
    /// Of ReEncrypt.
    pub destination: Option<TouchedKey>,
    pub alias: Option<TouchedAlias>,
    pub key_store: Option<TouchedKeyStore>,
    /// Key objects in a cluster.
    pub backing_keys: Vec<ClusterKey>,
    pub grant: Option<GrantId>,
    /// Whom the answer is sealed for.
    pub recipient: Option<Arc<Attestation>>,
    /// What was done in another Region.
    pub second_half: Option<SecondHalf>,
}

/// The key of a call that KMS passes on to another Region, where it has a record of its own.
pub struct SecondHalf {
    pub region: Region,
    pub arn: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
}

/// A key, known before or just made.
pub enum TouchedKey {
    Known(KnownKey),
    Made { account: AccountId, place: KeyPlace, arn: String },
}

pub struct KnownKey(Arc<CachedKey>);

pub struct TouchedAlias {
    pub account: AccountId,
    pub arn: String,
}

pub struct TouchedKeyStore(Arc<KnownKeyStore>);

/// Proof that the audit trail knows what is about to be changed: nothing changes the store without one.
pub(super) struct Announced(());

impl Announced {
    /// A connection that is made or ended: the call that asked for it was recorded.
    pub(super) const fn when_asked_for() -> Self {
        Self(())
    }

    /// See [`crate::gate::kms::service_event`].
    pub(super) const fn as_service_event() -> Self {
        Self(())
    }
}

impl Touched {
    pub fn things(&self) -> MutexGuard<'_, Things> {
        self.0.lock()
    }

    /// Of an alias that moves, only the key that it moves to.
    pub(super) fn note_key(&self, action: KeyAction, key: &Arc<CachedKey>) {
        let known = Some(TouchedKey::Known(KnownKey(Arc::clone(key))));
        if action == KeyAction::ReEncryptTo {
            self.things().destination = known;
        } else if action != KeyAction::UpdateAliasFrom {
            self.things().key = known;
        }
    }

    /// A key that is going to be made.
    pub(super) fn note_made(&self, key: &Key) {
        let (account, place) = (key.scope.account.clone(), key.place.clone());
        self.things().key = Some(TouchedKey::Made { account, place, arn: key.arn() });
    }

    /// It was not made.
    pub(super) fn forget_made(&self) {
        self.things().key = None;
    }

    pub(super) fn note_alias(&self, account: &AccountId, arn: &str) {
        self.things().alias = Some(TouchedAlias { account: account.clone(), arn: arn.to_owned() });
    }

    pub(super) fn note_key_store(&self, known: &Arc<KnownKeyStore>) {
        self.things().key_store = Some(TouchedKeyStore(Arc::clone(known)));
    }

    pub(super) fn note_backing_key(&self, key: ClusterKey) {
        self.things().backing_keys = vec![key];
    }

    pub(super) fn note_second_half(&self, half: SecondHalf) {
        self.things().second_half = Some(half);
    }

    pub(super) fn note_grant(&self, id: &GrantId) {
        self.things().grant = Some(id.clone());
    }

    pub(super) fn note_recipient(&self, attestation: &Arc<Attestation>) {
        self.things().recipient = Some(Arc::clone(attestation));
    }
}

impl SecondHalf {
    pub(super) fn of(key: &Key) -> Self {
        let (region, arn) = (key.scope.region.clone(), key.arn());
        Self { region, arn, spec: key.spec, usage: key.usage, origin: key.origin }
    }
}

impl TouchedKey {
    pub fn arn(&self) -> &str {
        match self {
            Self::Known(known) => &known.0.arn,
            Self::Made { arn, .. } => arn,
        }
    }

    pub fn account(&self) -> &AccountId {
        match self {
            Self::Known(known) => &known.0.key.scope.account,
            Self::Made { account, .. } => account,
        }
    }

    /// Whether the software provider computes with it.
    pub fn is_software(&self) -> bool {
        match self {
            Self::Known(known) => known.0.key.current_material().is_some_and(Material::is_software),
            Self::Made { .. } => false,
        }
    }

    pub fn place(&self) -> &KeyPlace {
        match self {
            Self::Known(known) => &known.0.key.place,
            Self::Made { place, .. } => place,
        }
    }
}

impl TouchedKeyStore {
    pub fn id(&self) -> &CustomKeyStoreId {
        &self.0.store.id
    }

    pub fn name(&self) -> &str {
        &self.0.store.name
    }

    pub fn cluster_id(&self) -> Option<&str> {
        self.0.cluster_id()
    }
}

impl Call<'_> {
    /// The one thing before anything is changed. A call that is tried again says it once.
    pub(super) async fn announce(&self) -> Result<Announced, Refused> {
        let intend = || self.kms.audit.intend(self.witness().intent());
        self.announced.get_or_try_init(intend).await.map_err(|unkept| Refused::Unkept(unkept.clone()))?;
        Ok(Announced(()))
    }
}

/// `{"keyHandle":"…","backingKeyId":"…"}`, as JSON text in a record of a key in a cluster.
pub fn backing_key_text(key: &ClusterKey) -> String {
    text(|out| write_backing_key(out, key))
}

pub fn backing_keys_text(keys: &[ClusterKey]) -> String {
    text(|out| push_array(out, keys, write_backing_key))
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn write_backing_key(out: &mut Vec<u8>, key: &ClusterKey) {
    let mut object = Object::begin(out);
    object.text("keyHandle", &key.key_handle);
    object.text("backingKeyId", &key.backing_key_id);
    object.end();
}
