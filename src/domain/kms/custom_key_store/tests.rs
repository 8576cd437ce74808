//! What key stores must not share, and what their connections make of keys.

use crate::domain::kms::{
    AccountId, CloudHsmBacking, Connection, ConnectionErrorCode, ConnectionState, CustomKeyStore,
    CustomKeyStoreId, ExternalBacking, KeyState, KeyStoreBacking, KeyStoreConflict, Region, Scope,
    SealedSecret, UnixMillis, VpcEndpointService, XksKeyId, XksProxyConnectivity,
};

fn scope(account: &str, region: &str) -> Scope {
    Scope { account: AccountId::parse(account).unwrap(), region: Region::parse(region).unwrap() }
}

fn store(number: u8, backing: KeyStoreBacking) -> CustomKeyStore {
    CustomKeyStore {
        scope: scope("123456789012", "us-east-1"),
        id: CustomKeyStoreId::from_random([number; 9]),
        revision: 1,
        name: format!("store {number}"),
        created: UnixMillis(0),
        connection: Connection::Disconnected,
        backing,
    }
}

fn external(endpoint: &str, path: &str, service: Option<&str>) -> KeyStoreBacking {
    let service = service.map(|name| VpcEndpointService { name: name.to_owned(), owner: None });
    KeyStoreBacking::External(ExternalBacking {
        connectivity: match service {
            Some(_) => XksProxyConnectivity::VpcEndpointService,
            None => XksProxyConnectivity::PublicEndpoint,
        },
        uri_endpoint: endpoint.to_owned(),
        uri_path: path.to_owned(),
        vpc_endpoint_service: service,
        access_key_id: String::new(),
        secret_access_key: SealedSecret(Vec::new()),
        credential_since: UnixMillis(0),
    })
}

fn cluster(id: &str, trust_anchor: &str) -> KeyStoreBacking {
    KeyStoreBacking::CloudHsm(CloudHsmBacking {
        cluster_id: id.to_owned(),
        trust_anchor: trust_anchor.into(),
        password: SealedSecret(Vec::new()),
    })
}

#[test]
fn what_external_key_stores_must_not_share() {
    let public = |path| external("https://a.example.com", path, None);
    let conflict =
        |one: KeyStoreBacking, other: KeyStoreBacking| store(1, one).conflict_with(&store(2, other));
    assert_eq!(conflict(public("/a"), public("/a")), Some(KeyStoreConflict::Uri));
    assert_eq!(conflict(public("/a"), public("/b")), None);
    let vpc = |service| external("https://A.example.com", "/c", Some(service));
    assert_eq!(conflict(public("/a"), vpc("s")), Some(KeyStoreConflict::UriEndpoint));
    assert_eq!(conflict(vpc("s"), vpc("t")), Some(KeyStoreConflict::UriEndpoint));
    let elsewhere = external("https://b.example.com", "/c", Some("s"));
    assert_eq!(conflict(vpc("s"), elsewhere), Some(KeyStoreConflict::VpcEndpointService));
}

#[test]
fn accounts_and_regions_are_apart_but_for_endpoints_of_vpc_services() {
    let public = store(1, external("https://a.example.com", "/a", None));
    let other_account =
        CustomKeyStore { scope: scope("210987654321", "us-east-1"), ..store(1, public.backing.clone()) };
    assert_eq!(public.conflict_with(&other_account), None);
    let vpc = CustomKeyStore { backing: external("https://a.example.com", "/b", Some("s")), ..other_account };
    assert_eq!(public.conflict_with(&vpc), Some(KeyStoreConflict::UriEndpoint));
    let other_region = CustomKeyStore { scope: scope("123456789012", "eu-west-1"), ..vpc };
    assert_eq!(public.conflict_with(&other_region), None);
}

#[test]
fn a_name_is_unique_in_account_and_region_and_a_cluster_everywhere() {
    let one = store(1, cluster("cluster-aaaaaaaaaaa", "A"));
    let same_name =
        CustomKeyStore { name: one.name.clone(), ..store(2, cluster("cluster-bbbbbbbbbbb", "B")) };
    assert_eq!(one.conflict_with(&same_name), Some(KeyStoreConflict::Name));
    let elsewhere = scope("123456789012", "eu-west-1");
    let same_name = CustomKeyStore { scope: elsewhere.clone(), ..same_name };
    assert_eq!(one.conflict_with(&same_name), None);
    let related = CustomKeyStore { scope: elsewhere, ..store(2, cluster("cluster-bbbbbbbbbbb", "A\n")) };
    assert_eq!(one.conflict_with(&related), Some(KeyStoreConflict::Cluster));
    assert_eq!(one.conflict_with(&one), None);
}

#[test]
fn keys_are_unavailable_unless_the_store_is_connected_and_deletion_wins() {
    let failed = Connection::Failed(ConnectionErrorCode::InternalError);
    for connection in [Connection::Disconnected, Connection::Connecting, Connection::Disconnecting, failed] {
        assert_eq!(connection.shown_state(KeyState::Enabled), KeyState::Unavailable);
        assert_eq!(connection.shown_state(KeyState::Disabled), KeyState::Unavailable);
        assert_eq!(connection.shown_state(KeyState::PendingDeletion), KeyState::PendingDeletion);
    }
    assert_eq!(Connection::Connected.shown_state(KeyState::Disabled), KeyState::Disabled);
}

#[test]
fn a_connection_goes_to_words_and_back() {
    for state in ConnectionState::ALL {
        for code in [None, Some(ConnectionErrorCode::UserLockedOut)] {
            if let Some(connection) = Connection::from_words(*state, code) {
                assert_eq!((connection.state(), connection.error_code()), (*state, code));
            } else {
                assert_eq!(*state == ConnectionState::Failed, code.is_none());
            }
        }
    }
}

#[test]
fn ids_have_their_form() {
    let id = CustomKeyStoreId::from_random([0xab; 9]);
    assert_eq!(id.as_str(), "cks-ababababababababa");
    assert_eq!(CustomKeyStoreId::parse(id.as_str()), Some(id));
    assert_eq!(CustomKeyStoreId::parse(""), None);
    for id in ["", "a/b", "é", &"a".repeat(129)] {
        assert_eq!(XksKeyId::parse(id), None, "{id}");
    }
    assert_eq!(XksKeyId::parse("A-b_c.1").unwrap().as_str(), "A-b_c.1");
}
