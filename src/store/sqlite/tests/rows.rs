//! What is read is what was written, and what cannot be is not written.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rusqlite::{Connection, ErrorCode};

use super::{custom_key_stores, database, grants, keys, plain_key, scope};
use crate::domain::kms::Connection as KeyStoreConnection;
use crate::domain::kms::{
    CloudHsmBacking, ConnectionErrorCode, CustomKeyStore, CustomKeyStoreId, Deletion, EncryptionContext,
    ExternalBacking, Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal, Import, KeptKey, Key,
    KeyId, KeyPlace, KeySpec, KeyState, KeyStoreBacking, KeyUsage, Material, MaterialId, MaterialSource,
    MultiRegionKeyType, Origin, Rotation, RotationType, SealedSecret, Tag, UnixMillis, VpcEndpointService,
    WrappedKey, XksKeyId, XksProxyConnectivity,
};

fn time() -> impl Strategy<Value = UnixMillis> {
    any::<i64>().prop_map(UnixMillis)
}

fn import() -> impl Strategy<Value = Import> {
    (any::<Option<String>>(), option::of(time()), any::<bool>(), vec(any::<u8>(), 0..80)).prop_map(
        |(description, valid_to, is_pending_rotation, fingerprint)| Import {
            description,
            valid_to,
            is_pending_rotation,
            fingerprint,
        },
    )
}

fn material() -> impl Strategy<Value = Material> {
    let rotation = option::of(select(RotationType::ALL));
    let wrapped = (any::<u64>(), vec(any::<u8>(), 1..300))
        .prop_map(|(mechanism, bytes)| KeptKey::Wrapped(WrappedKey { root_key: None, mechanism, bytes }));
    let software = vec(any::<u8>(), 1..300).prop_map(|sealed| KeptKey::Software { sealed });
    let kept = prop_oneof![Just(KeptKey::TokenObject), wrapped, software];
    let kept = kept.prop_map(|kept| MaterialSource::Kept(Arc::new(kept)));
    let source = prop_oneof![Just(MaterialSource::Absent), Just(MaterialSource::ClusterObject), kept];
    let public_key = option::of(vec(any::<u8>(), 1..300));
    let import = option::of(import());
    (any::<[u8; 32]>(), time(), rotation, 0..=i64::MAX as u64, source, public_key, import).prop_map(
        |(id, created, rotation, encryptions, source, public_key, import)| Material {
            id: MaterialId::new(id),
            created,
            rotation,
            encryptions,
            public_key: public_key.map(Arc::from),
            import,
            source,
        },
    )
}

fn store_id(number: u8) -> CustomKeyStoreId {
    CustomKeyStoreId::from_random([number; 9])
}

/// In one of the key stores that `database` has.
fn place() -> impl Strategy<Value = KeyPlace> {
    let external = "[A-Za-z0-9._-]{1,128}"
        .prop_map(|id| KeyPlace::External { store: store_id(2), xks_key_id: XksKeyId::parse(&id).unwrap() });
    prop_oneof![Just(KeyPlace::Default), Just(KeyPlace::CloudHsm { store: store_id(1) }), external]
}

fn cluster() -> impl Strategy<Value = KeyStoreBacking> {
    let texts = any::<(String, String, Vec<u8>)>();
    texts.prop_map(|(cluster_id, trust_anchor, password)| {
        let (trust_anchor, password) = (Arc::from(trust_anchor), SealedSecret(password));
        KeyStoreBacking::CloudHsm(CloudHsmBacking { cluster_id, trust_anchor, password })
    })
}

fn proxy() -> impl Strategy<Value = KeyStoreBacking> {
    let service = option::of(any::<(String, Option<String>)>());
    let texts = any::<(String, String, String, Vec<u8>)>();
    (service, texts, time()).prop_map(|(service, (uri_endpoint, uri_path, access_key_id, secret), since)| {
        KeyStoreBacking::External(ExternalBacking {
            connectivity: match service {
                Some(_) => XksProxyConnectivity::VpcEndpointService,
                None => XksProxyConnectivity::PublicEndpoint,
            },
            uri_endpoint,
            uri_path,
            vpc_endpoint_service: service.map(|(name, owner)| VpcEndpointService { name, owner }),
            access_key_id,
            secret_access_key: SealedSecret(secret),
            credential_since: since,
        })
    })
}

