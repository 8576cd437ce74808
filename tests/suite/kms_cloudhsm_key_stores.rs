//! CloudHSM key stores from their creation to their end, over a cluster of two HSMs that fail one by one.

use serde_json::{Value, json};

use crate::support::cluster_stores::{
    DOWN, MEMBERS, new_cluster_key, site_with_cluster, site_with_cluster_and,
};
use crate::support::clusters::{CLUSTER_ID, apart_with};
use crate::support::external_key_stores::new_external_key;
use crate::support::kms::OTHER_ACCOUNT;
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::pki::Pki;
use crate::support::site::{PIN, SOFTHSM, merged};
use crate::support::{Setup, Site};

const NOT_REACHED: &str = "KMS cannot communicate with your CloudHSM cluster. This might be a transient network issue. If \
                           you see this error repeatedly, verify that the Network ACLs and the security group rules for \
                           the VPC of your AWS CloudHSM cluster are correct.";
const NOT_CONNECTED: &str = "The AWS CloudHSM key store is not connected to its AWS CloudHSM cluster. Connect the key store and try the request \
     again.";

/// Every operation that such a key can do.
fn uses(key: &str, blob: &str) -> [(&'static str, Value); 5] {
    [
        ("Encrypt", json!({"KeyId": key, "Plaintext": PLAINTEXT})),
        ("Decrypt", json!({"CiphertextBlob": blob})),
        ("GenerateDataKey", json!({"KeyId": key, "KeySpec": "AES_256"})),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": key, "NumberOfBytes": 17})),
        ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": key})),
    ]
}

#[track_caller]
fn state_of(site: &Site, key: &str) -> String {
    site.key_metadata_of(key)["KeyState"].as_str().unwrap().to_owned()
}

#[test]
fn the_whole_life() {
    let site = site_with_cluster();
    let store = site.create_cluster_store("story");
    let mut described = site.store(&store);
    assert!(described.as_object_mut().unwrap().remove("CreationDate").unwrap().is_number());
    let expected = json!({
        "CustomKeyStoreId": store,
        "CustomKeyStoreName": "story",
        "CloudHsmClusterId": CLUSTER_ID,
        "TrustAnchorCertificate": site.pki.ca_pem,
        "ConnectionState": "DISCONNECTED",
        "CustomKeyStoreType": "AWS_CLOUDHSM",
    });
    assert_eq!(described, expected);
    site.kms("CreateKey", &new_cluster_key(&store))
        .assert_error("CustomKeyStoreInvalidStateException", NOT_CONNECTED);
    site.connect_store(&store);
    let key = site.create_cluster_key(&store);
    let metadata = site.key_metadata_of(&key);
    for (member, value) in [
        ("CustomKeyStoreId", json!(store)),
        ("CloudHsmClusterId", json!(CLUSTER_ID)),
        ("Origin", json!("AWS_CLOUDHSM")),
        ("KeyState", json!("Enabled")),
        ("KeySpec", json!("SYMMETRIC_DEFAULT")),
        ("MultiRegion", json!(false)),
    ] {
        assert_eq!(metadata[member], value, "{member}");
    }
    for absent in ["XksKeyConfiguration", "CurrentKeyMaterialId"] {
        assert_eq!(metadata.get(absent), None, "{absent}");
    }
    let blob = use_key(&site, &key);
    disconnect_and_reconnect(&site, &store, &key, &blob);
    end(&site, &store, &key);
}

fn use_key(site: &Site, key: &str) -> String {
    let plain = site.create_kms_key();
    let context = json!({"tenant": "blue"});
    let body = json!({"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    let blob = site.kms("Encrypt", &body).text("CiphertextBlob");
    let decrypt =
        |context: Value| site.kms("Decrypt", &json!({"CiphertextBlob": blob, "EncryptionContext": context}));
    assert_eq!(decrypt(context.clone()).text("Plaintext"), PLAINTEXT);
    assert_eq!(decrypt(json!({})).error().0, "InvalidCiphertextException");
    let body = json!({"CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": plain});
    let moved = site.kms("ReEncrypt", &body).text("CiphertextBlob");
    let back = site.kms("ReEncrypt", &json!({"CiphertextBlob": moved, "DestinationKeyId": key}));
    let back = back.text("CiphertextBlob");
    assert_eq!(site.kms_decrypt(&back)["Plaintext"], PLAINTEXT);
    for (operation, body) in uses(key, &back) {
        site.kms(operation, &body).ok();
    }
    let data_key = site.kms("GenerateDataKey", &json!({"KeyId": key, "NumberOfBytes": 1024})).ok();
    let opened = site.kms_decrypt(data_key["CiphertextBlob"].as_str().unwrap());
    assert_eq!(opened["Plaintext"], data_key["Plaintext"]);
    for operation in ["EnableKeyRotation", "RotateKeyOnDemand", "GetKeyRotationStatus"] {
        let (name, _) = site.kms(operation, &json!({"KeyId": key})).error();
        assert_eq!(name, "UnsupportedOperationException", "{operation}");
    }
    site.kms("DisableKey", &json!({"KeyId": key})).ok();
    let disabled = format!("{} is disabled.", key_arn(key));
    site.kms("Decrypt", &json!({"CiphertextBlob": back})).assert_error("DisabledException", &disabled);
    site.kms("EnableKey", &json!({"KeyId": key})).ok();
    back
}

fn disconnect_and_reconnect(site: &Site, store: &str, key: &str, blob: &str) {
    let random = json!({"NumberOfBytes": 100, "CustomKeyStoreId": store});
    let drawn = [(); 2].map(|()| site.kms("GenerateRandom", &random).text("Plaintext"));
    assert_ne!(drawn[0], drawn[1]);
    assert_eq!(proxy_api::wire::decode_base64(&drawn[0]).unwrap().len(), 100);
    site.disconnect_store(store);
    assert_eq!(state_of(site, key), "Unavailable");
    let unavailable = format!("{} is unavailable.", key_arn(key));
    for (operation, body) in uses(key, blob) {
        site.kms(operation, &body).assert_error("KMSInvalidStateException", &unavailable);
    }
    site.kms("GenerateRandom", &random).assert_error("CustomKeyStoreInvalidStateException", NOT_CONNECTED);
    site.connect_store(store);
    assert_eq!(state_of(site, key), "Enabled");
    for (operation, body) in uses(key, blob) {
        site.kms(operation, &body).ok();
    }
}

fn end(site: &Site, store: &str, key: &str) {
    let clean = site.cluster_findings();
    assert_eq!((&clean["orphans"], &clean["missing"]), (&json!([]), &json!([])), "{clean}");
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7})).ok();
    site.advance_clock("8d");
    assert_eq!(site.kms("DescribeKey", &json!({"KeyId": key})).error().0, "NotFoundException");
    let clean = site.cluster_findings();
    assert_eq!((&clean["orphans"], &clean["failure"]), (&json!([]), &Value::Null), "{clean}");
    assert_eq!(site.deletion_status(), "SUCCESS");
    site.disconnect_store(store);
    site.of_store("DeleteCustomKeyStore", store).ok();
    site.stop();
    site.cluster_tool("reset-pin");
    assert_eq!(site.cluster_tool(&format!("show {key}")).matches("AlwaysSensitive").count(), 0);
}

