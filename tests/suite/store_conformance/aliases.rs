//! Aliases: names, targets, limits and races.

use std::sync::Arc;

use holdfast::domain::kms::{Alias, AliasName, Key, UnixMillis};
use holdfast::store::StoreError;

use super::{AnyStore, alias, alias_name, at_once, create_keys, key, key_id, scope, scope_of};

pub async fn an_alias_is_created_read_and_deleted(store: AnyStore) {
    assert_eq!(store.create_alias(alias("a", 1), 10).await, Err(StoreError::Missing));
    create_keys(&store, 1..2).await;
    store.create_alias(alias("a", 1), 10).await.unwrap();
    assert_eq!(store.alias(&scope(), &alias_name("a")).await, Ok(Some(alias("a", 1))));
    assert_eq!(store.alias(&scope_of("123456789012", "us-east-1"), &alias_name("a")).await, Ok(None));
    store.delete_alias(&scope(), &alias_name("a")).await.unwrap();
    assert_eq!(store.alias(&scope(), &alias_name("a")).await, Ok(None));
    assert_eq!(store.delete_alias(&scope(), &alias_name("a")).await, Err(StoreError::Missing));
}

pub async fn aliases_are_unique_in_their_scope_and_limited_for_a_key(store: AnyStore) {
    create_keys(&store, 1..3).await;
    store.create_alias(alias("a", 1), 2).await.unwrap();
    assert_eq!(store.create_alias(alias("a", 2), 2).await, Err(StoreError::AlreadyExists));
    let elsewhere = scope_of("123456789012", "us-east-1");
    store.create_key(Arc::new(Key { scope: elsewhere.clone(), ..key(1) }), 10).await.unwrap();
    assert_eq!(store.create_alias(Alias { scope: elsewhere, ..alias("a", 1) }, 2).await, Ok(()));
    store.create_alias(alias("b", 1), 2).await.unwrap();
    assert_eq!(store.create_alias(alias("c", 1), 2).await, Err(StoreError::LimitExceeded));
    assert_eq!(store.alias(&scope(), &alias_name("c")).await, Ok(None));
    assert_eq!(store.create_alias(alias("c", 2), 2).await, Ok(()));
    assert_eq!(store.create_alias(alias("d", 2), 0).await, Err(StoreError::LimitExceeded));
}

pub async fn an_alias_is_pointed_only_from_where_it_points(store: AnyStore) {
    create_keys(&store, 1..4).await;
    let missing = store.point_alias(alias("a", 2), &key_id(1), 10).await;
    assert_eq!(missing, Err(StoreError::Missing));
    store.create_alias(alias("a", 1), 10).await.unwrap();
    store.create_alias(alias("b", 3), 10).await.unwrap();
    let moved = Alias { created: UnixMillis(77), updated: UnixMillis(9), ..alias("a", 2) };
    store.point_alias(moved.clone(), &key_id(1), 10).await.unwrap();
    // When it was made does not change.
    let expected = Alias { created: UnixMillis(1), ..moved.clone() };
    assert_eq!(store.alias(&scope(), &alias_name("a")).await, Ok(Some(expected)));
    assert_eq!(store.point_alias(alias("a", 3), &key_id(1), 10).await, Err(StoreError::Conflict));
    assert_eq!(store.point_alias(alias("a", 3), &key_id(2), 1).await, Err(StoreError::LimitExceeded));
    assert_eq!(store.point_alias(alias("a", 4), &key_id(2), 10).await, Err(StoreError::Missing));
    assert_eq!(store.point_alias(moved, &key_id(2), 1).await, Ok(()));
    assert_eq!(store.key(&scope(), &key_id(2)).await.unwrap().unwrap().aliases, [alias_name("a")]);
    assert!(store.key(&scope(), &key_id(1)).await.unwrap().unwrap().aliases.is_empty());
}

pub async fn aliases_are_paged_by_key_and_by_scope(store: AnyStore) {
    create_keys(&store, 0..3).await;
    let mut names: Vec<AliasName> = Vec::new();
    for number in 0..20 {
        // Capital letters come before small ones, `/` before both: bytes, not a language.
        let name = format!("{}{number}", ["x/", "X", "x"][number % 3]);
        store.create_alias(alias(&name, u32::try_from(number % 2).unwrap()), 100).await.unwrap();
        names.push(alias_name(&name));
    }
    names.sort();
    for target in [None, Some(key_id(0)), Some(key_id(2))] {
        let mut walked: Vec<Alias> = Vec::new();
        loop {
            let after = walked.last().map(|alias| alias.name.clone());
            let page = store.aliases_page(&scope(), target.as_ref(), after.as_ref(), 3).await.unwrap();
            assert!(page.len() <= 3);
            if page.is_empty() {
                break;
            }
            walked.extend(page);
        }
        let is_expected = |name: &&AliasName| {
            let found = walked.iter().find(|alias| alias.name == **name);
            target.is_none() || found.is_some_and(|alias| Some(&alias.target) == target.as_ref())
        };
        let expected: Vec<_> = names.iter().filter(is_expected).collect();
        assert_eq!(walked.iter().map(|alias| &alias.name).collect::<Vec<_>>(), expected);
        let count = [20, 10, 0][target.as_ref().map_or(0, |id| if *id == key_id(0) { 1 } else { 2 })];
        assert_eq!(walked.len(), count);
    }
}

pub async fn of_many_who_create_one_alias_one_does(store: AnyStore) {
    create_keys(&store, 0..16).await;
    let results = at_once(16, |number| {
        let store = Arc::clone(&store);
        async move { store.create_alias(alias("a", number), 10).await.map(|()| number) }
    })
    .await;
    let winners: Vec<_> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(results.iter().filter(|result| **result == Err(StoreError::AlreadyExists)).count(), 15);
    let stored = store.alias(&scope(), &alias_name("a")).await.unwrap().unwrap();
    assert_eq!(stored.target, key_id(*winners[0]));
}

pub async fn of_many_who_point_one_alias_one_does(store: AnyStore) {
    create_keys(&store, 0..17).await;
    store.create_alias(alias("a", 16), 10).await.unwrap();
    let results = at_once(16, |number| {
        let store = Arc::clone(&store);
        async move { store.point_alias(alias("a", number), &key_id(16), 10).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| **result == Err(StoreError::Conflict)).count(), 15);
}