fn connection() -> impl Strategy<Value = KeyStoreConnection> {
    let steady = [
        KeyStoreConnection::Connected,
        KeyStoreConnection::Connecting,
        KeyStoreConnection::Disconnected,
        KeyStoreConnection::Disconnecting,
    ];
    prop_oneof![
        select(steady.to_vec()),
        select(ConnectionErrorCode::ALL).prop_map(KeyStoreConnection::Failed)
    ]
}

prop_compose! {
    fn key_store(backing: BoxedStrategy<KeyStoreBacking>)(
        (id, name) in ("[!-~é]{1,64}", any::<String>()),
        (revision, created) in (0..i64::MAX as u64, time()),
        connection in connection(),
        backings in vec(backing, 2),
    ) -> [CustomKeyStore; 2] {
        let store = |revision, backing: &KeyStoreBacking| CustomKeyStore {
            scope: scope(),
            id: CustomKeyStoreId::parse(&id).unwrap(),
            revision,
            name: name.clone(),
            created,
            connection,
            backing: backing.clone(),
        };
        [store(revision, &backings[0]), store(revision + 1, &backings[1])]
    }
}

prop_compose! {
    fn key()(
        place in place(),
        (random, multi_region) in (any::<[u8; 16]>(), option::of(select(MultiRegionKeyType::ALL))),
        (revision, created) in (0..=i64::MAX as u64, time()),
        (description, policy) in any::<(String, String)>(),
        (spec, usage) in (select(KeySpec::ALL), select(KeyUsage::ALL)),
        (origin, state) in (select(Origin::ALL), select(KeyState::ALL)),
        deletion in option::of((option::of(time()), any::<u16>())),
        rotation in option::of((time(), any::<u16>())),
        tags in vec(any::<(String, String)>(), 0..4),
        materials in vec(material(), 0..4),
    ) -> Key {
        Key {
            scope: scope(),
            id: KeyId::from_random(random, multi_region.is_some()),
            revision,
            created,
            description,
            place,
            spec,
            usage,
            origin,
            multi_region,
            state,
            deletion: deletion.map(|(due, window_days)| Deletion { due, window_days }),
            rotation: rotation.map(|(next, period_days)| Rotation { period_days, next }),
            policy: Arc::from(policy),
            tags: tags.into_iter().map(|(key, value)| Tag { key, value }).collect(),
            aliases: Vec::new(),
            materials,
        }
    }
}

fn principal() -> impl Strategy<Value = GrantPrincipal> {
    prop_oneof![
        any::<String>().prop_map(GrantPrincipal::Principal),
        any::<String>().prop_map(GrantPrincipal::Service)
    ]
}

fn context() -> impl Strategy<Value = Option<EncryptionContext>> {
    option::of(vec(any::<(String, String)>(), 0..3).prop_map(EncryptionContext::from_iter))
}

prop_compose! {
    fn grant(key_id: KeyId)(
        (id, name) in ("[0-9a-f]{64}", option::of(any::<String>())),
        (created, issuing_account) in (time(), any::<String>()),
        (grantee, retiring) in (principal(), option::of(principal())),
        operations in vec(select(GrantOperation::ALL), 0..5),
        constraints in (context(), context(), option::of(any::<String>())),
    ) -> Grant {
        let (context_equals, context_subset, source_arn) = constraints;
        Grant {
            scope: scope(),
            key_id: key_id.clone(),
            id: GrantId(id),
            name,
            created,
            issuing_account,
            grantee,
            retiring,
            operations,
            constraints: GrantConstraints { context_equals, context_subset, source_arn },
        }
    }
}