#[test]
fn the_key_object_is_labelled_with_the_key_id_and_never_leaves() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    site.stop();
    site.cluster_tool("reset-pin");
    let shown = site.cluster_tool(&format!("show {key}"));
    assert_eq!(shown.matches("AlwaysSensitive").count(), 1, "{shown}");
    for attribute in [
        "AlwaysSensitive(true)",
        "NeverExtractable(true)",
        "Extractable(false)",
        "Local(true)",
        "Wrap(false)",
    ] {
        assert!(shown.contains(attribute), "{attribute}: {shown}");
    }
    assert!(!shown.contains("Value("), "{shown}");
}

#[test]
fn a_cluster_that_is_not_fit_for_a_key_store_is_refused() {
    let site = site_with_cluster();
    let right = site.new_cluster_store("story");
    let with = |members: Value| merged(right.clone(), members);
    let refused = |request: &Value, name: &str, message: &str| {
        site.kms("CreateCustomKeyStore", request).assert_error(name, message);
    };
    refused(
        &with(json!({"CloudHsmClusterId": "cluster-3a23b4cdefg"})),
        "CloudHsmClusterNotFoundException",
        "The AWS CloudHSM cluster cluster-3a23b4cdefg was not found.",
    );
    refused(
        &with(json!({"TrustAnchorCertificate": Pki::new("Another CA").ca_pem})),
        "IncorrectTrustAnchorException",
        "The trust anchor certificate is not the one that the AWS CloudHSM cluster was initialized with.",
    );
    for member in ["CloudHsmClusterId", "TrustAnchorCertificate", "KeyStorePassword"] {
        let message = format!("{member} is required for an AWS CloudHSM key store.");
        refused(&with(json!({ member: null })), "ValidationException", &message);
    }
    for wrong in [
        json!({"CloudHsmClusterId": "cluster-1"}),
        json!({"KeyStorePassword": "short"}),
        json!({"KeyStorePassword": "x".repeat(33)}),
        json!({"TrustAnchorCertificate": ""}),
        json!({"XksProxyUriPath": "/test/kms/xks/v1"}),
        json!({"XksProxyConnectivity": "PUBLIC_ENDPOINT"}),
    ] {
        let (name, _) = site.kms("CreateCustomKeyStore", &with(wrong.clone())).error();
        assert_eq!(name, "ValidationException", "{wrong}");
    }
    site.inject_member("two", DOWN);
    let one = "The AWS CloudHSM cluster must have at least two active HSMs; 1 of them answer.";
    refused(&right, "CloudHsmClusterInvalidConfigurationException", one);
    site.inject_members(DOWN);
    refused(&right, "CloudHsmClusterNotActiveException", "The AWS CloudHSM cluster has no active HSM.");
    site.inject_members("");
    let store = created_once_both_are_back(&site, &right);
    // The same once more, and then a second one over the same cluster, of whomever.
    assert_eq!(site.create_store(&right), store);
    let in_use = "The AWS CloudHSM cluster, or one that shares its backups, is associated with a custom key store already.";
    refused(&with(json!({"CustomKeyStoreName": "other"})), "CloudHsmClusterInUseException", in_use);
    site.kms_as(&OTHER_ACCOUNT, "CreateCustomKeyStore", &right)
        .assert_error("CloudHsmClusterInUseException", in_use);
}

