//! How many things there may be, and how many requests a second.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, KmsReply, OTHER_ACCOUNT};
use crate::support::{Setup, Site};

const LIMIT: &str = "LimitExceededException";
const THROTTLED: &str =
    "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";

/// Small resource quotas.
fn resources(quotas: &str) -> Setup {
    let Some(kms) = Setup::kms().kms else { unreachable!() };
    Setup { kms: Some(format!("{kms}[kms.resource_quotas]\n{quotas}\n")), ..Setup::kms() }
}

/// Request quotas of AWS, but for these. A rate this small admits one request in the life of a test.
fn requests(per_second: &str) -> Site {
    let kms = format!("[kms.request_quotas.per_second]\n{per_second}\n");
    Site::start_with(&Setup { kms: Some(kms), ..Setup::kms() })
}

#[track_caller]
fn assert_throttled(reply: &KmsReply) {
    assert_eq!(reply.0.status, 400);
    reply.assert_error("ThrottlingException", THROTTLED);
}

fn create_alias(site: &Site, name: &str, id: &str) -> KmsReply {
    site.kms("CreateAlias", &json!({"AliasName": format!("alias/{name}"), "TargetKeyId": id}))
}

#[test]
fn the_quota_of_keys_is_of_one_account_and_region_and_counts_keys_of_every_state() {
    let site = Site::start_with(&resources("keys = 3"));
    let waiting = site.create_kms_key();
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": waiting, "PendingWindowInDays": 7})).ok();
    let disabled = site.create_kms_key();
    site.kms("DisableKey", &json!({"KeyId": disabled})).ok();
    site.kms("CreateKey", &json!({"Origin": "EXTERNAL"})).ok();
    let text = "The account has as many keys in this Region as it may have.";
    for body in [json!({}), json!({"Origin": "EXTERNAL"})] {
        let refused = site.kms("CreateKey", &body);
        assert_eq!(refused.0.status, 400);
        refused.assert_error(LIMIT, text);
    }
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"].as_array().unwrap().len(), 3);

    site.kms_by(&ACCOUNT.in_region("eu-west-1"), "CreateKey", &json!({})).ok();
    site.kms_as(&OTHER_ACCOUNT, "CreateKey", &json!({})).ok();
    site.kms("CreateKey", &json!({})).assert_error(LIMIT, text);

    // Only the deletion itself makes room.
    site.advance_clock("8d");
    site.kms("CreateKey", &json!({})).ok();
    site.kms("CreateKey", &json!({})).assert_error(LIMIT, text);
}

#[test]
fn a_key_has_no_more_aliases_than_its_quota_by_creation_or_by_update() {
    let site = Site::start_with(&resources("aliases_per_key = 2"));
    let (full, other) = (site.create_kms_key(), site.create_kms_key());
    create_alias(&site, "a", &full).ok();
    create_alias(&site, "b", &full).ok();
    let text = "The key has as many aliases as it may have.";
    create_alias(&site, "c", &full).assert_error(LIMIT, text);
    create_alias(&site, "c", &other).ok();
    let update = |name: &str, id: &str| {
        site.kms("UpdateAlias", &json!({"AliasName": format!("alias/{name}"), "TargetKeyId": id}))
    };
    update("c", &full).assert_error(LIMIT, text);
    // Pointing an alias at the key that has it already adds none.
    update("a", &full).ok();
    update("a", &other).ok();
    update("c", &full).ok();
    // There is no quota of a Region.
    for name in 0..60 {
        if name % 2 == 0 {
            create_alias(&site, &format!("many-{name}"), &site.create_kms_key()).ok();
        }
    }
}

#[test]
fn a_key_with_more_aliases_than_its_quota_matches_no_condition_on_them() {
    let site = Site::start_with(&resources("aliases_per_key = 2"));
    let id = site.create_kms_key();
    create_alias(&site, "allowed", &id).ok();
    create_alias(&site, "second", &id).ok();
    let policy = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*",
        "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/allowed"}},
    }});
    let user = site.new_user("by-alias", &policy);
    let encrypt = || site.kms_by(&user, "Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="}));
    encrypt().ok();
    assert_eq!(site.stop().code(), Some(0));
    site.edit_configuration(|text| text.replace("aliases_per_key = 2", "aliases_per_key = 1"));
    site.run();
    site.wait_ready();
    assert_eq!(encrypt().error().0, "AccessDeniedException");
    site.kms("DeleteAlias", &json!({"AliasName": "alias/second"})).ok();
    encrypt().ok();
}

