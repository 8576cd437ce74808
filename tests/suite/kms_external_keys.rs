//! KMS keys over external keys: how they are made, what they can do in which state, how often, and what nobody sees.

use proxy_api::wire::encode_base64;
use serde_json::{Value, json};

use crate::support::external_key_stores::{new_external_key, new_external_store};
use crate::support::kms::OTHER_ACCOUNT;
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::site::{SECRET_ACCESS_KEY, merged};
use crate::support::{Setup, Site};

fn site() -> Site {
    let keys = vec![("bar".to_owned(), "encrypt,decrypt".to_owned())];
    Site::start_with(&Setup { keys, ..Setup::kms_with_proxies("ca.pem", "") })
}

#[test]
fn a_key_that_cannot_be_in_the_key_store_is_not_made() {
    let site = site();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let right = new_external_key(&store, "foo");
    let key = site.create_key_with(&right);
    let xks_id = |id: &str| merged(right.clone(), json!({"XksKeyId": id}));
    let refusals = of_external_key(&right).into_iter().chain(of_members(&store, &right));
    for (request, exception, message) in refusals {
        site.kms("CreateKey", &request).assert_error(exception, message);
    }
    for wrong in ["", "with space", "a/b", &"x".repeat(129)] {
        assert_eq!(site.kms("CreateKey", &xks_id(wrong)).error().0, "ValidationException", "{wrong}");
    }
    let keys = site.kms("ListKeys", &json!({})).ok();
    assert_eq!(keys["Keys"], json!([{"KeyId": key, "KeyArn": key_arn(&key)}]));
    let random = site.kms("GenerateRandom", &json!({"NumberOfBytes": 8, "CustomKeyStoreId": store}));
    assert_eq!(random.error().0, "UnsupportedOperationException");
}

/// A request, and the exception and text that it is refused with.
type Refusal = (Value, &'static str, &'static str);

/// What is wrong with the external key.
fn of_external_key(right: &Value) -> Vec<Refusal> {
    let usage: &str = "The key usage of the external key must include ENCRYPT and DECRYPT. The key use of specified external \
                 key is ENCRYPT.";
    let xks_id = |id: &str| merged(right.clone(), json!({"XksKeyId": id}));
    vec![
        (
            right.clone(),
            "XksKeyAlreadyInUseException",
            "The external key is already associated with another KMS key in this external key store.",
        ),
        (
            xks_id("nobody"),
            "XksKeyNotFoundException",
            "The external key associated with this KMS key in an external key store was not found in its external key \
             manager. If the external key ID associated with this KMS key is incorrect, create a new KMS key with the \
             correct external key ID.",
        ),
        (xks_id("encrypt_only_key"), "XksKeyInvalidConfigurationException", usage),
    ]
}

