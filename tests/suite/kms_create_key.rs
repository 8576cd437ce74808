//! CreateKey, and what DescribeKey says of what it made.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn, user_arn};
use crate::support::{Setup, Site};

fn stored_policy(site: &Site, id: &str) -> String {
    site.kms("GetKeyPolicy", &json!({"KeyId": id, "PolicyName": "default"})).text("Policy")
}

#[test]
fn a_key_is_made_from_an_empty_request() {
    let site = Site::start_with(&Setup::kms());
    let created = site.kms("CreateKey", &json!({})).ok();
    let metadata = &created["KeyMetadata"];
    let id = metadata["KeyId"].as_str().unwrap();
    let expected = json!({
        "AWSAccountId": ACCOUNT.id,
        "Arn": key_arn(id),
        "CreationDate": metadata["CreationDate"],
        "CurrentKeyMaterialId": metadata["CurrentKeyMaterialId"],
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "Description": "",
        "Enabled": true,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "KeyId": id,
        "KeyManager": "CUSTOMER",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": false,
        "Origin": "AWS_KMS",
    });
    assert_eq!(*metadata, expected);
    assert_eq!(site.key_metadata_of(id), expected);
    let created = metadata["CreationDate"].as_f64().unwrap();
    assert!(metadata["CreationDate"].to_string().contains('.') && created > 1.7e9, "{created}");
    assert_eq!(site.kms("ListAliases", &json!({})).ok()["Aliases"], json!([]));
}

#[test]
fn description_tags_and_policy_are_taken_at_creation_and_can_be_changed() {
    let site = Site::start_with(&Setup::kms());
    let policy = delegating_policy(&[]);
    let tags = json!([{"TagKey": "Purpose", "TagValue": "Test"}, {"TagKey": "purpose", "TagValue": ""}]);
    let request = json!({"Description": "first", "Tags": tags, "Policy": policy});
    let created = site.kms("CreateKey", &request).ok();
    let metadata = &created["KeyMetadata"];
    assert_eq!(metadata["Description"], "first");
    let members = metadata.as_object().unwrap();
    assert!(members.keys().all(|name| !name.contains("Tag") && !name.contains("Alias")), "{metadata}");
    let id = metadata["KeyId"].as_str().unwrap();
    let listed = || site.kms("ListResourceTags", &json!({"KeyId": id})).ok()["Tags"].clone();
    assert_eq!(listed(), tags);
    assert_eq!(stored_policy(&site, id), policy);

    site.kms("UpdateKeyDescription", &json!({"KeyId": id, "Description": "second"})).ok();
    assert_eq!(site.key_metadata_of(id)["Description"], "second");
    site.kms("UntagResource", &json!({"KeyId": id, "TagKeys": ["purpose"]})).ok();
    assert_eq!(listed(), json!([tags[0]]));
    let statement = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("admin")}, "Action": "kms:Encrypt",
        "Resource": "*"});
    let other = delegating_policy(&[statement]);
    site.kms("PutKeyPolicy", &json!({"KeyId": id, "PolicyName": "default", "Policy": other})).ok();
    assert_eq!(stored_policy(&site, id), other);
}

#[test]
fn the_description_of_a_key_that_is_pending_deletion_stays() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_key_with(&json!({"Description": "before"}));
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    site.kms("UpdateKeyDescription", &json!({"KeyId": id, "Description": "disabled"})).ok();
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id})).ok();
    site.kms("UpdateKeyDescription", &json!({"KeyId": id, "Description": "after"}))
        .assert_error("KMSInvalidStateException", &format!("{} is pending deletion.", key_arn(&id)));
    assert_eq!(site.key_metadata_of(&id)["Description"], "disabled");
}

#[test]
fn without_a_policy_a_key_gets_the_default_one() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let stored: Value = serde_json::from_str(&stored_policy(&site, &id)).unwrap();
    let expected = json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{}:root", ACCOUNT.id)},
            "Action": "kms:*",
            "Resource": "*",
        }],
    });
    assert_eq!(stored, expected);
}