#[test]
fn a_key_has_no_more_grants_than_its_quota_until_one_is_revoked_or_retired() {
    let site = Site::start_with(&resources("grants_per_key = 2"));
    let (id, other) = (site.create_kms_key(), site.create_kms_key());
    let grant = |id: &str, operation: &str| {
        let grantee = "arn:aws:iam::123456789012:user/admin";
        let body = json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": [operation]});
        site.kms("CreateGrant", &body)
    };
    let first = grant(&id, "Encrypt").text("GrantId");
    let second = grant(&id, "Decrypt").text("GrantToken");
    let text = "The key has as many grants as it may have.";
    grant(&id, "DescribeKey").assert_error(LIMIT, text);
    grant(&other, "Encrypt").ok();
    site.kms("RevokeGrant", &json!({"KeyId": id, "GrantId": first})).ok();
    grant(&id, "DescribeKey").ok();
    grant(&id, "Encrypt").assert_error(LIMIT, text);
    site.kms("RetireGrant", &json!({"GrantToken": second})).ok();
    grant(&id, "Encrypt").ok();
}

#[test]
fn a_key_is_rotated_on_demand_no_more_often_than_its_quota_whatever_the_time_between() {
    let site = Site::start_with(&resources("on_demand_rotations_per_key = 2"));
    let (id, other) = (site.create_kms_key(), site.create_kms_key());
    let rotate = |id: &str| site.kms("RotateKeyOnDemand", &json!({"KeyId": id}));
    let text = format!(
        "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be \
         performed for this key: arn:aws:kms:us-east-1:123456789012:key/{id}"
    );
    site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 90})).ok();
    rotate(&id).ok();
    site.advance_clock("400d");
    rotate(&id).ok();
    rotate(&id).assert_error(LIMIT, &text);
    site.advance_clock("400d");
    rotate(&id).assert_error(LIMIT, &text);
    rotate(&other).ok();
    // Automatic rotations go on, and do not count.
    let listed = site.kms("ListKeyRotations", &json!({"KeyId": id, "Limit": 100})).ok();
    let rotations = listed["Rotations"].as_array().unwrap();
    let of_type = |name: &str| rotations.iter().filter(|rotation| rotation["RotationType"] == name).count();
    assert_eq!((of_type("ON_DEMAND"), of_type("AUTOMATIC")), (2, 2), "{listed}");
}

#[test]
fn a_key_policy_has_at_most_32768_bytes_at_creation_and_later() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let policy = |bytes: usize| {
        let text = |sid: &str| {
            json!({"Version": "2012-10-17", "Id": sid, "Statement": [{
                "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
                "Action": "kms:*", "Resource": "*",
            }]})
            .to_string()
        };
        let filler = "x".repeat(bytes - text("").len());
        text(&filler)
    };
    let (most, more) = (policy(32_768), policy(32_769));
    assert_eq!((most.len(), more.len()), (32_768, 32_769));
    let text = "The key policy is larger than 32768 bytes.";
    site.kms("CreateKey", &json!({"Policy": most})).ok();
    site.kms("CreateKey", &json!({"Policy": more})).assert_error(LIMIT, text);
    site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": most})).ok();
    site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": more})).assert_error(LIMIT, text);
    assert_eq!(site.kms("GetKeyPolicy", &json!({"KeyId": id})).text("Policy"), most);
}

#[test]
fn a_request_above_the_quota_is_throttled_for_its_account_and_region_alone() {
    let site = requests("DescribeKey = 0.0001");
    let id = site.create_kms_key();
    let body = json!({"KeyId": id});
    site.kms("DescribeKey", &body).ok();
    assert_throttled(&site.kms("DescribeKey", &body));
    assert_throttled(&site.kms("DescribeKey", &body));
    // Every operation has its own.
    site.kms("GetKeyPolicy", &body).ok();
    // Of all principals of the account together.
    let policy = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "kms:*", "Resource": "*",
    }});
    let user = site.new_user("same-account", &policy);
    assert_throttled(&site.kms_by(&user, "DescribeKey", &body));
    // Another Region has its own, and so has another account, whatever it is answered, and whosever key it is.
    let elsewhere = ACCOUNT.in_region("eu-west-1");
    assert_eq!(site.kms_by(&elsewhere, "DescribeKey", &body).error().0, "NotFoundException");
    assert_throttled(&site.kms_by(&elsewhere, "DescribeKey", &body));
    let arn = json!({"KeyId": format!("arn:aws:kms:us-east-1:123456789012:key/{id}")});
    assert_eq!(site.kms_as(&OTHER_ACCOUNT, "DescribeKey", &arn).error().0, "AccessDeniedException");
    assert_throttled(&site.kms_as(&OTHER_ACCOUNT, "DescribeKey", &arn));
    let series = r#"holdfast_kms_requests_total{error="ThrottlingException",operation="DescribeKey"}"#;
    assert_eq!(site.metric(series), Some(5.0), "{:?}", site.admin("/metrics"));
}

