//! Imported key material: how it comes, how it is kept to, and how it ends (inventory part 3, G14 to G18).

#![expect(clippy::cognitive_complexity, reason = "a story is one function")]

use serde_json::{Value, json};

use crate::support::importing::{Parameters, base64, decode, lasting};
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::site::merged;
use crate::support::{Setup, Site};

const DAY: f64 = 86_400.0;
const MATERIAL: [u8; 32] = [7; 32];
const OTHER: [u8; 32] = [8; 32];

fn now(site: &Site) -> f64 {
    site.admin("/dev/clock").unwrap().1.trim().parse().unwrap()
}

fn valid_for(site: &Site, seconds: f64) -> Value {
    json!({"ValidTo": now(site) + seconds})
}

fn state(site: &Site, key: &str) -> String {
    site.key_metadata_of(key)["KeyState"].as_str().unwrap().to_owned()
}

/// A key with this material, which does not expire.
fn imported(site: &Site, material: &[u8]) -> String {
    let key = site.create_key_to_import(&json!({}));
    site.import(&key, material, &lasting()).ok();
    key
}

#[track_caller]
fn assert_pending_import(site: &Site, key: &str) {
    let refused = site.kms("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT}));
    refused.assert_error("KMSInvalidStateException", &format!("{} is pending import.", key_arn(key)));
    assert_eq!(state(site, key), "PendingImport");
}

#[test]
fn a_key_waits_for_its_material_and_then_works() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_to_import(&json!({}));
    let metadata = site.key_metadata_of(&key);
    assert_eq!(
        [&metadata["Origin"], &metadata["KeyState"], &metadata["KeySpec"], &metadata["KeyUsage"]],
        ["EXTERNAL", "PendingImport", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"]
    );
    assert_eq!(metadata["Enabled"], false);
    assert!(metadata.get("ExpirationModel").is_none() && metadata.get("ValidTo").is_none());
    assert_pending_import(&site, &key);

    let answer = site.import(&key, &MATERIAL, &lasting()).ok();
    let metadata = site.key_metadata_of(&key);
    assert_eq!(
        answer,
        json!({"KeyId": key_arn(&key), "KeyMaterialId": metadata["CurrentKeyMaterialId"].as_str().unwrap()})
    );
    assert_eq!([&metadata["KeyState"], &metadata["Origin"]], ["Enabled", "EXTERNAL"]);
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
    let blob = site.kms_encrypt(&key);
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
}

#[test]
fn every_wrapping_algorithm_and_key_spec_brings_the_same_material() {
    let site = Site::start_with(&Setup::kms());
    let key = imported(&site, &MATERIAL);
    let blob = site.kms_encrypt(&key);
    for spec in ["RSA_2048", "RSA_3072", "RSA_4096"] {
        for algorithm in
            ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]
        {
            site.kms("DeleteImportedKeyMaterial", &json!({"KeyId": key})).ok();
            assert_pending_import(&site, &key);
            let parameters = Parameters::of(&site, &key, algorithm, spec);
            site.import_with(&parameters, &key, &MATERIAL, &lasting()).ok();
            assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT, "{algorithm} {spec}");
        }
    }
}

#[test]
fn parameters_are_a_new_pair_every_time_that_is_valid_for_a_day() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_to_import(&json!({}));
    let request =
        json!({"KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_4096"});
    let first = site.kms("GetParametersForImport", &request).ok();
    let second = site.kms("GetParametersForImport", &request).ok();
    assert_eq!(first["KeyId"], key_arn(&key));
    assert!(first["PublicKey"] != second["PublicKey"] && first["ImportToken"] != second["ImportToken"]);
    let valid_to = first["ParametersValidTo"].as_f64().unwrap();
    assert!((valid_to - now(&site) - DAY).abs() < 60.0, "{valid_to}");
    assert!(decode(&first["ImportToken"]).len() <= 6144);
    // Each works, in any order, until a day is over.
    let of = |answer| Parameters::from(answer, "RSAES_OAEP_SHA_256");
    site.import_with(&of(&second), &key, &MATERIAL, &lasting()).ok();
    site.import_with(&of(&first), &key, &MATERIAL, &lasting()).ok();
    site.advance_clock("25h");
    let refused = site.import_with(&of(&first), &key, &MATERIAL, &lasting());
    assert_eq!(refused.error().0, "ExpiredImportTokenException");
}

