//! A disk that is full under the database: what is not written is refused, and everything else goes on.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::support::cluster_stores::MEMBERS;
use crate::support::clusters::apart_with;
use crate::support::kms::KmsReply;
use crate::support::{Setup, Site};

/// Files of the daemon may not become longer than this; none is no limit.
fn limit_files(site: &Site, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(site.pid()).unwrap()).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// A site whose daemon is told of a file that is too long, and not killed for it, as if the disk were full. Without an
/// audit trail, which would refuse changes before the database has to.
fn site() -> Site {
    let setup = Setup::kms();
    let kms = format!("[kms.audit]\nenabled = false\n{}", setup.kms.clone().unwrap_or_default());
    let site = Site::prepare(&Setup { kms: Some(kms), ..setup });
    site.run_after("trap '' XFSZ");
    site.wait_ready();
    site
}

fn is_internal(reply: &KmsReply) -> bool {
    reply.0.status == 500 && reply.error() == ("KMSInternalException".to_owned(), "internal error".to_owned())
}

fn keys(site: &Site) -> usize {
    site.kms("ListKeys", &json!({"Limit": 1000})).ok()["Keys"].as_array().unwrap().len()
}

fn description(site: &Site, id: &str) -> Value {
    site.kms("DescribeKey", &json!({"KeyId": id})).ok()["KeyMetadata"]["Description"].clone()
}

#[test]
fn a_full_disk_fails_writes_cleanly_and_reads_and_cryptography_go_on() {
    let site = site();
    let id = site.create_kms_key();
    let encrypt = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
    let blob = site.kms("Encrypt", &encrypt).text("CiphertextBlob");
    site.kms("UpdateKeyDescription", &json!({"KeyId": id, "Description": "before"})).ok();
    let before = keys(&site);
    limit_files(&site, Some(4096));
    for (operation, body) in [
        ("CreateKey", json!({})),
        ("UpdateKeyDescription", json!({"KeyId": id, "Description": "after"})),
        ("CreateAlias", json!({"AliasName": "alias/full", "TargetKeyId": id})),
        ("TagResource", json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]})),
        ("DisableKey", json!({"KeyId": id})),
        ("RotateKeyOnDemand", json!({"KeyId": id})),
        ("ScheduleKeyDeletion", json!({"KeyId": id})),
    ] {
        for _ in 0..3 {
            let reply = site.kms(operation, &body);
            assert!(is_internal(&reply), "{operation}: {}", String::from_utf8_lossy(&reply.0.body));
        }
        assert_eq!(site.kms("Decrypt", &json!({"CiphertextBlob": blob})).text("Plaintext"), "cGxhaW4=");
        site.kms("Encrypt", &encrypt).ok();
    }
    assert_eq!((keys(&site), description(&site, &id)), (before, json!("before")));
    site.encrypt("foo", b"Hello", json!({})).assert_ok();
    assert_eq!(site.admin_status("/livez"), Some(200));

    // A refused change is not there after a restart either, and works as soon as there is room.
    limit_files(&site, None);
    site.wait_until("a write", || site.kms("CreateKey", &json!({})).0.status == 200);
    site.kms("UpdateKeyDescription", &json!({"KeyId": id, "Description": "after"})).ok();
    site.kill();
    site.run();
    site.wait_ready();
    assert_eq!((keys(&site), description(&site, &id)), (before + 1, json!("after")));
    assert_eq!(site.kms("ListAliases", &json!({})).ok()["Aliases"], json!([]));
    assert_eq!(site.kms("Decrypt", &json!({"CiphertextBlob": blob})).text("Plaintext"), "cGxhaW4=");
}

#[test]
fn a_backup_that_does_not_fit_is_refused_and_leaves_no_file() {
    let site = site();
    for _ in 0..20 {
        site.create_kms_key();
    }
    limit_files(&site, Some(8192));
    let output = site.holdfast(&["backup", site.path("backup.sqlite").to_str().unwrap()]);
    assert!(!output.status.success(), "{output:?}");
    assert!(!site.path("backup.sqlite").exists());
    limit_files(&site, None);
    site.holdfast_ok(&["backup", site.path("backup.sqlite").to_str().unwrap()]);
    let left: Vec<_> = std::fs::read_dir(site.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".tmp"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_damaged_database_is_refused_at_the_start_and_left_as_it_is() {
    let site = Site::start_with(&Setup::kms());
    site.create_kms_key();
    assert_eq!(site.stop().code(), Some(0));
    let database = site.path("state/kms.db");
    let good = std::fs::read(&database).unwrap();
    for damaged in [b"this is no database".repeat(1000), good[..4096].to_vec()] {
        std::fs::write(&database, &damaged).unwrap();
        site.run();
        site.wait_until("the end", || site.exit_status().is_some());
        assert_ne!(site.exit_status().unwrap().code(), Some(0));
        assert_eq!(std::fs::read(&database).unwrap(), damaged);
        assert!(site.log().contains("kms.db"), "{}", site.log());
    }
    std::fs::write(&database, good).unwrap();
    site.run();
    site.wait_ready();
    assert_eq!(keys(&site), 1);
}

/// HSMs lock users after a few wrong passwords: what could not be written down must not be found out again.
#[test]
fn a_wrong_password_of_a_cluster_is_tried_once_even_if_that_cannot_be_written_down() {
    let site = apart_with(Setup::kms());
    site.run_after("trap '' XFSZ");
    site.wait_ready();
    let mut request = site.new_cluster_store("story");
    request["KeyStorePassword"] = json!("wrongwrong");
    let store = site.create_store(&request);
    site.inject_members("C_Login hang");
    site.of_store("ConnectCustomKeyStore", &store).ok();
    let logins = || MEMBERS.map(|member| site.member_calls(member, "C_Login")).iter().sum::<u64>();
    site.wait_until("the login", || logins() == 1);
    // The log is shorter than what the database writes for its changes, and goes on.
    limit_files(&site, Some(std::fs::metadata(site.path("state/kms.db-wal")).unwrap().len()));
    site.inject_members("");
    let failures = || site.log().matches("its connection cannot be changed").count();
    site.wait_until("two attempts to write it down", || failures() >= 2);
    assert_eq!((logins(), site.connection_state(&store).as_str()), (1, "CONNECTING"));
    limit_files(&site, None);
    site.wait_until("the end of it", || site.connection_state(&store) == "FAILED");
    assert_eq!(site.store(&store)["ConnectionErrorCode"], "INVALID_CREDENTIALS");
    assert_eq!(logins(), 1);
}
