//! What is seen of keys: lists, descriptions and policies; and how many there may be.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn, policy, user_arn};
use crate::support::{Setup, Site};

#[test]
fn keys_are_listed_with_id_and_arn_in_pages_whatever_their_state() {
    let site = Site::start_with(&Setup::kms());
    let mut ids: Vec<_> = (0..7).map(|_| site.create_kms_key()).collect();
    site.kms("DisableKey", &json!({"KeyId": ids[0]})).ok();
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": ids[1]})).ok();
    ids.push(site.create_key_with(&json!({"Origin": "EXTERNAL"})));
    ids.push(site.create_key_with(&json!({"MultiRegion": true})));
    ids.sort();
    let (keys, lengths) = site.kms_pages("ListKeys", &json!({"Limit": 4}), "Keys");
    assert_eq!(lengths, [4, 4, 1]);
    let expected: Vec<_> = ids.iter().map(|id| json!({"KeyId": id, "KeyArn": key_arn(id)})).collect();
    assert_eq!(keys, expected);
    let one_page = site.kms("ListKeys", &json!({})).ok();
    assert_eq!(one_page, json!({"Keys": expected, "Truncated": false}));
    for limit in [0, 1001] {
        assert_eq!(site.kms("ListKeys", &json!({"Limit": limit})).error().0, "ValidationException");
    }
    assert_eq!(site.kms("ListKeys", &json!({"Marker": "x"})).error().0, "InvalidMarkerException");
}

#[test]
fn a_key_of_another_account_is_described_to_whom_it_is_opened_and_listed_to_nobody() {
    let site = Site::start_with(&Setup::kms());
    let root = format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id);
    let all = json!({"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"});
    let id = site.create_key_with(&json!({"Policy": delegating_policy(&[all])}));
    let described = site.kms_as(&OTHER_ACCOUNT, "DescribeKey", &json!({"KeyId": key_arn(&id)})).ok();
    assert_eq!(described["KeyMetadata"], site.key_metadata_of(&id));
    assert_eq!(site.kms_as(&OTHER_ACCOUNT, "ListKeys", &json!({})).ok()["Keys"], json!([]));
    for (operation, request) in [
        ("GetKeyPolicy", json!({"KeyId": key_arn(&id), "PolicyName": "default"})),
        ("ListResourceTags", json!({"KeyId": key_arn(&id)})),
        ("ListKeyPolicies", json!({"KeyId": key_arn(&id)})),
    ] {
        site.assert_denied(&OTHER_ACCOUNT, operation, &request);
    }
    let closed = site.create_kms_key();
    site.assert_denied(&OTHER_ACCOUNT, "DescribeKey", &json!({"KeyId": key_arn(&closed)}));
    assert_eq!(site.kms_in("eu-west-1", "ListKeys", &json!({})).ok()["Keys"], json!([]));
}

#[test]
fn a_description_says_what_origin_state_and_region_of_the_key_are() {
    let site = Site::start_with(&Setup::kms());
    let members = |request: &Value| {
        let metadata = site.kms("CreateKey", request).ok()["KeyMetadata"].clone();
        metadata.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let plain = members(&json!({}));
    let external = members(&json!({"Origin": "EXTERNAL"}));
    assert!(plain.contains(&"CurrentKeyMaterialId".to_owned()));
    assert!(!external.contains(&"CurrentKeyMaterialId".to_owned()));
    let multi = site.create_key_with(&json!({"MultiRegion": true}));
    let metadata = site.key_metadata_of(&multi);
    assert_eq!(metadata["MultiRegion"], true);
    let expected = json!({"MultiRegionKeyType": "PRIMARY", "ReplicaKeys": [],
        "PrimaryKey": {"Arn": key_arn(&multi), "Region": "us-east-1"}});
    assert_eq!(metadata["MultiRegionConfiguration"], expected);

    let id = site.create_kms_key();
    assert!(site.key_metadata_of(&id).get("DeletionDate").is_none());
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 7})).ok();
    let metadata = site.key_metadata_of(&id);
    let days =
        (metadata["DeletionDate"].as_f64().unwrap() - metadata["CreationDate"].as_f64().unwrap()) / 86_400.0;
    assert!((days - 7.0).abs() < 0.01, "{days}");
    assert_eq!((&metadata["KeyState"], &metadata["Enabled"]), (&json!("PendingDeletion"), &json!(false)));
}

