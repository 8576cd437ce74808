//! What is told of keys of every kind, what becomes of their aliases and grants, and what policies can ask of their use.

use holdfast::domain::kms::{KeySpec, KeyUsage};
use serde_json::{Value, json};

use crate::support::kinds_of_keys::{MESSAGE, base64, kinds};
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn};
use crate::support::site::merged;
use crate::support::{Setup, Site};

/// Of one usage, its member in the metadata and what it lists, in the order of the documentation.
fn algorithms(spec: &str, usage: &str) -> (&'static str, Value) {
    let of = |spec: &str| match spec {
        "ECC_NIST_P256" | "ECC_SECG_P256K1" => json!(["ECDSA_SHA_256"]),
        "ECC_NIST_P384" => json!(["ECDSA_SHA_384"]),
        "ECC_NIST_P521" => json!(["ECDSA_SHA_512"]),
        "ECC_NIST_EDWARDS25519" => json!(["ED25519_SHA_512", "ED25519_PH_SHA_512"]),
        "ML_DSA_44" | "ML_DSA_65" | "ML_DSA_87" => json!(["ML_DSA_SHAKE_256"]),
        _ => json!([
            "RSASSA_PKCS1_V1_5_SHA_256",
            "RSASSA_PKCS1_V1_5_SHA_384",
            "RSASSA_PKCS1_V1_5_SHA_512",
            "RSASSA_PSS_SHA_256",
            "RSASSA_PSS_SHA_384",
            "RSASSA_PSS_SHA_512",
        ]),
    };
    match usage {
        "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" => {
            ("EncryptionAlgorithms", json!(["SYMMETRIC_DEFAULT"]))
        }
        "ENCRYPT_DECRYPT" => ("EncryptionAlgorithms", json!(["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])),
        "GENERATE_VERIFY_MAC" => ("MacAlgorithms", json!([spec.replace("HMAC", "HMAC_SHA")])),
        "KEY_AGREEMENT" => ("KeyAgreementAlgorithms", json!(["ECDH"])),
        "ENCAPSULATE_DECAPSULATE" => ("EncapsulationAlgorithms", json!(["ML_KEM"])),
        _ => ("SigningAlgorithms", of(spec)),
    }
}

const LISTS: [&str; 5] = [
    "EncapsulationAlgorithms",
    "EncryptionAlgorithms",
    "KeyAgreementAlgorithms",
    "MacAlgorithms",
    "SigningAlgorithms",
];

#[test]
fn metadata_tell_what_a_key_is_good_for() {
    let site = Site::start_with(&Setup::kms());
    for (spec, usage) in kinds() {
        let (spec, usage) = (spec.as_str(), usage.as_str());
        let made =
            site.kms("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage})).ok()["KeyMetadata"].clone();
        assert_eq!(made["KeySpec"], json!(spec));
        assert_eq!(made["CustomerMasterKeySpec"], json!(spec));
        assert_eq!(made["KeyUsage"], json!(usage));
        assert_eq!([&made["KeyState"], &made["Enabled"]], [&json!("Enabled"), &json!(true)]);
        let (member, list) = algorithms(spec, usage);
        for name in LISTS {
            let expected = if name == member { Some(&list) } else { None };
            assert_eq!(made.get(name), expected, "{spec} {usage} {name}");
        }
        let has_material = made.get("CurrentKeyMaterialId").is_some();
        assert_eq!(has_material, spec == "SYMMETRIC_DEFAULT", "{spec}");
        let id = made["KeyId"].as_str().unwrap();
        assert_eq!(site.key_metadata_of(id), made, "{spec} {usage}");
        if spec != "SYMMETRIC_DEFAULT" {
            let status = site.kms("GetKeyRotationStatus", &json!({"KeyId": id})).ok();
            assert_eq!(status, json!({"KeyId": id, "KeyRotationEnabled": false}), "{spec}");
            site.kms("EnableKeyRotation", &json!({"KeyId": id}))
                .assert_error("UnsupportedOperationException", "");
        }
    }
}

#[test]
fn spec_and_usage_go_together_and_both_are_said() {
    let site = Site::start_with(&Setup::kms());
    for spec in KeySpec::ALL {
        for usage in KeyUsage::ALL.iter().filter(|usage| !spec.permits(**usage)) {
            let text = format!("KeyUsage {usage} is not compatible with KeySpec {spec}");
            site.kms("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage}))
                .assert_error("ValidationException", &text);
        }
        if *spec != KeySpec::SymmetricDefault {
            let text =
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.";
            site.kms("CreateKey", &json!({"KeySpec": spec})).assert_error("ValidationException", text);
        }
    }
}

/// AWS KMS Developer Guide, Updating aliases.
#[test]
fn an_alias_moves_between_keys_of_the_same_type_and_usage_only() {
    let site = Site::start_with(&Setup::kms());
    let of = |spec, usage| site.create_key_of(spec, usage);
    let keys = [
        site.create_kms_key(),
        of("HMAC_256", "GENERATE_VERIFY_MAC"),
        of("RSA_2048", "ENCRYPT_DECRYPT"),
        of("ECC_NIST_P256", "SIGN_VERIFY"),
        of("ECC_NIST_P256", "KEY_AGREEMENT"),
    ];
    let text = "The current and the new key of an alias must have the same type and the same key usage.";
    for (number, key) in keys.iter().enumerate() {
        let alias = format!("alias/kind-{number}");
        site.create_alias(&alias, key);
        for other in keys.iter().filter(|other| *other != key) {
            site.kms("UpdateAlias", &json!({"AliasName": alias, "TargetKeyId": other}))
                .assert_error("ValidationException", text);
        }
    }
    // Of another spec, but of the same type and usage.
    let rsa = of("RSA_2048", "SIGN_VERIFY");
    site.kms("UpdateAlias", &json!({"AliasName": "alias/kind-3", "TargetKeyId": rsa})).ok();
    let longer = of("HMAC_512", "GENERATE_VERIFY_MAC");
    site.kms("UpdateAlias", &json!({"AliasName": "alias/kind-1", "TargetKeyId": longer})).ok();
}

#[test]
fn a_grant_gives_what_the_key_can_do_and_nothing_else() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("grantee");
    let grantee = crate::support::kms_stories::user_arn("grantee");
    let key = site.create_key_of("ECC_NIST_P256", "SIGN_VERIFY");
    let signed = json!({"KeyId": key, "Message": PLAINTEXT, "SigningAlgorithm": "ECDSA_SHA_256"});
    site.assert_denied(&user, "Sign", &signed);
    let grant = json!({"KeyId": key, "GranteePrincipal": grantee});
    let operations = json!({"Operations": ["Sign", "GetPublicKey"]});
    site.kms("CreateGrant", &merged(grant.clone(), operations)).ok();
    site.assert_allowed(&user, "Sign", &signed);
    site.assert_allowed(&user, "GetPublicKey", &json!({"KeyId": key}));
    let signature = json!({"Signature": site.kms("Sign", &signed).text("Signature")});
    site.assert_denied(&user, "Verify", &merged(signed, signature));
    for operation in ["Encrypt", "GenerateDataKeyPair", "GenerateMac", "DeriveSharedSecret", "Encapsulate"] {
        let text = format!("Operation {operation} is not valid for a key with key spec ECC_NIST_P256.");
        site.kms("CreateGrant", &merged(grant.clone(), json!({"Operations": [operation]})))
            .assert_error("ValidationException", &text);
    }
    // Of RSA and HMAC keys, too, which encrypt without a context or not at all.
    for (spec, usage, operation) in [
        ("RSA_2048", "ENCRYPT_DECRYPT", "Encrypt"),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "GenerateMac"),
        ("ECC_NIST_P256", "SIGN_VERIFY", "Sign"),
    ] {
        let key = site.create_key_of(spec, usage);
        for constraint in ["EncryptionContextEquals", "EncryptionContextSubset"] {
            let request = json!({
                "KeyId": key, "GranteePrincipal": grantee, "Operations": [operation],
                "Constraints": {constraint: {"a": "b"}},
            });
            let text = "Only grants of symmetric encryption keys can have such constraints.";
            site.kms("CreateGrant", &request).assert_error("ValidationException", text);
        }
    }
}

/// AWS KMS Developer Guide, Restricting algorithms: the key policy does what a key spec cannot.
#[test]
fn a_policy_narrows_algorithms_and_message_types() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_of("RSA_2048", "SIGN_VERIFY");
    let deny = |condition: Value| {
        json!({"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["kms:Sign", "kms:Verify"],
            "Resource": "*", "Condition": {"StringEquals": condition}})
    };
    let policy = delegating_policy(&[
        deny(json!({"kms:SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256"})),
        deny(json!({"kms:MessageType": "DIGEST"})),
    ]);
    site.kms("PutKeyPolicy", &json!({"KeyId": key, "Policy": policy})).ok();
    let sign = |algorithm: &str, message_type: &str, message: &[u8]| {
        let request = json!({"KeyId": key, "Message": base64(message), "SigningAlgorithm": algorithm,
            "MessageType": message_type});
        site.kms("Sign", &request)
    };
    sign("RSASSA_PSS_SHA_256", "RAW", MESSAGE).ok();
    assert_eq!(sign("RSASSA_PKCS1_V1_5_SHA_256", "RAW", MESSAGE).error().0, "AccessDeniedException");
    assert_eq!(sign("RSASSA_PSS_SHA_256", "DIGEST", &[0; 32]).error().0, "AccessDeniedException");
    // What may not be used at all is not told what it would lack.
    assert_eq!(sign("RSASSA_PSS_SHA_256", "DIGEST", &[0; 3]).error().0, "AccessDeniedException");
    let arn = key_arn(&key);
    assert!(sign("RSASSA_PSS_SHA_256", "DIGEST", &[0; 32]).error().1.contains(&arn));
}
