//! Encrypt, Decrypt, ReEncrypt, and the encryption context.

use serde_json::{Value, json};

use crate::support::kms::ACCOUNT;
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn};
use crate::support::{Setup, Site};

fn encrypt_in(site: &Site, key: &str, context: &Value) -> String {
    let request = json!({"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    site.kms("Encrypt", &request).text("CiphertextBlob")
}

#[test]
fn a_text_of_one_to_4096_bytes_comes_back() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for bytes in [1, 2, 15, 16, 17, 4095, 4096] {
        let plaintext = proxy_api::wire::encode_base64(&vec![7; bytes]);
        let encrypted = site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": plaintext})).ok();
        assert_eq!(encrypted["KeyId"], json!(key_arn(&id)));
        assert_eq!(encrypted["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
        let decrypted = site.kms_decrypt(encrypted["CiphertextBlob"].as_str().unwrap());
        assert_eq!(decrypted["Plaintext"], json!(plaintext), "{bytes}");
        assert_eq!(decrypted["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    }
    for bytes in [0, 4097] {
        let plaintext = proxy_api::wire::encode_base64(&vec![7; bytes]);
        let refused = site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": plaintext}));
        assert_eq!(refused.error().0, "ValidationException");
    }
}

#[test]
fn a_ciphertext_has_the_documented_parts() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let material = site.key_metadata_of(&id)["CurrentKeyMaterialId"].as_str().unwrap().to_owned();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut ivs = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let blob = proxy_api::wire::decode_base64(&site.kms_encrypt(&id)).unwrap();
        let (head, rest) = blob.split_at(9);
        let account: u64 = ACCOUNT.id.parse().unwrap();
        assert_eq!(head, [&[1, 0][..], &account.to_be_bytes()[2..], &[9]].concat());
        let (region, rest) = rest.split_at(9);
        assert_eq!(region, b"us-east-1");
        assert_eq!(hex(&rest[..16]), id.replace('-', ""));
        assert_eq!(hex(&rest[16..48]), material);
        let iv_bytes = usize::from(rest[52]);
        assert!([12, 16].contains(&iv_bytes), "{iv_bytes}");
        ivs.insert(rest[53..53 + iv_bytes].to_vec());
        let (plaintext_bytes, tag_bytes) = (5, 16);
        assert_eq!(rest.len(), 53 + iv_bytes + plaintext_bytes + tag_bytes);
    }
    assert_eq!(ivs.len(), 10);
}

#[test]
fn a_symmetric_ciphertext_names_its_key_and_another_key_is_incorrect() {
    let site = Site::start_with(&Setup::kms());
    let (id, other) = (site.create_kms_key(), site.create_kms_key());
    let ciphertext = site.kms_encrypt(&id);
    assert_eq!(site.kms_decrypt(&ciphertext)["KeyId"], json!(key_arn(&id)));
    site.kms("Decrypt", &json!({"KeyId": id, "CiphertextBlob": ciphertext})).ok();
    let text = "The key ID in the request does not identify a CMK that can perform this operation.";
    site.kms("Decrypt", &json!({"KeyId": other, "CiphertextBlob": ciphertext}))
        .assert_error("IncorrectKeyException", text);
    let request = json!({"SourceKeyId": other, "DestinationKeyId": other, "CiphertextBlob": ciphertext});
    site.kms("ReEncrypt", &request).assert_error("IncorrectKeyException", text);
}

#[test]
fn an_algorithm_of_another_kind_of_key_is_refused() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let request = json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"});
    site.kms("Encrypt", &request).assert_error(
        "InvalidKeyUsageException",
        "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT.",
    );
    let request = json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"});
    site.kms("Encrypt", &request).ok();
}

#[test]
fn the_same_context_decrypts_in_any_order_and_every_other_does_not() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let ciphertext = encrypt_in(&site, &id, &json!({"Department": "10103.0", "Purpose": "Test"}));
    let decrypt = |context: &str| {
        let body = format!(r#"{{"CiphertextBlob":"{ciphertext}","EncryptionContext":{context}}}"#);
        site.kms("Decrypt", &serde_json::from_str(&body).unwrap())
    };
    for context in
        [r#"{"Department":"10103.0","Purpose":"Test"}"#, r#"{"Purpose":"Test","Department":"10103.0"}"#]
    {
        assert_eq!(decrypt(context).text("Plaintext"), PLAINTEXT);
    }
    for context in [
        "{}",
        "null",
        r#"{"Department":"10103.0"}"#,
        r#"{"Department":"10103","Purpose":"Test"}"#,
        r#"{"department":"10103.0","Purpose":"Test"}"#,
        r#"{"Department":"10103.0","Purpose":"test"}"#,
        r#"{"Department":"10103.0","Purpose":"Test","More":""}"#,
        r#"{"Department":"10103.0Purpose","Purpose":"Test"}"#,
        r#"{"Test":"Purpose","Department":"10103.0"}"#,
    ] {
        decrypt(context).assert_error("InvalidCiphertextException", "");
    }
    let without = site.kms_encrypt(&id);
    let request = json!({"CiphertextBlob": without, "EncryptionContext": {"a": "b"}});
    site.kms("Decrypt", &request).assert_error("InvalidCiphertextException", "");
    let request = json!({"CiphertextBlob": without, "EncryptionContext": {}});
    site.kms("Decrypt", &request).ok();
}

#[test]
fn a_context_holds_any_text_and_a_number_is_told_from_text() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for context in [
        json!({"Schlüssel": "größer", "鍵": "値", "": ""}),
        json!({"with \"quotes\" * ? ${x}": "line\nbreak\u{0}"}),
        json!({"number": "10103"}),
    ] {
        let ciphertext = encrypt_in(&site, &id, &context);
        let request = json!({"CiphertextBlob": ciphertext, "EncryptionContext": context});
        assert_eq!(site.kms("Decrypt", &request).text("Plaintext"), PLAINTEXT);
    }
    for number in [json!(10103), json!(10103.0), json!(true), json!(["a"])] {
        let request = json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionContext": {"number": number}});
        assert_eq!(site.kms("Encrypt", &request).error().0, "SerializationException");
    }
}

#[test]
fn reencrypt_needs_the_old_context_and_sets_the_new_one() {
    let site = Site::start_with(&Setup::kms());
    let (from, to) = (site.create_kms_key(), site.create_kms_key());
    let ciphertext = encrypt_in(&site, &from, &json!({"old": "1"}));
    let request = |source: Value| {
        json!({"CiphertextBlob": ciphertext, "SourceEncryptionContext": source, "DestinationKeyId": to,
            "DestinationEncryptionContext": {"new": "2"}})
    };
    for wrong in [json!({}), json!({"old": "2"}), json!({"OLD": "1"})] {
        site.kms("ReEncrypt", &request(wrong)).assert_error("InvalidCiphertextException", "");
    }
    let answer = site.kms("ReEncrypt", &request(json!({"old": "1"}))).ok();
    assert_eq!((&answer["SourceKeyId"], &answer["KeyId"]), (&json!(key_arn(&from)), &json!(key_arn(&to))));
    assert!(answer.get("Plaintext").is_none(), "{answer}");
    let next = &answer["CiphertextBlob"];
    let decrypt =
        |context: Value| site.kms("Decrypt", &json!({"CiphertextBlob": next, "EncryptionContext": context}));
    assert_eq!(decrypt(json!({"new": "2"})).text("KeyId"), key_arn(&to));
    decrypt(json!({"old": "1"})).assert_error("InvalidCiphertextException", "");
}

#[test]
fn policies_demand_pairs_and_keys_of_the_context() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("crypto");
    let id = site.create_kms_key();
    let encrypt = |context: Value| json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    let allow = |condition: Value| {
        let statement = json!([{"Effect": "Allow", "Action": ["kms:Encrypt", "kms:GenerateDataKey*"],
            "Resource": "*", "Condition": condition}]);
        site.kms_user_may("crypto", &statement);
    };
    allow(json!({"StringEquals": {"kms:EncryptionContext:AppName": "ExampleApp"}}));
    site.assert_allowed(&user, "Encrypt", &encrypt(json!({"AppName": "ExampleApp", "More": "x"})));
    for context in [json!({}), json!({"AppName": "exampleapp"}), json!({"App": "ExampleApp"})] {
        site.assert_denied(&user, "Encrypt", &encrypt(context));
    }
    let data_key = json!({"KeyId": id, "KeySpec": "AES_256", "EncryptionContext": {"AppName": "ExampleApp"}});
    site.assert_allowed(&user, "GenerateDataKey", &data_key);

    allow(json!({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["AppName", "FilePath"]},
        "Null": {"kms:EncryptionContextKeys": "false"}}));
    site.assert_allowed(&user, "Encrypt", &encrypt(json!({"FilePath": "/a"})));
    site.assert_denied(&user, "Encrypt", &encrypt(json!({"FilePath": "/a", "Other": "b"})));
    site.assert_denied(&user, "Encrypt", &encrypt(json!({})));
}

#[test]
fn a_key_policy_demands_a_context_too() {
    let site = Site::start_with(&Setup::kms());
    let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
        "Condition": {"StringNotEquals": {"kms:EncryptionContext:AppName": "ExampleApp"}}});
    let id = site.create_key_with(&json!({"Policy": delegating_policy(&[deny])}));
    site.assert_denied(&ACCOUNT, "Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT}));
    encrypt_in(&site, &id, &json!({"AppName": "ExampleApp"}));
}
