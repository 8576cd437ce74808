//! Custom key stores that change while they are used, and requests that want the same thing at once.

use std::sync::atomic::{AtomicBool, Ordering};

use proxy_api::client::Endpoint;
use serde_json::{Value, json};

use crate::support::cluster_stores::{new_cluster_key, site_with_cluster};
use crate::support::external_key_stores::{new_external_key, new_external_store};
use crate::support::kms::{KmsClient, KmsReply};
use crate::support::kms_stories::PLAINTEXT;
use crate::support::site::merged;
use crate::support::{Setup, Site};

const ROUNDS: usize = 12;

fn site() -> Site {
    Site::start_with(&Setup::kms_with_proxies("ca.pem", ""))
}

/// Sends requests over connections of their own, all at the same moment.
fn at_once(endpoint: &Endpoint, operation: &str, requests: &[Value]) -> Vec<KmsReply> {
    let barrier = std::sync::Barrier::new(requests.len());
    let send = |request: &Value| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut client = KmsClient::open(&runtime, endpoint.clone()).unwrap();
        barrier.wait();
        client.call(operation, request).unwrap()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = requests.iter().map(|request| scope.spawn(|| send(request))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The one that was served, and the names of the errors of the others.
#[track_caller]
fn winner(replies: &[KmsReply]) -> (Value, Vec<String>) {
    let (served, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.0.status == 200);
    assert_eq!(served.len(), 1, "{replies:?}");
    (served[0].ok(), refused.into_iter().map(|reply| reply.error().0).collect())
}

/// Encrypts without a pause while `act` runs.
fn under_load(site: &Site, key: &str, act: impl FnOnce()) {
    let (stop, endpoint) = (AtomicBool::new(false), site.kms_endpoint());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut client = KmsClient::open(&runtime, endpoint.clone()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    client.call("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT})).unwrap();
                }
            });
        }
        act();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Whatever is under way: what begins after the answer finds the key store disconnected.
fn assert_off_at_once(site: &Site, store: &str, key: &str) {
    let blob = site.kms_encrypt(key);
    under_load(site, key, || {
        for _ in 0..ROUNDS {
            site.kms_encrypt(key);
            site.of_store("DisconnectCustomKeyStore", store).ok();
            for (operation, body) in [
                ("Encrypt", json!({"KeyId": key, "Plaintext": PLAINTEXT})),
                ("Decrypt", json!({"CiphertextBlob": blob})),
            ] {
                assert_eq!(site.kms(operation, &body).error().0, "KMSInvalidStateException");
            }
            assert_eq!(site.key_metadata_of(key)["KeyState"], "Unavailable");
            assert_eq!(site.settled_connection(store), "DISCONNECTED");
            site.connect_store(store);
            assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
        }
    });
}

#[test]
fn an_external_key_is_out_of_use_as_soon_as_disconnecting_is_answered() {
    let site = site();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    assert_off_at_once(&site, &store, &key);
}

#[test]
fn a_key_in_a_cluster_is_out_of_use_as_soon_as_disconnecting_is_answered() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    assert_off_at_once(&site, &store, &key);
}

#[test]
fn of_requests_that_want_the_same_at_once_one_is_served() {
    let site = Site::prepare(&Setup::kms_with_proxies("ca.pem", ""));
    site.add_key_store("second", "");
    site.run();
    site.wait_ready();
    let connected = site.connected_external_store("connected", &site.proxy_endpoint());
    let request = merged(
        new_external_store("a", &site.proxy_endpoint()),
        json!({"XksProxyUriPath": "/second/kms/xks/v1"}),
    );
    let named = |name: &str| merged(request.clone(), json!({"CustomKeyStoreName": name}));
    for _ in 0..ROUNDS {
        let names: Vec<_> = ["a", "b", "c", "d"].into_iter().map(named).collect();
        let (made, errors) = winner(&at_once(&site.kms_endpoint(), "CreateCustomKeyStore", &names));
        assert_eq!(errors, ["XksProxyUriInUseException"; 3]);
        site.of_store("DeleteCustomKeyStore", made["CustomKeyStoreId"].as_str().unwrap()).ok();
        let keys = vec![new_external_key(&connected, "foo"); 4];
        let (made, errors) = winner(&at_once(&site.kms_endpoint(), "CreateKey", &keys));
        assert_eq!(errors, ["XksKeyAlreadyInUseException"; 3]);
        let key = json!({"KeyId": made["KeyMetadata"]["KeyId"], "PendingWindowInDays": 7});
        site.kms("ScheduleKeyDeletion", &key).ok();
        site.advance_clock("8d");
    }
}

#[test]
fn a_key_store_is_deleted_or_gets_a_key_and_never_both() {
    let site = site();
    for _ in 0..ROUNDS {
        let store = site.connected_external_store("story", &site.proxy_endpoint());
        let create = new_external_key(&store, "foo");
        let created = std::thread::scope(|scope| {
            let endpoint = site.kms_endpoint();
            let create = std::slice::from_ref(&create);
            let creating = scope.spawn(move || at_once(&endpoint, "CreateKey", create));
            site.disconnect_store(&store);
            let deleted = site.of_store("DeleteCustomKeyStore", &store);
            let created = creating.join().unwrap().remove(0);
            match (created.0.status, deleted.0.status) {
                (200, _) => deleted.assert_error(
                    "CustomKeyStoreHasCMKsException",
                    "The custom key store contains KMS keys. Schedule their deletion, and delete it when they are gone.",
                ),
                (_, 200) => assert!(
                    ["CustomKeyStoreInvalidStateException", "CustomKeyStoreNotFoundException"]
                        .contains(&created.error().0.as_str()),
                    "{created:?}"
                ),
                statuses => panic!("{statuses:?}"),
            }
            created
        });
        if created.0.status == 200 {
            let key = created.ok()["KeyMetadata"]["KeyId"].clone();
            site.kms("ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7})).ok();
            site.advance_clock("8d");
            site.of_store("DeleteCustomKeyStore", &store).ok();
        }
    }
}

#[test]
fn keys_that_are_made_in_a_cluster_at_once_are_all_there() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    for reply in at_once(&site.kms_endpoint(), "CreateKey", &vec![new_cluster_key(&store); 6]) {
        let key = reply.ok()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        site.kms_encrypt(&key);
    }
    let clean = site.cluster_findings();
    assert_eq!((&clean["orphans"], &clean["missing"]), (&json!([]), &json!([])), "{clean}");
}