#[test]
fn a_key_has_one_policy_and_shows_it_as_it_was_written() {
    let site = Site::start_with(&Setup::kms());
    let written = format!("\n {} \t", delegating_policy(&[]).replace(',', " ,\n"));
    let id = site.create_key_with(&json!({"Policy": written}));
    for request in [json!({"KeyId": id, "PolicyName": "default"}), json!({"KeyId": key_arn(&id)})] {
        let answer = site.kms("GetKeyPolicy", &request).ok();
        assert_eq!(answer, json!({"Policy": written, "PolicyName": "default"}));
    }
    let listed = site.kms("ListKeyPolicies", &json!({"KeyId": id})).ok();
    assert_eq!(listed, json!({"PolicyNames": ["default"], "Truncated": false}));
    let request = json!({"KeyId": id, "PolicyName": "second"});
    assert_eq!(site.kms("GetKeyPolicy", &request).error().0, "NotFoundException");
    let put = json!({"KeyId": id, "PolicyName": "second", "Policy": written});
    assert_ne!(site.kms("PutKeyPolicy", &put).0.status, 200);

    let next = delegating_policy(&[
        json!({"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}),
    ]);
    let put = json!({"KeyId": id, "PolicyName": "default", "Policy": next});
    assert!(site.kms("PutKeyPolicy", &put).0.body.is_empty());
    assert_eq!(site.kms("GetKeyPolicy", &json!({"KeyId": id})).text("Policy"), next);
    site.assert_denied(&ACCOUNT, "Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT}));
}

#[test]
fn identity_policies_count_where_the_key_policy_lets_the_account_decide() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("user");
    site.kms_user_may("user", &json!([{"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"}]));
    let admin = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("admin")}, "Action": "kms:*", "Resource": "*"});
    let closed = policy(&json!([admin])).to_string();
    let id = site.create_key_with(&json!({"Policy": closed}));
    let encrypt = json!({"KeyId": id, "Plaintext": PLAINTEXT});
    let put = |text: &str| {
        site.kms("PutKeyPolicy", &json!({"KeyId": id, "PolicyName": "default", "Policy": text})).ok();
    };
    site.assert_denied(&user, "Encrypt", &encrypt);
    put(&delegating_policy(&[]));
    site.assert_allowed(&user, "Encrypt", &encrypt);
    site.assert_denied(&user, "DescribeKey", &json!({"KeyId": id}));
    let named = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")}, "Action": "kms:DescribeKey",
        "Resource": "*"});
    put(&policy(&json!([admin, named])).to_string());
    site.assert_allowed(&user, "DescribeKey", &json!({"KeyId": id}));
    site.assert_denied(&user, "Encrypt", &encrypt);
}

#[test]
fn every_property_of_a_key_that_can_be_edited_is_edited() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let before = site.key_metadata_of(&id);
    for (operation, request) in [
        ("UpdateKeyDescription", json!({"KeyId": id, "Description": "new"})),
        ("PutKeyPolicy", json!({"KeyId": id, "PolicyName": "default", "Policy": delegating_policy(&[])})),
        ("TagResource", json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]})),
        ("UntagResource", json!({"KeyId": id, "TagKeys": ["a"]})),
        ("EnableKeyRotation", json!({"KeyId": id})),
        ("DisableKeyRotation", json!({"KeyId": id})),
        ("DisableKey", json!({"KeyId": id})),
        ("EnableKey", json!({"KeyId": id})),
    ] {
        assert!(site.kms(operation, &request).0.body.is_empty(), "{operation}");
    }
    let mut expected = before;
    expected["Description"] = json!("new");
    assert_eq!(site.key_metadata_of(&id), expected);
    let longest = "d".repeat(8192);
    site.kms("UpdateKeyDescription", &json!({"KeyId": id, "Description": longest})).ok();
    let request = json!({"KeyId": id, "Description": longest + "d"});
    assert_eq!(site.kms("UpdateKeyDescription", &request).error().0, "ValidationException");
    site.kms("UpdateKeyDescription", &json!({"KeyId": id, "Description": ""})).ok();
}

