//! Scheduling the deletion of a key, taking it back, and what is gone afterwards.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, KmsReply, OTHER_ACCOUNT};
use crate::support::{Setup, Site};

const DAY_SECONDS: f64 = 86_400.0;

fn arn(id: &str) -> String {
    format!("arn:aws:kms:us-east-1:123456789012:key/{id}")
}

fn schedule(site: &Site, id: &str, days: Option<u32>) -> KmsReply {
    let mut body = json!({"KeyId": id});
    if let Some(days) = days {
        body["PendingWindowInDays"] = json!(days);
    }
    site.kms("ScheduleKeyDeletion", &body)
}

fn metadata(site: &Site, id: &str) -> Value {
    site.kms("DescribeKey", &json!({"KeyId": id})).ok()["KeyMetadata"].clone()
}

fn kms_now(site: &Site) -> f64 {
    site.admin("/dev/clock").unwrap().1.trim().parse().unwrap()
}

#[test]
fn scheduling_answers_four_members_and_cancelling_one() {
    let site = Site::start_with(&Setup::kms());
    for (days, waits) in [(None, 30), (Some(7), 7), (Some(12), 12), (Some(30), 30)] {
        let id = site.create_kms_key();
        let due = kms_now(&site) + f64::from(waits) * DAY_SECONDS;
        let scheduled = schedule(&site, &id, days).ok();
        let deletion = scheduled["DeletionDate"].as_f64().unwrap();
        assert!((deletion - due).abs() < 60.0, "{deletion} and not {due}");
        assert_eq!(
            scheduled,
            json!({
                "KeyId": arn(&id), "DeletionDate": scheduled["DeletionDate"], "KeyState": "PendingDeletion",
                "PendingWindowInDays": waits,
            })
        );
        assert_eq!(metadata(&site, &id)["DeletionDate"], scheduled["DeletionDate"]);

        let cancelled = site.kms("CancelKeyDeletion", &json!({"KeyId": arn(&id)})).ok();
        assert_eq!(cancelled, json!({"KeyId": arn(&id)}));
        let metadata = metadata(&site, &id);
        assert_eq!((&metadata["KeyState"], metadata.get("DeletionDate")), (&json!("Disabled"), None));
    }
}

#[test]
fn the_waiting_period_is_7_to_30_days() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for days in [1, 6, 31, 365] {
        schedule(&site, &id, Some(days))
            .assert_error("ValidationException", "PendingWindowInDays must be between 7 and 30 (inclusive).");
    }
    for (days, constraint) in
        [(0, "value greater than or equal to 1"), (366, "value less than or equal to 365")]
    {
        schedule(&site, &id, Some(days)).assert_error(
            "ValidationException",
            &format!(
                "1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: \
                 Member must have {constraint}"
            ),
        );
    }
    assert_eq!(metadata(&site, &id)["KeyState"], "Enabled");
}

#[test]
fn a_deletion_is_cancelled_to_disabled_whatever_the_key_was_before() {
    let site = Site::start_with(&Setup::kms());
    for was_disabled in [false, true] {
        let id = site.create_kms_key();
        if was_disabled {
            site.kms("DisableKey", &json!({"KeyId": id})).ok();
        }
        schedule(&site, &id, None).ok();
        schedule(&site, &id, None)
            .assert_error("KMSInvalidStateException", &format!("{} is pending deletion.", arn(&id)));
        site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
        assert_eq!(metadata(&site, &id)["KeyState"], "Disabled");
        site.kms("CancelKeyDeletion", &json!({"KeyId": id}))
            .assert_error("KMSInvalidStateException", &format!("{} is not pending deletion.", arn(&id)));
        site.kms("EnableKey", &json!({"KeyId": id})).ok();
        site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="})).ok();
    }
}

/// A key without material cannot be enabled: see COMPATIBILITY.md.
#[test]
fn a_key_that_never_had_material_waits_for_it_again_after_its_deletion_is_cancelled() {
    let site = Site::start_with(&Setup::kms());
    let created = site.kms("CreateKey", &json!({"Origin": "EXTERNAL"})).ok();
    let id = created["KeyMetadata"]["KeyId"].as_str().unwrap();
    schedule(&site, id, Some(7)).ok();
    assert_eq!(metadata(&site, id)["KeyState"], "PendingDeletion");
    site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
    assert_eq!(metadata(&site, id)["KeyState"], "PendingImport");
    schedule(&site, id, Some(7)).ok();
    site.advance_clock("8d");
    assert_eq!(site.kms("DescribeKey", &json!({"KeyId": id})).error().0, "NotFoundException");
}

