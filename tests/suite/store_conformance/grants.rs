//! Grants: made once, limited, and found by key, grantee and who may retire them.

use std::sync::Arc;

use holdfast::domain::kms::{Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal, Key};
use holdfast::store::{GrantFilter, GrantQuery, StoreError};

use super::{AnyStore, at_once, create_keys, grant, key, key_id, principal, scope, scope_of};

pub async fn a_grant_is_created_read_and_deleted(store: AnyStore) {
    assert_eq!(store.create_grant(grant(1, 1), 10).await, Err(StoreError::Missing));
    create_keys(&store, 1..3).await;
    let context = [("a".to_owned(), "b".to_owned())].into_iter().collect();
    let full = Grant {
        name: Some("name".to_owned()),
        grantee: GrantPrincipal::Service("rds.amazonaws.com".to_owned()),
        retiring: Some(principal("bob")),
        constraints: GrantConstraints {
            context_equals: Some([].into_iter().collect()),
            context_subset: Some(context),
            source_arn: Some("arn:aws:s3:::bucket".to_owned()),
        },
        ..grant(1, 1)
    };
    assert_eq!(store.create_grant(full.clone(), 10).await, Ok(full.id.clone()));
    assert_eq!(store.grant(&scope(), &key_id(1), &full.id).await, Ok(Some(full.clone())));
    assert_eq!(store.grant(&scope(), &key_id(2), &full.id).await, Ok(None));
    let same_id = Grant { name: None, ..full.clone() };
    assert_eq!(store.create_grant(same_id, 10).await, Err(StoreError::AlreadyExists));
    assert_eq!(store.delete_grant(&scope(), &key_id(2), &full.id).await, Err(StoreError::Missing));
    assert_eq!(store.delete_grant(&scope(), &key_id(9), &full.id).await, Err(StoreError::Missing));
    store.delete_grant(&scope(), &key_id(1), &full.id).await.unwrap();
    assert_eq!(store.delete_grant(&scope(), &key_id(1), &full.id).await, Err(StoreError::Missing));
    assert_eq!(store.grant(&scope(), &key_id(1), &full.id).await, Ok(None));
}

pub async fn the_same_grant_by_name_is_made_once(store: AnyStore) {
    create_keys(&store, 1..3).await;
    let named = |number: u32, key: u32| Grant { name: Some("name".to_owned()), ..grant(number, key) };
    let first = store.create_grant(named(1, 1), 100).await.unwrap();
    let operations = vec![GrantOperation::Decrypt, GrantOperation::Encrypt, GrantOperation::Decrypt];
    let reordered = Grant { operations, ..named(2, 1) };
    assert_eq!(store.create_grant(reordered, 100).await, Ok(first.clone()));
    // One that is there is no further one.
    assert_eq!(store.create_grant(named(3, 1), 1).await, Ok(first));
    let empty_context =
        GrantConstraints { context_equals: Some([].into_iter().collect()), ..Default::default() };
    let others = [
        Grant { name: Some("other".to_owned()), ..named(4, 1) },
        Grant { grantee: principal("carol"), ..named(5, 1) },
        Grant { retiring: Some(principal("carol")), ..named(6, 1) },
        Grant { operations: vec![GrantOperation::Decrypt], ..named(7, 1) },
        Grant { constraints: empty_context, ..named(8, 1) },
        named(9, 2),
        grant(10, 1),
        grant(11, 1),
    ];
    for other in others {
        assert_eq!(store.create_grant(other.clone(), 100).await, Ok(other.id));
    }
}