#[test]
fn a_grant_is_made_seen_and_taken_back() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let request = json!({"KeyId": id, "GranteePrincipal": user_arn("admin"), "RetiringPrincipal": user_arn("admin"),
        "Operations": ["Encrypt", "DescribeKey", "CreateGrant"],
        "Constraints": {"EncryptionContextSubset": {"a": "b"}}});
    let grant = site.kms("CreateGrant", &request).ok();
    let listed = site.kms("ListGrants", &json!({"KeyId": id})).ok()["Grants"].clone();
    assert_eq!(listed[0]["GrantId"], grant["GrantId"]);
    assert_eq!(listed[0]["Constraints"], request["Constraints"]);
    assert_eq!(listed[0]["GranteePrincipal"], request["GranteePrincipal"]);
    assert_eq!(listed[0]["RetiringPrincipal"], request["RetiringPrincipal"]);
    site.kms("RevokeGrant", &json!({"KeyId": id, "GrantId": grant["GrantId"]})).ok();
    assert_eq!(site.kms("ListGrants", &json!({"KeyId": id})).ok()["Grants"], json!([]));
}

#[test]
fn keys_and_grants_are_counted_and_rotations_are_not() {
    let site = Site::start_with(&Setup::kms_with_resource_quotas("keys = 2\ngrants_per_key = 2"));
    let id = site.create_kms_key();
    for _ in 0..3 {
        site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    }
    site.create_kms_key();
    assert_eq!(site.kms("CreateKey", &json!({})).error().0, "LimitExceededException");
    // Each account and each Region for itself.
    site.kms_as(&OTHER_ACCOUNT, "CreateKey", &json!({})).ok();
    site.kms_in("eu-west-1", "CreateKey", &json!({})).ok();
    let grant = |name: &str| {
        let request = json!({"KeyId": id, "GranteePrincipal": user_arn("admin"), "Operations": ["Encrypt"], "Name": name});
        site.error_name(&ACCOUNT, "CreateGrant", &request)
    };
    assert_eq!([grant("1"), grant("2")], [None, None]);
    assert_eq!(grant("3").as_deref(), Some("LimitExceededException"));
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 7})).ok();
    assert_eq!(site.kms("CreateKey", &json!({})).error().0, "LimitExceededException");
    site.advance_clock("8d");
    site.create_kms_key();
}

#[test]
fn cryptographic_operations_share_one_quota_of_requests() {
    let mut setup = Setup::kms();
    setup.kms = setup.kms.map(|kms| {
        kms.replace(
            "enabled = false",
            "enabled = true\nper_second = { CryptographicOperationsSymmetric = 3 }",
        )
    });
    let site = Site::start_with(&setup);
    let id = site.create_kms_key();
    let requests = [
        ("Encrypt", json!({"KeyId": id, "Plaintext": PLAINTEXT})),
        ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("GenerateRandom", json!({"NumberOfBytes": 8})),
    ];
    let throttled = |operation: &str, request: &Value| {
        site.error_name(&ACCOUNT, operation, request).as_deref() == Some("ThrottlingException")
    };
    // However slow this machine is, some request of many comes too early.
    let exhausted = (0..1000).any(|number: usize| {
        let (operation, request) = &requests[number % requests.len()];
        throttled(operation, request)
    });
    assert!(exhausted);
    // What is no cryptographic operation goes on.
    assert!((0..5).all(|_| !throttled("DescribeKey", &json!({"KeyId": id}))));
    site.assert_allowed(&OTHER_ACCOUNT, "GenerateRandom", &json!({"NumberOfBytes": 8}));
}
