//! What time does to KMS keys: deletion and rotation, also across restarts.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Setup, Site};

fn rotations(site: &Site, key_id: &str) -> Vec<String> {
    let listed = site.kms("ListKeyRotations", &json!({"KeyId": key_id})).ok();
    let types = listed["Rotations"].as_array().unwrap().iter();
    types.map(|rotation| rotation["RotationType"].as_str().unwrap().to_owned()).collect()
}

fn encrypt(site: &Site, key_id: &str) -> String {
    site.kms("Encrypt", &json!({"KeyId": key_id, "Plaintext": "cGxhaW4="})).text("CiphertextBlob")
}

fn decrypt(site: &Site, ciphertext: &str) -> Value {
    site.kms("Decrypt", &json!({"CiphertextBlob": ciphertext})).ok()
}

#[test]
fn a_key_is_deleted_after_its_waiting_period_with_all_that_belongs_to_it() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{id}");
    site.kms("CreateAlias", &json!({"AliasName": "alias/gone", "TargetKeyId": id})).ok();
    let ciphertext = encrypt(&site, &id);
    let scheduled = site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 7})).ok();
    assert_eq!(scheduled["KeyId"], json!(arn));
    assert_eq!(scheduled["KeyState"], "PendingDeletion");

    site.advance_clock("6d");
    let metadata = site.kms("DescribeKey", &json!({"KeyId": id})).ok()["KeyMetadata"].clone();
    assert_eq!((&metadata["KeyState"], &metadata["Enabled"]), (&json!("PendingDeletion"), &json!(false)));
    site.kms("Decrypt", &json!({"CiphertextBlob": ciphertext}))
        .assert_error("KMSInvalidStateException", &format!("{arn} is pending deletion."));

    site.advance_clock("25h");
    site.kms("DescribeKey", &json!({"KeyId": id}))
        .assert_error("NotFoundException", &format!("Key '{arn}' does not exist"));
    site.kms("DescribeKey", &json!({"KeyId": "alias/gone"})).assert_error(
        "NotFoundException",
        "Alias arn:aws:kms:us-east-1:123456789012:alias/gone is not found.",
    );
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"], json!([]));
    assert_eq!(
        site.kms("Decrypt", &json!({"CiphertextBlob": ciphertext})).error().0,
        "AccessDeniedException"
    );
}

#[test]
fn a_deletion_that_was_cancelled_never_comes() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let ciphertext = encrypt(&site, &id);
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 7})).ok();
    site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
    site.advance_clock("40d");
    let state = site.kms("DescribeKey", &json!({"KeyId": id})).ok()["KeyMetadata"]["KeyState"].clone();
    assert_eq!(state, "Disabled");
    site.kms("EnableKey", &json!({"KeyId": id})).ok();
    assert_eq!(decrypt(&site, &ciphertext)["Plaintext"], "cGxhaW4=");
}

#[test]
fn automatic_and_on_demand_rotations_do_not_disturb_each_other() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let mut ciphertexts = vec![encrypt(&site, &id)];
    let enable = json!({"KeyId": id, "RotationPeriodInDays": 100});
    site.kms("EnableKeyRotation", &enable).ok();
    let status = || site.kms("GetKeyRotationStatus", &json!({"KeyId": id})).ok();
    let first = status()["NextRotationDate"].as_f64().unwrap();

    site.advance_clock("99d");
    site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    ciphertexts.push(encrypt(&site, &id));
    assert_eq!(rotations(&site, &id), ["ON_DEMAND"]);
    assert_eq!(status()["NextRotationDate"].as_f64().unwrap(), first);

    site.advance_clock("2d");
    ciphertexts.push(encrypt(&site, &id));
    assert_eq!(rotations(&site, &id), ["ON_DEMAND", "AUTOMATIC"]);
    let days = (status()["NextRotationDate"].as_f64().unwrap() - first) / 86400.0;
    assert!((days - 100.0).abs() < 0.001, "{days}");

    let materials: std::collections::BTreeSet<_> =
        ciphertexts.iter().map(|blob| decrypt(&site, blob)["KeyMaterialId"].to_string()).collect();
    assert_eq!(materials.len(), 3);
    site.kms("DisableKeyRotation", &json!({"KeyId": id})).ok();
    site.advance_clock("400d");
    assert_eq!(rotations(&site, &id).len(), 2);
}

#[test]
fn a_rotation_that_a_disabled_key_missed_is_made_good_when_it_is_enabled() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.kms("EnableKeyRotation", &json!({"KeyId": id, "RotationPeriodInDays": 90})).ok();
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    site.advance_clock("91d");
    assert_eq!(rotations(&site, &id).len(), 0);
    site.kms("EnableKey", &json!({"KeyId": id})).ok();
    site.wait_until("the rotation", || rotations(&site, &id) == ["AUTOMATIC"]);
}

#[test]
fn what_becomes_due_while_the_daemon_is_down_is_done_when_it_is_back() {
    let site = Site::start_with(&Setup::kms());
    let (deleted, rotated) = (site.create_kms_key(), site.create_kms_key());
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": deleted, "PendingWindowInDays": 7})).ok();
    site.kms("EnableKeyRotation", &json!({"KeyId": rotated, "RotationPeriodInDays": 90})).ok();
    site.kill();
    // The clock that was moved is forgotten by a restart, so that what is due then is due again.
    site.run();
    site.wait_ready();
    assert_eq!(rotations(&site, &rotated).len(), 0);
    site.advance_clock("91d");
    assert_eq!(rotations(&site, &rotated), ["AUTOMATIC"]);
    assert_eq!(site.kms("DescribeKey", &json!({"KeyId": deleted})).error().0, "NotFoundException");
}

#[test]
fn who_does_what_is_due_at_the_same_moment_does_it_together() {
    let site = Site::start_with(&Setup::kms());
    let port = site.admin_port;
    for _ in 0..5 {
        let ids: Vec<_> = (0..8).map(|_| site.create_kms_key()).collect();
        for id in &ids {
            site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 7})).ok();
        }
        let advance = move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream
                .write_all(
                    b"POST /dev/clock?advance=8d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                )
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(advance)).collect();
        for thread in threads {
            let answer = thread.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        for id in &ids {
            assert_eq!(site.kms("DescribeKey", &json!({"KeyId": id})).error().0, "NotFoundException");
        }
    }
}
