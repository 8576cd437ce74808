//! What names a key: ids, ARNs, aliases, and which operations take which.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_stories::{ABSENT, PLAINTEXT, alias_arn, delegating_policy, key_arn};
use crate::support::{Setup, Site};

/// Operations that take ids and ARNs only, with what else they need.
fn management_requests(key: &str) -> Vec<(&'static str, Value)> {
    let policy = delegating_policy(&[]);
    let grantee = format!("arn:aws:iam::{}:user/admin", ACCOUNT.id);
    vec![
        ("CancelKeyDeletion", json!({"KeyId": key})),
        ("CreateAlias", json!({"AliasName": "alias/another", "TargetKeyId": key})),
        ("CreateGrant", json!({"KeyId": key, "GranteePrincipal": grantee, "Operations": ["Encrypt"]})),
        ("DisableKey", json!({"KeyId": key})),
        ("EnableKey", json!({"KeyId": key})),
        ("DisableKeyRotation", json!({"KeyId": key})),
        ("EnableKeyRotation", json!({"KeyId": key})),
        ("GetKeyLastUsage", json!({"KeyId": key})),
        ("GetKeyPolicy", json!({"KeyId": key, "PolicyName": "default"})),
        ("GetKeyRotationStatus", json!({"KeyId": key})),
        ("ListAliases", json!({"KeyId": key})),
        ("ListGrants", json!({"KeyId": key})),
        ("ListKeyPolicies", json!({"KeyId": key})),
        ("ListKeyRotations", json!({"KeyId": key})),
        ("ListResourceTags", json!({"KeyId": key})),
        ("PutKeyPolicy", json!({"KeyId": key, "PolicyName": "default", "Policy": policy})),
        ("RevokeGrant", json!({"KeyId": key, "GrantId": "0".repeat(64)})),
        ("RotateKeyOnDemand", json!({"KeyId": key})),
        ("ScheduleKeyDeletion", json!({"KeyId": key})),
        ("TagResource", json!({"KeyId": key, "Tags": [{"TagKey": "a", "TagValue": "b"}]})),
        ("UntagResource", json!({"KeyId": key, "TagKeys": ["a"]})),
        ("UpdateAlias", json!({"AliasName": "alias/named", "TargetKeyId": key})),
        ("UpdateKeyDescription", json!({"KeyId": key, "Description": "d"})),
    ]
}

/// Operations that take aliases too.
fn use_requests(key: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("DescribeKey", json!({"KeyId": key})),
        ("Encrypt", json!({"KeyId": key, "Plaintext": PLAINTEXT})),
        ("GenerateDataKey", json!({"KeyId": key, "KeySpec": "AES_256"})),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": key, "KeySpec": "AES_256"})),
    ]
}

#[test]
fn ids_and_arns_have_their_documented_forms() {
    let site = Site::start_with(&Setup::kms());
    let created = site.kms("CreateKey", &json!({})).ok()["KeyMetadata"].clone();
    let id = created["KeyId"].as_str().unwrap();
    let lengths: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    let is_lower_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert!(id.split('-').all(is_lower_hex), "{id}");
    assert_eq!(created["Arn"], json!(key_arn(id)));

    let created = site.kms("CreateKey", &json!({"MultiRegion": true})).ok()["KeyMetadata"].clone();
    let id = created["KeyId"].as_str().unwrap();
    let digits = id.strip_prefix("mrk-").unwrap();
    assert!(digits.len() == 32 && is_lower_hex(digits), "{id}");
    assert_eq!(created["Arn"], json!(key_arn(id)));

    site.create_alias("alias/named", id);
    let aliases = site.kms("ListAliases", &json!({})).ok();
    assert_eq!(aliases["Aliases"][0]["AliasArn"], json!(alias_arn("alias/named")));

    for (region, partition) in [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")] {
        let created = site.kms_in(region, "CreateKey", &json!({})).ok()["KeyMetadata"].clone();
        let id = created["KeyId"].as_str().unwrap();
        let arn = format!("arn:{partition}:kms:{region}:{}:key/{id}", ACCOUNT.id);
        assert_eq!(created["Arn"], json!(arn));
        site.kms_in(region, "DescribeKey", &json!({"KeyId": arn})).ok();
    }
}

#[test]
fn each_key_has_an_id_of_its_own_in_its_region_only() {
    let site = Site::start_with(&Setup::kms());
    let mut ids: Vec<_> = (0..20).map(|_| site.create_kms_key()).collect();
    let one = ids[0].clone();
    site.kms_in("eu-central-1", "DescribeKey", &json!({"KeyId": one})).assert_error(
        "NotFoundException",
        &format!("Key 'arn:aws:kms:eu-central-1:{}:key/{one}' does not exist", ACCOUNT.id),
    );
    site.kms_in("eu-central-1", "DescribeKey", &json!({"KeyId": key_arn(&one)}))
        .assert_error("NotFoundException", "Invalid arn us-east-1");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn operations_that_use_a_key_take_its_id_its_arn_and_its_aliases() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.create_alias("alias/named", &id);
    let ciphertext = site.kms_encrypt(&id);
    for name in [id.clone(), key_arn(&id), "alias/named".to_owned(), alias_arn("alias/named")] {
        for (operation, request) in use_requests(&name) {
            let answer = site.kms(operation, &request).ok();
            let arn =
                if operation == "DescribeKey" { &answer["KeyMetadata"]["Arn"] } else { &answer["KeyId"] };
            assert_eq!(*arn, json!(key_arn(&id)), "{operation} of {name}");
        }
        let answer = site.kms("Decrypt", &json!({"KeyId": name, "CiphertextBlob": ciphertext})).ok();
        assert_eq!((&answer["KeyId"], &answer["Plaintext"]), (&json!(key_arn(&id)), &json!(PLAINTEXT)));
        let request = json!({"SourceKeyId": name, "DestinationKeyId": name, "CiphertextBlob": ciphertext});
        let answer = site.kms("ReEncrypt", &request).ok();
        assert_eq!((&answer["KeyId"], &answer["SourceKeyId"]), (&json!(key_arn(&id)), &json!(key_arn(&id))));
    }
}

