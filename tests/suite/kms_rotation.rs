//! Rotation of key material: what it changes, what it leaves, and when it happens.

use serde_json::{Value, json};

use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::{Setup, Site};

const DAY: f64 = 86_400.0;

fn status(site: &Site, id: &str) -> Value {
    site.kms("GetKeyRotationStatus", &json!({"KeyId": id})).ok()
}

fn next_rotation(site: &Site, id: &str) -> f64 {
    status(site, id)["NextRotationDate"].as_f64().unwrap()
}

fn rotations(site: &Site, id: &str) -> Vec<Value> {
    let listed = site.kms("ListKeyRotations", &json!({"KeyId": id})).ok();
    listed["Rotations"].as_array().unwrap().clone()
}

fn types(site: &Site, id: &str) -> Vec<String> {
    let rotations = rotations(site, id);
    rotations.iter().map(|rotation| rotation["RotationType"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_days(seconds: f64, days: f64) {
    assert!((seconds - days * DAY).abs() < 60.0, "{} is not {days} days", seconds / DAY);
}

#[test]
fn rotation_is_off_until_it_is_enabled_and_then_says_when_it_comes() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let off = json!({"KeyId": id, "KeyRotationEnabled": false});
    assert_eq!(status(&site, &id), off);
    let created = site.key_metadata_of(&id)["CreationDate"].as_f64().unwrap();
    let enabled = site.kms("EnableKeyRotation", &json!({"KeyId": id}));
    assert!(enabled.0.body.is_empty());
    let on = status(&site, &id);
    let expected = json!({"KeyId": id, "KeyRotationEnabled": true, "RotationPeriodInDays": 365,
        "NextRotationDate": on["NextRotationDate"]});
    assert_eq!(on, expected);
    assert_days(next_rotation(&site, &id) - created, 365.0);
    assert!(site.kms("DisableKeyRotation", &json!({"KeyId": id})).0.body.is_empty());
    assert_eq!(status(&site, &id), off);
    assert_eq!(rotations(&site, &id), [] as [Value; 0]);
}

#[test]
fn a_period_is_90_to_2560_days() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for days in [89, 2561, 0, -1] {
        let request = json!({"KeyId": id, "RotationPeriodInDays": days});
        assert_eq!(site.kms("EnableKeyRotation", &request).error().0, "ValidationException", "{days}");
    }
    assert_eq!(status(&site, &id)["KeyRotationEnabled"], false);
    for days in [90, 2560] {
        site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": days})).ok();
        assert_eq!(status(&site, &id)["RotationPeriodInDays"], days);
    }
}

#[test]
fn a_rotation_changes_the_material_and_nothing_else() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_key_with(&json!({"Tags": [{"TagKey": "a", "TagValue": "b"}], "Description": "d"}));
    site.create_alias("alias/same", &id);
    let everything = || {
        let mut metadata = site.key_metadata_of(&id);
        let material = metadata.as_object_mut().unwrap().remove("CurrentKeyMaterialId").unwrap();
        let others = [
            ("GetKeyPolicy", json!({"KeyId": id, "PolicyName": "default"})),
            ("ListResourceTags", json!({"KeyId": id})),
            ("ListAliases", json!({"KeyId": id})),
        ]
        .map(|(operation, request)| site.kms(operation, &request).ok());
        ((metadata, others), material)
    };
    let data_key = site.kms("GenerateDataKey", &json!({"KeyId": id, "KeySpec": "AES_256"})).ok();
    let before = site.kms_encrypt(&id);
    let (same, first_material) = everything();
    assert_eq!(site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok(), json!({"KeyId": id}));
    let (still_the_same, second_material) = everything();
    assert_eq!(still_the_same, same);
    assert_ne!(first_material, second_material);

    // Nobody says which material decrypts: the ciphertext does.
    let after = site.kms_encrypt(&id);
    let old = site.kms_decrypt(&before);
    assert_eq!((&old["Plaintext"], &old["KeyMaterialId"]), (&json!(PLAINTEXT), &first_material));
    let new = site.kms_decrypt(&after);
    assert_eq!((&new["Plaintext"], &new["KeyMaterialId"]), (&json!(PLAINTEXT), &second_material));
    let unchanged = site.kms_decrypt(data_key["CiphertextBlob"].as_str().unwrap());
    assert_eq!(
        (&unchanged["Plaintext"], &unchanged["KeyMaterialId"]),
        (&data_key["Plaintext"], &first_material)
    );
}

#[test]
fn all_materials_are_kept_also_after_rotation_was_disabled() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 90})).ok();
    let mut ciphertexts = vec![site.kms_encrypt(&id)];
    for _ in 0..4 {
        site.advance_clock("91d");
        ciphertexts.push(site.kms_encrypt(&id));
    }
    assert_eq!(types(&site, &id), ["AUTOMATIC"; 4]);
    let current = site.key_metadata_of(&id)["CurrentKeyMaterialId"].clone();
    site.kms("DisableKeyRotation", &json!({"KeyId": id})).ok();
    assert_eq!(site.key_metadata_of(&id)["CurrentKeyMaterialId"], current);
    site.kill();
    site.run();
    site.wait_ready();
    for ciphertext in &ciphertexts {
        assert_eq!(site.kms_decrypt(ciphertext)["Plaintext"], PLAINTEXT);
    }
    let all = json!({"KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    let (materials, _) = site.kms_pages("ListKeyRotations", &all, "Rotations");
    assert_eq!(materials.len(), 5);
    assert_eq!(materials.iter().filter(|material| material["KeyMaterialState"] == "CURRENT").count(), 1);
}

#[test]
fn the_schedule_counts_from_when_it_was_enabled() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let enable = |days: u32| {
        site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": days})).ok();
        next_rotation(&site, &id)
    };
    let first = enable(100);
    site.advance_clock("30d");
    assert_days(enable(200) - first, 130.0);
    site.advance_clock("30d");
    site.kms("DisableKeyRotation", &json!({"KeyId": id})).ok();
    assert_days(enable(100) - first, 60.0);

    // Then from rotation to rotation.
    let next = next_rotation(&site, &id);
    site.advance_clock("110d");
    assert_eq!(types(&site, &id), ["AUTOMATIC"]);
    assert_days(next_rotation(&site, &id) - next, 100.0);
}

