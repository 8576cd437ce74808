//! Custom key stores: what is kept of them, what two must not share, races, and the keys in them.

use std::sync::Arc;

use holdfast::domain::kms::{
    CloudHsmBacking, Connection, ConnectionErrorCode, CustomKeyStore, CustomKeyStoreId, ExternalBacking, Key,
    KeyPlace, KeyStoreBacking, KeyStoreConflict, Material, MaterialSource, Origin, Scope, SealedSecret,
    UnixMillis, VpcEndpointService, XksKeyId, XksProxyConnectivity,
};
use holdfast::store::StoreError;

use super::{
    AnyStore, at_once, create_keys, deleted_at, key, key_id, material, next_revision, scope, scope_of,
};

/// The ids of higher numbers come later.
pub fn store_id(number: u8) -> CustomKeyStoreId {
    CustomKeyStoreId::from_random([number; 9])
}

fn store_of(number: u8, backing: KeyStoreBacking) -> CustomKeyStore {
    CustomKeyStore {
        scope: scope(),
        id: store_id(number),
        revision: 1,
        name: format!("store {number} é"),
        created: UnixMillis(1_700_000_000_000),
        connection: Connection::Connected,
        backing,
    }
}

pub fn cluster_store(number: u8) -> CustomKeyStore {
    store_of(
        number,
        KeyStoreBacking::CloudHsm(CloudHsmBacking {
            cluster_id: format!("cluster-{number:011}"),
            trust_anchor: Arc::from(format!("-----BEGIN CERTIFICATE-----\n{number}\n")),
            password: SealedSecret(vec![number; 60]),
        }),
    )
}

fn external_backing(number: u8) -> ExternalBacking {
    ExternalBacking {
        connectivity: XksProxyConnectivity::PublicEndpoint,
        uri_endpoint: "https://proxy.example.com".to_owned(),
        uri_path: format!("/{number}/kms/xks/v1"),
        vpc_endpoint_service: None,
        access_key_id: format!("ACCESSKEY{number:020}"),
        secret_access_key: SealedSecret(vec![number; 90]),
        credential_since: UnixMillis(1_700_000_000_001),
    }
}

pub fn external_store(number: u8) -> CustomKeyStore {
    store_of(number, KeyStoreBacking::External(external_backing(number)))
}

fn vpc_store(number: u8, endpoint: &str, service: &str, owner: Option<&str>) -> CustomKeyStore {
    let service = VpcEndpointService { name: service.to_owned(), owner: owner.map(str::to_owned) };
    let backing = ExternalBacking {
        connectivity: XksProxyConnectivity::VpcEndpointService,
        uri_endpoint: endpoint.to_owned(),
        vpc_endpoint_service: Some(service),
        ..external_backing(number)
    };
    store_of(number, KeyStoreBacking::External(backing))
}

/// A key whose material is in the cluster of that key store.
pub fn cluster_key(number: u32, store: u8) -> Key {
    let place = KeyPlace::CloudHsm { store: store_id(store) };
    let materials = vec![Material { source: MaterialSource::ClusterObject, ..material(1) }];
    Key { origin: Origin::AwsCloudHsm, place, materials, ..key(number) }
}

pub fn external_key(number: u32, store: u8, xks_key_id: &str) -> Key {
    let xks_key_id = XksKeyId::parse(xks_key_id).unwrap();
    let place = KeyPlace::External { store: store_id(store), xks_key_id };
    Key { origin: Origin::ExternalKeyStore, place, ..key(number) }
}

fn after(store: &CustomKeyStore) -> CustomKeyStore {
    CustomKeyStore { revision: store.revision + 1, ..store.clone() }
}

async fn add(store: &AnyStore, key_stores: impl IntoIterator<Item = CustomKeyStore>) {
    for key_store in key_stores {
        store.create_custom_key_store(key_store, 10).await.unwrap();
    }
}

