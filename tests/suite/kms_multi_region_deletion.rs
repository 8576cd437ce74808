//! Deleting related keys: a primary key stays until its last replica is gone, and waits only then.

use serde_json::{Value, json};

use crate::support::kms_stories::PLAINTEXT;
use crate::support::regions::{ASIA, EUROPE, HOME, MultiRegionKey};
use crate::support::{Setup, Site};

const DAY_SECONDS: f64 = 86_400.0;

fn start() -> Site {
    Site::start_with(&Setup::kms())
}

fn kms_now(site: &Site) -> f64 {
    site.admin("/dev/clock").unwrap().1.trim().parse().unwrap()
}

/// The waiting period of the metadata, and whether there is a date.
fn waiting(metadata: &Value) -> (Option<u64>, bool) {
    (
        metadata.get("PendingDeletionWindowInDays").and_then(Value::as_u64),
        metadata.get("DeletionDate").is_some(),
    )
}

#[test]
fn a_primary_with_replicas_waits_without_a_date_until_the_last_is_gone() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    let ciphertext = key.encrypt(HOME);
    let scheduled = key.schedule_deletion(HOME, 8);
    let expected =
        json!({"KeyId": key.arn(HOME), "KeyState": "PendingReplicaDeletion", "PendingWindowInDays": 8});
    assert_eq!(scheduled, expected);
    let metadata = key.metadata(HOME);
    assert_eq!(
        (&metadata["KeyState"], &metadata["Enabled"]),
        (&json!("PendingReplicaDeletion"), &json!(false))
    );
    assert_eq!(waiting(&metadata), (Some(8), false));
    let text = format!("{} is pending replica deletion.", key.arn(HOME));
    for (operation, members) in [
        ("Encrypt", json!({"Plaintext": PLAINTEXT})),
        ("Decrypt", json!({"CiphertextBlob": ciphertext})),
        ("ReplicateKey", json!({"ReplicaRegion": "sa-east-1"})),
        ("ScheduleKeyDeletion", json!({})),
        ("EnableKey", json!({})),
        ("RotateKeyOnDemand", json!({})),
        ("UpdateKeyDescription", json!({"Description": "new"})),
    ] {
        key.call(HOME, operation, &members).assert_error("KMSInvalidStateException", &text);
    }
    // Replicas go on, for however long, and each can be deleted on its own.
    site.advance_clock("400d");
    assert_eq!(key.state(HOME), "PendingReplicaDeletion");
    key.assert_decrypts(EUROPE, &ciphertext);
    key.assert_decrypts(ASIA, &key.encrypt(EUROPE));
    let europe = key.schedule_deletion(EUROPE, 7);
    assert_eq!(europe["KeyState"], "PendingDeletion");
    key.schedule_deletion(ASIA, 20);
    site.advance_clock("8d");
    key.assert_absent(EUROPE);
    assert_eq!(waiting(&key.metadata(HOME)), (Some(8), false));
    let replicas = key.metadata(HOME)["MultiRegionConfiguration"]["ReplicaKeys"].clone();
    assert_eq!(replicas, json!([{"Arn": key.arn(ASIA), "Region": ASIA}]));

    site.advance_clock("13d");
    key.assert_absent(ASIA);
    let metadata = key.metadata(HOME);
    assert_eq!(metadata["KeyState"], "PendingDeletion");
    assert_eq!(waiting(&metadata), (None, true));
    let due = metadata["DeletionDate"].as_f64().unwrap() - kms_now(&site);
    assert!((due - 8.0 * DAY_SECONDS).abs() < 60.0, "{due}");
    site.advance_clock("7d");
    assert_eq!(key.state(HOME), "PendingDeletion");
    site.advance_clock("25h");
    key.assert_absent(HOME);
}

#[test]
fn replicas_that_wait_for_their_deletion_are_replicas_still() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    key.schedule_deletion(EUROPE, 7);
    assert_eq!(key.schedule_deletion(HOME, 7)["KeyState"], "PendingReplicaDeletion");
    key.ok(EUROPE, "CancelKeyDeletion");
    assert_eq!((key.state(EUROPE), key.state(HOME)), ("Disabled".into(), "PendingReplicaDeletion".into()));
    site.advance_clock("30d");
    assert_eq!(key.state(EUROPE), "Disabled");
    // Fourteen days at least: seven, and then seven.
    key.schedule_deletion(EUROPE, 7);
    site.advance_clock("169h");
    key.assert_absent(EUROPE);
    assert_eq!(key.state(HOME), "PendingDeletion");
    site.advance_clock("169h");
    key.assert_absent(HOME);
}

#[test]
fn a_deletion_is_cancelled_in_either_state() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    key.schedule_deletion(HOME, 7);
    assert_eq!(key.ok(HOME, "CancelKeyDeletion"), json!({"KeyId": key.arn(HOME)}));
    assert_eq!((key.state(HOME), waiting(&key.metadata(HOME))), ("Disabled".to_owned(), (None, false)));
    key.schedule_deletion(HOME, 7);
    key.schedule_deletion(EUROPE, 7);
    site.advance_clock("8d");
    assert_eq!(key.state(HOME), "PendingDeletion");
    key.ok(HOME, "CancelKeyDeletion");
    site.advance_clock("40d");
    assert_eq!(key.state(HOME), "Disabled");
    // A primary without replicas has a date at once.
    assert_eq!(key.schedule_deletion(HOME, 7)["KeyState"], "PendingDeletion");
}

#[test]
fn a_replica_that_was_deleted_can_be_made_again() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    let there = |operation: &str, body: Value| site.kms_in(EUROPE, operation, &body);
    there("CreateAlias", json!({"AliasName": "alias/a", "TargetKeyId": key.id})).ok();
    let grantee = "arn:aws:iam::123456789012:user/admin";
    key.call(EUROPE, "CreateGrant", &json!({"GranteePrincipal": grantee, "Operations": ["Decrypt"]})).ok();
    key.ok(HOME, "RotateKeyOnDemand");
    let ciphertext = key.encrypt(EUROPE);
    key.schedule_deletion(EUROPE, 7);
    site.advance_clock("8d");
    key.assert_absent(EUROPE);
    assert_eq!(there("DescribeKey", json!({"KeyId": "alias/a"})).error().0, "NotFoundException");
    assert_eq!(there("Decrypt", json!({"CiphertextBlob": ciphertext})).error().0, "AccessDeniedException");
    // The material of the others is there as before.
    key.assert_decrypts(HOME, &ciphertext);
    assert_eq!(key.metadata(HOME)["MultiRegionConfiguration"]["ReplicaKeys"], json!([]));
    key.replicate_to(EUROPE).ok();
    key.assert_decrypts(EUROPE, &ciphertext);
    assert_eq!(key.ok(EUROPE, "ListAliases")["Aliases"], json!([]));
    assert_eq!(key.ok(EUROPE, "ListGrants")["Grants"], json!([]));
    assert_eq!(key.ok(EUROPE, "ListKeyRotations"), key.ok(HOME, "ListKeyRotations"));
}

#[test]
fn what_waits_is_there_after_a_restart() {
    let site = start();
    let id = {
        let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
        key.schedule_deletion(HOME, 9);
        key.id
    };
    site.kill();
    site.run();
    site.wait_ready();
    let key = MultiRegionKey { site: &site, id };
    assert_eq!(waiting(&key.metadata(HOME)), (Some(9), false));
    key.assert_decrypts(EUROPE, &key.encrypt(EUROPE));
}
