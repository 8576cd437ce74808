//! Faults of the HSM behind the proxy of an external key store, and of that of the KMS API.

use std::time::Instant;

use holdfast::clock::{Clock, SystemClock};
use serde_json::json;

use crate::support::external_key_stores::{credential, new_external_key};
use crate::support::key_store_scene::{ANSWER_TIME_MAX, Golden, RECOVERY_TIME_MAX};
use crate::support::{Setup, Site};

/// Waits for a condition, but no longer than a fault may take to be over.
#[track_caller]
fn assert_soon(what: &str, ended: Instant, condition: impl Fn() -> bool) {
    while !condition() {
        assert!(SystemClock.instant() - ended < RECOVERY_TIME_MAX, "{what}");
    }
}

#[test]
fn faults_of_the_hsm_behind_the_proxy_are_faults_of_the_key_manager() {
    let golden = Golden::read();
    let limits = "request_deadline_ms = 200".to_owned();
    let proxy = Site::start_with(&Setup { limits, ..Setup::quiet(2) });
    let site = Site::start_with(&Setup::kms_with_proxies(proxy.path("ca.pem").to_str().unwrap(), ""));
    let store = site.connected_external_store("story", &proxy.proxy_endpoint());
    let (key, plain) = (site.create_external_key(&store, "foo"), site.create_kms_key());
    let (blob, plain_blob) = (site.kms_encrypt(&key), site.kms_encrypt(&plain));
    for (function, requests) in [
        (
            "C_Encrypt",
            [
                ("Encrypt", json!({"KeyId": key, "Plaintext": "cGxhaW4="})),
                ("GenerateDataKey", json!({"KeyId": key, "KeySpec": "AES_256"})),
                ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": key, "KeySpec": "AES_256"})),
                ("ReEncrypt", json!({"CiphertextBlob": plain_blob, "DestinationKeyId": key})),
            ]
            .to_vec(),
        ),
        (
            "C_Decrypt",
            [
                ("Decrypt", json!({"CiphertextBlob": blob})),
                ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": plain})),
            ]
            .to_vec(),
        ),
    ] {
        for (operation, body) in requests {
            for (fault, failure) in
                [("code=CKR_DEVICE_ERROR", "InternalException"), ("hang", "DependencyTimeoutException")]
            {
                proxy.inject(&format!("{function} {fault}"));
                let started = SystemClock.instant();
                let reply = site.kms(operation, &body);
                let took = SystemClock.instant() - started;
                proxy.inject("");
                let ended = SystemClock.instant();
                assert_eq!(reply.error(), golden.expected(operation, failure), "{operation} {fault}");
                assert!(took < ANSWER_TIME_MAX, "{operation} {fault}: {took:?}");
                assert_soon(operation, ended, || site.kms(operation, &body).0.status == 200);
            }
        }
    }
}

#[test]
fn a_proxy_whose_hsm_is_gone_is_no_key_store_until_it_is_back() {
    let proxy =
        Site::start_with(&Setup { health: "probe_interval_seconds = 1".to_owned(), ..Setup::default() });
    let site = Site::start_with(&Setup::kms_with_proxies(proxy.path("ca.pem").to_str().unwrap(), ""));
    let store = site.create_external_store("story", &proxy.proxy_endpoint());
    let update = json!({"XksProxyAuthenticationCredential": credential()});
    let away = proxy.take_away(&proxy.token_folder("holdfast"));
    proxy.wait_until("the outage", || proxy.health().json().to_string().contains("UNAVAILABLE"));
    site.update_store(&store, update.clone()).assert_error(
        "XksProxyUriUnreachableException",
        "The external key store proxy is in an unhealthy state. If you see this message repeatedly, notify your \
         external key store proxy administrator.",
    );
    assert_eq!(site.try_connect_store(&store), "FAILED XKS_PROXY_NOT_REACHABLE");
    away.put_back();
    proxy.wait_until("the return", || !proxy.health().json().to_string().contains("UNAVAILABLE"));
    site.update_store(&store, update).ok();
    site.disconnect_store(&store);
    site.connect_store(&store);
    let key = site.create_external_key(&store, "foo");
    site.kms_encrypt(&key);
}

#[test]
fn a_fault_of_the_hsm_of_kms_is_neither_the_proxys_nor_does_it_hear_of_it() {
    let keys = vec![("bar".to_owned(), "encrypt,decrypt".to_owned())];
    let proxy = Site::start_with(&Setup { keys, ..Setup::default() });
    let setup = Setup::kms_with_proxies(proxy.path("ca.pem").to_str().unwrap(), "");
    let Setup { hsm, health, .. } = Setup::quiet(2);
    let site = Site::start_with(&Setup { shim: true, hsm, health, ..setup });
    let store = site.connected_external_store("story", &proxy.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    let blob = site.kms_encrypt(&key);
    let internal = ("KMSInternalException".to_owned(), "internal error".to_owned());
    for (operation, function, body) in [
        ("Encrypt", "C_Encrypt", json!({"KeyId": key, "Plaintext": "cGxhaW4="})),
        ("GenerateDataKey", "C_GenerateRandom", json!({"KeyId": key, "KeySpec": "AES_256"})),
        ("CreateKey", "C_GenerateKey", new_external_key(&store, "bar")),
        ("Decrypt", "C_Decrypt", json!({"CiphertextBlob": blob})),
    ] {
        site.inject(&format!("{function} code=CKR_DEVICE_ERROR"));
        let reply = site.kms(operation, &body);
        assert_eq!(reply.error(), internal, "{operation}");
        site.inject("");
        let id = reply.0.headers["x-amzn-requestid"].to_str().unwrap();
        let heard = proxy.proxy_requests().iter().any(|(_, heard)| heard == id);
        // To decrypt, the proxy comes first; for a new key, it says what kind of key that is.
        assert!(!heard || matches!(operation, "CreateKey" | "Decrypt"), "{operation}");
        site.wait_until(operation, || site.kms_decrypt_status(&blob) == 200);
    }
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"].as_array().unwrap().len(), 1);
    // Nobody can sign for the proxy while the credential cannot be opened.
    site.disconnect_store(&store);
    assert!(site.stop().success());
    site.run();
    site.wait_ready();
    site.inject("C_Decrypt code=CKR_DEVICE_ERROR");
    assert_eq!(site.try_connect_store(&store), "FAILED INTERNAL_ERROR");
    site.inject("");
    site.disconnect_store(&store);
    site.connect_store(&store);
}

impl Site {
    fn kms_decrypt_status(&self, blob: &str) -> u16 {
        self.kms("Decrypt", &json!({"CiphertextBlob": blob})).0.status
    }
}