pub async fn a_custom_key_store_is_created_read_replaced_and_deleted(store: AnyStore) {
    let endpoint = "https://vpc.example.com";
    let first = [
        cluster_store(1),
        external_store(2),
        vpc_store(3, endpoint, "com.amazonaws.vpce.eu-central-1.vpce-svc-1", Some("210987654321")),
    ];
    for before in first {
        let id = before.id.clone();
        assert_eq!(store.custom_key_store(&scope(), &id).await, Ok(None));
        add(&store, [before.clone()]).await;
        assert_eq!(
            store.create_custom_key_store(before.clone(), 10).await,
            Err(StoreError::AlreadyExists),
            "{id}"
        );
        assert_eq!(store.custom_key_store(&scope(), &id).await, Ok(Some(before.clone())));
        let renamed = CustomKeyStore { name: format!("renamed {id}"), ..after(&before) };
        store.replace_custom_key_store(renamed.clone()).await.unwrap();
        assert_eq!(store.custom_key_store(&scope(), &id).await, Ok(Some(renamed)));
        store.delete_custom_key_store(&scope(), &id, 2).await.unwrap();
        assert_eq!(store.custom_key_store(&scope(), &id).await, Ok(None));
        assert_eq!(store.delete_custom_key_store(&scope(), &id, 2).await, Err(StoreError::Missing));
    }
}

pub async fn every_connection_state_and_every_move_of_the_proxy_is_kept(store: AnyStore) {
    add(&store, [external_store(1)]).await;
    let states =
        [Connection::Connecting, Connection::Connected, Connection::Disconnecting, Connection::Disconnected];
    let failures = ConnectionErrorCode::ALL.iter().map(|code| Connection::Failed(*code));
    let mut now = external_store(1);
    for connection in states.into_iter().chain(failures) {
        now = CustomKeyStore { connection, ..after(&now) };
        store.replace_custom_key_store(now.clone()).await.unwrap();
        assert_eq!(store.custom_key_store(&scope(), &now.id).await, Ok(Some(now.clone())));
    }
    let (service, without_owner) = ("com.amazonaws.vpce.eu-central-1.vpce-svc-2", None);
    let moved = vpc_store(1, "https://vpc.example.com", service, without_owner);
    let moved = CustomKeyStore { backing: moved.backing, ..after(&now) };
    store.replace_custom_key_store(moved.clone()).await.unwrap();
    assert_eq!(store.custom_key_store(&scope(), &moved.id).await, Ok(Some(moved.clone())));
    let back = CustomKeyStore { backing: external_store(1).backing, ..after(&moved) };
    store.replace_custom_key_store(back.clone()).await.unwrap();
    assert_eq!(store.custom_key_store(&scope(), &back.id).await, Ok(Some(back)));
}

pub async fn custom_key_stores_are_listed_in_the_order_of_scopes_and_ids(store: AnyStore) {
    assert_eq!(store.custom_key_stores(None).await, Ok(Vec::new()));
    let (west, other) = (scope_of("123456789012", "us-west-2"), scope_of("000000000001", "us-east-1"));
    let elsewhere = |scope: &Scope, number| CustomKeyStore { scope: scope.clone(), ..external_store(number) };
    add(&store, [elsewhere(&west, 1), external_store(4), external_store(3)]).await;
    add(&store, [elsewhere(&other, 9), elsewhere(&west, 3), cluster_store(2)]).await;
    let here = vec![cluster_store(2), external_store(3), external_store(4)];
    assert_eq!(store.custom_key_stores(Some(&scope())).await, Ok(here.clone()));
    let there = vec![elsewhere(&west, 1), elsewhere(&west, 3)];
    assert_eq!(store.custom_key_stores(Some(&west)).await, Ok(there.clone()));
    let nowhere = scope_of("123456789012", "eu-west-1");
    assert_eq!(store.custom_key_stores(Some(&nowhere)).await, Ok(Vec::new()));
    let all = [vec![elsewhere(&other, 9)], here, there].concat();
    assert_eq!(store.custom_key_stores(None).await, Ok(all));
    assert_eq!(store.custom_key_store(&other, &store_id(2)).await, Ok(None));
}

