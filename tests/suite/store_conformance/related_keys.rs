//! Related multi-Region keys: several that change in one transaction, or none of them.

use std::sync::Arc;

use holdfast::domain::kms::{
    AccountId, Deletion, Key, KeyId, KeyState, LifecycleEvent, LifecycleEventKind, MultiRegionKeyType,
    UnixMillis, Uuid,
};
use holdfast::store::{LastUsage, StoreError, UsageRecord};

use super::{AnyStore, at_once, key, material, next_revision, scope_of};

const ACCOUNT: &str = "123456789012";

fn id() -> KeyId {
    KeyId::from_random([7; 16], true)
}

fn of(region: &str, kind: MultiRegionKeyType) -> Key {
    Key { scope: scope_of(ACCOUNT, region), id: id(), multi_region: Some(kind), ..key(1) }
}

fn primary() -> Key {
    of("us-east-1", MultiRegionKeyType::Primary)
}

fn replica(region: &str) -> Key {
    of(region, MultiRegionKeyType::Replica)
}

fn event(key: &Key, kind: LifecycleEventKind) -> LifecycleEvent {
    LifecycleEvent {
        id: Uuid::from_random([3; 16]),
        kind,
        scope: key.scope.clone(),
        key_id: key.id.clone(),
        at: UnixMillis(9),
    }
}

async fn related(store: &AnyStore) -> Vec<Key> {
    store.related_keys(&AccountId::parse(ACCOUNT).unwrap(), &id()).await.unwrap()
}

/// A primary of revision 3, with replicas in two Regions.
async fn with_replicas(store: &AnyStore) -> [Key; 3] {
    let [first, second] = [replica("eu-west-1"), replica("ap-south-1")];
    store.create_key(Arc::new(primary()), 10).await.unwrap();
    let mut next = primary();
    for replica in [&first, &second] {
        next = next_revision(&next);
        store.create_replica(Arc::new(replica.clone()), Arc::new(next.clone()), 10).await.unwrap();
    }
    [next, first, second]
}

pub async fn related_keys_are_those_of_an_account_with_the_same_id(store: AnyStore) {
    assert_eq!(related(&store).await, []);
    let [primary, first, second] = with_replicas(&store).await;
    let elsewhere = Key { scope: scope_of("999999999999", "eu-west-1"), ..first.clone() };
    store.create_key(Arc::new(elsewhere), 10).await.unwrap();
    store.create_key(Arc::new(key(1)), 10).await.unwrap();
    assert_eq!(related(&store).await, [second, first, primary]);
    assert_eq!(store.related_keys(&AccountId::parse(ACCOUNT).unwrap(), &key(1).id).await, Ok(Vec::new()));
}

pub async fn a_replica_is_made_once_in_a_region_and_only_of_the_primary_as_it_is(store: AnyStore) {
    let [primary, first, _] = with_replicas(&store).await;
    let next = next_revision(&primary);
    let again = store.create_replica(Arc::new(first.clone()), Arc::new(next.clone()), 10).await;
    assert_eq!(again, Err(StoreError::AlreadyExists));
    let new = replica("eu-north-1");
    let too_many = store.create_replica(Arc::new(new.clone()), Arc::new(next), 0).await;
    assert_eq!(too_many, Err(StoreError::LimitExceeded));
    let outdated = store.create_replica(Arc::new(new), Arc::new(primary.clone()), 10).await;
    assert_eq!(outdated, Err(StoreError::Conflict));
    assert_eq!(related(&store).await.len(), 3);
    assert_eq!(store.key(&primary.scope, &primary.id).await, Ok(Some(primary)));
}

pub async fn encryptions_with_shared_material_count_for_every_related_key(store: AnyStore) {
    store.create_key(Arc::new(primary()), 10).await.unwrap();
    let used = |key: &Key| UsageRecord {
        scope: key.scope.clone(),
        key_id: key.id.clone(),
        last: LastUsage { operation: "Encrypt".to_owned(), at: UnixMillis(1), request_id: "r".to_owned() },
        encryptions: vec![(material(1).id, 5)],
    };
    store.record_usage(vec![used(&primary())]).await.unwrap();
    let first = replica("eu-west-1");
    // What was read before the count was written.
    let next = next_revision(&primary());
    store.create_replica(Arc::new(first.clone()), Arc::new(next), 10).await.unwrap();
    store.record_usage(vec![used(&first)]).await.unwrap();
    let counts: Vec<_> = related(&store).await.iter().map(|key| key.materials[0].encryptions).collect();
    assert_eq!(counts, [10, 10]);
}

pub async fn several_keys_are_replaced_or_none(store: AnyStore) {
    let [primary, first, second] = with_replicas(&store).await;
    let renamed = |key: &Key| Arc::new(Key { description: "new".to_owned(), ..next_revision(key) });
    let outdated = Arc::new(Key { description: "new".to_owned(), ..second.clone() });
    let rotation = event(&primary, LifecycleEventKind::Rotation);
    let some_old = vec![renamed(&primary), renamed(&first), outdated];
    assert_eq!(store.replace_keys(some_old, Some(rotation.clone())).await, Err(StoreError::Conflict));
    assert_eq!(related(&store).await, [second.clone(), first.clone(), primary.clone()]);
    assert_eq!(store.lifecycle_events(10).await.unwrap().entries, []);
    let all = [&second, &first, &primary].map(renamed);
    assert_eq!(store.replace_keys(all.to_vec(), Some(rotation.clone())).await, Ok(0));
    assert_eq!(related(&store).await, all.map(|key| Key::clone(&key)));
    assert_eq!(store.lifecycle_events(10).await.unwrap().entries[0].event, rotation);
}

pub async fn a_replica_is_deleted_with_the_change_of_its_primary(store: AnyStore) {
    let [primary, first, second] = with_replicas(&store).await;
    let waiting = Deletion { due: None, window_days: 7 };
    let pending =
        Key { state: KeyState::PendingReplicaDeletion, deletion: Some(waiting), ..next_revision(&primary) };
    let deletion = Some(event(&first, LifecycleEventKind::Deletion));
    let outdated = store.delete_replica(Arc::new(first.clone()), Arc::new(primary), deletion.clone()).await;
    assert_eq!(outdated, Err(StoreError::Conflict));
    let other_revision = Arc::new(next_revision(&first));
    let changed = store.delete_replica(other_revision, Arc::new(pending.clone()), deletion.clone()).await;
    assert_eq!(changed, Err(StoreError::Conflict));
    assert_eq!(related(&store).await.len(), 3);
    assert_eq!(store.lifecycle_events(10).await.unwrap().entries, []);
    store.delete_replica(Arc::new(first), Arc::new(pending.clone()), deletion).await.unwrap();
    assert_eq!(related(&store).await, [second, pending]);
    assert_eq!(store.lifecycle_events(10).await.unwrap().entries.len(), 1);
}

pub async fn of_many_who_replicate_a_key_into_a_region_one_does(store: AnyStore) {
    store.create_key(Arc::new(primary()), 10).await.unwrap();
    let results = at_once(16, |_| {
        let store = Arc::clone(&store);
        async move {
            let next = Arc::new(next_revision(&primary()));
            store.create_replica(Arc::new(replica("eu-west-1")), next, 10).await
        }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| **result == Err(StoreError::Conflict)).count(), 15);
    assert_eq!(related(&store).await.len(), 2);
}
