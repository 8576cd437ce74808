//! What the audit trail has of related keys: a record in each Region, and one of what was synchronised.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, KmsReply};
use crate::support::records::{assert_members, request_id, resource};
use crate::support::regions::{EUROPE, HOME, MultiRegionKey};
use crate::support::{Setup, Site};

fn start() -> Site {
    Site::start_with(&Setup::kms())
}

/// The records of a call, of which there are two: at home, and in Europe.
#[track_caller]
fn both(site: &Site, reply: &KmsReply) -> [Value; 2] {
    let id = request_id(reply);
    let is_second = |record: &Value| record["requestID"] == id && record["awsRegion"] == EUROPE;
    let all = site.records_with("the second record", is_second);
    let own: Vec<_> = all.into_iter().filter(|record| record["requestID"] == id).collect();
    own.try_into().unwrap()
}

#[track_caller]
fn assert_passed_on(record: &Value, first: &Value) {
    let mut identity = first["userIdentity"].clone();
    identity["invokedBy"] = json!("kms.amazonaws.com");
    assert_members(
        record,
        &json!({"awsRegion": EUROPE, "userIdentity": identity, "sourceIPAddress": "kms.amazonaws.com",
            "userAgent": "kms.amazonaws.com", "readOnly": false, "eventType": "AwsApiCall",
            "recipientAccountId": ACCOUNT.id}),
    );
    assert_ne!(record["eventID"], first["eventID"]);
}

fn synchronizations(site: &Site) -> Vec<Value> {
    let mut records = site.records();
    records.retain(|record| record["eventName"] == "SynchronizeMultiRegionKey");
    records
}

#[test]
fn replicating_is_recorded_as_that_at_home_and_as_a_creation_where_the_replica_is() {
    let site = start();
    let key = MultiRegionKey::create(&site);
    let body =
        json!({"ReplicaRegion": EUROPE, "Description": "there", "Tags": [{"TagKey": "a", "TagValue": "b"}]});
    let reply = key.call(HOME, "ReplicateKey", &body);
    let answer = reply.ok();
    let [first, second] = both(&site, &reply);
    assert_eq!(first["eventName"], "ReplicateKey");
    let tags = json!([{"tagKey": "a", "tagValue": "b"}]);
    assert_eq!(
        first["requestParameters"],
        json!({"keyId": key.id, "replicaRegion": EUROPE, "bypassPolicyLockoutSafetyCheck": false,
            "description": "there", "tags": tags})
    );
    assert_members(
        &first,
        &json!({"awsRegion": HOME, "readOnly": false, "resources": [resource(&key.arn(HOME))]}),
    );
    let response = &first["responseElements"];
    assert_eq!(response["replicaPolicy"], answer["ReplicaPolicy"]);
    assert_eq!(response["replicaTags"], tags);
    let metadata = &response["replicaKeyMetadata"];
    let entry = |region: &str| json!({"arn": key.arn(region), "region": region});
    assert_members(
        metadata,
        &json!({"arn": key.arn(EUROPE), "multiRegion": true, "multiRegionConfiguration": {
            "multiRegionKeyType": "REPLICA", "primaryKey": entry(HOME), "replicaKeys": [entry(EUROPE)]}}),
    );

    assert_eq!(second["eventName"], "CreateKey");
    assert_passed_on(&second, &first);
    assert_eq!(
        second["requestParameters"],
        json!({"keyUsage": "ENCRYPT_DECRYPT", "origin": "AWS_KMS", "multiRegion": true,
            "keySpec": "SYMMETRIC_DEFAULT", "customerMasterKeySpec": "SYMMETRIC_DEFAULT", "tags": tags,
            "description": "there", "bypassPolicyLockoutSafetyCheck": false})
    );
    assert_eq!(second["responseElements"], json!({"keyMetadata": metadata}));
    assert_eq!(second["resources"], json!([resource(&key.arn(EUROPE))]));
    // What fails is done nowhere else.
    let failed = key.replicate_to(EUROPE);
    let record = site.record_of(&failed);
    assert_members(&record, &json!({"awsRegion": HOME, "errorCode": "AlreadyExistsException"}));
}