pub async fn what_two_custom_key_stores_must_not_share_is_refused(store: AnyStore) {
    let (west, other) = (scope_of("123456789012", "us-west-2"), scope_of("000000000001", "eu-central-1"));
    let (endpoint, service) = ("https://vpc.example.com", "com.amazonaws.vpce.eu-central-1.vpce-svc-1");
    let stored = [cluster_store(1), external_store(2), vpc_store(3, endpoint, service, None)];
    add(&store, stored.clone()).await;
    let same_backing = |number: u8, of: &CustomKeyStore| store_of(number, of.backing.clone());
    let [cluster, public, vpc] = &stored;
    let conflicts = [
        (CustomKeyStore { scope: west.clone(), ..same_backing(10, cluster) }, KeyStoreConflict::Cluster),
        (CustomKeyStore { name: cluster.name.clone(), ..external_store(11) }, KeyStoreConflict::Name),
        (same_backing(12, public), KeyStoreConflict::Uri),
        (
            CustomKeyStore { scope: other.clone(), ..vpc_store(13, endpoint, "another", None) },
            KeyStoreConflict::UriEndpoint,
        ),
        (vpc_store(14, "https://another.example.com", service, None), KeyStoreConflict::VpcEndpointService),
    ];
    for (refused, conflict) in conflicts {
        let result = store.create_custom_key_store(refused.clone(), 10).await;
        assert_eq!(result, Err(StoreError::KeyStoreConflict(conflict)));
        assert_eq!(store.custom_key_store(&refused.scope, &refused.id).await, Ok(None));
        // The same when one that is there is changed into it.
        let innocent = match refused.backing {
            KeyStoreBacking::CloudHsm(_) => cluster_store(20),
            KeyStoreBacking::External(_) => external_store(20),
        };
        let innocent = CustomKeyStore { scope: refused.scope.clone(), ..innocent };
        add(&store, [innocent.clone()]).await;
        let change = CustomKeyStore { id: innocent.id.clone(), revision: 2, ..refused };
        let result = store.replace_custom_key_store(change).await;
        assert_eq!(result, Err(StoreError::KeyStoreConflict(conflict)));
        let kept = store.custom_key_store(&innocent.scope, &innocent.id).await;
        assert_eq!(kept, Ok(Some(innocent.clone())));
        store.delete_custom_key_store(&innocent.scope, &innocent.id, 1).await.unwrap();
    }
    // A name and a URI mean nothing in another scope.
    add(&store, [CustomKeyStore { scope: other, ..public.clone() }]).await;
    add(&store, [CustomKeyStore { scope: west, ..vpc.clone() }]).await;
    // What is gone is in nobody's way.
    store.delete_custom_key_store(&scope(), &cluster.id, 1).await.unwrap();
    add(&store, [same_backing(15, cluster)]).await;
}

pub async fn a_custom_key_store_stays_of_its_type(store: AnyStore) {
    add(&store, [cluster_store(1), external_store(2)]).await;
    for (before, other) in [(cluster_store(1), external_store(3)), (external_store(2), cluster_store(3))] {
        let changed = CustomKeyStore { backing: other.backing, ..after(&before) };
        let result = store.replace_custom_key_store(changed).await;
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
        assert_eq!(store.custom_key_store(&scope(), &before.id).await, Ok(Some(before)));
    }
    for wrong in [cluster_key(1, 2), external_key(1, 1, "x")] {
        let result = store.create_key(Arc::new(wrong), 10).await;
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
        assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(None));
    }
}

pub async fn custom_key_stores_are_limited_for_each_scope(store: AnyStore) {
    let create = |number| store.create_custom_key_store(external_store(number), 2);
    assert_eq!(store.create_custom_key_store(external_store(1), 0).await, Err(StoreError::LimitExceeded));
    assert_eq!(create(1).await, Ok(()));
    assert_eq!(create(2).await, Ok(()));
    assert_eq!(create(3).await, Err(StoreError::LimitExceeded));
    assert_eq!(store.custom_key_store(&scope(), &store_id(3)).await, Ok(None));
    let elsewhere = CustomKeyStore { scope: scope_of("123456789012", "us-west-2"), ..external_store(3) };
    assert_eq!(store.create_custom_key_store(elsewhere, 2).await, Ok(()));
    store.delete_custom_key_store(&scope(), &store_id(1), 1).await.unwrap();
    assert_eq!(create(3).await, Ok(()));
    assert_eq!(create(4).await, Err(StoreError::LimitExceeded));
}

pub async fn an_older_revision_of_a_custom_key_store_changes_nothing(store: AnyStore) {
    let missing = store.replace_custom_key_store(after(&external_store(1))).await;
    assert_eq!(missing, Err(StoreError::Missing));
    let missing = store.delete_custom_key_store(&scope(), &store_id(1), 1).await;
    assert_eq!(missing, Err(StoreError::Missing));
    add(&store, [external_store(1)]).await;
    for revision in [0, 1, 3, u64::MAX] {
        let wrong = CustomKeyStore { revision, name: "wrong".to_owned(), ..external_store(1) };
        let result = store.replace_custom_key_store(wrong).await;
        assert_eq!(result, Err(StoreError::Conflict), "{revision}");
    }
    for revision in [0, 2, u64::MAX] {
        let result = store.delete_custom_key_store(&scope(), &store_id(1), revision).await;
        assert_eq!(result, Err(StoreError::Conflict), "{revision}");
    }
    let elsewhere = scope_of("123456789012", "us-west-2");
    let missing = store.delete_custom_key_store(&elsewhere, &store_id(1), 1).await;
    assert_eq!(missing, Err(StoreError::Missing));
    assert_eq!(store.custom_key_store(&scope(), &store_id(1)).await, Ok(Some(external_store(1))));
}

