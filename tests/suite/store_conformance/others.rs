//! Usage, identities, settings, and clearing.

use std::sync::Arc;

use holdfast::domain::kms::{
    AccountId, Key, LifecycleEvent, LifecycleEventKind, MaterialId, UnixMillis, Uuid,
};
use holdfast::store::{IdentityKind, IdentityName, IdentityRow, LastUsage, Setting, StoreError, UsageRecord};

use super::{AnyStore, alias, at_once, create_keys, grant, key, key_id, material, next_revision, scope};

fn usage(number: u32, at: i64, encryptions: &[(u8, u64)]) -> UsageRecord {
    let request_id = format!("request-{at}");
    let last = LastUsage { operation: "Encrypt".to_owned(), at: UnixMillis(at), request_id };
    let encryptions = encryptions.iter().map(|(id, count)| (MaterialId::new([*id; 32]), *count)).collect();
    UsageRecord { scope: scope(), key_id: key_id(number), last, encryptions }
}

async fn encryptions(store: &AnyStore, number: u32) -> Vec<u64> {
    let key = store.key(&scope(), &key_id(number)).await.unwrap().unwrap();
    key.materials.iter().map(|material| material.encryptions).collect()
}

fn event(number: u8, kind: LifecycleEventKind) -> LifecycleEvent {
    let id = Uuid::from_random([number; 16]);
    LifecycleEvent { id, kind, scope: scope(), key_id: key_id(1), at: UnixMillis(i64::from(number)) }
}

pub async fn lifecycle_events_are_there_with_what_they_tell_of_until_they_were_told(store: AnyStore) {
    create_keys(&store, 1..3).await;
    let next = Arc::new(next_revision(&key(1)));
    let (rotation, deletion) =
        (event(1, LifecycleEventKind::Rotation), event(2, LifecycleEventKind::Deletion));
    let again = store.replace_key_with_event(Arc::clone(&next), rotation.clone());
    assert_eq!(again.await, Ok(0));
    assert_eq!(
        store.replace_key_with_event(next, event(3, LifecycleEventKind::Rotation)).await,
        Err(StoreError::Conflict)
    );
    let stale = store.delete_key_with_event(&scope(), &key_id(1), 1, deletion.clone()).await;
    assert_eq!(stale, Err(StoreError::Conflict));
    store.delete_key_with_event(&scope(), &key_id(1), 2, deletion.clone()).await.unwrap();
    let outbox = store.lifecycle_events(10).await.unwrap();
    let events: Vec<_> = outbox.entries.iter().map(|entry| entry.event.clone()).collect();
    assert_eq!(events, [rotation.clone(), deletion.clone()]);
    let waiting = |kind| outbox.waiting.iter().find(|(other, _)| *other == kind).unwrap().1;
    assert_eq!((waiting(LifecycleEventKind::Rotation), waiting(LifecycleEventKind::Deletion)), (1, 1));
    assert_eq!(store.lifecycle_events(1).await.unwrap().entries, outbox.entries[..1]);
    store.remove_lifecycle_event(outbox.entries[0].number).await.unwrap();
    store.remove_lifecycle_event(outbox.entries[0].number).await.unwrap();
    assert_eq!(store.lifecycle_events(10).await.unwrap().entries, outbox.entries[1..]);
}

pub async fn usage_is_written_down_and_counts_add_up(store: AnyStore) {
    let two = Key { materials: vec![material(1), material(2)], ..key(1) };
    store.create_key(Arc::new(two), 10).await.unwrap();
    create_keys(&store, 2..3).await;
    assert_eq!(store.last_usage(&scope(), &key_id(1)).await, Ok(None));
    // Key 9 and material 9 are gone.
    let usages = vec![usage(9, 5, &[(1, 1)]), usage(1, 5, &[(1, 3), (9, 1), (2, 4)]), usage(2, 6, &[])];
    store.record_usage(usages).await.unwrap();
    store.record_usage(vec![usage(1, 7, &[(2, 10)])]).await.unwrap();
    store.record_usage(vec![usage(1, 6, &[(2, 100)])]).await.unwrap();
    store.record_usage(Vec::new()).await.unwrap();
    assert_eq!(store.last_usage(&scope(), &key_id(1)).await, Ok(Some(usage(1, 7, &[]).last)));
    assert_eq!(store.last_usage(&scope(), &key_id(9)).await, Ok(None));
    assert_eq!(encryptions(&store, 1).await, [3, 114]);
    assert_eq!(encryptions(&store, 2).await, [0]);
    // Usage is not a change of the key.
    assert_eq!(store.key(&scope(), &key_id(1)).await.unwrap().unwrap().revision, 1);
    store.record_usage(vec![usage(2, 8, &[(1, u64::MAX)]), usage(2, 8, &[(1, 1)])]).await.unwrap();
    assert!(encryptions(&store, 2).await[0] >= i64::MAX.unsigned_abs());
}