#[test]
fn operations_that_manage_a_key_take_no_alias() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.create_alias("alias/named", &id);
    for alias in ["alias/named".to_owned(), alias_arn("alias/named")] {
        for (operation, request) in management_requests(&alias) {
            let (name, text) = site.kms(operation, &request).error();
            if operation == "CreateAlias" && alias.starts_with("alias/") {
                assert_eq!(name, "ValidationException", "{text}");
            } else {
                let expected = ("NotFoundException", format!("Invalid keyId '{alias}'"));
                assert_eq!((name.as_str(), text), expected, "{operation}");
            }
        }
    }
    let metadata = site.key_metadata_of(&id);
    assert_eq!((&metadata["KeyState"], &metadata["Description"]), (&json!("Enabled"), &json!("")));
    let listed = site.kms("ListAliases", &json!({})).ok();
    assert_eq!(listed["Aliases"].as_array().unwrap().len(), 1);
}

#[test]
fn operations_that_manage_a_key_take_its_id_and_its_arn() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.create_alias("alias/named", &id);
    for name in [id.clone(), key_arn(&id)] {
        for (operation, request) in management_requests(&name) {
            // What is not wrong with the name of the key: no such grant, not pending, and the alias is there already.
            let expected = match operation {
                "CancelKeyDeletion" => Some("KMSInvalidStateException"),
                "RevokeGrant" => Some("NotFoundException"),
                "CreateAlias" if name != id => Some("AlreadyExistsException"),
                _ => None,
            };
            assert_eq!(site.error_name(&ACCOUNT, operation, &request).as_deref(), expected, "{operation}");
            if operation == "ScheduleKeyDeletion" {
                site.kms("CancelKeyDeletion", &json!({"KeyId": name})).ok();
                site.kms("EnableKey", &json!({"KeyId": name})).ok();
            }
        }
    }
}

#[test]
fn what_names_no_key_is_not_found() {
    let site = Site::start_with(&Setup::kms());
    let requests = || management_requests(ABSENT).into_iter().chain(use_requests(ABSENT));
    site.create_alias("alias/named", &site.create_kms_key());
    for (operation, request) in requests() {
        site.kms(operation, &request)
            .assert_error("NotFoundException", &format!("Key '{}' does not exist", key_arn(ABSENT)));
    }
    let upper = ABSENT.replace('0', "A");
    for name in ["x", "1234abcd", &upper, "mrk-12", "arn:aws:kms:us-east-1:123456789012:key/x"] {
        for (operation, request) in use_requests(name) {
            site.kms(operation, &request)
                .assert_error("NotFoundException", &format!("Invalid keyId '{name}'"));
        }
    }
    for (operation, request) in use_requests("alias/nobody") {
        let text = format!("Alias {} is not found.", alias_arn("alias/nobody"));
        site.kms(operation, &request).assert_error("NotFoundException", &text);
    }
}

#[test]
fn a_key_of_another_account_is_named_by_its_arn_or_by_the_arn_of_its_alias() {
    let site = Site::start_with(&Setup::kms());
    let root = format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id);
    let statement =
        json!({"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"});
    let id = site.create_key_with(&json!({"Policy": delegating_policy(&[statement])}));
    site.create_alias("alias/shared", &id);
    for name in [key_arn(&id), alias_arn("alias/shared")] {
        for (operation, request) in use_requests(&name) {
            site.assert_allowed(&OTHER_ACCOUNT, operation, &request);
        }
    }
    for name in [id.as_str(), "alias/shared"] {
        for (operation, request) in use_requests(name) {
            let refused = site.error_name(&OTHER_ACCOUNT, operation, &request);
            assert_eq!(refused.as_deref(), Some("NotFoundException"), "{operation} of {name}");
        }
    }
    // The same name in the caller's own account is another alias.
    let own = site.kms_as(&OTHER_ACCOUNT, "CreateKey", &json!({})).ok()["KeyMetadata"]["KeyId"].clone();
    let request = json!({"AliasName": "alias/shared", "TargetKeyId": own});
    site.kms_as(&OTHER_ACCOUNT, "CreateAlias", &request).ok();
    let described = |name: &str| {
        site.kms_as(&OTHER_ACCOUNT, "DescribeKey", &json!({"KeyId": name})).ok()["KeyMetadata"]["KeyId"]
            .clone()
    };
    assert_eq!(described("alias/shared"), own);
    assert_eq!(described(&alias_arn("alias/shared")), json!(id));
}

#[test]
fn an_alias_arn_names_whatever_key_it_points_at_now() {
    let site = Site::start_with(&Setup::kms());
    let (first, second) = (site.create_kms_key(), site.create_kms_key());
    site.create_alias("alias/moving", &first);
    let arn = alias_arn("alias/moving");
    let ciphertext = site.kms_encrypt(&arn);
    site.kms("UpdateAlias", &json!({"AliasName": "alias/moving", "TargetKeyId": second})).ok();
    assert_eq!(site.key_metadata_of(&arn)["KeyId"], json!(second));
    site.kms("Decrypt", &json!({"KeyId": arn, "CiphertextBlob": ciphertext})).assert_error(
        "IncorrectKeyException",
        "The key ID in the request does not identify a CMK that can perform this operation.",
    );
    assert_eq!(site.kms_decrypt(&ciphertext)["KeyId"], json!(key_arn(&first)));
}