#[test]
fn spec_and_usage_go_together_and_the_old_name_of_the_spec_is_taken() {
    let site = Site::start_with(&Setup::kms());
    for spec in ["KeySpec", "CustomerMasterKeySpec"] {
        let id = site.create_key_with(&json!({spec: "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"}));
        let metadata = site.key_metadata_of(&id);
        assert_eq!(metadata["KeySpec"], "SYMMETRIC_DEFAULT");
        assert_eq!(metadata["KeySpec"], metadata["CustomerMasterKeySpec"]);
    }
    let both = json!({"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT"});
    assert_eq!(site.kms("CreateKey", &both).error().0, "ValidationException");
    for (spec, usage) in [
        ("SYMMETRIC_DEFAULT", "SIGN_VERIFY"),
        ("SYMMETRIC_DEFAULT", "GENERATE_VERIFY_MAC"),
        ("RSA_2048", "GENERATE_VERIFY_MAC"),
        ("ECC_NIST_P256", "ENCRYPT_DECRYPT"),
        ("HMAC_256", "ENCRYPT_DECRYPT"),
    ] {
        site.kms("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage})).assert_error(
            "ValidationException",
            &format!("KeyUsage {usage} is not compatible with KeySpec {spec}"),
        );
    }
    assert_eq!(site.kms("CreateKey", &json!({"KeySpec": "RSA_2048"})).error().0, "ValidationException");
    for (member, value) in [("KeySpec", "AES_256"), ("KeyUsage", "WRAP"), ("Origin", "MINE")] {
        assert_eq!(site.kms("CreateKey", &json!({member: value})).error().0, "ValidationException");
    }
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"].as_array().unwrap().len(), 2);
}

#[test]
fn kinds_of_keys_that_the_hsm_lacks_are_refused_by_mechanism_and_leave_nothing() {
    let mut setup = Setup::kms();
    setup.kms.as_mut().unwrap().push_str("[kms.software_provider]\nkey_specs = []\n");
    let site = Site::start_with(&setup);
    for (spec, usage, mechanism) in [
        ("ML_DSA_65", "SIGN_VERIFY", "CKM_ML_DSA_KEY_PAIR_GEN"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", "CKM_ML_KEM_KEY_PAIR_GEN"),
    ] {
        let (name, text) = site.kms("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage})).error();
        assert_eq!(name, "UnsupportedOperationException", "{spec}");
        assert!(text.contains(mechanism), "{text}");
    }
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"], json!([]));
}

#[test]
fn a_key_for_imported_material_waits_for_it() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_key_with(&json!({"Origin": "EXTERNAL"}));
    let metadata = site.key_metadata_of(&id);
    assert_eq!(metadata["Origin"], "EXTERNAL");
    assert_eq!((&metadata["Enabled"], &metadata["KeyState"]), (&json!(false), &json!("PendingImport")));
    assert!(metadata.get("CurrentKeyMaterialId").is_none(), "{metadata}");
    site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT}))
        .assert_error("KMSInvalidStateException", &format!("{} is pending import.", key_arn(&id)));
    let text = format!("{} origin is EXTERNAL which is not valid for this operation.", key_arn(&id));
    for operation in ["EnableKeyRotation", "RotateKeyOnDemand", "DisableKeyRotation", "ListKeyRotations"] {
        site.kms(operation, &json!({"KeyId": id})).assert_error("UnsupportedOperationException", &text);
    }
}

#[test]
fn keys_do_not_decrypt_what_others_encrypted() {
    let site = Site::start_with(&Setup::kms());
    let (one, other) = (site.create_kms_key(), site.create_kms_key());
    let metadata = |id: &str| site.key_metadata_of(id)["CurrentKeyMaterialId"].clone();
    assert_ne!(metadata(&one), metadata(&other));
    let ciphertext = site.kms_encrypt(&one);
    let request = json!({"KeyId": other, "CiphertextBlob": ciphertext});
    assert_eq!(site.kms("Decrypt", &request).error().0, "IncorrectKeyException");
}

#[test]
fn who_makes_a_key_gets_no_permission_by_that() {
    let site = Site::start_with(&Setup::kms());
    let maker = site.kms_user("maker");
    site.assert_denied(&maker, "CreateKey", &json!({}));
    site.kms_user_may("maker", &json!([{"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*"}]));
    // Neither PutKeyPolicy nor CreateAlias is needed to make a key, with a policy or without.
    let created = site.kms_as(&maker, "CreateKey", &json!({})).ok();
    let id = created["KeyMetadata"]["KeyId"].as_str().unwrap();
    for (operation, request) in [
        ("DescribeKey", json!({"KeyId": id})),
        ("Encrypt", json!({"KeyId": id, "Plaintext": PLAINTEXT})),
        ("ScheduleKeyDeletion", json!({"KeyId": id})),
        ("CreateAlias", json!({"AliasName": "alias/mine", "TargetKeyId": id})),
    ] {
        site.assert_denied(&maker, operation, &request);
        site.assert_denied(
            &OTHER_ACCOUNT,
            operation,
            &json!({"KeyId": key_arn(id), "Plaintext": PLAINTEXT,
            "AliasName": "alias/mine", "TargetKeyId": key_arn(id)}),
        );
    }
    let keeps = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("maker")}, "Action": "kms:PutKeyPolicy",
        "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [keeps]}).to_string();
    site.kms_as(&maker, "CreateKey", &json!({"Policy": policy})).ok();
}