#[test]
fn parameters_are_refused_where_table_t4_says_so() {
    let site = Site::start_with(&Setup::kms());
    let rsa = site.create_key_to_import(&json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}));
    let p521 = site.create_key_to_import(&json!({"KeySpec": "ECC_NIST_P521", "KeyUsage": "SIGN_VERIFY"}));
    let aes = site.create_key_to_import(&json!({}));
    for (key, algorithm, spec) in [
        (&aes, "RSAES_PKCS1_V1_5", "RSA_2048"),
        (&aes, "SM2PKE", "SM2"),
        (&aes, "RSAES_OAEP_SHA_256", "SM2"),
        (&rsa, "RSAES_OAEP_SHA_1", "RSA_4096"),
        (&rsa, "RSAES_OAEP_SHA_256", "RSA_4096"),
        (&p521, "RSAES_OAEP_SHA_1", "RSA_2048"),
        (&p521, "RSAES_OAEP_SHA_256", "RSA_2048"),
    ] {
        let request = json!({"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": spec});
        let (name, text) = site.kms("GetParametersForImport", &request).error();
        assert_eq!(name, "UnsupportedOperationException", "{algorithm} {spec}: {text}");
    }
    let ours = site.create_kms_key();
    let request =
        json!({"KeyId": ours, "WrappingAlgorithm": "RSAES_OAEP_SHA_1", "WrappingKeySpec": "RSA_2048"});
    site.kms("GetParametersForImport", &request).assert_error(
        "UnsupportedOperationException",
        &format!("{} origin is AWS_KMS which is not valid for this operation.", key_arn(&ours)),
    );
    site.create_alias("alias/imported", &aes);
    let request = merged(request, json!({"KeyId": "alias/imported"}));
    assert_eq!(site.kms("GetParametersForImport", &request).error().0, "NotFoundException");
}

#[test]
fn only_the_same_material_can_come_back() {
    let site = Site::start_with(&Setup::kms());
    let key = imported(&site, &MATERIAL);
    let (blob, id) = (site.kms_encrypt(&key), site.key_metadata_of(&key)["CurrentKeyMaterialId"].clone());
    let refused = site.import(&key, &OTHER, &lasting());
    assert_eq!(refused.error().0, "IncorrectKeyMaterialException");
    assert_eq!(state(&site, &key), "Enabled");
    let deleted = site.kms("DeleteImportedKeyMaterial", &json!({"KeyId": key})).ok();
    assert_eq!(deleted, json!({"KeyId": key_arn(&key), "KeyMaterialId": id}));
    // Again it has no effect.
    assert_eq!(site.kms("DeleteImportedKeyMaterial", &json!({"KeyId": key})).ok(), deleted);
    assert_eq!(site.import(&key, &OTHER, &lasting()).error().0, "IncorrectKeyMaterialException");
    assert_pending_import(&site, &key);
    assert_eq!(site.import(&key, &MATERIAL, &lasting()).ok(), deleted);
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    // The same material in another key makes no key that reads its ciphertexts.
    let twin = imported(&site, &MATERIAL);
    let decrypt = json!({"KeyId": twin, "CiphertextBlob": blob});
    assert_eq!(site.kms("Decrypt", &decrypt).error().0, "IncorrectKeyException");
}

#[test]
fn what_is_no_material_of_the_kind_is_refused_and_changes_nothing() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_to_import(&json!({}));
    for material in [&MATERIAL[..31], &[9; 33], &[9; 16], &[9]] {
        let (name, text) = site.import(&key, material, &lasting()).error();
        assert_eq!(name, "IncorrectKeyMaterialException", "{} bytes: {text}", material.len());
    }
    let parameters = Parameters::of(&site, &key, "RSAES_OAEP_SHA_256", "RSA_2048");
    let good = parameters.wrap(&MATERIAL);
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    let elsewhere = Parameters::of(&site, &key, "RSAES_OAEP_SHA_256", "RSA_2048").wrap(&MATERIAL);
    for wrong in [flipped, good[1..].to_vec(), [&good[..], &[0]].concat(), elsewhere, vec![0; 256], vec![1]] {
        let request = merged(
            json!({"KeyId": key, "ImportToken": parameters.token, "EncryptedKeyMaterial": base64(&wrong)}),
            lasting(),
        );
        site.kms("ImportKeyMaterial", &request).assert_error("InvalidCiphertextException", "");
    }
    assert_eq!(state(&site, &key), "PendingImport");
    site.import_with(&parameters, &key, &MATERIAL, &lasting()).ok();
}