pub async fn grants_are_limited_for_a_key_and_deleted_with_it(store: AnyStore) {
    create_keys(&store, 1..3).await;
    store.create_grant(grant(1, 1), 2).await.unwrap();
    store.create_grant(grant(2, 1), 2).await.unwrap();
    assert_eq!(store.create_grant(grant(3, 1), 2).await, Err(StoreError::LimitExceeded));
    assert_eq!(store.grant(&scope(), &key_id(1), &grant(3, 1).id).await, Ok(None));
    assert_eq!(store.create_grant(grant(3, 2), 2).await, Ok(grant(3, 2).id));
    store.delete_grant(&scope(), &key_id(1), &grant(1, 1).id).await.unwrap();
    assert_eq!(store.create_grant(grant(4, 1), 2).await, Ok(grant(4, 1).id));
    store.delete_key(&scope(), &key_id(1), 1).await.unwrap();
    create_keys(&store, 1..2).await;
    assert_eq!(store.grant(&scope(), &key_id(1), &grant(4, 1).id).await, Ok(None));
    assert_eq!(store.create_grant(grant(5, 1), 1).await, Ok(grant(5, 1).id));
}

pub async fn grants_are_paged_by_key_by_grantee_and_by_who_may_retire(store: AnyStore) {
    let elsewhere = scope_of("123456789012", "us-east-1");
    create_keys(&store, 0..3).await;
    store.create_key(Arc::new(Key { scope: elsewhere.clone(), ..key(0) }), 10).await.unwrap();
    let mut all = Vec::new();
    for number in 0..24 {
        let grantee = principal(["alice", "bob"][usize::from(number % 3 == 0)]);
        let retiring = (number % 4 == 0).then(|| principal("carol"));
        let grant = Grant { grantee, retiring, ..grant(number, number % 2) };
        store.create_grant(grant.clone(), 100).await.unwrap();
        all.push(grant);
    }
    let far = Grant { scope: elsewhere, retiring: Some(principal("carol")), ..grant(99, 0) };
    store.create_grant(far, 100).await.unwrap();
    let foreign = scope_of("210987654321", "eu-central-1");
    store.create_key(Arc::new(Key { scope: foreign.clone(), ..key(0) }), 10).await.unwrap();
    for retiring in [principal("carol"), GrantPrincipal::Service("s3.amazonaws.com".to_owned())] {
        let number = if matches!(retiring, GrantPrincipal::Service(_)) { 98 } else { 97 };
        let grant = Grant { scope: foreign.clone(), retiring: Some(retiring), ..grant(number, 0) };
        store.create_grant(grant.clone(), 100).await.unwrap();
        all.push(grant);
    }
    let service = GrantPrincipal::Service("s3.amazonaws.com".to_owned());
    let (alice, carol) = (principal("alice"), principal("carol"));
    let expected = |wanted: &dyn Fn(&Grant) -> bool| -> Vec<Grant> {
        all.iter().filter(|grant| wanted(grant)).cloned().collect()
    };
    let (zero, two) = (key_id(0), key_id(2));
    let queries = [
        (
            GrantFilter::OfKey { key_id: &zero, grantee: None },
            expected(&|grant| grant.key_id == zero && grant.scope == scope()),
        ),
        (
            GrantFilter::OfKey { key_id: &zero, grantee: Some(&alice) },
            expected(&|grant| grant.key_id == zero && grant.scope == scope() && grant.grantee == alice),
        ),
        (GrantFilter::OfKey { key_id: &two, grantee: None }, Vec::new()),
        (GrantFilter::RetirableBy(&carol), expected(&|grant| grant.retiring.as_ref() == Some(&carol))),
        (GrantFilter::RetirableBy(&service), Vec::new()),
    ];
    for (filter, expected) in queries {
        let mut walked: Vec<Grant> = Vec::new();
        loop {
            let after: Option<GrantId> = walked.last().map(|grant| grant.id.clone());
            let query = GrantQuery { scope: &scope(), filter, after: after.as_ref() };
            let page = store.grants_page(query, 2).await.unwrap();
            assert!(page.len() <= 2);
            if page.is_empty() {
                break;
            }
            walked.extend(page);
        }
        assert_eq!(walked, expected);
    }
}

pub async fn of_many_who_create_one_grant_all_get_the_same(store: AnyStore) {
    create_keys(&store, 1..2).await;
    let results = at_once(16, |number| {
        let store = Arc::clone(&store);
        let named = Grant { name: Some("name".to_owned()), ..grant(number, 1) };
        async move { store.create_grant(named, 1).await.unwrap() }
    })
    .await;
    assert!(results.iter().all(|id| *id == results[0]), "{results:?}");
}
