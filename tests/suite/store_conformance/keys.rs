//! Keys: revisions, limits, races, pages, and what is due.

use std::sync::Arc;

use holdfast::domain::kms::{Key, KeyId, KeyState, Material, UnixMillis};
use holdfast::store::{DueWork, StoreError};

use super::{
    AnyStore, alias, at_once, create_keys, deleted_at, grant, key, key_id, material, next_revision,
    rotated_at, scope, scope_of,
};

pub async fn a_key_is_created_read_replaced_and_deleted(store: AnyStore) {
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(None));
    store.create_key(Arc::new(key(1)), 10).await.unwrap();
    assert_eq!(store.create_key(Arc::new(key(1)), 10).await, Err(StoreError::AlreadyExists));
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(key(1))));
    store.create_alias(alias("b", 1), 10).await.unwrap();
    store.create_alias(alias("a", 1), 10).await.unwrap();
    let aliases = vec![alias("a", 1).name, alias("b", 1).name];
    let next = rotated_at(7, Key { description: "another".to_owned(), ..next_revision(&key(1)) });
    store.replace_key(Arc::new(next.clone())).await.unwrap();
    let next = Key { aliases, ..next };
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(next)));
    store.delete_key(&scope(), &key_id(1), 2).await.unwrap();
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(None));
    assert_eq!(store.alias(&scope(), &alias("a", 1).name).await, Ok(None));
}

pub async fn a_scope_sees_only_its_own_keys(store: AnyStore) {
    let elsewhere = [scope_of("123456789012", "us-east-1"), scope_of("999999999999", "eu-central-1")];
    store.create_key(Arc::new(key(1)), 1).await.unwrap();
    for scope in elsewhere {
        assert_eq!(store.key(&scope, &key_id(1)).await, Ok(None));
        assert_eq!(store.keys_page(&scope, None, 10).await, Ok(Vec::new()));
        assert_eq!(store.delete_key(&scope, &key_id(1), 1).await, Err(StoreError::Missing));
        // The id of a multi-Region key is the same in all its Regions.
        let replica = Key { scope: scope.clone(), ..key(1) };
        store.create_key(Arc::new(replica.clone()), 1).await.unwrap();
        assert_eq!(store.key(&scope, &key_id(1)).await, Ok(Some(replica)));
        store.delete_key(&scope, &key_id(1), 1).await.unwrap();
    }
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(key(1))));
}

pub async fn keys_are_limited_for_each_scope(store: AnyStore) {
    create_keys(&store, 0..3).await;
    assert_eq!(store.create_key(Arc::new(key(3)), 3).await, Err(StoreError::LimitExceeded));
    assert_eq!(store.key(&scope(), &key_id(3)).await, Ok(None));
    let elsewhere = Key { scope: scope_of("123456789012", "us-east-1"), ..key(3) };
    assert_eq!(store.create_key(Arc::new(elsewhere), 3).await, Ok(()));
    store.delete_key(&scope(), &key_id(0), 1).await.unwrap();
    assert_eq!(store.create_key(Arc::new(key(3)), 3).await, Ok(()));
    assert_eq!(store.create_key(Arc::new(key(4)), 3).await, Err(StoreError::LimitExceeded));
    store.clear_keys().await.unwrap();
    assert_eq!(store.create_key(Arc::new(key(4)), 1).await, Ok(()));
}

pub async fn an_older_revision_changes_nothing(store: AnyStore) {
    assert_eq!(store.replace_key(Arc::new(next_revision(&key(1)))).await, Err(StoreError::Missing));
    assert_eq!(store.delete_key(&scope(), &key_id(1), 1).await, Err(StoreError::Missing));
    create_keys(&store, 1..2).await;
    for revision in [0, 1, 3, u64::MAX] {
        let wrong = Key { revision, description: "wrong".to_owned(), ..key(1) };
        assert_eq!(store.replace_key(Arc::new(wrong)).await, Err(StoreError::Conflict), "{revision}");
    }
    for revision in [0, 2, u64::MAX] {
        let result = store.delete_key(&scope(), &key_id(1), revision).await;
        assert_eq!(result, Err(StoreError::Conflict), "{revision}");
    }
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(key(1))));
}

pub async fn of_many_who_replace_one_revision_one_does(store: AnyStore) {
    create_keys(&store, 1..2).await;
    for revision in 2..12 {
        let results = at_once(16, |number| {
            let next = Key { revision, description: number.to_string(), ..key(1) };
            let store = Arc::clone(&store);
            async move { store.replace_key(Arc::new(next)).await.map(|()| number) }
        })
        .await;
        let winners: Vec<_> = results.iter().flatten().collect();
        let losers = results.iter().filter(|result| **result == Err(StoreError::Conflict)).count();
        assert_eq!((winners.len(), losers), (1, 15), "{results:?}");
        let stored = store.key(&scope(), &key_id(1)).await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.description), (revision, winners[0].to_string()));
    }
}