#[test]
fn a_token_is_for_one_key_and_cannot_be_changed() {
    let site = Site::start_with(&Setup::kms());
    let (key, other) = (site.create_key_to_import(&json!({})), site.create_key_to_import(&json!({})));
    let parameters = Parameters::of(&site, &other, "RSAES_OAEP_SHA_256", "RSA_2048");
    let refused = site.import_with(&parameters, &key, &MATERIAL, &lasting());
    assert_eq!(refused.error().0, "InvalidImportTokenException");
    let own = Parameters::of(&site, &key, "RSAES_OAEP_SHA_256", "RSA_2048");
    let token = decode(&json!(own.token));
    for place in [0, 1, 20, token.len() / 2, token.len() - 1] {
        let mut changed = token.clone();
        changed[place] ^= 1;
        let request = json!({
            "KeyId": key, "ImportToken": base64(&changed),
            "EncryptedKeyMaterial": base64(&own.wrap(&MATERIAL)),
        });
        let (name, _) = site.kms("ImportKeyMaterial", &merged(request, lasting())).error();
        assert_eq!(name, "InvalidImportTokenException", "byte {place}");
    }
    assert_eq!(state(&site, &key), "PendingImport");
}

#[test]
fn the_expiration_model_and_its_date_go_together() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_to_import(&json!({}));
    let far = valid_for(&site, 366.0 * DAY);
    let past = valid_for(&site, -1.0);
    let both = merged(lasting(), valid_for(&site, DAY));
    for terms in [json!({}), json!({"ExpirationModel": "KEY_MATERIAL_EXPIRES"}), far, past, both] {
        let (name, text) = site.import(&key, &MATERIAL, &terms).error();
        assert_eq!(name, "ValidationException", "{terms}: {text}");
    }
    let almost_a_year = valid_for(&site, 364.9 * DAY);
    site.import(&key, &MATERIAL, &almost_a_year).ok();
    let metadata = site.key_metadata_of(&key);
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    let told = metadata["ValidTo"].as_f64().unwrap();
    assert!((told - almost_a_year["ValidTo"].as_f64().unwrap()).abs() < 0.01);
    // The terms change with another import of the same material, and in no other way.
    site.import(&key, &MATERIAL, &lasting()).ok();
    let metadata = site.key_metadata_of(&key);
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
    assert!(metadata.get("ValidTo").is_none());
}

#[test]
fn material_ends_by_the_clock_and_the_key_can_be_brought_back() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_to_import(&json!({}));
    site.import(&key, &MATERIAL, &valid_for(&site, 2.0 * DAY)).ok();
    let blob = site.kms_encrypt(&key);
    site.advance_clock("1d");
    site.kms_encrypt(&key);
    site.advance_clock("2d");
    // At once, whether or not anybody has deleted it yet.
    assert_pending_import(&site, &key);
    let metadata = site.key_metadata_of(&key);
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    assert!(metadata["ValidTo"].is_f64() && metadata["Enabled"] == false);
    site.import(&key, &MATERIAL, &valid_for(&site, DAY)).ok();
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
}

#[test]
fn a_key_that_waits_for_its_deletion_can_lose_its_material_too() {
    let site = Site::start_with(&Setup::kms());
    let key = imported(&site, &MATERIAL);
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": key})).ok();
    let parameters =
        json!({"KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_1", "WrappingKeySpec": "RSA_2048"});
    let pending = format!("{} is pending deletion.", key_arn(&key));
    site.kms("GetParametersForImport", &parameters).assert_error("KMSInvalidStateException", &pending);
    site.kms("DeleteImportedKeyMaterial", &json!({"KeyId": key})).ok();
    assert_eq!(state(&site, &key), "PendingDeletion");
    site.kms("CancelKeyDeletion", &json!({"KeyId": key})).ok();
    assert_pending_import(&site, &key);
    // And one that kept it is disabled afterwards.
    site.import(&key, &MATERIAL, &lasting()).ok();
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": key})).ok();
    site.kms("CancelKeyDeletion", &json!({"KeyId": key})).ok();
    assert_eq!(state(&site, &key), "Disabled");
}