/// What does not go together.
fn of_members(store: &str, right: &Value) -> Vec<Refusal> {
    vec![
        (
            merged(right.clone(), json!({"CustomKeyStoreId": null})),
            "ValidationException",
            "CustomKeyStoreId is required when Origin is EXTERNAL_KEY_STORE.",
        ),
        (
            merged(right.clone(), json!({"XksKeyId": null})),
            "ValidationException",
            "XksKeyId is required when Origin is EXTERNAL_KEY_STORE.",
        ),
        (
            json!({"XksKeyId": "foo"}),
            "ValidationException",
            "XksKeyId is valid only when Origin is EXTERNAL_KEY_STORE.",
        ),
        (
            json!({"CustomKeyStoreId": store}),
            "ValidationException",
            "CustomKeyStoreId is valid only when Origin is AWS_CLOUDHSM or EXTERNAL_KEY_STORE.",
        ),
        (
            merged(right.clone(), json!({"CustomKeyStoreId": "cks-00000000000000000"})),
            "CustomKeyStoreNotFoundException",
            "Custom key store cks-00000000000000000 does not exist.",
        ),
        (
            json!({"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store}),
            "UnsupportedOperationException",
            "The custom key store is not of the type AWS_CLOUDHSM, which this request needs.",
        ),
        (
            merged(right.clone(), json!({"MultiRegion": true})),
            "UnsupportedOperationException",
            "Custom key stores do not support multi-Region keys.",
        ),
        (
            merged(right.clone(), json!({"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"})),
            "UnsupportedOperationException",
            "Custom key stores do not support KMS keys with the key spec RSA_2048.",
        ),
        (
            merged(right.clone(), json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"})),
            "UnsupportedOperationException",
            "Custom key stores do not support KMS keys with the key spec HMAC_256.",
        ),
    ]
}

#[test]
fn an_external_key_is_taken_until_its_kms_key_is_gone() {
    let site = site();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let first = site.create_external_key(&store, "foo");
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": first, "PendingWindowInDays": 7})).ok();
    let (name, _) = site.kms("CreateKey", &new_external_key(&store, "foo")).error();
    assert_eq!(name, "XksKeyAlreadyInUseException");
    site.advance_clock("8d");
    let second = site.create_external_key(&store, "foo");
    assert_ne!(first, second);
    // Another account can have it too, in a key store of its own.
    let request = new_external_store("story", &site.proxy_endpoint());
    let theirs = site.kms_as(&OTHER_ACCOUNT, "CreateCustomKeyStore", &request).text("CustomKeyStoreId");
    let of_theirs = json!({"CustomKeyStoreId": theirs});
    site.kms_as(&OTHER_ACCOUNT, "ConnectCustomKeyStore", &of_theirs).ok();
    site.wait_until("their connection", || {
        let described = site.kms_as(&OTHER_ACCOUNT, "DescribeCustomKeyStores", &of_theirs).ok();
        described["CustomKeyStores"][0]["ConnectionState"] == "CONNECTED"
    });
    let made = site.kms_as(&OTHER_ACCOUNT, "CreateKey", &new_external_key(&theirs, "foo")).ok();
    let their_key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    // The external key is the same, and the keys are not.
    let blob = site.kms_encrypt(&second);
    let body = json!({"CiphertextBlob": blob, "KeyId": their_key});
    assert_eq!(site.kms_as(&OTHER_ACCOUNT, "Decrypt", &body).error().0, "IncorrectKeyException");
}

/// What each operation that does not use the key says of one that is unavailable.
#[test]
fn a_key_that_is_unavailable_can_be_managed() {
    let site = site();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let [key, disabled] = ["foo", "bar"].map(|key| site.create_external_key(&store, key));
    site.kms("DisableKey", &json!({"KeyId": disabled})).ok();
    site.disconnect_store(&store);
    let state = |key: &str| site.key_metadata_of(key)["KeyState"].as_str().unwrap().to_owned();
    assert_eq!((state(&key), state(&disabled)), ("Unavailable".to_owned(), "Unavailable".to_owned()));
    let of_key = json!({"KeyId": key});
    let with = |members: Value| merged(of_key.clone(), members);
    let grantee = "arn:aws:iam::123456789012:user/admin";
    for (operation, body) in [
        ("CreateAlias", json!({"AliasName": "alias/a", "TargetKeyId": key})),
        ("UpdateAlias", json!({"AliasName": "alias/a", "TargetKeyId": disabled})),
        ("ListAliases", of_key.clone()),
        ("DeleteAlias", json!({"AliasName": "alias/a"})),
        ("TagResource", with(json!({"Tags": [{"TagKey": "a", "TagValue": "b"}]}))),
        ("ListResourceTags", of_key.clone()),
        ("UntagResource", with(json!({"TagKeys": ["a"]}))),
        ("GetKeyPolicy", of_key.clone()),
        ("ListKeyPolicies", of_key.clone()),
        ("CreateGrant", with(json!({"GranteePrincipal": grantee, "Operations": ["Decrypt"]}))),
        ("ListGrants", of_key.clone()),
        ("UpdateKeyDescription", with(json!({"Description": "new"}))),
        ("GetKeyLastUsage", of_key.clone()),
    ] {
        let reply = site.kms(operation, &body);
        assert_eq!(reply.0.status, 200, "{operation}: {:?}", String::from_utf8_lossy(&reply.0.body));
    }
    let cancel = format!("{} is not pending deletion.", key_arn(&key));
    site.kms("CancelKeyDeletion", &of_key).assert_error("KMSInvalidStateException", &cancel);
    // What it will be when it is available again.
    site.kms("DisableKey", &of_key).ok();
    site.kms("EnableKey", &json!({"KeyId": disabled})).ok();
    assert_eq!((state(&key), state(&disabled)), ("Unavailable".to_owned(), "Unavailable".to_owned()));
    site.connect_store(&store);
    assert_eq!((state(&key), state(&disabled)), ("Disabled".to_owned(), "Enabled".to_owned()));
    site.kms_encrypt(&disabled);
}

#[test]
fn a_key_pending_deletion_stays_so_while_its_key_store_is_disconnected() {
    let site = site();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let [before, after] = ["foo", "bar"].map(|key| site.create_external_key(&store, key));
    let blob = site.kms_encrypt(&before);
    let state = |key: &str| site.key_metadata_of(key)["KeyState"].as_str().unwrap().to_owned();
    let schedule =
        |key: &str| site.kms("ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7})).ok();
    schedule(&before);
    site.disconnect_store(&store);
    assert_eq!(state(&before), "PendingDeletion");
    assert_eq!(schedule(&after)["KeyState"], "PendingDeletion");
    assert_eq!(state(&after), "PendingDeletion");
    let pending = format!("{} is pending deletion.", key_arn(&before));
    site.kms("Decrypt", &json!({"CiphertextBlob": blob})).assert_error("KMSInvalidStateException", &pending);
    // Cancelled, it would be disabled; and it is not even that while its key store is not connected.
    site.kms("CancelKeyDeletion", &json!({"KeyId": before})).ok();
    assert_eq!(state(&before), "Unavailable");
    site.connect_store(&store);
    assert_eq!(state(&before), "Disabled");
    site.kms("EnableKey", &json!({"KeyId": before})).ok();
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    // The other's time runs out while nothing is connected.
    site.disconnect_store(&store);
    site.advance_clock("8d");
    assert_eq!(site.kms("DescribeKey", &json!({"KeyId": after})).error().0, "NotFoundException");
    assert_eq!(state(&before), "Unavailable");
}

#[test]
fn above_its_quota_a_key_store_is_throttled_before_the_proxy_hears_of_it() {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", "requests_per_second = 1"));
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    let body = json!({"KeyId": key, "KeySpec": "AES_256"});
    let replies: Vec<_> = (0..30).map(|_| site.kms("GenerateDataKey", &body)).collect();
    let id = |reply: &crate::support::kms::KmsReply| {
        reply.0.headers["x-amzn-requestid"].to_str().unwrap().to_owned()
    };
    let (served, throttled): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.0.status == 200);
    assert!(!served.is_empty() && throttled.len() > 10, "{} served", served.len());
    for reply in &throttled {
        reply.assert_error(
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
        );
    }
    let served: Vec<_> = served.into_iter().map(id).collect();
    let came = || -> Vec<String> {
        let data_keys =
            site.proxy_requests().into_iter().filter(|(operation, _)| operation == "GenerateDataKey");
        data_keys.map(|(_, id)| id).collect()
    };
    site.wait_until("the log lines", || came().len() >= served.len());
    assert_eq!(came(), served);
    let series = format!(
        "holdfast_kms_external_key_store_throttled_total{{custom_key_store_id=\"{store}\",\
         key_spec=\"SYMMETRIC_DEFAULT\",kms_operation=\"GenerateDataKey\"}}"
    );
    let counted = site.metric(&series);
    assert!(counted.is_some_and(|counted| counted >= throttled.len() as f64), "{counted:?}");
    // The default key store has nothing to do with it.
    let plain = site.create_kms_key();
    for _ in 0..5 {
        site.kms_encrypt(&plain);
    }
}

#[test]
fn the_metrics_of_a_key_store_end_with_it() {
    let site = site();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    site.kms_encrypt(&key);
    let families = || -> Vec<String> {
        let text = site.admin("/metrics").unwrap().1;
        let label = format!("custom_key_store_id=\"{store}\"");
        let lines = text.lines().filter(|line| line.contains(&label));
        let mut names: Vec<_> = lines.map(|line| line.split('{').next().unwrap().to_owned()).collect();
        names.dedup();
        names
    };
    let names = families();
    for family in [
        "holdfast_kms_xks_proxy_duration_seconds_count",
        "holdfast_kms_xks_proxy_requests_total",
        "holdfast_kms_xks_proxy_certificate_not_after_timestamp_seconds",
        "holdfast_kms_xks_external_key_managers",
        "holdfast_kms_xks_proxy_credential_associated_timestamp_seconds",
    ] {
        assert!(names.iter().any(|name| name == family), "{family} is not in {names:?}");
    }
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7})).ok();
    site.advance_clock("8d");
    site.disconnect_store(&store);
    site.of_store("DeleteCustomKeyStore", &store).ok();
    assert_eq!(families(), Vec::<String>::new());
}