#[test]
fn after_the_waiting_period_nothing_can_be_taken_back() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    schedule(&site, &id, Some(7)).ok();
    // Not a moment earlier than it was told.
    site.advance_clock("604700s");
    assert_eq!(metadata(&site, &id)["KeyState"], "PendingDeletion");
    site.advance_clock("200s");
    for operation in ["CancelKeyDeletion", "EnableKey", "DescribeKey", "ScheduleKeyDeletion"] {
        site.kms(operation, &json!({"KeyId": id}))
            .assert_error("NotFoundException", &format!("Key '{}' does not exist", arn(&id)));
    }
}

#[test]
fn a_deletion_takes_aliases_grants_tags_and_policy_with_it() {
    let site = Site::start_with(&Setup::kms());
    let (id, other) = (site.create_kms_key(), site.create_kms_key());
    let alias = json!({"AliasName": "alias/gone", "TargetKeyId": id});
    site.kms("CreateAlias", &alias).ok();
    let retiring = "arn:aws:iam::123456789012:user/admin";
    let body = json!({
        "KeyId": id, "GranteePrincipal": retiring, "RetiringPrincipal": retiring, "Operations": ["Decrypt"],
    });
    let grant = site.kms("CreateGrant", &body).text("GrantToken");
    site.kms("TagResource", &json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]})).ok();
    schedule(&site, &id, Some(7)).ok();
    let retirable = || {
        let listed = site.kms("ListRetirableGrants", &json!({"RetiringPrincipal": retiring})).ok();
        listed["Grants"].as_array().unwrap().len()
    };
    assert_eq!(retirable(), 1);
    assert_eq!(site.kms("ListAliases", &json!({})).ok()["Aliases"][0]["TargetKeyId"], json!(id));
    site.advance_clock("8d");

    let missing = format!("Key '{}' does not exist", arn(&id));
    for operation in ["ListGrants", "ListResourceTags", "GetKeyPolicy", "ListAliases", "GetKeyLastUsage"] {
        site.kms(operation, &json!({"KeyId": id})).assert_error("NotFoundException", &missing);
    }
    assert_eq!(retirable(), 0);
    assert_eq!(site.kms("ListAliases", &json!({})).ok()["Aliases"], json!([]));
    assert_eq!(site.kms("RetireGrant", &json!({"GrantToken": grant})).error().0, "NotFoundException");
    let rows = site.database_text();
    assert!(!rows.contains(&id) && !rows.contains("alias/gone"), "the database still has the key");
    // The name is free again.
    site.kms("CreateAlias", &json!({"AliasName": "alias/gone", "TargetKeyId": other})).ok();
}

#[test]
fn a_key_that_waits_for_its_deletion_is_not_rotated() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 90})).ok();
    site.advance_clock("80d");
    schedule(&site, &id, Some(30)).ok();
    site.advance_clock("20d");
    let rotations = || {
        let listed = site.kms("ListKeyRotations", &json!({"KeyId": id})).ok();
        listed["Rotations"].as_array().unwrap().len()
    };
    assert_eq!(rotations(), 0);
    // What was due meanwhile is done when the key is enabled again, and not before.
    site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
    site.advance_clock("1d");
    assert_eq!(rotations(), 0);
    site.kms("EnableKey", &json!({"KeyId": id})).ok();
    site.wait_until("the rotation", || rotations() == 1);
}