#[test]
fn a_disabled_key_takes_material_and_stays_disabled() {
    let site = Site::start_with(&Setup::kms());
    let key = imported(&site, &MATERIAL);
    site.kms("DisableKey", &json!({"KeyId": key}));
    site.import(&key, &MATERIAL, &valid_for(&site, DAY)).ok();
    assert_eq!(state(&site, &key), "Disabled");
}

fn listed(site: &Site, key: &str) -> Vec<Value> {
    let request = json!({"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    site.kms("ListKeyRotations", &request).ok()["Rotations"].as_array().unwrap().clone()
}

#[test]
fn a_key_rotates_to_new_imported_material_on_demand() {
    let site = Site::start_with(&Setup::kms());
    let key = imported(&site, &MATERIAL);
    let (old_blob, first) =
        (site.kms_encrypt(&key), site.key_metadata_of(&key)["CurrentKeyMaterialId"].clone());
    let refused = site.kms("RotateKeyOnDemand", &json!({"KeyId": key}));
    assert_eq!(refused.error().0, "KMSInvalidStateException");

    let new = json!({"ImportType": "NEW_KEY_MATERIAL", "KeyMaterialDescription": "second"});
    let same = site.import(&key, &MATERIAL, &merged(lasting(), new.clone()));
    assert_eq!(same.error().0, "IncorrectKeyMaterialException");
    let answer = site.import(&key, &OTHER, &merged(lasting(), new.clone())).ok();
    let second = answer["KeyMaterialId"].clone();
    assert_ne!(second, first);
    // It waits, and the first still encrypts.
    assert_eq!(site.key_metadata_of(&key)["CurrentKeyMaterialId"], first);
    let third = site.import(&key, &[9; 32], &merged(lasting(), new));
    assert_eq!(third.error().0, "KMSInvalidStateException");
    let states = |site: &Site| -> Vec<_> {
        listed(site, &key).iter().map(|entry| entry["KeyMaterialState"].clone()).collect()
    };
    assert_eq!(states(&site), ["CURRENT", "PENDING_ROTATION"]);
    assert_eq!(listed(&site, &key)[1]["KeyMaterialDescription"], "second");
    assert_eq!(listed(&site, &key)[1]["ImportState"], "IMPORTED");

    site.kms("RotateKeyOnDemand", &json!({"KeyId": key})).ok();
    assert_eq!(states(&site), ["NON_CURRENT", "CURRENT"]);
    let blob = site.kms("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT})).ok();
    assert_eq!(site.key_metadata_of(&key)["CurrentKeyMaterialId"], second);
    for blob in [old_blob.as_str(), blob["CiphertextBlob"].as_str().unwrap()] {
        assert_eq!(site.kms_decrypt(blob)["Plaintext"], PLAINTEXT);
    }

    // The key needs all its material.
    let delete = json!({"KeyId": key, "KeyMaterialId": first});
    assert_eq!(site.kms("DeleteImportedKeyMaterial", &delete).ok()["KeyMaterialId"], first);
    assert_pending_import(&site, &key);
    assert_eq!(listed(&site, &key)[0]["ImportState"], "PENDING_IMPORT");
    let wrong = merged(lasting(), json!({"KeyMaterialId": second}));
    assert_eq!(site.import(&key, &MATERIAL, &wrong).error().0, "IncorrectKeyMaterialException");
    let right = merged(lasting(), json!({"KeyMaterialId": first}));
    site.import(&key, &MATERIAL, &right).ok();
    assert_eq!(site.kms_decrypt(&old_blob)["Plaintext"], PLAINTEXT);
    let unknown = merged(lasting(), json!({"KeyMaterialId": "0".repeat(64)}));
    assert_eq!(site.import(&key, &MATERIAL, &unknown).error().0, "NotFoundException");
}

#[test]
fn new_material_that_waits_can_be_taken_back() {
    let site = Site::start_with(&Setup::kms());
    let key = imported(&site, &MATERIAL);
    let new = merged(lasting(), json!({"ImportType": "NEW_KEY_MATERIAL"}));
    let waiting = site.import(&key, &OTHER, &new).ok()["KeyMaterialId"].clone();
    site.kms("DeleteImportedKeyMaterial", &json!({"KeyId": key, "KeyMaterialId": waiting})).ok();
    assert_eq!((state(&site, &key).as_str(), listed(&site, &key).len()), ("Enabled", 1));
    site.import(&key, &[9; 32], &new).ok();
    site.kms("RotateKeyOnDemand", &json!({"KeyId": key})).ok();
}

#[test]
fn imported_material_does_not_rotate_by_itself_and_has_a_status_that_says_so() {
    let site = Site::start_with(&Setup::kms());
    let key = imported(&site, &MATERIAL);
    for operation in ["EnableKeyRotation", "DisableKeyRotation"] {
        site.kms(operation, &json!({"KeyId": key})).assert_error(
            "UnsupportedOperationException",
            &format!("{} origin is EXTERNAL which is not valid for this operation.", key_arn(&key)),
        );
    }
}

#[test]
fn generations_are_of_symmetric_encryption_keys_only() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_to_import(&json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}));
    let answer = site.import(&key, &MATERIAL, &lasting()).ok();
    assert_eq!(answer, json!({"KeyId": key_arn(&key)}));
    for more in [json!({"ImportType": "NEW_KEY_MATERIAL"}), json!({"KeyMaterialDescription": "d"})] {
        let refused = site.import(&key, &OTHER, &merged(lasting(), more));
        assert_eq!(refused.error().0, "UnsupportedOperationException");
    }
    assert_eq!(
        site.kms("RotateKeyOnDemand", &json!({"KeyId": key})).error().0,
        "UnsupportedOperationException"
    );
}

