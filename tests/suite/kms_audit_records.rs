//! What stands in the record of a call, whatever it asked for and however it ended.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_stories::{ABSENT, PLAINTEXT, alias_arn, delegating_policy, key_arn};
use crate::support::records::{assert_members, of_key, request_id, resource};
use crate::support::site::{PIN, SECRET_ACCESS_KEY, merged};
use crate::support::{Setup, Site};

fn site() -> Site {
    Site::start_with(&Setup::kms())
}

/// AWS KMS Developer Guide, Logging AWS KMS API calls: the fields and their order.
#[test]
fn a_record_has_the_fields_of_cloudtrail_in_its_order() {
    let site = site();
    let key = site.create_kms_key();
    let reply = site.kms("DescribeKey", &of_key(&key));
    let record = site.record_of(&reply);
    let line = site.trail_lines().into_iter().find(|line| line.contains(&request_id(&reply))).unwrap();
    let order = [
        "eventVersion",
        "userIdentity",
        "eventTime",
        "eventSource",
        "eventName",
        "awsRegion",
        "sourceIPAddress",
        "requestParameters",
        "responseElements",
        "requestID",
        "eventID",
        "readOnly",
        "resources",
        "eventType",
        "managementEvent",
        "recipientAccountId",
        "eventCategory",
        "tlsDetails",
    ];
    let places: Vec<_> = order.iter().map(|name| line.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");
    assert_members(
        &record,
        &json!({
            "eventVersion": "1.11",
            "eventSource": "kms.amazonaws.com",
            "eventName": "DescribeKey",
            "awsRegion": "us-east-1",
            "sourceIPAddress": "127.0.0.1",
            "requestParameters": {"keyId": key},
            "responseElements": null,
            "readOnly": true,
            "resources": [resource(&key_arn(&key))],
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "eventCategory": "Management",
            "recipientAccountId": ACCOUNT.id,
        }),
    );
    let tls = &record["tlsDetails"];
    assert_eq!(
        (&tls["tlsVersion"], &tls["cipherSuite"]),
        (&json!("TLSv1.3"), &json!("TLS_AES_256_GCM_SHA384"))
    );
    assert_eq!(tls["clientProvidedHostHeader"], json!(format!("localhost:{}", site.kms_port)));
    assert_members(
        &record["userIdentity"],
        &json!({
            "type": "IAMUser", "userName": "admin", "accountId": ACCOUNT.id, "accessKeyId": ACCOUNT.access_key_id,
        }),
    );
    let again = site.record_of(&site.kms("DescribeKey", &of_key(&key)));
    assert_ne!(record["eventID"], again["eventID"]);
    assert_ne!(record["requestID"], again["requestID"]);
}

#[test]
fn the_identifier_is_as_it_was_given_and_the_key_is_in_the_resources() {
    let site = site();
    let key = site.create_kms_key();
    site.create_alias("alias/a", &key);
    for given in [key.clone(), key_arn(&key), "alias/a".to_owned(), alias_arn("alias/a")] {
        let record = site.recorded("Encrypt", &json!({"KeyId": given, "Plaintext": PLAINTEXT}));
        assert_eq!(record["requestParameters"]["keyId"], json!(given));
        assert_eq!(record["resources"], json!([resource(&key_arn(&key))]));
    }
}

/// Null for everything that uses a key, and the encryption context in the clear.
#[test]
fn cryptographic_operations_record_neither_texts_nor_answers() {
    let site = site();
    let [key, other] = [site.create_kms_key(), site.create_kms_key()];
    let context = json!({"Department": "IT", "Quote\"": "line\nline"});
    let encrypt = json!({"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    let blob = site.kms("Encrypt", &encrypt).text("CiphertextBlob");
    let decrypt = json!({"CiphertextBlob": blob, "EncryptionContext": context});
    let symmetric = "SYMMETRIC_DEFAULT";
    let own = [resource(&key_arn(&key))];
    let both = [resource(&key_arn(&key)), resource(&key_arn(&other))];
    for (operation, request, parameters, resources) in [
        (
            "Encrypt",
            encrypt,
            json!({"keyId": key, "encryptionContext": context, "encryptionAlgorithm": symmetric}),
            &own[..],
        ),
        (
            "Decrypt",
            decrypt.clone(),
            json!({"encryptionContext": context, "encryptionAlgorithm": symmetric}),
            &own,
        ),
        (
            "GenerateDataKey",
            json!({"KeyId": key, "NumberOfBytes": 17}),
            json!({"keyId": key, "numberOfBytes": 17}),
            &own,
        ),
        (
            "GenerateDataKeyWithoutPlaintext",
            json!({"KeyId": key, "KeySpec": "AES_128", "EncryptionContext": context}),
            json!({"keyId": key, "keySpec": "AES_128", "encryptionContext": context}),
            &own,
        ),
        (
            "ReEncrypt",
            json!({"CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": other}),
            json!({
                "sourceEncryptionContext": context, "sourceEncryptionAlgorithm": symmetric,
                "destinationKeyId": other, "destinationEncryptionAlgorithm": symmetric,
            }),
            &both,
        ),
        ("GenerateRandom", json!({"NumberOfBytes": 8}), Value::Null, &[]),
    ] {
        let record = site.recorded(operation, &request);
        let expected = json!({
            "requestParameters": parameters, "responseElements": null, "readOnly": true, "resources": resources,
        });
        assert_members(&record, &expected);
        assert_eq!(record.get("additionalEventData"), None);
    }
}

#[test]
fn a_failure_records_what_the_caller_was_told_and_the_key() {
    let site = site();
    let [key, other] = [site.create_kms_key(), site.create_kms_key()];
    let blob = site.kms_encrypt(&key);
    let wrong = site.kms("Decrypt", &json!({"CiphertextBlob": blob, "KeyId": other}));
    let expected = json!({
        "errorCode": "IncorrectKeyException",
        "errorMessage": "The key ID in the request does not identify a CMK that can perform this operation.",
        "responseElements": null,
        "readOnly": true,
        "resources": [resource(&key_arn(&other))],
        "requestParameters": {"keyId": other, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
    });
    assert_members(&site.record_of(&wrong), &expected);
    site.kms("DisableKey", &of_key(&key)).ok();
    let disabled = site.record_of(&site.kms("Decrypt", &json!({"CiphertextBlob": blob})));
    assert_eq!(disabled["errorCode"], "DisabledException");
    assert_eq!(disabled["resources"], json!([resource(&key_arn(&key))]));
    let missing = site.record_of(&site.kms("DescribeKey", &of_key(ABSENT)));
    assert_eq!((&missing["errorCode"], &missing["resources"]), (&json!("NotFoundException"), &json!([])));
    let rehearsed = site.kms("Encrypt", &json!({"KeyId": other, "Plaintext": PLAINTEXT, "DryRun": true}));
    let rehearsed = site.record_of(&rehearsed);
    assert_eq!(rehearsed["errorCode"], "DryRunOperationException");
    assert_eq!(rehearsed["requestParameters"]["dryRun"], json!(true));
}

#[test]
fn an_answer_of_its_own_is_told_where_the_guide_tells_it() {
    let site = site();
    let key = site.create_kms_key();
    let arn = key_arn(&key);
    let named = json!({"keyId": arn});
    for (operation, request) in [
        ("DisableKey", of_key(&key)),
        ("EnableKey", of_key(&key)),
        ("EnableKeyRotation", json!({"KeyId": key, "RotationPeriodInDays": 90})),
        ("TagResource", json!({"KeyId": key, "Tags": [{"TagKey": "a", "TagValue": "b"}]})),
        ("UntagResource", json!({"KeyId": key, "TagKeys": ["a"]})),
    ] {
        let record = site.recorded(operation, &request);
        let expected = json!({"responseElements": named, "readOnly": false, "resources": [resource(&arn)]});
        assert_members(&record, &expected);
    }
    let text = delegating_policy(&[]).replace(',', ",\n  ");
    for (operation, request, parameters) in [
        ("DisableKeyRotation", of_key(&key), json!({"keyId": key})),
        (
            "UpdateKeyDescription",
            json!({"KeyId": key, "Description": "told"}),
            json!({"keyId": key, "description": "told"}),
        ),
        (
            "PutKeyPolicy",
            json!({"KeyId": key, "Policy": text}),
            json!({"keyId": key, "policyName": "default", "policy": text, "bypassPolicyLockoutSafetyCheck": false}),
        ),
    ] {
        let record = site.recorded(operation, &request);
        let expected = json!({"responseElements": null, "readOnly": false, "requestParameters": parameters});
        assert_members(&record, &expected);
    }
    let scheduled = site.recorded("ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7}));
    let response = &scheduled["responseElements"];
    assert_members(response, &json!({"keyId": arn, "keyState": "PendingDeletion", "pendingWindowInDays": 7}));
    assert!(response["deletionDate"].as_str().unwrap().ends_with('M'), "{response}");
    assert_eq!(site.recorded("CancelKeyDeletion", &of_key(&key))["responseElements"], named);
}

#[test]
fn an_alias_and_its_key_are_both_resources_in_the_documented_order() {
    let site = site();
    let [key, other] = [site.create_kms_key(), site.create_kms_key()];
    let alias = resource(&alias_arn("alias/a"));
    let [first, second] = [resource(&key_arn(&key)), resource(&key_arn(&other))];
    let target = |key: &str| json!({"AliasName": "alias/a", "TargetKeyId": key});
    for (operation, request, resources, arn) in [
        ("CreateAlias", target(&key), json!([first, alias]), key_arn(&key)),
        ("UpdateAlias", target(&other), json!([alias, second]), key_arn(&other)),
        ("DeleteAlias", json!({"AliasName": "alias/a"}), json!([alias, second]), key_arn(&other)),
    ] {
        let record = site.recorded(operation, &request);
        assert_members(&record, &json!({"resources": resources, "responseElements": {"keyId": arn}}));
    }
    let listed = site.recorded("ListAliases", &json!({"KeyId": key, "Limit": 5}));
    assert_members(&listed, &json!({"resources": [], "requestParameters": {"keyId": key, "limit": 5}}));
}

#[test]
fn a_grant_is_recorded_without_its_token() {
    let site = site();
    let key = site.create_kms_key();
    let principal = format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id);
    let constraints = json!({"EncryptionContextSubset": {"Department": "IT"}});
    let request = json!({
        "KeyId": key, "GranteePrincipal": principal, "Operations": ["Encrypt"], "Constraints": constraints,
    });
    let reply = site.kms("CreateGrant", &request);
    let (id, token) = (reply.text("GrantId"), reply.text("GrantToken"));
    let record = site.record_of(&reply);
    let parameters = json!({
        "keyId": key, "granteePrincipal": principal, "operations": ["Encrypt"],
        "constraints": {"encryptionContextSubset": {"Department": "IT"}},
    });
    let expected = json!({
        "requestParameters": parameters, "responseElements": {"grantId": id, "keyId": key_arn(&key)},
    });
    assert_members(&record, &expected);
    let listed = site.recorded("ListGrants", &json!({"KeyId": key, "Limit": 5}));
    assert_members(&listed, &json!({"responseElements": null, "resources": [resource(&key_arn(&key))]}));
    let revoked = site.recorded("RevokeGrant", &json!({"KeyId": key, "GrantId": id}));
    assert_members(
        &revoked,
        &json!({"responseElements": null, "requestParameters": {"keyId": key, "grantId": id}}),
    );
    let again = site.kms(
        "CreateGrant",
        &merged(request, json!({"RetiringPrincipal": format!("arn:aws:iam::{}:root", ACCOUNT.id)})),
    );
    let retired = site.recorded("RetireGrant", &json!({"GrantToken": again.text("GrantToken")}));
    let expected = json!({
        "requestParameters": null, "responseElements": null, "readOnly": false,
        "additionalEventData": {"grantId": again.text("GrantId")}, "resources": [resource(&key_arn(&key))],
    });
    assert_members(&retired, &expected);
    for secret in [token, again.text("GrantToken")] {
        assert!(site.trail_lines().iter().all(|line| !line.contains(&secret)));
    }
}

#[test]
fn deletion_and_rotation_are_recorded_as_done_by_the_service() {
    let site = site();
    let [deleted, rotated] = [site.create_kms_key(), site.create_kms_key()];
    let on_demand = site.recorded("RotateKeyOnDemand", &of_key(&rotated));
    assert_eq!(on_demand["responseElements"], json!({"keyId": rotated}));
    site.kms("EnableKeyRotation", &json!({"KeyId": rotated, "RotationPeriodInDays": 90})).ok();
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": deleted, "PendingWindowInDays": 7})).ok();
    site.advance_clock("91d");
    let automatic = |record: &Value| record["serviceEventDetails"]["rotationType"] == "AUTOMATIC";
    let records = site.records_with("the rotation", automatic);
    let of =
        |name: &str| records.iter().filter(move |record| record["eventName"] == name).collect::<Vec<_>>();
    let common = json!({
        "userIdentity": {"accountId": ACCOUNT.id, "invokedBy": "AWS Internal"},
        "sourceIPAddress": "AWS Internal", "userAgent": "AWS Internal", "requestParameters": null,
        "readOnly": false, "eventType": "AwsServiceEvent", "managementEvent": true, "eventCategory": "Management",
        "recipientAccountId": ACCOUNT.id,
    });
    let [deletion] = of("DeleteKey")[..] else { panic!("{records:#?}") };
    let [first, second] = of("RotateKey")[..] else { panic!("{records:#?}") };
    for (record, key, details) in [
        (deletion, &deleted, Value::Null),
        (first, &rotated, json!({"rotationType": "ON_DEMAND", "keyId": rotated})),
        (second, &rotated, json!({"rotationType": "AUTOMATIC", "keyId": rotated})),
    ] {
        assert_members(record, &common);
        let arn = key_arn(key);
        assert_eq!(record["responseElements"], json!({"keyId": arn}));
        assert_eq!(record["resources"], json!([resource(&arn)]));
        assert_eq!(record["serviceEventDetails"], details);
        assert!(record.get("requestID").is_none() && record["eventID"].is_string());
    }
}

#[test]
fn every_change_is_on_the_disk_before_it_happens_and_reading_is_not() {
    let site = site();
    let key = site.create_kms_key();
    let changes = [
        ("CreateAlias", json!({"AliasName": "alias/a", "TargetKeyId": key})),
        ("DisableKey", of_key(&key)),
        ("EnableKey", of_key(&key)),
        ("RotateKeyOnDemand", of_key(&key)),
        ("DeleteAlias", json!({"AliasName": "alias/a"})),
        ("ScheduleKeyDeletion", of_key(&key)),
        ("CancelKeyDeletion", of_key(&key)),
    ];
    for (operation, request) in &changes {
        let record = site.recorded(operation, request);
        let intents = site.intents();
        let intent = intents.iter().find(|intent| intent["eventID"] == record["eventID"]);
        let intent = intent.unwrap_or_else(|| panic!("no intent of {operation}"));
        assert_members(
            intent,
            &json!({"eventName": operation, "requestParameters": record["requestParameters"]}),
        );
    }
    for (operation, request) in [
        ("DescribeKey", of_key(&key)),
        ("ListKeys", json!({})),
        // Refused before anything is changed.
        ("DeleteAlias", json!({"AliasName": "alias/absent"})),
        ("CreateAlias", json!({"AliasName": "alias/b", "TargetKeyId": ABSENT})),
    ] {
        let record = site.record_of(&site.kms(operation, &request));
        assert!(site.intents().iter().all(|intent| intent["eventID"] != record["eventID"]), "{operation}");
    }
}

/// Plaintexts, ciphertexts, data keys, tokens, passwords and credentials, wherever a request or answer has them.
#[test]
fn no_secret_is_in_any_record() {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", ""));
    let user = site.kms_user("user");
    let marked = proxy_api::wire::encode_base64(b"a plaintext that nobody else may see");
    let mut secrets = vec![
        marked.clone(),
        SECRET_ACCESS_KEY.to_owned(),
        ACCOUNT.secret_access_key.to_owned(),
        user.secret_access_key.to_owned(),
        PIN.to_owned(),
        "a plaintext that nobody else may see".to_owned(),
    ];
    let content = ["CiphertextBlob", "Plaintext", "GrantToken", "PrivateKeyPlaintext"];
    let short = "sh0rt1";
    secrets.push(short.to_owned());
    for (operation, body) in [
        ("CreateCustomKeyStore", json!({"CustomKeyStoreName": "a", "KeyStorePassword": short})),
        (
            "CreateCustomKeyStore",
            json!({
                "CustomKeyStoreName": "a",
                "XksProxyAuthenticationCredential": {"AccessKeyId": SECRET_ACCESS_KEY, "RawSecretAccessKey": short},
            }),
        ),
        ("Encrypt", json!({"KeyId": "alias/a", "Plaintext": short, "GrantTokens": [short]})),
        ("Decrypt", json!({"CiphertextBlob": {"Plaintext": short}})),
    ] {
        assert_ne!(site.kms(operation, &body).0.status, 200, "{operation}");
    }
    let mut last = None;
    for (operation, mut body) in site.kms_requests() {
        if body.get("Plaintext").is_some() {
            body["Plaintext"] = json!(marked);
        }
        for member in
            ["CiphertextBlob", "GrantToken", "Message", "Mac", "Signature", "ImportToken", "PublicKey"]
        {
            secrets.extend(body[member].as_str().filter(|text| text.len() > 16).map(str::to_owned));
        }
        site.kms_as(&user, operation, &body);
        let reply = site.kms(operation, &body);
        if reply.0.status == 200 {
            let answer = reply.ok();
            secrets.extend(content.iter().filter_map(|member| answer[member].as_str().map(str::to_owned)));
        }
        last = Some(reply);
    }
    site.record_of(&last.unwrap());
    let trail = site.trail_lines().join("\n");
    assert!(trail.lines().count() > 100 && secrets.len() > 15, "{}", secrets.len());
    for secret in secrets {
        assert!(!trail.contains(&secret), "{secret}");
    }
}

#[test]
fn keys_of_the_software_provider_are_recorded_as_such() {
    let site = Site::start_with(&Setup::kms());
    let software = site.create_key_with(&json!({"KeySpec": "ML_DSA_44", "KeyUsage": "SIGN_VERIFY"}));
    let hardware = site.create_key_with(&json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}));
    let sign = |key: &str, algorithm: &str| {
        site.recorded("Sign", &json!({"KeyId": key, "Message": "aGk=", "SigningAlgorithm": algorithm}))
    };
    for record in [site.recorded("DescribeKey", &of_key(&software)), sign(&software, "ML_DSA_SHAKE_256")] {
        assert_eq!(record["additionalEventData"], json!({"keyProvider": "software"}), "{record:#}");
    }
    for record in [site.recorded("DescribeKey", &of_key(&hardware)), sign(&hardware, "ECDSA_SHA_256")] {
        assert!(record.get("additionalEventData").is_none(), "{record:#}");
    }
}