pub async fn a_change_of_a_key_keeps_what_was_counted_meanwhile(store: AnyStore) {
    create_keys(&store, 1..2).await;
    store.record_usage(vec![usage(1, 5, &[(1, 3)])]).await.unwrap();
    let rotated = Key { materials: vec![material(1), material(2)], ..next_revision(&key(1)) };
    store.replace_key(Arc::new(rotated)).await.unwrap();
    assert_eq!(encryptions(&store, 1).await, [3, 0]);
    assert!(store.last_usage(&scope(), &key_id(1)).await.unwrap().is_some());
}

fn identity(kind: IdentityKind, name: &str, sealed: u8) -> IdentityRow {
    let account = AccountId::parse("123456789012").unwrap();
    IdentityRow { name: IdentityName { account, kind, name: name.to_owned() }, sealed: vec![sealed; 100] }
}

pub async fn identities_are_put_replaced_and_deleted(store: AnyStore) {
    assert_eq!(store.identities().await, Ok(Vec::new()));
    let kinds = [IdentityKind::AccessKey, IdentityKind::Role, IdentityKind::User];
    for kind in kinds {
        store.put_identity(identity(kind, "same name", 1)).await.unwrap();
    }
    store.put_identity(identity(IdentityKind::Role, "same name", 2)).await.unwrap();
    let sealed = [1, 2, 1];
    let expected: Vec<_> =
        kinds.into_iter().zip(sealed).map(|(kind, sealed)| identity(kind, "same name", sealed)).collect();
    assert_eq!(store.identities().await, Ok(expected.clone()));
    store.delete_identity(&expected[1].name).await.unwrap();
    assert_eq!(store.delete_identity(&expected[1].name).await, Err(StoreError::Missing));
    assert_eq!(store.identities().await, Ok(vec![expected[0].clone(), expected[2].clone()]));
}

pub async fn a_setting_is_set_once(store: AnyStore) {
    let settings =
        [Setting::RootKeyCheck, Setting::RootKeyId, Setting::SessionTokenKey, Setting::UsageTrackingStart];
    for (value, setting) in (0..).zip(settings) {
        assert_eq!(store.setting(setting).await, Ok(None));
        assert_eq!(store.set_once(setting, vec![value]).await, Ok(vec![value]));
        assert_eq!(store.set_once(setting, vec![99]).await, Ok(vec![value]));
        assert_eq!(store.setting(setting).await, Ok(Some(vec![value])));
    }
    store.set_once(Setting::RootKeyId, Vec::new()).await.unwrap();
    let all = at_once(8, |number| {
        let store = Arc::clone(&store);
        async move { store.set_once(Setting::RootKeyId, number.to_be_bytes().to_vec()).await.unwrap() }
    })
    .await;
    assert_eq!(all, vec![vec![1]; 8]);
    // What may change does.
    for value in [1, 2] {
        store.set(Setting::TrailEnd, vec![value]).await.unwrap();
        assert_eq!(store.setting(Setting::TrailEnd).await, Ok(Some(vec![value])));
    }
    assert_eq!(store.setting(Setting::TrailKey).await, Ok(None));
}

pub async fn clearing_takes_the_keys_and_leaves_identities_and_settings(store: AnyStore) {
    create_keys(&store, 1..4).await;
    store.create_alias(alias("a", 1), 10).await.unwrap();
    store.create_grant(grant(1, 1), 10).await.unwrap();
    store.record_usage(vec![usage(1, 5, &[(1, 3)])]).await.unwrap();
    let role = identity(IdentityKind::Role, "role", 1);
    store.put_identity(role.clone()).await.unwrap();
    store.set_once(Setting::RootKeyId, vec![7]).await.unwrap();
    store.clear_keys().await.unwrap();
    assert_eq!(store.keys_page(&scope(), None, 10).await, Ok(Vec::new()));
    assert_eq!(store.alias(&scope(), &alias("a", 1).name).await, Ok(None));
    assert_eq!(store.identities().await, Ok(vec![role]));
    assert_eq!(store.setting(Setting::RootKeyId).await, Ok(Some(vec![7])));
    create_keys(&store, 1..2).await;
    assert_eq!(store.grant(&scope(), &key_id(1), &grant(1, 1).id).await, Ok(None));
    assert_eq!(store.last_usage(&scope(), &key_id(1)).await, Ok(None));
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(key(1))));
}