#[test]
fn material_is_there_after_a_restart_and_gone_if_it_expired_meanwhile() {
    let site = Site::start_with(&Setup::kms());
    let (stays, goes) = (imported(&site, &MATERIAL), site.create_key_to_import(&json!({})));
    let blob = site.kms_encrypt(&stays);
    site.import(&goes, &OTHER, &valid_for(&site, 3.0)).ok();
    site.stop();
    site.run();
    site.wait_ready();
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    site.advance_clock("1h");
    assert_pending_import(&site, &goes);
}

/// PKCS #8 of an Ed25519 key, before its seed (RFC 8410, 7).
const ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

#[test]
fn an_ed25519_key_comes_back_too_in_software_and_as_a_token_object() {
    let (software, mut token) = (Setup::kms(), Setup::kms());
    token.kms.as_mut().unwrap().push_str("[kms.software_provider]\nkey_specs = []\n");
    let material = [ED25519.as_slice(), &[3; 32]].concat();
    for setup in [software, token] {
        let site = Site::start_with(&setup);
        let kind = json!({"KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY"});
        let key = site.create_key_to_import(&kind);
        let sign = json!({"KeyId": key, "Message": PLAINTEXT, "SigningAlgorithm": "ED25519_SHA_512"});
        site.import(&key, &material, &lasting()).ok();
        let signature = site.kms("Sign", &sign).text("Signature");
        // While it is there, and after it was gone.
        site.import(&key, &material, &valid_for(&site, DAY)).ok();
        site.kms("DeleteImportedKeyMaterial", &json!({"KeyId": key})).ok();
        assert_eq!(site.kms("Sign", &sign).error().0, "KMSInvalidStateException");
        let other = [ED25519.as_slice(), &[4; 32]].concat();
        let refused = site.import(&key, &other, &lasting());
        assert_eq!(refused.error().0, "IncorrectKeyMaterialException");
        site.import(&key, &material, &lasting()).ok();
        assert_eq!(site.kms("Sign", &sign).text("Signature"), signature);
        site.kms("Verify", &merged(sign, json!({"Signature": signature}))).ok();
    }
}
