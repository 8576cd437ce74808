//! Multi-Region keys: replicas made, another key made the primary, and what is shared kept the same in all Regions.

use std::sync::Arc;

use crate::audit::Record;
use crate::domain::kms::{
    Key, KeyState, LifecycleEvent, MultiRegionKeyType, NewReplica, Origin, RELATED_KEYS_MAX, Region,
    RelatedKeys, StateRefusal,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::service_event::ServiceAct;
use crate::gate::kms::witness::{Announced, SecondHalf};
use crate::gate::kms::{Call, Kms, OpenKey, Refused, Request, Touched, Witness};
use crate::identity::kms::Caller;
use crate::store::StoreError;

/// Why related keys do not become what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiRegionRefused {
    /// A related key is there already.
    AlreadyThere { arn: String },
    /// The key is not the primary.
    NotPrimary { arn: String },
    /// The key is not a replica.
    NotReplica { arn: String },
    /// Keys are replicated within a partition of AWS.
    OtherPartition { region: Region },
    /// In as many Regions as there can be related keys.
    TooMany { arn: String },
}

/// A replica that was made, and all keys that it is related to.
pub struct Replicated {
    pub replica: Arc<Key>,
    pub related: RelatedKeys,
}

/// The caller, in another Region than the one that was called: what it touches there is not of the record of the call.
pub struct Elsewhere<'a> {
    caller: Caller,
    witness: &'a dyn Witness,
    touched: Touched,
}

impl<'a> Call<'a> {
    /// For what of a call is done in another Region.
    pub fn elsewhere(&self, region: Region) -> Elsewhere<'a> {
        let caller = Caller { region, ..self.caller().clone() };
        Elsewhere { caller, witness: self.witness(), touched: Touched::default() }
    }
}

impl Elsewhere<'_> {
    /// As if the caller had called that Region.
    pub fn call<'c>(&'c self, call: &'c Call<'_>) -> Call<'c> {
        let request = Request {
            caller: &self.caller,
            facts: *call.facts(),
            id: call.id(),
            deadline: call.deadline(),
            witness: self,
        };
        Call::new(call.kms, request)
    }
}

impl Witness for Elsewhere<'_> {
    fn touched(&self) -> &Touched {
        &self.touched
    }

    fn intent(&self) -> Record {
        self.witness.intent()
    }
}

impl OpenKey<'_> {
    /// The key and all that are related to it, as they are now; none of a key of one Region.
    pub async fn related(&self) -> Result<RelatedKeys, Refused> {
        self.call().kms.related(self.key()).await
    }

    /// Makes a replica of this primary key.
    pub async fn replicate(&self, new: NewReplica) -> Result<Replicated, Refused> {
        let (kms, primary) = (self.call().kms, self.key());
        if new.region.partition() != primary.scope.region.partition() {
            return Err(MultiRegionRefused::OtherPartition { region: new.region }.into());
        }
        let related = kms.related(primary).await?;
        if let Some(there) = related.in_region(&new.region) {
            return Err(MultiRegionRefused::AlreadyThere { arn: there.arn() }.into());
        }
        if related.len() >= RELATED_KEYS_MAX {
            return Err(MultiRegionRefused::TooMany { arn: primary.arn() }.into());
        }
        let replica = Arc::new(primary.replica(new));
        let changes = kms.changes(self.call().announce().await?);
        let next = Arc::new(next_revision(primary.clone()));
        to_the_end(changes.create_replica(Arc::clone(&replica), next, kms.quotas.keys)).await?;
        self.call().touched().note_second_half(SecondHalf::of(&replica));
        kms.note_synchronization(primary);
        Ok(Replicated { related: related.and(Key::clone(&replica)), replica })
    }

    /// Makes a replica of this primary key the primary.
    pub async fn hand_over_to(&self, replica: &OpenKey<'_>) -> Result<(), Refused> {
        if self.key().is_replica() {
            return Err(MultiRegionRefused::NotPrimary { arn: self.arn().to_owned() }.into());
        }
        if !replica.key().is_replica() {
            return Err(MultiRegionRefused::NotReplica { arn: replica.arn().to_owned() }.into());
        }
        let kms = self.call().kms;
        let of_type = |key: &Key, kind| Key { multi_region: Some(kind), ..next_revision(key.clone()) };
        let next = [
            of_type(self.key(), MultiRegionKeyType::Replica),
            of_type(replica.key(), MultiRegionKeyType::Primary),
        ];
        let changes = kms.changes(self.call().announce().await?);
        to_the_end(changes.replace_keys(next.map(Arc::new).into(), None)).await?;
        self.call().touched().note_second_half(SecondHalf::of(replica.key()));
        kms.note_synchronization(replica.key());
        Ok(())
    }
}