#[test]
fn a_disabled_key_keeps_its_schedule_and_lets_nobody_change_it() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 100})).ok();
    let before = status(&site, &id);
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    for (operation, request) in [
        ("EnableKeyRotation", json!({"KeyId": id, "RotationPeriodInDays": 200})),
        ("DisableKeyRotation", json!({"KeyId": id})),
        ("RotateKeyOnDemand", json!({"KeyId": id})),
    ] {
        site.kms(operation, &request)
            .assert_error("DisabledException", &format!("{} is disabled.", key_arn(&id)));
    }
    assert_eq!(status(&site, &id), before);
    site.advance_clock("50d");
    site.kms("EnableKey", &json!({"KeyId": id})).ok();
    assert_eq!(status(&site, &id), before);
    site.advance_clock("49d");
    assert_eq!(rotations(&site, &id), [] as [Value; 0]);
    site.advance_clock("2d");
    assert_eq!(types(&site, &id), ["AUTOMATIC"]);
}

#[test]
fn a_key_that_is_pending_deletion_does_not_rotate_and_catches_up_when_it_stays() {
    let site = Site::start_with(&Setup::kms());
    let (missed, in_time) = (site.create_kms_key(), site.create_kms_key());
    site.kms("EnableKeyRotation", &json!({"KeyId": missed, "RotationPeriodInDays": 90})).ok();
    site.kms("EnableKeyRotation", &json!({"KeyId": in_time, "RotationPeriodInDays": 200})).ok();
    let before = status(&site, &in_time);
    site.advance_clock("80d");
    for id in [&missed, &in_time] {
        site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 30})).ok();
        assert_eq!(status(&site, id), json!({"KeyId": id, "KeyRotationEnabled": false}));
        for operation in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
            site.kms(operation, &json!({"KeyId": id}))
                .assert_error("KMSInvalidStateException", &format!("{} is pending deletion.", key_arn(id)));
        }
    }
    site.advance_clock("20d");
    assert_eq!(rotations(&site, &missed), [] as [Value; 0]);
    for id in [&missed, &in_time] {
        site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
        site.kms("EnableKey", &json!({"KeyId": id})).ok();
    }
    site.wait_until("the rotation", || types(&site, &missed) == ["AUTOMATIC"]);
    assert_eq!(rotations(&site, &in_time), [] as [Value; 0]);
    assert_eq!(status(&site, &in_time), before);
}

#[test]
fn a_rotation_on_demand_needs_no_schedule_and_moves_none() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    assert_eq!(status(&site, &id), json!({"KeyId": id, "KeyRotationEnabled": false}));
    site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 730})).ok();
    let before = status(&site, &id);
    site.advance_clock("726d");
    site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    // It is done when it is answered, so nobody sees it in progress.
    assert_eq!(status(&site, &id), before);
    site.advance_clock("5d");
    assert_eq!(types(&site, &id), ["ON_DEMAND", "ON_DEMAND", "AUTOMATIC"]);
    site.kms("DisableKeyRotation", &json!({"KeyId": id})).ok();
    site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    let rotations = rotations(&site, &id);
    assert_eq!(rotations.len(), 4);
    for rotation in &rotations {
        assert_eq!(rotation["KeyId"], json!(id));
        assert!(rotation["RotationDate"].as_f64().unwrap() > 1.7e9, "{rotation}");
    }
}

#[test]
fn the_twenty_sixth_rotation_on_demand_is_refused() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let ciphertext = site.kms_encrypt(&id);
    for _ in 0..25 {
        site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    }
    assert_eq!(site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).error().0, "LimitExceededException");
    site.advance_clock("400d");
    assert_eq!(site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).error().0, "LimitExceededException");
    site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 90})).ok();
    site.advance_clock("91d");
    assert_eq!(types(&site, &id).len(), 26);
    assert_eq!(site.kms_decrypt(&ciphertext)["Plaintext"], PLAINTEXT);
    let (listed, lengths) =
        site.kms_pages("ListKeyRotations", &json!({"KeyId": id, "Limit": 10}), "Rotations");
    assert_eq!((listed.len(), lengths), (26, vec![10, 10, 6]));
}

#[test]
fn the_period_can_be_a_condition() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("rotator");
    site.kms_user_may(
        "rotator",
        &json!([{"Effect": "Allow", "Action": "kms:EnableKeyRotation", "Resource": "*",
            "Condition": {"NumericLessThanEquals": {"kms:RotationPeriodInDays": "180"}}}]),
    );
    let id = site.create_kms_key();
    site.assert_denied(&user, "EnableKeyRotation", &json!({"KeyId": id}));
    site.assert_denied(&user, "EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 181}));
    site.assert_allowed(&user, "EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 180}));
}