/// Members are looked at when they are needed, but what was down may take a moment.
fn created_once_both_are_back(site: &Site, request: &Value) -> String {
    site.wait_until("both members", || site.kms("CreateCustomKeyStore", request).0.status == 200);
    let named = json!({"CustomKeyStoreName": request["CustomKeyStoreName"]});
    let described = site.kms("DescribeCustomKeyStores", &named).ok();
    described["CustomKeyStores"][0]["CustomKeyStoreId"].as_str().unwrap().to_owned()
}

#[test]
fn each_reason_why_a_cluster_cannot_be_connected_has_its_code() {
    let site = site_with_cluster();
    let wrong_password = json!({"KeyStorePassword": "wrong-password"});
    let store = site.create_store(&merged(site.new_cluster_store("story"), wrong_password));
    assert_eq!(site.try_connect_store(&store), "FAILED INVALID_CREDENTIALS");
    for (name, members) in
        [("ConnectCustomKeyStore", json!({})), ("UpdateCustomKeyStore", json!({"KeyStorePassword": PIN}))]
    {
        let request = merged(json!({"CustomKeyStoreId": store}), members);
        site.kms(name, &request).assert_error(
            "CustomKeyStoreInvalidStateException",
            "The connection state of the custom key store is FAILED. Its last connection attempt failed; disconnect it \
             first.",
        );
    }
    site.disconnect_store(&store);
    site.update_store(&store, json!({"KeyStorePassword": PIN})).ok();
    for (fault, code) in [
        ("C_Login code=CKR_PIN_LOCKED", "USER_LOCKED_OUT"),
        ("C_Login code=CKR_USER_PIN_NOT_INITIALIZED", "USER_NOT_FOUND"),
        ("C_Login code=CKR_USER_ALREADY_LOGGED_IN", "USER_LOGGED_IN"),
        ("C_Login code=CKR_DEVICE_ERROR", "NETWORK_ERRORS"),
        (DOWN, "INSUFFICIENT_CLOUDHSM_HSMS"),
    ] {
        site.inject_members(fault);
        assert_eq!(site.try_connect_store(&store), format!("FAILED {code}"), "{fault}");
        site.inject_members("");
        site.disconnect_store(&store);
    }
    // The configuration knows the cluster no more.
    let whole = site.read("holdfast.toml");
    let start = whole.find("[[cluster]]").unwrap();
    let end = start + whole[start..].find("[kms]").unwrap();
    site.stop();
    site.edit_configuration(|text| text[..start].to_owned() + &text[end..]);
    site.run();
    site.wait_ready();
    assert_eq!(site.try_connect_store(&store), "FAILED CLUSTER_NOT_FOUND");
    site.disconnect_store(&store);
    site.stop();
    site.edit_configuration(|_| whole);
    site.run();
    site.wait_ready();
    site.connect_store(&store);
    let key = site.create_cluster_key(&store);
    site.kms_encrypt(&key);
}