pub async fn of_many_who_create_one_key_one_does(store: AnyStore) {
    let results = at_once(16, |_| {
        let store = Arc::clone(&store);
        async move { store.create_key(Arc::new(key(1)), 100).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| **result == Err(StoreError::AlreadyExists)).count(), 15);
    // Those that lost are not counted.
    assert_eq!(store.create_key(Arc::new(key(2)), 2).await, Ok(()));
    assert_eq!(store.create_key(Arc::new(key(3)), 2).await, Err(StoreError::LimitExceeded));
}

pub async fn the_limit_of_keys_holds_for_many_at_once(store: AnyStore) {
    let results = at_once(64, |number| {
        let store = Arc::clone(&store);
        async move { store.create_key(Arc::new(key(number)), 10).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
    assert_eq!(results.iter().filter(|result| **result == Err(StoreError::LimitExceeded)).count(), 54);
    assert_eq!(store.keys_page(&scope(), None, 100).await.unwrap().len(), 10);
}

pub async fn materials_are_added_kept_and_taken_away(store: AnyStore) {
    create_keys(&store, 1..2).await;
    let mut key = key(1);
    let lists: [&[u8]; 5] = [&[1, 2], &[1, 2, 3], &[3], &[], &[4, 1]];
    for list in lists {
        let materials: Vec<Material> = list.iter().map(|number| material(*number)).collect();
        key = Key { materials, ..next_revision(&key) };
        store.replace_key(Arc::new(key.clone())).await.unwrap();
        assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(Some(key.clone())));
    }
}

pub async fn keys_are_paged_in_their_order(store: AnyStore) {
    create_keys(&store, 0..25).await;
    let elsewhere = Key { scope: scope_of("123456789012", "us-east-1"), ..key(99) };
    store.create_key(Arc::new(elsewhere), 100).await.unwrap();
    let multi_region = Key { id: KeyId::from_random([1; 16], true), ..key(0) };
    store.create_key(Arc::new(multi_region.clone()), 100).await.unwrap();
    let mut walked: Vec<KeyId> = Vec::new();
    loop {
        let page = store.keys_page(&scope(), walked.last(), 10).await.unwrap();
        assert!(page.len() <= 10);
        if page.is_empty() {
            break;
        }
        walked.extend(page);
    }
    let mut expected: Vec<_> = (0..25).map(key_id).chain([multi_region.id]).collect();
    expected.sort();
    assert_eq!(walked, expected);
    // A key that is gone is still a place to go on from.
    store.delete_key(&scope(), &key_id(9), 1).await.unwrap();
    assert_eq!(store.keys_page(&scope(), Some(&key_id(9)), 1).await.unwrap(), [key_id(10)]);
    assert_eq!(store.keys_page(&scope(), None, 0).await.unwrap(), []);
}

pub async fn what_is_due_comes_the_longest_due_first(store: AnyStore) {
    assert_eq!(store.next_due().await, Ok(None));
    let elsewhere = Key { scope: scope_of("123456789012", "us-east-1"), ..key(7) };
    let keys = [
        deleted_at(30, key(1)),
        deleted_at(-10, key(2)),
        deleted_at(20, elsewhere.clone()),
        rotated_at(15, key(3)),
        rotated_at(5, key(4)),
        // What is not enabled is not rotated.
        Key { state: KeyState::Disabled, ..rotated_at(1, key(5)) },
        rotated_at(1, deleted_at(40, key(6))),
        key(8),
    ];
    for key in keys {
        store.create_key(Arc::new(key), 100).await.unwrap();
    }
    let due = async |work, now, limit| {
        let due = store.due(work, UnixMillis(now), limit).await.unwrap();
        due.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(due(DueWork::Deletion, -11, 10).await, []);
    assert_eq!(due(DueWork::Deletion, 30, 10).await, [key_id(2), key_id(7), key_id(1)]);
    assert_eq!(due(DueWork::Deletion, 30, 2).await, [key_id(2), key_id(7)]);
    assert_eq!(due(DueWork::Rotation, 14, 10).await, [key_id(4)]);
    assert_eq!(due(DueWork::Rotation, 15, 10).await, [key_id(4), key_id(3)]);
    let second = store.due(DueWork::Deletion, UnixMillis(20), 10).await.unwrap().remove(1);
    assert_eq!(second, (elsewhere.scope, key_id(7)));
    assert_eq!(store.next_due().await, Ok(Some(UnixMillis(-10))));
    store.delete_key(&scope(), &key_id(2), 1).await.unwrap();
    assert_eq!(store.next_due().await, Ok(Some(UnixMillis(5))));
    store.replace_key(Arc::new(next_revision(&key(4)))).await.unwrap();
    assert_eq!(store.next_due().await, Ok(Some(UnixMillis(15))));
}

pub async fn a_write_that_was_acknowledged_is_seen_by_every_read_after_it(store: AnyStore) {
    let seen = at_once(32, |number| {
        let store = Arc::clone(&store);
        async move {
            store.create_key(Arc::new(key(number)), 100).await.unwrap();
            store.create_grant(grant(number, number), 10).await.unwrap();
            let key = store.key(&scope(), &key_id(number)).await.unwrap();
            let grant = store.grant(&scope(), &key_id(number), &grant(number, number).id).await.unwrap();
            key.is_some() && grant.is_some()
        }
    })
    .await;
    assert_eq!(seen, [true; 32]);
}
