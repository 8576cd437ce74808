//! External key stores from their creation to their end, over real sockets: one daemon at both ends, or two.

use serde_json::{Value, json};

use crate::support::changes::{Reload, credential};
use crate::support::external_key_stores::{
    URI_PATH, administrator_arn, new_external_key, new_external_store, proxy_credential,
};
use crate::support::kms::{KmsClient, KmsReply};
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::pki::write_private;
use crate::support::site::{ACCESS_KEY_ID, CLIENT_CN, Setup, Site};

const CONTEXT: &str = "tenant";
const SECOND_ID: &str = "ZYXWVUTSRQPONMLKJIHG";
const SECOND_SECRET: &str = "zyxwvutsrqponmlkjihgfedcba9876543210ZYXWVUT=";

/// One daemon with both faces.
fn both_ends() -> Site {
    let keys = vec![("bar".to_owned(), "encrypt,decrypt".to_owned())];
    Site::start_with(&Setup { keys, ..Setup::kms_with_proxies("ca.pem", "") })
}

/// The KMS API, whose proxy is another daemon.
fn before(proxy: &Site) -> Site {
    Site::start_with(&Setup::kms_with_proxies(proxy.path("ca.pem").to_str().unwrap(), ""))
}

#[track_caller]
fn assert_not_connected(reply: &KmsReply) {
    reply.assert_error(
        "KMSInvalidStateException",
        "This KMS key is in a custom key store that is not connected to its external key store proxy. Connect the \
         external key store and try the request again.",
    );
}

#[track_caller]
fn state_of(site: &Site, key: &str) -> String {
    site.key_metadata_of(key)["KeyState"].as_str().unwrap().to_owned()
}

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

#[test]
fn the_whole_life_in_one_process() {
    let site = both_ends();
    whole_life(&site, &site);
}

#[test]
fn the_whole_life_in_two_processes() {
    let proxy = Site::start();
    whole_life(&before(&proxy), &proxy);
}

fn whole_life(kms: &Site, proxy: &Site) {
    let store = kms.create_external_store("story", &proxy.proxy_endpoint());
    let digits = store.strip_prefix("cks-").unwrap();
    assert!(digits.len() == 17 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{store}");
    let mut described = kms.store(&store);
    assert!(described.as_object_mut().unwrap().remove("CreationDate").unwrap().is_number());
    let mut expected = json!({
        "CustomKeyStoreId": store,
        "CustomKeyStoreName": "story",
        "ConnectionState": "DISCONNECTED",
        "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "XksProxyConfiguration": {
            "AccessKeyId": ACCESS_KEY_ID,
            "Connectivity": "PUBLIC_ENDPOINT",
            "UriEndpoint": proxy.proxy_endpoint(),
            "UriPath": URI_PATH,
        },
    });
    assert_eq!(described, expected);
    kms.connect_store(&store);
    expected["ConnectionState"] = json!("CONNECTED");
    described = kms.store(&store);
    described.as_object_mut().unwrap().remove("CreationDate");
    assert_eq!(described, expected);

    let key = created(kms, &store);
    let blob = use_key(kms, &key);
    manage_key(kms, &key);
    disconnect_and_reconnect(kms, &store, &key, &blob);
    end(kms, &store, &key);
}

/// A key over `foo`, with everything that its metadata shows.
fn created(kms: &Site, store: &str) -> String {
    let request = json!({"Description": "outside", "Tags": [{"TagKey": "a", "TagValue": "b"}]});
    let request = crate::support::site::merged(new_external_key(store, "foo"), request);
    let made = kms.kms("CreateKey", &request).ok()["KeyMetadata"].clone();
    let key = made["KeyId"].as_str().unwrap().to_owned();
    assert_eq!(kms.key_metadata_of(&key), made);
    let expected = json!({
        "Arn": key_arn(&key),
        "CustomKeyStoreId": store,
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "Description": "outside",
        "Enabled": true,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "KeyManager": "CUSTOMER",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": false,
        "Origin": "EXTERNAL_KEY_STORE",
        "XksKeyConfiguration": {"Id": "foo"},
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&made[member], value, "{member}");
    }
    assert_eq!(made.get("CloudHsmClusterId"), None);
    assert_eq!(made.get("CurrentKeyMaterialId"), None);
    key
}

