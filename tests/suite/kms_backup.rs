//! `holdfast backup` and `holdfast restore`: what comes back, and what is refused before anything is written.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, KmsClient};
use crate::support::site::PIN;
use crate::support::{Setup, Site};

/// A key that was acknowledged, and a ciphertext of it.
type Made = (String, String);

fn back_up(site: &Site, name: &str) -> String {
    site.holdfast_ok(&["backup", site.path(name).to_str().unwrap()])
}

/// What a refused command says.
#[track_caller]
fn refusal(site: &Site, arguments: &[&str]) -> String {
    let output = site.holdfast(arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn refused_restore(site: &Site, from: &Path) -> String {
    refusal(site, &["restore", from.to_str().unwrap()])
}

/// The database and what belongs to it.
fn database_files(site: &Site) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(site.path("state")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("kms")).collect()
}

fn make_keys(client: &mut KmsClient<'_>, made: &Mutex<Vec<Made>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let created = client.call("CreateKey", &json!({})).unwrap().ok();
        let id = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let body = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
        let blob = client.call("Encrypt", &body).unwrap().text("CiphertextBlob");
        made.lock().unwrap().push((id, blob));
    }
}

/// Rotates, tags and names keys, so that no page of the database stays as it is.
fn change_keys(client: &mut KmsClient<'_>, made: &Mutex<Vec<Made>>, stop: &AtomicBool) {
    let mut count = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let Some((id, _)) = made.lock().unwrap().last().cloned() else { continue };
        count += 1;
        let tags = json!([{"TagKey": "count", "TagValue": count.to_string()}]);
        client.call("TagResource", &json!({"KeyId": id, "Tags": tags})).unwrap().ok();
        client
            .call("UpdateKeyDescription", &json!({"KeyId": id, "Description": "x".repeat(4000)}))
            .unwrap()
            .ok();
    }
}

/// Runs `act` while keys are made and changed; returns what was acknowledged before it, and what in all.
fn in_mid_traffic(site: &Site, act: impl FnOnce()) -> (Vec<Made>, usize) {
    let (made, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let (runtime, endpoint) = (&site.runtime, site.kms_endpoint());
    let mut before = Vec::new();
    thread::scope(|scope| {
        for work in [make_keys, make_keys, change_keys] {
            let (endpoint, made, stop) = (endpoint.clone(), &made, &stop);
            scope.spawn(move || work(&mut KmsClient::open(runtime, endpoint).unwrap(), made, stop));
        }
        site.wait_until("some keys", || made.lock().unwrap().len() >= 20);
        before.clone_from(&made.lock().unwrap());
        act();
        let now = made.lock().unwrap().len();
        site.wait_until("more traffic", || made.lock().unwrap().len() > now);
        stop.store(true, Ordering::Relaxed);
    });
    (before, made.into_inner().unwrap().len())
}

#[track_caller]
fn assert_decrypts(site: &Site, (id, blob): &Made) {
    let decrypted = site.kms("Decrypt", &json!({"CiphertextBlob": blob})).ok();
    assert_eq!(decrypted["Plaintext"], "cGxhaW4=");
    assert_eq!(decrypted["KeyId"], json!(format!("arn:aws:kms:us-east-1:123456789012:key/{id}")));
}

#[test]
fn a_backup_of_mid_traffic_brings_everything_back_that_was_acknowledged_before_it() {
    let site = Site::start_with(&Setup::kms());
    let user = site.new_user(
        "alice",
        &json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*",
        }}),
    );
    let id = site.create_kms_key();
    site.kms("CreateAlias", &json!({"AliasName": "alias/kept", "TargetKeyId": id})).ok();
    site.kms("TagResource", &json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]})).ok();
    let grantee = "arn:aws:iam::123456789012:user/admin";
    site.kms("CreateGrant", &json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": ["Decrypt"]}))
        .ok();
    let encrypt = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
    let old = site.kms("Encrypt", &encrypt).text("CiphertextBlob");
    site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    let new = site.kms("Encrypt", &encrypt).text("CiphertextBlob");
    let asked = ["DescribeKey", "GetKeyPolicy", "ListResourceTags", "ListGrants", "ListKeyRotations"];
    let told = || -> Vec<Value> {
        asked.iter().map(|operation| site.kms(operation, &json!({"KeyId": id})).ok()).collect()
    };
    let before = told();

    let (made, in_all) = in_mid_traffic(&site, || {
        let text = back_up(&site, "backup.sqlite");
        assert!(text.contains(" keys; restore needs root key "), "{text}");
    });
    let mode = std::fs::metadata(site.path("backup.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can read the backup");
    assert_eq!(site.stop().code(), Some(0));
    std::fs::rename(site.path("state"), site.path("lost")).unwrap();

    let text = site.holdfast_ok(&["restore", site.path("backup.sqlite").to_str().unwrap()]);
    assert!(text.contains("keys again; start the daemon"), "{text}");
    site.run();
    site.wait_ready();
    assert_eq!(told(), before);
    for blob in [old, new] {
        assert_decrypts(&site, &(id.clone(), blob));
    }
    made.iter().for_each(|made| assert_decrypts(&site, made));
    let keys = site.kms("ListKeys", &json!({"Limit": 1000})).ok()["Keys"].as_array().unwrap().len();
    assert!((made.len()..=in_all + 2).contains(&keys), "{keys} keys, {} acknowledged before", made.len());
    site.kms("DescribeKey", &json!({"KeyId": "alias/kept"})).ok();
    site.kms_by(&user, "ListKeys", &json!({})).ok();
    // And it is not a museum.
    site.create_kms_key();
    site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    site.encrypt("foo", b"Hello", json!({})).assert_ok();
}

#[test]
fn a_backup_is_made_without_the_daemon_too_and_overwrites_nothing() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    back_up(&site, "running.sqlite");
    assert_eq!(site.stop().code(), Some(0));
    back_up(&site, "stopped.sqlite");
    let content = std::fs::read(site.path("running.sqlite")).unwrap();
    let text = refusal(&site, &["backup", site.path("running.sqlite").to_str().unwrap()]);
    assert!(text.contains("exists already"), "{text}");
    site.run();
    site.wait_ready();
    let text = refusal(&site, &["backup", site.path("running.sqlite").to_str().unwrap()]);
    assert!(text.contains("exists already"), "{text}");
    assert_eq!(std::fs::read(site.path("running.sqlite")).unwrap(), content);
    let text = refusal(&site, &["backup", site.path("no-such-folder/b.sqlite").to_str().unwrap()]);
    assert!(text.contains("no-such-folder"), "{text}");
    site.kms("DescribeKey", &json!({"KeyId": id})).ok();
}