impl Kms {
    pub(super) async fn related(&self, key: &Key) -> Result<RelatedKeys, Refused> {
        if key.multi_region.is_none() {
            return Ok(RelatedKeys::default());
        }
        Ok(RelatedKeys::new(self.store.related_keys(&key.scope.account, &key.id).await?))
    }

    /// The replicas that have to change with their primary key, because of what they share.
    pub(super) async fn followers(&self, before: &Key, next: &Key) -> Result<Vec<Key>, Refused> {
        let is_shared = before.rotation != next.rotation || before.materials != next.materials;
        if before.multi_region != Some(MultiRegionKeyType::Primary) || !is_shared {
            return Ok(Vec::new());
        }
        let related = self.related(before).await?;
        refuse_unless_everywhere(&related, before, next)?;
        Ok(related.following(next))
    }

    /// Makes a primary key and those that follow it the next revisions.
    pub(super) async fn replace_with_followers(
        &self,
        (key, followers): (Key, Vec<Key>),
        announced: Announced,
        event: Option<LifecycleEvent>,
    ) -> Result<(Arc<Key>, u64), Refused> {
        let key = Arc::new(next_revision(key));
        let followers = followers.into_iter().map(|follower| Arc::new(next_revision(follower)));
        let keys = std::iter::once(Arc::clone(&key)).chain(followers).collect();
        let forgotten = to_the_end(self.changes(announced).replace_keys(keys, event)).await?;
        self.note_synchronization(&key);
        Ok((key, forgotten))
    }

    /// Shared properties of this primary key were copied. That they would be is known to the trail by what they were
    /// changed for.
    fn note_synchronization(&self, primary: &Key) {
        // Without random bytes for its ids there is no record; what was done is not undone for that.
        if let Ok(event) = self.service_event(ServiceAct::Synchronize, primary) {
            event.end(&Ok(()));
        }
    }

    /// Deletes a replica. When it was the last one of a primary key that is to be deleted, the waiting period of that
    /// begins; whether it did.
    pub(super) async fn delete_replica(
        &self,
        replica: Key,
        announced: Announced,
        event: Option<LifecycleEvent>,
    ) -> Result<bool, Refused> {
        let related = self.related(&replica).await?;
        let primary = related.primary().ok_or(StoreError::Missing)?;
        let is_last = related.replicas().all(|other| other.scope == replica.scope);
        let begins = is_last && primary.state == KeyState::PendingReplicaDeletion;
        let mut next = next_revision(primary.clone());
        if let (Some(deletion), true) = (primary.deletion, begins) {
            next.state = KeyState::PendingDeletion;
            next.deletion = Some(deletion.begun_at(self.now()));
        }
        let changes = self.changes(announced);
        to_the_end(changes.delete_replica(replica, Arc::new(next), event)).await?;
        Ok(begins)
    }

    /// Whether no other key has the material of this one, which is gone.
    pub(super) async fn was_last(&self, key: &Key) -> Result<bool, Refused> {
        Ok(self.related(key).await?.is_empty())
    }
}

/// AWS KMS Developer Guide, Rotating multi-Region keys: new material encrypts only when it is in every Region. Material
/// that is made here is there in the same transaction; what is imported has to be imported everywhere before.
fn refuse_unless_everywhere(related: &RelatedKeys, before: &Key, next: &Key) -> Result<(), Refused> {
    let id = |key: &Key| key.current_material().map(|material| material.id);
    let (Some(current), true) = (id(next), next.origin == Origin::External) else { return Ok(()) };
    if id(before).is_none_or(|before| before == current) {
        return Ok(());
    }
    match related.lacking(&current) {
        None => Ok(()),
        Some(key) => {
            Err(Refused::State { arn: key.arn(), refusal: StateRefusal::State(KeyState::PendingImport) })
        }
    }
}

pub(super) fn next_revision(key: Key) -> Key {
    Key { revision: key.revision + 1, ..key }
}

impl From<MultiRegionRefused> for Refused {
    fn from(refused: MultiRegionRefused) -> Self {
        Self::MultiRegion(refused)
    }
}