#[test]
fn connecting_changes_the_password_and_nobody_knows_the_new_one() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    let blob = site.kms_encrypt(&key);
    let connected = "The connection state of the custom key store is CONNECTED. Disconnect it first.";
    for change in [json!({"KeyStorePassword": PIN}), json!({"NewCustomKeyStoreName": "new"})] {
        site.update_store(&store, change).assert_error("CustomKeyStoreInvalidStateException", connected);
    }
    site.disconnect_store(&store);
    site.update_store(&store, json!({"NewCustomKeyStoreName": "new"})).ok();
    // With the one that the daemon keeps, it connects again and again.
    for _ in 0..3 {
        site.connect_store(&store);
        assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
        site.disconnect_store(&store);
    }
    // The one that the key store was made with is worth nothing.
    site.update_store(&store, json!({"KeyStorePassword": PIN})).ok();
    assert_eq!(site.try_connect_store(&store), "FAILED INVALID_CREDENTIALS");
    site.disconnect_store(&store);
    // Until the administrator of the cluster gives the user that one again.
    site.cluster_tool("reset-pin");
    site.connect_store(&store);
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    for file in std::fs::read_dir(site.path("state")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!bytes.windows(PIN.len()).any(|window| window == PIN.as_bytes()), "{}", file.display());
        }
    }
    assert!(!site.log().contains(PIN));
    let described = site.store(&store).to_string();
    assert!(!described.contains("assword") && !described.contains(PIN), "{described}");
}

#[test]
fn with_one_member_keys_are_used_and_none_is_made_and_with_none_nothing() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    let blob = site.kms_encrypt(&key);
    for down in MEMBERS {
        site.inject_member(down, DOWN);
        for (operation, body) in uses(&key, &blob) {
            site.wait_until(operation, || site.kms(operation, &body).0.status == 200);
        }
        let one = "The AWS CloudHSM cluster must have at least two active HSMs; 1 of them answer.";
        let refused = site.kms("CreateKey", &new_cluster_key(&store));
        refused.assert_error("CloudHsmClusterInvalidConfigurationException", one);
        site.inject_member(down, "");
        site.wait_until("its return", || site.kms("CreateKey", &new_cluster_key(&store)).0.status == 200);
    }
    site.inject_members(DOWN);
    for (operation, body) in uses(&key, &blob) {
        site.kms(operation, &body).assert_error("KMSInvalidStateException", NOT_REACHED);
    }
    let random = json!({"NumberOfBytes": 8, "CustomKeyStoreId": store});
    // GenerateRandom is about no key, whose state could be invalid.
    assert_eq!(site.kms("GenerateRandom", &random).error().0, "KMSInternalException");
    let none = "The AWS CloudHSM cluster must have at least two active HSMs; 0 of them answer.";
    let refused = site.kms("CreateKey", &new_cluster_key(&store));
    refused.assert_error("CloudHsmClusterInvalidConfigurationException", none);
    assert_eq!(
        (site.connection_state(&store).as_str(), state_of(&site, &key).as_str()),
        ("CONNECTED", "Enabled")
    );
    let plain = site.create_kms_key();
    site.kms_encrypt(&plain);
    site.inject_members("");
    for (operation, body) in uses(&key, &blob) {
        site.wait_until(operation, || site.kms(operation, &body).0.status == 200);
    }
    let clean = site.cluster_findings();
    assert_eq!((&clean["orphans"], &clean["missing"]), (&json!([]), &json!([])), "{clean}");
}

#[test]
fn a_user_that_was_locked_out_meanwhile_is_told_of() {
    let site = site_with_cluster();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    let blob = site.kms_encrypt(&key);
    // Every session is lost, and the user cannot log in again.
    site.inject_members("* code=CKR_SESSION_HANDLE_INVALID count=40\nC_Login code=CKR_PIN_LOCKED");
    let locked_out = "KMS cannot communicate with your AWS CloudHSM cluster because the kmsuser is locked out. If you see \
                      this error repeatedly, disconnect the AWS CloudHSM key store and reset the kmsuser account \
                      password. Update the kmsuser password for the custom key store and try the request again.";
    let decrypt = json!({"CiphertextBlob": blob});
    site.wait_until("the lock-out", || {
        let reply = site.kms("Decrypt", &decrypt);
        reply.0.status != 200
            && reply.error() == ("KMSInvalidStateException".to_owned(), locked_out.to_owned())
    });
    // While nobody can log in: SoftHSM writes the file of a token then, and would undo what the administrator does.
    site.disconnect_store(&store);
    site.inject_members("");
    site.cluster_tool("reset-pin");
    site.update_store(&store, json!({"KeyStorePassword": PIN})).ok();
    site.connect_store(&store);
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
}