/// A database with a connected key store of each kind.
fn database_with_key_stores() -> Connection {
    let database = database();
    let cluster = CloudHsmBacking {
        cluster_id: "cluster-1".to_owned(),
        trust_anchor: Arc::from("PEM"),
        password: SealedSecret(vec![1]),
    };
    let external = ExternalBacking {
        connectivity: XksProxyConnectivity::PublicEndpoint,
        uri_endpoint: "https://proxy.example.com".to_owned(),
        uri_path: "/kms/xks/v1".to_owned(),
        vpc_endpoint_service: None,
        access_key_id: "access key".to_owned(),
        secret_access_key: SealedSecret(vec![2]),
        credential_since: UnixMillis(1),
    };
    let backings = [KeyStoreBacking::CloudHsm(cluster), KeyStoreBacking::External(external)];
    for (number, backing) in (1..).zip(backings) {
        let store = CustomKeyStore {
            scope: scope(),
            id: store_id(number),
            revision: 1,
            name: format!("store {number}"),
            created: UnixMillis(1),
            connection: KeyStoreConnection::Connected,
            backing,
        };
        custom_key_stores::create(&database, &store, 2).unwrap();
    }
    database
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_key_is_read_as_it_was_written(first in key(), mut second in key()) {
        let database = database_with_key_stores();
        keys::create(&database, &first, 10).unwrap();
        prop_assert_eq!(keys::get(&database, &scope(), &first.id).unwrap(), Some(first.clone()));
        second.id = first.id.clone();
        second.revision = first.revision.wrapping_add(1);
        if i64::try_from(second.revision).is_ok() {
            keys::replace(&database, &second).unwrap();
            second.place = first.place;
            prop_assert_eq!(keys::get(&database, &scope(), &first.id).unwrap(), Some(second));
        }
    }

    #[test]
    fn a_custom_key_store_is_read_as_it_was_written(
        [first, second] in prop_oneof![key_store(cluster().boxed()), key_store(proxy().boxed())],
    ) {
        let database = database();
        custom_key_stores::create(&database, &first, 1).unwrap();
        let read = || custom_key_stores::get(&database, &scope(), &first.id).unwrap();
        prop_assert_eq!(read(), Some(first.clone()));
        custom_key_stores::replace(&database, &second).unwrap();
        prop_assert_eq!(read(), Some(second.clone()));
        prop_assert_eq!(custom_key_stores::list(&database, None).unwrap(), [second]);
    }

    #[test]
    fn a_grant_is_read_as_it_was_written(grant in grant(plain_key(1).id)) {
        let database = database();
        keys::create(&database, &plain_key(1), 10).unwrap();
        prop_assert_eq!(&grants::create(&database, &grant, 10).unwrap(), &grant.id);
        let read = grants::get(&database, &scope(), &grant.key_id, &grant.id).unwrap();
        prop_assert_eq!(read, Some(grant));
    }
}

#[test]
fn rows_that_cannot_be_are_refused_by_the_schema() {
    let database = database_with_key_stores();
    let external = KeyPlace::External { store: store_id(2), xks_key_id: XksKeyId::parse("x").unwrap() };
    let all = [KeyPlace::Default, KeyPlace::CloudHsm { store: store_id(1) }, external];
    for (number, place) in (1..).zip(all) {
        keys::create(&database, &Key { place, ..plain_key(number) }, 10).unwrap();
    }
    let refused = [
        "custom_key_store SET connection_state = 'FAILED'",
        "custom_key_store SET connection_error = 'INTERNAL_ERROR'",
        "custom_key_store SET connectivity = 'PUBLIC_ENDPOINT' WHERE store_no = 1",
        "custom_key_store SET cluster_id = NULL WHERE store_no = 1",
        "custom_key_store SET cluster_id = NULL, trust_anchor = NULL WHERE store_no = 1",
        "custom_key_store SET trust_anchor = NULL WHERE store_no = 1",
        "custom_key_store SET uri_path = '/kms/xks/v1' WHERE store_no = 1",
        "custom_key_store SET credential_since = 1 WHERE store_no = 1",
        "custom_key_store SET vpc_service_name = 'service' WHERE store_no = 1",
        "custom_key_store SET cluster_id = 'cluster-2', trust_anchor = 'PEM' WHERE store_no = 2",
        "custom_key_store SET connectivity = NULL WHERE store_no = 2",
        "custom_key_store SET connectivity = 'VPC_ENDPOINT_SERVICE' WHERE store_no = 2",
        "custom_key_store SET uri_endpoint = NULL WHERE store_no = 2",
        "custom_key_store SET uri_path = NULL WHERE store_no = 2",
        "custom_key_store SET access_key_id = NULL WHERE store_no = 2",
        "custom_key_store SET credential_since = NULL WHERE store_no = 2",
        "custom_key_store SET vpc_service_name = 'service' WHERE store_no = 2",
        "custom_key_store SET vpc_service_owner = '123456789012' WHERE store_no = 2",
        "custom_key_store SET secret = NULL",
        "custom_key_store SET name = 'the same'",
        "kms_key SET xks_key_id = 'y' WHERE store_no IS NULL",
        "kms_key SET store_no = 3",
        "kms_key SET store_no = 2, xks_key_id = 'x'",
    ];
    for change in refused {
        let error = database.execute(&format!("UPDATE {change}"), []).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation), "{change}: {error}");
    }
    let error = database.execute("DELETE FROM custom_key_store", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation), "{error}");
}