#[test]
fn moving_the_primary_is_recorded_in_both_regions() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    let reply = key.call(HOME, "UpdatePrimaryRegion", &json!({"PrimaryRegion": EUROPE}));
    let [first, second] = both(&site, &reply);
    assert_members(
        &first,
        &json!({"eventName": "UpdatePrimaryRegion", "awsRegion": HOME,
            "requestParameters": {"keyId": key.id, "primaryRegion": EUROPE},
            "responseElements": {"keyId": key.arn(HOME)}, "resources": [resource(&key.arn(HOME))]}),
    );
    assert_passed_on(&second, &first);
    assert_members(
        &second,
        &json!({"eventName": "UpdatePrimaryRegion",
            "requestParameters": {"keyId": key.arn(EUROPE), "primaryRegion": EUROPE},
            "responseElements": {"keyId": key.arn(EUROPE)}, "resources": [resource(&key.arn(EUROPE))]}),
    );
    assert!(!second.to_string().contains(HOME), "{second}");
}

#[test]
fn what_is_synchronised_is_recorded_for_the_primary_alone() {
    let site = start();
    let key = MultiRegionKey::create(&site);
    key.ok(HOME, "EnableKeyRotation");
    site.create_kms_key();
    assert_eq!(synchronizations(&site), [] as [Value; 0]);
    key.replicate_to(EUROPE).ok();
    site.wait_until("the replication", || synchronizations(&site).len() == 1);
    key.ok(HOME, "DisableKeyRotation");
    key.ok(HOME, "RotateKeyOnDemand");
    // Nothing of these is shared.
    key.call(HOME, "UpdateKeyDescription", &json!({"Description": "new"})).ok();
    key.ok(EUROPE, "DisableKey");
    key.ok(EUROPE, "EnableKey");
    key.call(HOME, "UpdatePrimaryRegion", &json!({"PrimaryRegion": EUROPE})).ok();
    site.wait_until("the rest", || synchronizations(&site).len() >= 4);
    let records = synchronizations(&site);
    assert_eq!(records.len(), 4, "{records:#?}");
    for (record, region) in records.iter().zip([HOME, HOME, HOME, EUROPE]) {
        let arn = key.arn(region);
        assert_members(
            record,
            &json!({
                "userIdentity": {"accountId": ACCOUNT.id, "invokedBy": "AWS Internal"},
                "sourceIPAddress": "AWS Internal", "userAgent": "AWS Internal", "awsRegion": region,
                "requestParameters": null, "responseElements": {"keyId": arn}, "readOnly": false,
                "eventType": "AwsApiCall", "resources": [resource(&arn)], "recipientAccountId": ACCOUNT.id,
            }),
        );
        assert!(record["requestID"].is_string() && record.get("serviceEventDetails").is_none());
    }
}

#[test]
fn the_deletion_of_a_primary_with_replicas_is_recorded_without_a_date() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    let body = json!({"PendingWindowInDays": 7});
    let record = site.record_of(&key.call(HOME, "ScheduleKeyDeletion", &body));
    let expected =
        json!({"keyId": key.arn(HOME), "keyState": "PendingReplicaDeletion", "pendingWindowInDays": 7});
    assert_eq!(record["responseElements"], expected);
    key.schedule_deletion(EUROPE, 7);
    site.advance_clock("8d");
    let deleted = site.records_with("the deletion", |record| record["eventName"] == "DeleteKey");
    let deleted = deleted.iter().find(|record| record["eventName"] == "DeleteKey").unwrap();
    assert_members(deleted, &json!({"awsRegion": EUROPE, "resources": [resource(&key.arn(EUROPE))]}));
    assert_eq!(key.state(HOME), "PendingDeletion");
}