#[test]
fn a_backup_without_the_daemon_makes_no_database_and_leaves_an_older_one_as_it_is() {
    let site = Site::prepare(&Setup::kms());
    let text = refusal(&site, &["backup", site.path("nothing.sqlite").to_str().unwrap()]);
    assert!(text.contains("kms.db"), "{text}");
    assert!(database_files(&site).is_empty() && !site.path("nothing.sqlite").exists());
    std::fs::create_dir_all(site.path("state")).unwrap();
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/databases/0005.sql");
    let database = site.path("state/kms.db");
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch(&std::fs::read_to_string(old).unwrap())
        .unwrap();
    let before = std::fs::read(&database).unwrap();
    back_up(&site, "old.sqlite");
    assert!(std::fs::read(&database).unwrap() == before, "the database was changed");
    let copy = rusqlite::Connection::open(site.path("old.sqlite")).unwrap();
    let version: u32 = copy.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 5);
}

#[test]
fn an_hsm_without_the_root_key_of_a_backup_is_told_and_nothing_is_written() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    back_up(&site, "backup.sqlite");
    // Another installation, whose token was never used, and one whose token has a root key of its own.
    let fresh = Site::prepare(&Setup::kms());
    let used = Site::start_with(&Setup::kms());
    assert_eq!(used.stop().code(), Some(0));
    std::fs::remove_dir_all(used.path("state")).unwrap();
    for other in [&fresh, &used] {
        let text = refused_restore(other, &site.path("backup.sqlite"));
        assert!(text.contains("root key"), "{text}");
        assert_eq!(database_files(other), Vec::<String>::new());
        other.run();
        other.wait_ready();
        assert_eq!(other.kms("ListKeys", &json!({})).ok()["Keys"], json!([]));
    }
    site.kms("DescribeKey", &json!({"KeyId": id})).ok();
}

#[test]
fn a_backup_is_never_restored_over_keys_or_under_a_running_daemon() {
    let site = Site::start_with(&Setup::kms());
    back_up(&site, "backup.sqlite");
    let later = site.create_kms_key();
    let text = refused_restore(&site, &site.path("backup.sqlite"));
    assert!(text.contains("another process uses it"), "{text}");
    site.kms("DescribeKey", &json!({"KeyId": later})).ok();
    assert_eq!(site.stop().code(), Some(0));
    let before = database_files(&site);
    let text = refused_restore(&site, &site.path("backup.sqlite"));
    assert!(text.contains("exists already"), "{text}");
    assert_eq!(database_files(&site), before);
    site.run();
    site.wait_ready();
    site.kms("DescribeKey", &json!({"KeyId": later})).ok();
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_written() {
    let site = Site::start_with(&Setup::kms());
    for _ in 0..30 {
        site.create_kms_key();
    }
    back_up(&site, "backup.sqlite");
    assert_eq!(site.stop().code(), Some(0));
    std::fs::rename(site.path("state"), site.path("lost")).unwrap();
    let good = std::fs::read(site.path("backup.sqlite")).unwrap();
    let mut zeroed = good.clone();
    let page = 4096;
    zeroed[2 * page..6 * page].fill(0);
    let mut header = good.clone();
    header[..16].fill(b'x');
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut", good[..good.len() / 2].to_vec()),
        ("zeroed", zeroed),
        ("header", header),
        ("text", b"this is no backup".repeat(1000)),
    ] {
        let file = site.path(&format!("{what}.sqlite"));
        std::fs::write(&file, bytes).unwrap();
        let text = refused_restore(&site, &file);
        assert!(text.lines().count() == 1 && text.contains(what), "{what}: {text}");
        assert_eq!(database_files(&site), Vec::<String>::new(), "{what}");
    }
    let text = refused_restore(&site, &site.path("missing.sqlite"));
    assert!(text.contains("missing.sqlite"), "{text}");
    assert!(!site.path("missing.sqlite").exists());
    site.holdfast_ok(&["restore", site.path("backup.sqlite").to_str().unwrap()]);
    site.run();
    site.wait_ready();
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"].as_array().unwrap().len(), 30);
}

#[test]
fn a_backup_holds_no_key_and_no_secret_in_the_clear() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let data_key = site.kms("GenerateDataKey", &json!({"KeyId": id, "KeySpec": "AES_256"})).text("Plaintext");
    let user = site.new_user(
        "alice",
        &json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*",
        }}),
    );
    let text = site.database_text();
    assert!(text.contains(&id), "nothing is in the backup");
    for secret in [data_key.as_str(), &user.secret_access_key, ACCOUNT.secret_access_key, PIN] {
        assert!(!text.contains(secret), "a secret is in the backup");
    }
}
