//! What stands in the records of custom key stores and of the keys in them.

use serde_json::{Value, json};

use crate::support::cluster_stores::{new_cluster_key, site_with_cluster};
use crate::support::clusters::CLUSTER_ID;
use crate::support::external_key_stores::new_external_key;
use crate::support::kms::ACCOUNT;
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::records::{assert_members, of_key, resource};
use crate::support::{Setup, Site};

#[test]
fn keys_in_an_external_key_store_are_recorded_with_where_they_are() {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", ""));
    let store = site.connected_external_store("story", &site.proxy_endpoint());
    let made = site.recorded("CreateKey", &new_external_key(&store, "foo"));
    assert_members(
        &made["requestParameters"],
        &json!({"origin": "EXTERNAL_KEY_STORE", "customKeyStoreId": store, "xksKeyId": "foo"}),
    );
    let metadata = &made["responseElements"]["keyMetadata"];
    assert_members(
        metadata,
        &json!({
            "customKeyStoreId": store, "xksKeyConfiguration": {"id": "foo"}, "enabled": true,
            "keyState": "Enabled", "aWSAccountId": ACCOUNT.id,
        }),
    );
    assert!(metadata.get("cloudHsmClusterId").is_none() && made.get("additionalEventData").is_none());
    let key = metadata["keyId"].as_str().unwrap();
    let place = json!({"customKeyStoreId": store, "xksKeyId": "foo"});
    let encrypt = json!({"KeyId": key, "Plaintext": PLAINTEXT});
    let encrypted = site.kms("Encrypt", &encrypt);
    assert_eq!(site.record_of(&encrypted)["additionalEventData"], place);
    assert!(site.recorded("DescribeKey", &of_key(key)).get("additionalEventData").is_none());
    let mut blob = proxy_api::wire::decode_base64(&encrypted.text("CiphertextBlob")).unwrap();
    *blob.last_mut().unwrap() ^= 1;
    let broken = site.kms("Decrypt", &json!({"CiphertextBlob": proxy_api::wire::encode_base64(&blob)}));
    let record = site.record_of(&broken);
    let expected = json!({
        "errorCode": broken.error().0, "errorMessage": broken.error().1, "additionalEventData": place,
        "resources": [resource(&key_arn(key))],
    });
    assert_members(&record, &expected);
    let joined = |line: &Value| line["requestMetadata"]["kmsRequestId"] == record["requestID"];
    site.wait_until("the proxy's line of the request", || site.request_lines().iter().any(joined));
    let of_store = json!({"CustomKeyStoreId": store});
    let named = json!({"customKeyStoreName": "story"});
    let disconnected = site.recorded("DisconnectCustomKeyStore", &of_store);
    let expected = json!({
        "requestParameters": {"customKeyStoreId": store}, "responseElements": null,
        "additionalEventData": named, "readOnly": false,
    });
    assert_members(&disconnected, &expected);
    assert!(disconnected.get("resources").is_none());
    let described = site.recorded("DescribeCustomKeyStores", &of_store);
    assert!(described.get("additionalEventData").is_none() && described.get("resources").is_none());
}

#[test]
fn keys_in_a_cluster_are_recorded_with_their_key_objects() {
    let site = site_with_cluster();
    let created = site.kms("CreateCustomKeyStore", &site.new_cluster_store("story"));
    let store = created.text("CustomKeyStoreId");
    let record = site.record_of(&created);
    let expected = json!({
        "requestParameters": {"customKeyStoreName": "story", "clusterId": CLUSTER_ID},
        "responseElements": {"customKeyStoreId": store},
    });
    assert_members(&record, &expected);
    site.connect_store(&store);
    let made = site.recorded("CreateKey", &new_cluster_key(&store));
    let key = made["responseElements"]["keyMetadata"]["keyId"].as_str().unwrap();
    let text = made["additionalEventData"]["backingKey"].as_str().unwrap();
    let backing: Value = serde_json::from_str(text).unwrap();
    assert!(backing["keyHandle"].is_string() && backing["backingKeyId"].is_string(), "{backing}");
    let used = site.recorded("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT}));
    assert_eq!(used["additionalEventData"], json!({"customKeyStoreId": store}));
    let scheduled = site.recorded("ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7}));
    let additional = &scheduled["additionalEventData"];
    assert_members(additional, &json!({"customKeyStoreId": store, "clusterId": CLUSTER_ID}));
    let listed: Value = serde_json::from_str(additional["backingKeys"].as_str().unwrap()).unwrap();
    assert_eq!(listed[0]["backingKeyId"], backing["backingKeyId"]);
    site.advance_clock("8d");
    let records = site.records_with("the deletion", |record| record["eventName"] == "DeleteKey");
    let deletion = records.iter().find(|record| record["eventName"] == "DeleteKey").unwrap();
    let additional = &deletion["additionalEventData"];
    assert_members(additional, &json!({"customKeyStoreId": store, "clusterId": CLUSTER_ID}));
    let status: Value =
        serde_json::from_str(additional["backingKeysDeletionStatus"].as_str().unwrap()).unwrap();
    assert_eq!(status[0]["deletionStatus"], "SUCCESS");
    assert_eq!(status[0]["backingKeyId"], backing["backingKeyId"]);
    let of_store = json!({"CustomKeyStoreId": store});
    let disconnected = site.recorded("DisconnectCustomKeyStore", &of_store);
    let names = json!({"customKeyStoreName": "story", "clusterId": CLUSTER_ID});
    assert_eq!(disconnected["additionalEventData"], names);
}