#[test]
fn no_key_is_deleted_but_the_scheduled_one_and_only_by_its_own_account() {
    let site = Site::start_with(&Setup::kms());
    let (kept, deleted) = (site.create_kms_key(), site.create_kms_key());
    let body = json!({"KeyId": arn(&kept), "PendingWindowInDays": 7});
    assert_eq!(site.kms_as(&OTHER_ACCOUNT, "ScheduleKeyDeletion", &body).error().0, "AccessDeniedException");
    schedule(&site, "alias/nothing", Some(7))
        .assert_error("NotFoundException", "Invalid keyId 'alias/nothing'");
    schedule(&site, &deleted, Some(7)).ok();
    site.kms("DisableKey", &json!({"KeyId": kept})).ok();
    site.advance_clock("3650d");
    assert_eq!(metadata(&site, &kept)["KeyState"], "Disabled");
    let listed = site.kms("ListKeys", &json!({})).ok();
    assert_eq!(listed["Keys"], json!([{"KeyId": kept, "KeyArn": arn(&kept)}]));
}

#[test]
fn deletion_needs_its_permissions_in_the_key_policy_or_in_the_callers_own() {
    let site = Site::start_with(&Setup::kms());
    let allow = |action: &str| json!({"Effect": "Allow", "Action": action, "Resource": "*"});
    let document = |statement: Value| json!({"Version": "2012-10-17", "Statement": statement});
    for (name, action) in [("exact", "kms:ScheduleKeyDeletion"), ("service", "kms:*"), ("all", "*")] {
        let user = site.new_user(name, &document(allow(action)));
        let id = site.create_kms_key();
        site.kms_by(&user, "ScheduleKeyDeletion", &json!({"KeyId": id})).ok();
        let cancelled = site.kms_by(&user, "CancelKeyDeletion", &json!({"KeyId": id}));
        if name == "exact" {
            let (error, text) = cancelled.error();
            assert_eq!(error, "AccessDeniedException");
            assert!(text.contains("kms:CancelKeyDeletion"), "{text}");
        } else {
            cancelled.ok();
        }
    }
    let stranger = site.new_user("stranger", &document(allow("kms:DescribeKey")));
    let id = site.create_kms_key();
    let refused = site.kms_by(&stranger, "ScheduleKeyDeletion", &json!({"KeyId": id}));
    assert_eq!(refused.error().0, "AccessDeniedException");
    let named = json!({
        "Effect": "Allow", "Resource": "*", "Action": ["kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"],
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/stranger"},
    });
    let root = json!({
        "Effect": "Allow", "Resource": "*", "Action": "kms:*",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    });
    let policy = document(json!([root, named])).to_string();
    site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": policy})).ok();
    site.kms_by(&stranger, "ScheduleKeyDeletion", &json!({"KeyId": id})).ok();
    site.kms_by(&stranger, "CancelKeyDeletion", &json!({"KeyId": id})).ok();
}

#[test]
fn a_policy_can_demand_a_long_waiting_period() {
    let site = Site::start_with(&Setup::kms());
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*",
         "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:ScheduleKeyDeletion", "Resource": "*",
         "Condition": {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "21"}}},
    ]});
    let created = site.kms("CreateKey", &json!({"Policy": policy.to_string()})).ok();
    let id = created["KeyMetadata"]["KeyId"].as_str().unwrap();
    for days in [7, 20] {
        assert_eq!(schedule(&site, id, Some(days)).error().0, "AccessDeniedException");
    }
    // The default is a value like any other.
    schedule(&site, id, None).ok();
    site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
    schedule(&site, id, Some(21)).ok();
}

#[test]
fn a_data_key_that_was_handed_out_outlives_the_use_of_its_key() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let data_key = site.kms("GenerateDataKey", &json!({"KeyId": id, "KeySpec": "AES_256"})).ok();
    schedule(&site, &id, Some(7)).ok();
    let decrypt = || site.kms("Decrypt", &json!({"CiphertextBlob": data_key["CiphertextBlob"]}));
    decrypt().assert_error("KMSInvalidStateException", &format!("{} is pending deletion.", arn(&id)));
    site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
    decrypt().assert_error("DisabledException", &format!("{} is disabled.", arn(&id)));
    site.kms("EnableKey", &json!({"KeyId": id})).ok();
    assert_eq!(decrypt().text("Plaintext"), data_key["Plaintext"].as_str().unwrap());
    assert_eq!(decrypt().text("KeyId"), arn(&id));
    let elsewhere = ACCOUNT.in_region("eu-west-1");
    let body = json!({"CiphertextBlob": data_key["CiphertextBlob"]});
    assert_eq!(site.kms_by(&elsewhere, "Decrypt", &body).error().0, "AccessDeniedException");
}