#[test]
fn a_key_that_does_not_belong_into_a_cluster_is_not_made() {
    let site = site_with_cluster_and(Setup::kms());
    let store = site.connected_cluster_store("story");
    let right = new_cluster_key(&store);
    for (request, exception, message) in [
        (
            new_external_key(&store, "foo"),
            "UnsupportedOperationException",
            "The custom key store is not of the type EXTERNAL_KEY_STORE, which this request needs.",
        ),
        (
            merged(right.clone(), json!({"XksKeyId": "foo"})),
            "ValidationException",
            "XksKeyId is valid only when Origin is EXTERNAL_KEY_STORE.",
        ),
        (
            json!({"Origin": "AWS_CLOUDHSM"}),
            "ValidationException",
            "CustomKeyStoreId is required when Origin is AWS_CLOUDHSM.",
        ),
        (
            merged(right.clone(), json!({"MultiRegion": true})),
            "UnsupportedOperationException",
            "Custom key stores do not support multi-Region keys.",
        ),
        (
            merged(right, json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"})),
            "UnsupportedOperationException",
            "Custom key stores do not support KMS keys with the key spec ECC_NIST_P256.",
        ),
    ] {
        site.kms("CreateKey", &request).assert_error(exception, message);
    }
    let update = json!({"XksProxyUriPath": "/test/kms/xks/v1"});
    assert_eq!(site.update_store(&store, update).error().0, "ValidationException");
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"], json!([]));
    let clean = site.cluster_findings();
    assert_eq!(clean["orphans"], json!([]));
}

/// Another cluster, over a token of its own, with this trust anchor.
fn another_cluster(id: &str, token: &str, trust_anchor: &str) -> String {
    let member =
        |number: u32| format!("[[cluster.member]]\nname = \"{token}-{number}\"\ntoken_label = \"{token}\"\n");
    format!(
        "[[cluster]]\nid = \"{id}\"\ntrust_anchor_file = \"{trust_anchor}\"\nmodule = \"{SOFTHSM}\"\n{}{}",
        member(1),
        member(2)
    )
}

#[test]
fn a_key_store_moves_to_a_cluster_with_the_same_trust_anchor_only() {
    const RELATED: &str = "cluster-related2222";
    const STRANGE: &str = "cluster-strange2222";
    let tables =
        another_cluster(RELATED, "related", "ca.pem") + &another_cluster(STRANGE, "strange", "other.pem");
    let site = apart_with(Setup { tables, ..Setup::kms() });
    std::fs::write(site.path("other.pem"), Pki::new("Another CA").ca_pem).unwrap();
    for token in ["related", "strange"] {
        site.init_token(token);
    }
    site.run();
    site.wait_ready();
    let store = site.connected_cluster_store("story");
    let key = site.create_cluster_key(&store);
    let to = |id: &str| json!({"CloudHsmClusterId": id});
    let connected = "The connection state of the custom key store is CONNECTED. Disconnect it first.";
    site.update_store(&store, to(RELATED)).assert_error("CustomKeyStoreInvalidStateException", connected);
    site.disconnect_store(&store);
    for (id, exception) in [
        ("cluster-absent22222", "CloudHsmClusterNotFoundException"),
        (STRANGE, "CloudHsmClusterNotRelatedException"),
    ] {
        assert_eq!(site.update_store(&store, to(id)).error().0, exception);
        assert_eq!(site.store(&store)["CloudHsmClusterId"], CLUSTER_ID);
    }
    let move_there = merged(to(RELATED), json!({"KeyStorePassword": PIN}));
    assert_eq!(site.update_store(&store, move_there).ok(), json!({}));
    assert_eq!(site.store(&store)["CloudHsmClusterId"], RELATED);
    site.connect_store(&store);
    assert_eq!(site.key_metadata_of(&key)["CloudHsmClusterId"], RELATED);
    // It was restored from a backup that is older than the key.
    site.kms("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT})).assert_error(
        "KMSInvalidStateException",
        "The key material of this KMS key was not found in its AWS CloudHSM cluster.",
    );
    assert_eq!(site.cluster_findings()["missing"], json!([key]));
}