pub async fn of_many_who_create_or_change_custom_key_stores_one_does(store: AnyStore) {
    let results = at_once(16, |number| {
        let number = u8::try_from(number).unwrap();
        let same_name = CustomKeyStore { name: "the one".to_owned(), ..external_store(number) };
        let store = Arc::clone(&store);
        async move { store.create_custom_key_store(same_name, 100).await }
    })
    .await;
    let refusal = Err(StoreError::KeyStoreConflict(KeyStoreConflict::Name));
    assert_eq!(results.iter().filter(|result| **result == refusal).count(), 15, "{results:?}");
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let one = store.custom_key_stores(None).await.unwrap().remove(0);
    let results = at_once(16, |number| {
        let next = CustomKeyStore { name: number.to_string(), ..after(&one) };
        let store = Arc::clone(&store);
        async move { store.replace_custom_key_store(next).await.map(|()| number.to_string()) }
    })
    .await;
    let mut winners = results.iter().flatten();
    let (winner, second) = (winners.next().unwrap(), winners.next());
    assert_eq!(second, None);
    assert_eq!(results.iter().filter(|result| **result == Err(StoreError::Conflict)).count(), 15);
    assert_eq!(store.custom_key_store(&scope(), &one.id).await.unwrap().unwrap().name, *winner);
}

pub async fn a_key_goes_only_into_a_custom_key_store_that_is_there_and_connected(store: AnyStore) {
    for key in [cluster_key(1, 1), external_key(1, 1, "x")] {
        assert_eq!(store.create_key(Arc::new(key), 10).await, Err(StoreError::KeyStoreMissing));
    }
    add(&store, [cluster_store(1), external_store(2)]).await;
    let elsewhere = Key { scope: scope_of("123456789012", "us-west-2"), ..cluster_key(1, 1) };
    assert_eq!(store.create_key(Arc::new(elsewhere), 10).await, Err(StoreError::KeyStoreMissing));
    let both = [(cluster_store(1), cluster_key(1, 1)), (external_store(2), external_key(2, 2, "x.Y-z_1"))];
    for (mut key_store, key) in both {
        let others = [
            Connection::Connecting,
            Connection::Disconnected,
            Connection::Disconnecting,
            Connection::Failed(ConnectionErrorCode::InternalError),
        ];
        for connection in others {
            key_store = CustomKeyStore { connection, ..after(&key_store) };
            store.replace_custom_key_store(key_store.clone()).await.unwrap();
            let result = store.create_key(Arc::new(key.clone()), 10).await;
            assert_eq!(result, Err(StoreError::KeyStoreNotConnected), "{connection:?}");
            assert_eq!(store.key(&scope(), &key.id).await, Ok(None));
        }
        key_store = CustomKeyStore { connection: Connection::Connected, ..after(&key_store) };
        store.replace_custom_key_store(key_store.clone()).await.unwrap();
        assert_eq!(store.create_key(Arc::new(key.clone()), 2).await, Ok(()));
        assert_eq!(store.key(&scope(), &key.id).await, Ok(Some(key.clone())));
        // A key that is there is kept, whatever becomes of the connection.
        key_store = CustomKeyStore { connection: Connection::Disconnected, ..after(&key_store) };
        store.replace_custom_key_store(key_store).await.unwrap();
        let next = Key { description: "another".to_owned(), ..next_revision(&key) };
        store.replace_key(Arc::new(next.clone())).await.unwrap();
        assert_eq!(store.key(&scope(), &key.id).await, Ok(Some(next)));
    }
}

pub async fn a_key_stays_where_it_was_made(store: AnyStore) {
    add(&store, [cluster_store(1), external_store(2)]).await;
    let made = [key(1), cluster_key(2, 1), external_key(3, 2, "x")];
    for key in &made {
        store.create_key(Arc::new(key.clone()), 10).await.unwrap();
    }
    for before in &made {
        let places = made.iter().map(|key| key.place.clone());
        let mut now = before.clone();
        for place in places {
            now = next_revision(&now);
            store.replace_key(Arc::new(Key { place, ..now.clone() })).await.unwrap();
            assert_eq!(store.key(&scope(), &before.id).await, Ok(Some(now.clone())));
        }
    }
}