#[test]
fn nothing_secret_of_a_key_store_is_shown_or_stored() {
    const SECRET_TEXT: &[u8] = b"a plaintext that nobody else may see";
    let tables = "[log]\nfilter = \"trace\"".to_owned();
    let site = Site::start_with(&Setup { tables, ..Setup::kms_with_proxies("ca.pem", "") });
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    let body = json!({"KeyId": key, "Plaintext": encode_base64(SECRET_TEXT)});
    let blob = site.kms("Encrypt", &body).text("CiphertextBlob");
    site.kms_decrypt(&blob);
    let data_key =
        site.kms("GenerateDataKey", &json!({"KeyId": key, "KeySpec": "AES_256"})).text("Plaintext");
    let mut places = vec![
        ("log", site.log().into_bytes()),
        ("metrics", site.admin("/metrics").unwrap().1.into_bytes()),
        ("answers", site.kms("DescribeCustomKeyStores", &json!({})).0.body),
    ];
    let files = std::fs::read_dir(site.path("state")).unwrap().map(|entry| entry.unwrap().path());
    places.extend(files.filter(|path| path.is_file()).map(|path| ("state", std::fs::read(path).unwrap())));
    assert!(places.iter().any(|(_, bytes)| bytes.starts_with(b"SQLite format 3")));
    let raw = proxy_api::wire::decode_base64(&data_key).unwrap();
    let secrets = [
        SECRET_ACCESS_KEY.as_bytes().to_vec(),
        SECRET_TEXT.to_vec(),
        encode_base64(SECRET_TEXT).into_bytes(),
        data_key.into_bytes(),
        raw,
    ];
    for (place, bytes) in &places {
        for secret in &secrets {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!is_there, "{:?} is in the {place}", String::from_utf8_lossy(secret));
        }
    }
}

#[test]
fn a_policy_can_tell_keys_by_where_they_are_and_users_need_no_permission_on_the_key_store() {
    let site = site();
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let user = site.kms_user("maker");
    let origin = json!({"StringEquals": {"kms:KeyOrigin": "EXTERNAL_KEY_STORE"}});
    let actions = json!(["kms:CreateKey", "kms:Encrypt"]);
    let statement = json!([{"Effect": "Allow", "Action": actions, "Resource": "*", "Condition": origin}]);
    site.kms_user_may("maker", &statement);
    site.assert_denied(&user, "CreateKey", &json!({}));
    let made = site.kms_as(&user, "CreateKey", &new_external_key(&store, "foo")).ok();
    let encrypt = |key: &Value| json!({"KeyId": key, "Plaintext": PLAINTEXT});
    site.assert_allowed(&user, "Encrypt", &encrypt(&made["KeyMetadata"]["KeyId"]));
    site.assert_denied(&user, "Encrypt", &encrypt(&json!(site.create_kms_key())));
    site.assert_denied(&user, "DescribeCustomKeyStores", &json!({}));
}