/// All that it can do: a ciphertext of `PLAINTEXT`.
fn use_key(kms: &Site, key: &str) -> String {
    let plain = kms.create_kms_key();
    let context = json!({CONTEXT: "blue"});
    let body = json!({"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    let encrypted = kms.kms("Encrypt", &body).ok();
    assert_eq!(
        (&encrypted["KeyId"], &encrypted["EncryptionAlgorithm"]),
        (&json!(key_arn(key)), &json!("SYMMETRIC_DEFAULT"))
    );
    let blob = &encrypted["CiphertextBlob"];
    let decrypt = |context: Value| {
        kms.kms("Decrypt", &json!({"CiphertextBlob": blob, "KeyId": key, "EncryptionContext": context}))
    };
    let decrypted = decrypt(context.clone()).ok();
    assert_eq!(decrypted["Plaintext"], PLAINTEXT);
    assert_eq!(decrypted.get("KeyMaterialId"), None);
    // No InvalidCiphertextException: the proxy says so, and KMS repeats it.
    let rejected = "The external key store proxy rejected the request because the specified ciphertext or additional \
                    authenticated data is corrupted, missing, or otherwise invalid.";
    for other in [json!({CONTEXT: "red"}), json!({}), json!({CONTEXT: "blue", "b": "c"})] {
        decrypt(other).assert_error("KMSInvalidStateException", rejected);
    }
    // To the default key store and back.
    let to_plain = json!({
        "CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": plain,
    });
    let moved = kms.kms("ReEncrypt", &to_plain).ok();
    assert_eq!((&moved["SourceKeyId"], &moved["KeyId"]), (&json!(key_arn(key)), &json!(key_arn(&plain))));
    assert_eq!(kms.kms_decrypt(moved["CiphertextBlob"].as_str().unwrap())["Plaintext"], PLAINTEXT);
    let back = json!({"CiphertextBlob": moved["CiphertextBlob"], "DestinationKeyId": key});
    let back = kms.kms("ReEncrypt", &back).text("CiphertextBlob");
    assert_eq!(kms.kms_decrypt(&back)["Plaintext"], PLAINTEXT);
    for (operation, bytes) in [("GenerateDataKey", 1024), ("GenerateDataKeyWithoutPlaintext", 1)] {
        let made = kms.kms(operation, &json!({"KeyId": key, "NumberOfBytes": bytes})).ok();
        let opened = kms.kms_decrypt(made["CiphertextBlob"].as_str().unwrap());
        let length = proxy_api::wire::decode_base64(opened["Plaintext"].as_str().unwrap()).unwrap().len();
        assert_eq!(length, bytes);
        assert!(made.get("Plaintext").is_none_or(|plaintext| *plaintext == opened["Plaintext"]));
        assert_eq!(made.get("Plaintext").is_some(), operation == "GenerateDataKey");
    }
    // The longest plaintext fits into what every proxy takes.
    let longest = proxy_api::wire::encode_base64(&[7; 4096]);
    let sealed = kms.kms("Encrypt", &json!({"KeyId": key, "Plaintext": longest})).text("CiphertextBlob");
    assert_eq!(kms.kms_decrypt(&sealed)["Plaintext"], longest);
    back
}

/// Names, tags, grants and policies work as for any key, and the kind of key refuses what it cannot do.
fn manage_key(kms: &Site, key: &str) {
    let user = kms.kms_user("reader");
    kms.create_alias("alias/outside", key);
    let blob = kms.kms_encrypt("alias/outside");
    let decrypt = json!({"CiphertextBlob": blob});
    kms.assert_denied(&user, "Decrypt", &decrypt);
    let grantee = crate::support::kms_stories::user_arn("reader");
    let grant = json!({"KeyId": key, "GranteePrincipal": grantee, "Operations": ["Decrypt"]});
    let grant = kms.kms("CreateGrant", &grant).text("GrantId");
    kms.assert_allowed(&user, "Decrypt", &decrypt);
    kms.kms("RevokeGrant", &json!({"KeyId": key, "GrantId": grant})).ok();
    kms.assert_denied(&user, "Decrypt", &decrypt);
    kms.kms("TagResource", &json!({"KeyId": key, "Tags": [{"TagKey": "c", "TagValue": "d"}]})).ok();
    let tags = kms.kms("ListResourceTags", &json!({"KeyId": key})).ok();
    assert_eq!(tags["Tags"].as_array().unwrap().len(), 2);
    kms.kms("DisableKey", &json!({"KeyId": key})).ok();
    for (operation, body) in uses(key, &blob) {
        let disabled = format!("{} is disabled.", key_arn(key));
        kms.kms(operation, &body).assert_error("DisabledException", &disabled);
    }
    kms.kms("EnableKey", &json!({"KeyId": key})).ok();
    assert_eq!(kms.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    for operation in [
        "DisableKeyRotation",
        "EnableKeyRotation",
        "GetKeyRotationStatus",
        "ListKeyRotations",
        "RotateKeyOnDemand",
    ] {
        let (name, _) = kms.kms(operation, &json!({"KeyId": key})).error();
        assert_eq!(name, "UnsupportedOperationException", "{operation}");
    }
    kms.kms("DeleteAlias", &json!({"AliasName": "alias/outside"})).ok();
}

fn disconnect_and_reconnect(kms: &Site, store: &str, key: &str, blob: &str) {
    kms.disconnect_store(store);
    let metadata = kms.key_metadata_of(key);
    assert_eq!((&metadata["KeyState"], &metadata["Enabled"]), (&json!("Unavailable"), &json!(false)));
    for (operation, body) in uses(key, blob) {
        assert_not_connected(&kms.kms(operation, &body));
    }
    kms.kms("CreateKey", &new_external_key(store, "another")).assert_error(
        "CustomKeyStoreInvalidStateException",
        "This KMS key is in a custom key store that is not connected to its external key store proxy. Connect the \
         external key store and try the request again.",
    );
    kms.connect_store(store);
    assert_eq!(state_of(kms, key), "Enabled");
    for (operation, body) in uses(key, blob) {
        kms.kms(operation, &body).ok();
    }
}

fn end(kms: &Site, store: &str, key: &str) {
    kms.of_store("DeleteCustomKeyStore", store).assert_error(
        "CustomKeyStoreInvalidStateException",
        "The connection state of the custom key store is CONNECTED. Disconnect it first.",
    );
    kms.disconnect_store(store);
    let has_keys =
        "The custom key store contains KMS keys. Schedule their deletion, and delete it when they are gone.";
    kms.of_store("DeleteCustomKeyStore", store).assert_error("CustomKeyStoreHasCMKsException", has_keys);
    kms.kms("ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7})).ok();
    assert_eq!(state_of(kms, key), "PendingDeletion");
    kms.of_store("DeleteCustomKeyStore", store).assert_error("CustomKeyStoreHasCMKsException", has_keys);
    kms.advance_clock("8d");
    kms.kms("DescribeKey", &json!({"KeyId": key}))
        .assert_error("NotFoundException", &format!("Key '{}' does not exist", key_arn(key)));
    assert_eq!(kms.of_store("DeleteCustomKeyStore", store).ok(), json!({}));
    let missing = format!("Custom key store {store} does not exist.");
    for operation in ["ConnectCustomKeyStore", "DisconnectCustomKeyStore", "DeleteCustomKeyStore"] {
        kms.of_store(operation, store).assert_error("CustomKeyStoreNotFoundException", &missing);
    }
    assert_eq!(kms.kms("DescribeCustomKeyStores", &json!({})).ok()["CustomKeyStores"], json!([]));
}

#[test]
fn between_two_external_keys_each_proxy_request_has_the_id_of_the_kms_request() {
    let site = both_ends();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let [from, to] = ["foo", "bar"].map(|key| site.create_external_key(&store, key));
    let blob = site.kms_encrypt(&from);
    let mut expected = Vec::new();
    for (operation, body) in [
        ("GenerateDataKey", json!({"KeyId": from, "KeySpec": "AES_256"})),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": from, "KeySpec": "AES_256"})),
        ("Encrypt", json!({"KeyId": from, "Plaintext": PLAINTEXT})),
        ("Decrypt", json!({"CiphertextBlob": blob})),
        ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": to})),
    ] {
        let reply = site.kms(operation, &body);
        reply.ok();
        // One request to the proxy, but for the two of ReEncrypt.
        let count = if operation == "ReEncrypt" { 2 } else { 1 };
        expected.extend(std::iter::repeat_n((operation.to_owned(), request_id(&reply)), count));
    }
    let came = |ids: &[(String, String)]| {
        let mut came = site.proxy_requests();
        came.retain(|(_, came)| ids.iter().any(|(_, id)| came == id));
        came
    };
    site.wait_until("the log lines", || came(&expected).len() >= expected.len());
    assert_eq!(came(&expected), expected);
    let lines = site.request_lines();
    let last = lines.iter().rfind(|line| line["requestMetadata"]["kmsOperation"] == "ReEncrypt").unwrap();
    let arn = |member: &str| last["requestMetadata"][member].as_str().unwrap().to_owned();
    assert_eq!((arn("awsPrincipalArn"), arn("kmsKeyArn")), (administrator_arn(), key_arn(&to)));
    // What needs no proxy, or is refused before, asks none.
    let mut silent = Vec::new();
    for (operation, body) in [
        ("DescribeKey", json!({"KeyId": from})),
        ("Decrypt", json!({"CiphertextBlob": blob, "KeyId": to})),
        ("DisableKey", json!({"KeyId": from})),
        ("Encrypt", json!({"KeyId": from, "Plaintext": PLAINTEXT})),
        ("EnableKey", json!({"KeyId": from})),
        ("ScheduleKeyDeletion", json!({"KeyId": from})),
        ("Decrypt", json!({"CiphertextBlob": blob})),
        ("CreateKey", new_external_key(&store, "bar")),
    ] {
        silent.push((operation.to_owned(), request_id(&site.kms(operation, &body))));
    }
    let last = site.kms("Encrypt", &json!({"KeyId": to, "Plaintext": PLAINTEXT}));
    site.wait_until("the last log line", || !came(&[(String::new(), request_id(&last))]).is_empty());
    assert_eq!(came(&silent), []);
}

fn request_id(reply: &KmsReply) -> String {
    reply.0.headers["x-amzn-requestid"].to_str().unwrap().to_owned()
}

#[test]
fn the_proxy_credential_is_rotated_without_one_failed_request() {
    let site = both_ends();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    std::thread::scope(|scope| {
        let load = Load::start(scope, &site, &key);
        load.wait_for_more(&site);
        let second = [(SECOND_ID, SECOND_SECRET)];
        site.reload(Reload::Taken, || site.write_credentials("credentials.toml", &second));
        load.wait_for_more(&site);
        let update = json!({"XksProxyAuthenticationCredential": proxy_credential(SECOND_ID, SECOND_SECRET)});
        assert_eq!(site.update_store(&store, update).ok(), json!({}));
        load.wait_for_more(&site);
        assert_eq!(site.store(&store)["XksProxyConfiguration"]["AccessKeyId"], SECOND_ID);
        site.reload(Reload::Taken, || {
            site.replace("credentials.toml", &credential(SECOND_ID, SECOND_SECRET));
        });
        load.wait_for_more(&site);
        load.stop();
    });
    // The old one is worth nothing now.
    let old = json!({"XksProxyAuthenticationCredential": crate::support::external_key_stores::credential()});
    let (name, _) = site.update_store(&store, old).error();
    assert_eq!(name, "XksProxyIncorrectAuthenticationCredentialException");
    assert_eq!(site.store(&store)["XksProxyConfiguration"]["AccessKeyId"], SECOND_ID);
    site.kms_encrypt(&key);
}

/// Encrypts and decrypts without a pause, on a thread of its own.
struct Load<'scope> {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    answered: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    thread: std::thread::ScopedJoinHandle<'scope, Vec<(String, String)>>,
}

impl<'scope> Load<'scope> {
    fn start<'env>(scope: &'scope std::thread::Scope<'scope, 'env>, site: &'env Site, key: &str) -> Self {
        use std::sync::atomic::Ordering;
        let (stop, answered) = (std::sync::Arc::default(), std::sync::Arc::default());
        let (stopped, count): (std::sync::Arc<std::sync::atomic::AtomicBool>, _) =
            (std::sync::Arc::clone(&stop), std::sync::Arc::clone(&answered));
        let (endpoint, key) = (site.kms_endpoint(), key.to_owned());
        let thread = scope.spawn(move || {
            let count: std::sync::Arc<std::sync::atomic::AtomicUsize> = count;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut client = KmsClient::open(&runtime, endpoint).unwrap();
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let encrypt = json!({"KeyId": key, "Plaintext": PLAINTEXT});
                let encrypted = client.call("Encrypt", &encrypt).unwrap();
                if encrypted.0.status != 200 {
                    failures.push(encrypted.error());
                    continue;
                }
                let blob = json!({"CiphertextBlob": encrypted.text("CiphertextBlob")});
                let decrypted = client.call("Decrypt", &blob).unwrap();
                if decrypted.0.status != 200 {
                    failures.push(decrypted.error());
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            failures
        });
        Self { stop, answered, thread }
    }

    #[track_caller]
    fn wait_for_more(&self, site: &Site) {
        let answered = || self.answered.load(std::sync::atomic::Ordering::Relaxed);
        let before = answered();
        site.wait_until("more answers", || answered() > before + 20);
    }

    #[track_caller]
    fn stop(self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(self.thread.join().unwrap(), []);
    }
}

#[test]
fn old_ciphertexts_decrypt_after_the_external_key_was_rotated() {
    let site = both_ends();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    let old = site.kms_encrypt(&key);
    let version = || site.request_lines().last().unwrap()["keyVersion"].clone();
    site.wait_until("the log line", || !version().is_null());
    let before = version();
    site.holdfast_ok(&["key", "rotate", "foo", "--hsm", "softhsm"]);
    site.wait_until("the new version", || {
        site.kms_encrypt(&key);
        version() != before && !version().is_null()
    });
    let new = site.kms_encrypt(&key);
    for blob in [&old, &new] {
        assert_eq!(site.kms_decrypt(blob)["Plaintext"], PLAINTEXT);
    }
}

#[test]
fn a_key_store_that_was_killed_while_it_connected_is_connected_in_the_end() {
    let site = both_ends();
    let store = site.create_external_store("story", &site.proxy_endpoint());
    site.of_store("ConnectCustomKeyStore", &store).ok();
    site.kill();
    site.run();
    site.wait_ready();
    assert_eq!(site.settled_connection(&store), "CONNECTED");
    let key = site.create_external_key(&store, "foo");
    let blob = site.kms_encrypt(&key);
    site.kill();
    site.run();
    site.wait_ready();
    assert_eq!(site.connection_state(&store), "CONNECTED");
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    site.of_store("DisconnectCustomKeyStore", &store).ok();
    site.kill();
    site.run();
    site.wait_ready();
    assert_eq!(site.settled_connection(&store), "DISCONNECTED");
    assert_not_connected(&site.kms("Decrypt", &json!({"CiphertextBlob": blob})));
}

#[test]
fn the_same_request_once_more_is_the_same_key_store() {
    let site = both_ends();
    let request = new_external_store("story", &site.proxy_endpoint());
    let store = site.create_store(&request);
    assert_eq!(site.create_store(&request), store);
    let in_use =
        "The custom key store name is in use by another custom key store in this account and Region.";
    let mut other = request.clone();
    other["XksProxyAuthenticationCredential"] = proxy_credential(SECOND_ID, SECOND_SECRET);
    site.kms("CreateCustomKeyStore", &other).assert_error("CustomKeyStoreNameInUseException", in_use);
    site.connect_store(&store);
    site.kms("CreateCustomKeyStore", &request).assert_error("CustomKeyStoreNameInUseException", in_use);
    // What is connected already stays so.
    site.connect_store(&store);
}

#[test]
fn a_proxy_that_wants_a_client_certificate_is_shown_one() {
    let files = "client_certificate_file = \"client.pem\"\nclient_private_key_file = \"client.key\"\n";
    let site = Site::prepare(&Setup::kms_with_proxies("ca.pem", files));
    let show = |common_name: &str| {
        let (certificate, key) = site.pki.client(common_name);
        std::fs::write(site.path("client.pem"), certificate).unwrap();
        write_private(&site.path("client.key"), &key);
    };
    show("somebody else");
    site.run();
    site.wait_ready();
    let endpoint = format!("https://localhost:{}", site.mtls_port);
    let request = new_external_store("story", &endpoint);
    let no_tls = "AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS \
                  configuration, including its certificate.";
    site.kms("CreateCustomKeyStore", &request).assert_error("XksProxyUriUnreachableException", no_tls);
    site.reload(Reload::Taken, || {
        show(CLIENT_CN);
        site.hang_up();
    });
    let store = site.connected_external_store("story", &endpoint);
    let key = site.create_external_key(&store, "foo");
    let blob = site.kms_encrypt(&key);
    // New connections go by another certificate.
    site.reload(Reload::Taken, || {
        show("somebody else");
        site.hang_up();
    });
    let decrypt = json!({"CiphertextBlob": blob});
    site.wait_until("a new connection", || site.kms("Decrypt", &decrypt).0.status != 200);
    site.kms("Decrypt", &decrypt).assert_error("KMSInvalidStateException", no_tls);
}