#[test]
fn tags_at_creation_need_the_permission_to_tag_from_the_identity() {
    let site = Site::start_with(&Setup::kms());
    let maker = site.kms_user("maker");
    site.kms_user_may("maker", &json!([{"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*"}]));
    let all = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("maker")}, "Action": "kms:*",
        "Resource": "*"});
    let policy = delegating_policy(&[all]);
    let request = json!({"Tags": [{"TagKey": "a", "TagValue": "b"}], "Policy": policy});
    site.kms_as(&maker, "CreateKey", &json!({"Policy": policy})).ok();
    site.assert_denied(&maker, "CreateKey", &request);
    let one_key = format!("{}*", key_arn("1"));
    site.kms_user_may(
        "maker",
        &json!([
            {"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*"},
            {"Effect": "Allow", "Action": "kms:TagResource", "Resource": one_key},
        ]),
    );
    site.assert_denied(&maker, "CreateKey", &request);
    site.kms_user_may(
        "maker",
        &json!([{"Effect": "Allow", "Action": ["kms:CreateKey", "kms:TagResource"], "Resource": "*"}]),
    );
    site.assert_allowed(&maker, "CreateKey", &request);
    site.assert_allowed(&maker, "CreateKey", &json!({"MultiRegion": true}));
}

#[test]
fn a_policy_that_locks_its_author_out_is_refused_unless_that_is_wanted() {
    let site = Site::start_with(&Setup::kms());
    let root = format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id);
    let stranger = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"}]});
    let refused = |operation: &str, request: &Value| {
        site.kms(operation, request).assert_error(
            "MalformedPolicyDocumentException",
            "The new key policy will not allow you to update the key policy in the future.",
        );
    };
    refused("CreateKey", &json!({"Policy": stranger.to_string()}));
    let bypassing = json!({"Policy": stranger.to_string(), "BypassPolicyLockoutSafetyCheck": true});
    let id = site.create_key_with(&bypassing);
    site.assert_denied(&ACCOUNT, "DescribeKey", &json!({"KeyId": id}));
    site.assert_allowed(&OTHER_ACCOUNT, "DescribeKey", &json!({"KeyId": key_arn(&id)}));

    let id = site.create_kms_key();
    let request = json!({"KeyId": id, "PolicyName": "default", "Policy": stranger.to_string()});
    refused("PutKeyPolicy", &request);
    site.kms("DescribeKey", &json!({"KeyId": id})).ok();
}

#[test]
fn a_key_policy_has_at_most_32_kilobytes() {
    let site = Site::start_with(&Setup::kms());
    let policy = |bytes: usize| {
        let text = delegating_policy(&[]);
        let blanks = " ".repeat(bytes - text.len());
        text + &blanks
    };
    let id = site.create_key_with(&json!({"Policy": policy(32_768)}));
    let name = |operation: &str, request: &Value| site.kms(operation, request).error().0;
    assert_eq!(name("CreateKey", &json!({"Policy": policy(32_769)})), "LimitExceededException");
    let request = json!({"KeyId": id, "PolicyName": "default", "Policy": policy(32_769)});
    assert_eq!(name("PutKeyPolicy", &request), "LimitExceededException");
    assert_eq!(stored_policy(&site, &id), policy(32_768));
}

#[test]
fn the_spec_of_a_key_can_be_a_condition() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("limited");
    let on_symmetric = |effect: &str, action: &str| {
        json!({"Effect": effect, "Action": action, "Resource": "*",
            "Condition": {"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}}})
    };
    site.kms_user_may("limited", &json!([on_symmetric("Allow", "kms:CreateKey")]));
    site.assert_allowed(&user, "CreateKey", &json!({}));
    site.assert_denied(&user, "CreateKey", &json!({"KeySpec": "RSA_4096", "KeyUsage": "SIGN_VERIFY"}));
    let everything = json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*"});
    site.kms_user_may("limited", &json!([everything, on_symmetric("Deny", "kms:ScheduleKeyDeletion")]));
    let id = site.create_kms_key();
    site.assert_denied(&user, "ScheduleKeyDeletion", &json!({"KeyId": id}));
    site.assert_allowed(&user, "DisableKey", &json!({"KeyId": id}));
}