#[test]
fn who_is_not_authenticated_uses_up_nobodys_quota() {
    let site = requests("ListKeys = 0.0001");
    for _ in 0..3 {
        let mut forged = ACCOUNT.credentials();
        "0".repeat(40).clone_into(&mut forged.secret_access_key);
        let refused = site.kms_by(&forged, "ListKeys", &json!({}));
        assert_eq!(refused.error().0, "InvalidSignatureException");
    }
    site.kms("ListKeys", &json!({})).ok();
    assert_throttled(&site.kms("ListKeys", &json!({})));
}

#[test]
fn cryptographic_operations_share_one_quota_and_management_goes_on() {
    let site = requests("CryptographicOperationsSymmetric = 0.0001");
    let id = site.create_kms_key();
    let blob = site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="})).text("CiphertextBlob");
    for (operation, body) in cryptographic(&id, &blob) {
        assert_throttled(&site.kms(operation, &body));
    }
    for (operation, body) in [
        ("DescribeKey", json!({"KeyId": id})),
        ("ListAliases", json!({})),
        ("ListKeys", json!({})),
        ("DisableKey", json!({"KeyId": id})),
        ("RotateKeyOnDemand", json!({"KeyId": site.create_kms_key()})),
    ] {
        site.kms(operation, &body).ok();
    }
}

fn cryptographic(id: &str, blob: &str) -> [(&'static str, Value); 8] {
    [
        ("Encrypt", json!({"KeyId": id, "Plaintext": "cGxhaW4="})),
        ("Encrypt", json!({"KeyId": id, "Plaintext": "cGxhaW4=", "DryRun": true})),
        ("Decrypt", json!({"CiphertextBlob": blob})),
        ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("GenerateRandom", json!({"NumberOfBytes": 8})),
        ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": id})),
        ("GenerateMac", json!({"KeyId": id, "Message": "QQ==", "MacAlgorithm": "HMAC_SHA_256"})),
    ]
}

#[test]
fn a_rehearsal_counts_like_the_request_itself() {
    let site = requests("CreateGrant = 0.0001");
    let id = site.create_kms_key();
    let grantee = "arn:aws:iam::123456789012:user/admin";
    let body = json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": ["Decrypt"], "DryRun": true});
    assert_eq!(site.kms("CreateGrant", &body).error().0, "DryRunOperationException");
    assert_throttled(&site.kms("CreateGrant", &body));
}

#[test]
fn the_quotas_of_aws_hold_unless_they_are_switched_off() {
    let site = requests("");
    // Five a second. Connections are opened before, so that the requests come in one go.
    let body = json!({"KeyId": "00000000-0000-4000-8000-000000000000"});
    let request = || ACCOUNT.credentials().kms("DisableKey", &body);
    let missing = |answers: &[KmsReply]| {
        answers.iter().filter(|answer| answer.error().0 == "NotFoundException").count()
    };
    let answers = site.kms_at_once(&request(), 60);
    let admitted = missing(&answers);
    assert!((5..60).contains(&admitted), "{admitted} of 60");
    answers.iter().filter(|answer| answer.error().0 != "NotFoundException").for_each(assert_throttled);

    let site = Site::start_with(&Setup::kms());
    assert_eq!(missing(&site.kms_at_once(&request(), 60)), 60);
}

#[test]
fn a_quota_that_does_not_exist_is_refused_in_the_configuration() {
    let kms = "[kms.request_quotas.per_second]\nDescribeKeys = 1\n";
    let site = Site::prepare(&Setup { kms: Some(kms.to_owned()), ..Setup::kms() });
    let output = site.holdfast(&["config", "check"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("there is no quota `DescribeKeys`; there are CancelKeyDeletion"), "{text}");
}
