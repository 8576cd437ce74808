//! The table of records and the model of the API fit together, and what is recorded is only what the table names.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kms::audit::parameters::{Parameter, recorded};
use crate::kms::audit::table::{ResponseElements, row};
use crate::kms::model::Document;
use crate::kms::operation::OperationName;

const API: &str = include_str!("../model/api.model");

/// The members of the input of an operation.
fn members(operation: OperationName) -> BTreeSet<&'static str> {
    let start = format!("operation {operation}");
    let lines = API.lines().skip_while(|line| *line != start).skip(1);
    let members = lines.take_while(|line| line.starts_with("  "));
    members.filter_map(|line| line.split_whitespace().next()).map(|name| name.trim_end_matches('!')).collect()
}

fn of_request(operation: OperationName, body: &str) -> Value {
    let json = recorded(row(operation).parameters.unwrap(), &Document::parse(body.as_bytes()).unwrap());
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn every_parameter_that_is_recorded_is_one_of_the_request() {
    for operation in OperationName::ALL {
        let members = members(*operation);
        assert!(!members.is_empty(), "{operation}");
        for parameter in row(*operation).parameters.unwrap_or_default() {
            assert!(members.contains(parameter.member()), "{operation}: {}", parameter.member());
        }
    }
}

/// Each member of the API is recorded, or here is why not.
#[test]
fn what_is_left_out_is_secret_or_content_or_said_in_another_way() {
    let left_out = [
        "CiphertextBlob",
        "EncryptedKeyMaterial",
        "GrantToken",
        "GrantTokens",
        "ImportToken",
        "KeyStorePassword",
        "Mac",
        "Message",
        "Plaintext",
        "PublicKey",
        "Recipient",
        "SharedSecretCiphertextBlob",
        "Signature",
        "TrustAnchorCertificate",
        "XksProxyAuthenticationCredential",
    ];
    for operation in OperationName::ALL {
        let Some(parameters) = row(*operation).parameters else { continue };
        let recorded: BTreeSet<_> = parameters.iter().map(Parameter::member).collect();
        for member in members(*operation) {
            assert_eq!(!recorded.contains(member), left_out.contains(&member), "{operation} {member}");
        }
    }
    let null: Vec<_> = OperationName::ALL.iter().filter(|name| row(**name).parameters.is_none()).collect();
    assert_eq!(null, [&OperationName::GenerateRandom, &OperationName::RetireGrant]);
}

/// AWS KMS Developer Guide: what uses or reads a key is read-only; the ARN of the key is told of these.
#[test]
fn what_is_answered_is_told_of_these_operations_only() {
    let of = |wanted: fn(ResponseElements) -> bool| -> Vec<_> {
        let all = OperationName::ALL.iter().filter(|name| wanted(row(**name).response));
        all.map(|name| name.as_str()).collect()
    };
    let arn = [
        "CreateAlias",
        "DeleteAlias",
        "DeleteImportedKeyMaterial",
        "DisableKey",
        "EnableKey",
        "EnableKeyRotation",
        "ImportKeyMaterial",
        "TagResource",
        "UntagResource",
        "UpdateAlias",
        "UpdatePrimaryRegion",
    ];
    assert_eq!(of(|response| matches!(response, ResponseElements::KeyArn)), arn);
    let answers =
        of(|response| matches!(response, ResponseElements::Answer(_) | ResponseElements::AnswerAndKeyArn(_)));
    let told = [
        "CancelKeyDeletion",
        "CreateCustomKeyStore",
        "CreateGrant",
        "CreateKey",
        "ReplicateKey",
        "RotateKeyOnDemand",
        "ScheduleKeyDeletion",
    ];
    assert_eq!(answers, told);
    for operation in OperationName::ALL {
        let row = row(*operation);
        if row.read_only {
            assert!(matches!(row.response, ResponseElements::Null), "{operation}");
        }
        let changes = ["Get", "List", "Describe"].iter().all(|verb| !operation.as_str().starts_with(verb));
        let uses = !matches!(row.adds, crate::kms::audit::table::Adds::Nothing) && row.read_only;
        assert_eq!(!row.read_only, changes && !uses, "{operation}");
    }
}

#[test]
fn defaults_are_filled_in_where_aws_fills_them_in() {
    let expected = json!({
        "tags": [], "keyUsage": "ENCRYPT_DECRYPT", "description": "", "origin": "AWS_KMS", "multiRegion": false,
        "keySpec": "SYMMETRIC_DEFAULT", "customerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "bypassPolicyLockoutSafetyCheck": false,
    });
    assert_eq!(of_request(OperationName::CreateKey, ""), expected);
    for member in ["KeySpec", "CustomerMasterKeySpec"] {
        let made = of_request(OperationName::CreateKey, &format!(r#"{{"{member}":"RSA_2048"}}"#));
        assert_eq!([&made["keySpec"], &made["customerMasterKeySpec"]], ["RSA_2048", "RSA_2048"]);
    }
    let decrypt = json!({"encryptionAlgorithm": "SYMMETRIC_DEFAULT"});
    assert_eq!(of_request(OperationName::Decrypt, r#"{"CiphertextBlob":"AAAA"}"#), decrypt);
    let listed = json!({});
    assert_eq!(of_request(OperationName::ListAliases, "{}"), listed);
    let policy = of_request(OperationName::PutKeyPolicy, r#"{"KeyId":"k","Policy":"{\n}"}"#);
    let expected = json!({"keyId": "k", "policy": "{\n}", "policyName": "default", "bypassPolicyLockoutSafetyCheck": false});
    assert_eq!(policy, expected);
}

#[test]
fn dates_are_texts_and_structures_have_the_names_of_records() {
    let import =
        r#"{"KeyId":"k","ValidTo":1609488000.5,"ExpirationModel":"KEY_MATERIAL_EXPIRES","ImportToken":"s"}"#;
    let expected = json!({"keyId": "k", "validTo": "Jan 1, 2021, 8:00:00 AM", "expirationModel": "KEY_MATERIAL_EXPIRES"});
    assert_eq!(of_request(OperationName::ImportKeyMaterial, import), expected);
    let tags = r#"{"KeyId":"k","Tags":[{"TagKey":"a","TagValue":"b","Other":"c"},"no tag"]}"#;
    let expected = json!({"keyId": "k", "tags": [{"tagKey": "a", "tagValue": "b"}]});
    assert_eq!(of_request(OperationName::TagResource, tags), expected);
    let grant = r#"{"KeyId":"k","Operations":["Decrypt"],"GranteePrincipal":"p","GrantTokens":["t"],
                    "Constraints":{"EncryptionContextSubset":{"Department":"IT"}}}"#;
    let expected = json!({
        "keyId": "k", "operations": ["Decrypt"], "granteePrincipal": "p",
        "constraints": {"encryptionContextSubset": {"Department": "IT"}},
    });
    assert_eq!(of_request(OperationName::CreateGrant, grant), expected);
}

#[test]
fn a_member_of_another_type_is_left_out() {
    let odd =
        r#"{"KeyId":{"Plaintext":"s"},"EncryptionContext":["s"],"EncryptionAlgorithm":null,"DryRun":[1]}"#;
    assert_eq!(of_request(OperationName::Encrypt, odd), json!({"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}));
    let far = r#"{"ValidTo":1e300}"#;
    assert_eq!(of_request(OperationName::ImportKeyMaterial, far), json!({"validTo": "1e300"}));
    let context = r#"{"EncryptionContext":{"Quote\"":"new\nline","n":1}}"#;
    let expected =
        json!({"encryptionContext": {"Quote\"": "new\nline"}, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"});
    assert_eq!(of_request(OperationName::Encrypt, context), expected);
}
