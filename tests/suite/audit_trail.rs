//! The audit trail of the real daemon: verified, tampered with, signed by the HSM, on a disk that is full.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::support::{Setup, Site};

const BROKEN: i32 = 3;

/// What `holdfast audit verify` says, and its exit status.
fn verify(site: &Site) -> (Value, i32) {
    let output = site.holdfast(&["audit", "verify", "--json"]);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (report, output.status.code().unwrap())
}

#[track_caller]
fn assert_whole(site: &Site) -> Value {
    let (report, code) = verify(site);
    assert_eq!((code, &report["breakCount"]), (0, &json!(0)), "{report:#}");
    report
}

fn files(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.path("state/audit")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect();
    files.sort();
    files
}

/// Every line of a trail whose daemon has stopped.
pub fn trail_lines(site: &Site) -> Vec<Value> {
    let text: String = files(site).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every line of the trail that is a record.
fn records(site: &Site) -> Vec<Value> {
    trail_lines(site).into_iter().filter(|line| line["eventName"].is_string()).collect()
}

/// Without waiting for a minute.
fn setup() -> Setup {
    with_audit("checkpoint_interval_seconds = 1")
}

fn with_audit(members: &str) -> Setup {
    let setup = Setup::kms();
    let kms = setup.kms.unwrap_or_default();
    Setup { kms: Some(format!("[kms.audit]\n{members}\n{kms}")), ..setup }
}

#[test]
fn the_trail_verifies_while_it_is_written_and_is_signed_to_its_end_when_the_daemon_stops() {
    let site = Site::start_with(&setup());
    let key = site.holdfast_ok(&["audit", "key"]);
    assert!(key.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{key}");
    for round in 0..3 {
        let id = site.create_kms_key();
        site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="})).ok();
        assert_whole(&site);
        let before = site.metric("holdfast_audit_checkpoint_timestamp_seconds").unwrap();
        site.wait_until("a checkpoint", || {
            site.metric("holdfast_audit_checkpoint_timestamp_seconds").unwrap() > before
        });
        assert_eq!(site.stop().code(), Some(0));
        let report = assert_whole(&site);
        assert_eq!(report["recordsBehindLastCheckpoint"], 0, "{report:#}");
        let of = |name| records(&site).iter().filter(|record| record["eventName"] == name).count();
        let rounds = round + 1;
        assert_eq!([of("StartLogging"), of("StopLogging"), of("CreateKey"), of("Encrypt")], [rounds; 4]);
        site.run();
        site.wait_ready();
    }
    // One trail, and one key.
    assert_eq!(files(&site).len(), 1);
    assert_eq!(site.holdfast_ok(&["audit", "key"]), key);
}

#[test]
fn whatever_is_changed_is_found_and_named() {
    let site = Site::start_with(&setup());
    let id = site.create_kms_key();
    for operation in ["DisableKey", "EnableKey", "DescribeKey"] {
        site.kms(operation, &json!({"KeyId": id})).ok();
    }
    assert_eq!(site.stop().code(), Some(0));
    let file = &files(&site)[0];
    let good = fs::read_to_string(file).unwrap();
    let lines: Vec<_> = good.split_inclusive('\n').collect();
    let records = records(&site);
    let disabled = records.iter().find(|record| record["eventName"] == "DisableKey").unwrap();
    let id = disabled["eventID"].as_str().unwrap();
    // The record, not its intent.
    let place = lines.iter().rposition(|line| line.contains(id)).unwrap();
    let removed = [&lines[..place], &lines[place + 1..]].concat().concat();
    let swapped = [&lines[..place], &[lines[place + 1], lines[place]], &lines[place + 2..]].concat().concat();
    let changed = good.replacen(lines[place], &lines[place].replace("DisableKey", "DescribeKey"), 1);
    let cut = lines[..place].concat();
    for (text, line) in [(changed, place + 1), (removed, place + 1), (swapped, place + 1), (cut, place)] {
        fs::write(file, text).unwrap();
        let (report, code) = verify(&site);
        let found = &report["breaks"][0];
        assert_eq!((code, &found["line"]), (BROKEN, &json!(line)), "{report:#}");
        let output = site.holdfast(&["audit", "verify"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("was changed") && text.contains(&format!("line {line}")), "{text}");
    }
    // The daemon does not go on with it, and says what to do.
    fs::write(file, good.replacen("DisableKey", "DescribeKey", 1)).unwrap();
    site.run();
    site.wait_until("the end", || site.exit_status().is_some());
    assert_ne!(site.exit_status().unwrap().code(), Some(0));
    assert!(site.log().contains("holdfast audit verify"), "{}", site.log());
    fs::write(file, &good).unwrap();
    site.run();
    site.wait_ready();
    assert_whole(&site);
}

#[test]
fn a_checkpoint_is_a_signature_that_openssl_verifies() {
    let site = Site::start_with(&setup());
    site.create_kms_key();
    assert_eq!(site.stop().code(), Some(0));
    let report = assert_whole(&site);
    let checkpoint = &report["lastCheckpoint"];
    let member = |name: &str| checkpoint[name].as_str().unwrap().to_owned();
    let text = format!(
        "holdfast audit checkpoint 1\ntrail {}\nsequence {}\nhash {}\ntime {}\nkey {}\n",
        report["trailId"].as_str().unwrap(),
        checkpoint["sequence"],
        member("hash"),
        member("time"),
        member("keyId")
    );
    fs::write(site.path("key.pem"), site.holdfast_ok(&["audit", "key"])).unwrap();
    fs::write(site.path("signature"), STANDARD.decode(member("signature")).unwrap()).unwrap();
    for (text, is_right) in [(text.clone(), true), (text.replace("sequence ", "sequence 1"), false)] {
        fs::write(site.path("text"), text).unwrap();
        let output = Command::new("openssl")
            .args(["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "text"])
            .current_dir(site.folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), is_right, "{output:?}");
    }
    // With the key and the folder alone, on another machine.
    let folder = site.path("state/audit");
    let folder = folder.to_str().unwrap();
    site.holdfast_ok(&["audit", "verify", "--dir", folder, "--public-key", "key.pem"]);
    let other = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "other.key"])
        .current_dir(site.folder.path())
        .status()
        .unwrap();
    let public = Command::new("openssl")
        .args(["ec", "-in", "other.key", "-pubout", "-out", "other.pem"])
        .current_dir(site.folder.path())
        .status()
        .unwrap();
    assert!(other.success() && public.success());
    let output = site.holdfast(&["audit", "verify", "--dir", folder, "--public-key", "other.pem"]);
    assert_eq!(output.status.code(), Some(BROKEN), "{output:?}");
}

#[test]
fn without_its_hsm_the_trail_goes_on_unsigned_and_is_signed_as_soon_as_it_is_back() {
    let site = Site::start_with(&Setup { shim: true, ..setup() });
    let id = site.create_kms_key();
    site.inject("C_Sign code=CKR_DEVICE_ERROR");
    site.kms("DescribeKey", &json!({"KeyId": id})).ok();
    site.wait_until("the warning", || site.log().contains("the audit trail is not signed"));
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    let report = assert_whole(&site);
    assert!(report["recordsBehindLastCheckpoint"].as_u64().unwrap() > 0, "{report:#}");
    site.inject("");
    site.wait_until("a checkpoint", || site.log().contains("the audit trail is signed again"));
    assert_eq!(assert_whole(&site)["recordsBehindLastCheckpoint"], 0);
    assert_eq!(site.log().matches("the audit trail is not signed").count(), 1);
}

#[test]
fn a_full_disk_stops_changes_and_no_record_is_lost() {
    let site = Site::prepare(&with_audit("sync_interval_ms = 10"));
    site.run_after("trap '' XFSZ");
    site.wait_ready();
    let id = site.create_kms_key();
    let blob = site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="})).text("CiphertextBlob");
    let limit = |bytes: Option<u64>| {
        let pid = Pid::from_raw(i32::try_from(site.pid()).unwrap()).unwrap();
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    // The database has room for what it writes, and the trail has not.
    limit(Some(fs::metadata(&files(&site)[0]).unwrap().len() + 100));
    for _ in 0..5 {
        site.kms("Decrypt", &json!({"CiphertextBlob": blob})).ok();
    }
    site.wait_until("the refusal", || site.kms("DisableKey", &json!({"KeyId": id})).0.status != 200);
    assert_eq!(site.metric("holdfast_audit_failing"), Some(1.0));
    let reply = site.kms("DisableKey", &json!({"KeyId": id}));
    assert_eq!(reply.0.status, 500, "{reply:?}");
    limit(None);
    site.wait_until("a change", || site.kms("DisableKey", &json!({"KeyId": id})).0.status == 200);
    assert_eq!(site.stop().code(), Some(0));
    assert_whole(&site);
    let of = |name| records(&site).iter().filter(|record| record["eventName"] == name).count();
    assert_eq!((of("CreateKey"), of("Encrypt"), of("Decrypt")), (1, 1, 5));
}

#[test]
fn the_same_lines_go_to_standard_output_if_that_is_wanted() {
    let site = Site::start_with(&with_audit("stdout = true"));
    site.create_kms_key();
    assert_eq!(site.stop().code(), Some(0));
    let log = site.log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.ends_with("\"}}") && line.contains("\"chain\":")).collect();
    let trail = fs::read_to_string(&files(&site)[0]).unwrap();
    assert_eq!(lines, trail.lines().collect::<Vec<_>>());
}

#[test]
fn switching_it_off_and_on_is_in_the_trail() {
    let site = Site::start_with(&Setup::kms());
    site.create_kms_key();
    assert_eq!(site.stop().code(), Some(0));
    let switch = |enabled: bool| {
        site.edit_configuration(|text| {
            let text = text.replace("[kms.audit]\nenabled = false\n", "");
            if enabled { text } else { text + "\n[kms.audit]\nenabled = false\n" }
        });
    };
    switch(false);
    site.run();
    site.wait_ready();
    site.create_kms_key();
    assert_eq!(site.stop().code(), Some(0));
    switch(true);
    site.run();
    site.wait_ready();
    assert_eq!(site.stop().code(), Some(0));
    assert_whole(&site);
    let records = records(&site);
    let names: Vec<_> = records.iter().map(|record| record["eventName"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["StartLogging", "CreateKey", "StopLogging", "StopLogging", "StartLogging", "StopLogging"]
    );
    let reason = records[3]["serviceEventDetails"]["reason"].as_str().unwrap();
    assert!(reason.contains("kms.audit.enabled"), "{reason}");
}