pub async fn an_external_key_is_behind_one_key_of_its_key_store(store: AnyStore) {
    add(&store, [external_store(1), external_store(2)]).await;
    let create = |key| store.create_key(Arc::new(key), 10);
    assert_eq!(create(external_key(1, 1, "x")).await, Ok(()));
    assert_eq!(create(external_key(2, 1, "x")).await, Err(StoreError::XksKeyInUse));
    assert_eq!(store.key(&scope(), &key_id(2)).await, Ok(None));
    assert_eq!(create(external_key(2, 1, "X")).await, Ok(()));
    assert_eq!(create(external_key(3, 2, "x")).await, Ok(()));
    let doomed = deleted_at(7, next_revision(&external_key(1, 1, "x")));
    store.replace_key(Arc::new(doomed)).await.unwrap();
    assert_eq!(create(external_key(4, 1, "x")).await, Err(StoreError::XksKeyInUse));
    store.delete_key(&scope(), &key_id(1), 2).await.unwrap();
    assert_eq!(create(external_key(4, 1, "x")).await, Ok(()));
    let results = at_once(16, |number| {
        let store = Arc::clone(&store);
        async move { store.create_key(Arc::new(external_key(10 + number, 1, "y")), 100).await }
    })
    .await;
    let refused = results.iter().filter(|result| **result == Err(StoreError::XksKeyInUse)).count();
    assert_eq!((refused, results.iter().flatten().count()), (15, 1));
}

pub async fn a_custom_key_store_with_keys_is_not_deleted(store: AnyStore) {
    add(&store, [cluster_store(1), external_store(2)]).await;
    create_keys(&store, 1..2).await;
    let made = [cluster_key(4, 1), cluster_key(3, 1), external_key(2, 2, "x")];
    for key in &made {
        store.create_key(Arc::new(key.clone()), 10).await.unwrap();
    }
    let doomed = deleted_at(7, next_revision(&made[2]));
    store.replace_key(Arc::new(doomed)).await.unwrap();
    let keys_of = |number| {
        let store = Arc::clone(&store);
        async move { store.keys_of_custom_key_store(&scope(), &store_id(number)).await.unwrap() }
    };
    assert_eq!(keys_of(1).await, [key_id(3), key_id(4)]);
    assert_eq!(keys_of(2).await, [key_id(2)]);
    assert_eq!(keys_of(3).await, []);
    let elsewhere = scope_of("123456789012", "us-west-2");
    assert_eq!(store.keys_of_custom_key_store(&elsewhere, &store_id(1)).await, Ok(Vec::new()));
    for number in [1, 2] {
        let result = store.delete_custom_key_store(&scope(), &store_id(number), 1).await;
        assert_eq!(result, Err(StoreError::NotEmpty), "{number}");
        let result = store.delete_custom_key_store(&scope(), &store_id(number), 2).await;
        assert_eq!(result, Err(StoreError::Conflict), "{number}");
    }
    assert_eq!(store.custom_key_stores(None).await, Ok(vec![cluster_store(1), external_store(2)]));
    store.delete_key(&scope(), &key_id(2), 2).await.unwrap();
    store.delete_custom_key_store(&scope(), &store_id(2), 1).await.unwrap();
    store.delete_key(&scope(), &key_id(3), 1).await.unwrap();
    let result = store.delete_custom_key_store(&scope(), &store_id(1), 1).await;
    assert_eq!(result, Err(StoreError::NotEmpty));
    store.delete_key(&scope(), &key_id(4), 1).await.unwrap();
    store.delete_custom_key_store(&scope(), &store_id(1), 1).await.unwrap();
    assert_eq!(store.keys_page(&scope(), None, 10).await, Ok(vec![key_id(1)]));
}

pub async fn clearing_takes_custom_key_stores_with_their_keys(store: AnyStore) {
    add(&store, [cluster_store(1), external_store(2)]).await;
    store.create_key(Arc::new(external_key(1, 2, "x")), 10).await.unwrap();
    store.clear_keys().await.unwrap();
    assert_eq!(store.custom_key_stores(None).await, Ok(Vec::new()));
    assert_eq!(store.key(&scope(), &key_id(1)).await, Ok(None));
    store.create_custom_key_store(external_store(2), 1).await.unwrap();
    assert_eq!(store.keys_of_custom_key_store(&scope(), &store_id(2)).await, Ok(Vec::new()));
    assert_eq!(store.create_key(Arc::new(external_key(1, 2, "x")), 1).await, Ok(()));
}
