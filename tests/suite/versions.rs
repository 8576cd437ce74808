//! Versions of external keys: made, rotated, disabled and deleted under a running daemon, by us and by other tools.

use serde_json::{Value, json};

use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";

fn encrypt(site: &Site, key: &str) -> Value {
    site.encrypt(key, PLAINTEXT, json!({})).assert_ok().json()
}

#[track_caller]
fn assert_decrypts(site: &Site, key: &str, encrypted: &Value) {
    assert_eq!(site.decrypt(key, encrypted, json!({})).assert_ok().bytes("plaintext"), PLAINTEXT);
}

/// The version number in the metadata of a ciphertext, which starts with our scheme number.
fn version(encrypted: &Value) -> u32 {
    let metadata = encrypted["ciphertextMetadata"].as_str().unwrap();
    match *proxy_api::wire::decode_base64(metadata).unwrap() {
        [1, a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]),
        ref other => panic!("{other:?}"),
    }
}

fn log_of_last_request(site: &Site, outcome: &str) -> Value {
    site.lines_with_outcome(outcome, 1).pop().unwrap()
}

#[track_caller]
fn assert_logged(site: &Site, version: u32) {
    site.wait_until("the version in the log", || {
        log_of_last_request(site, "Success")["keyVersion"] == version
    });
}

#[test]
fn after_a_rotation_the_new_version_encrypts_and_the_old_one_decrypts() {
    let site = Site::start();
    let old = encrypt(&site, "foo");
    let answer = site.holdfast_ok(&["key", "rotate", "foo"]);
    assert!(
        answer.contains("made key foo version 2-") && answer.contains("the running daemon has taken it up")
    );
    let new = encrypt(&site, "foo");
    assert_eq!((version(&old), version(&new)), (1, 2));
    for encrypted in [&old, &new] {
        assert_decrypts(&site, "foo", encrypted);
        assert_logged(&site, version(encrypted));
    }
    // The metadata is bound: a ciphertext does not pass for one of another version.
    let swapped = json!({"ciphertextMetadata": new["ciphertextMetadata"]});
    site.decrypt("foo", &old, swapped).assert_error(400, "InvalidCiphertextException");
    // Both survive a restart.
    site.stop();
    site.run();
    site.wait_ready();
    assert_decrypts(&site, "foo", &old);
    assert_decrypts(&site, "foo", &new);
}

#[test]
fn ciphertexts_of_a_deleted_version_are_invalid_and_the_log_says_why() {
    let site = Site::start();
    let old = encrypt(&site, "foo");
    site.holdfast_ok(&["key", "rotate", "foo"]);
    let refusal = site.holdfast(&["key", "delete", "foo", "--version", "2", "--confirm", "foo"]);
    assert!(!refusal.status.success() && String::from_utf8_lossy(&refusal.stderr).contains("is the newest"));
    site.holdfast_ok(&["key", "delete", "foo", "--version", "1", "--confirm", "foo"]);
    site.decrypt("foo", &old, json!({})).assert_error(400, "InvalidCiphertextException");
    let line = log_of_last_request(&site, "InvalidCiphertextException");
    assert_eq!(line["reason"], "the ciphertext metadata names no version of the external key");
    let new = encrypt(&site, "foo");
    assert_decrypts(&site, "foo", &new);
}

#[test]
fn a_key_deleted_and_made_again_is_another_key() {
    let site = Site::start();
    let old = encrypt(&site, "foo");
    site.holdfast_ok(&["key", "delete", "foo", "--confirm", "foo"]);
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    site.key_metadata("foo").assert_error(404, "KeyNotFoundException");
    site.holdfast_ok(&["key", "create", "foo"]);
    assert_eq!(version(&encrypt(&site, "foo")), 1);
    site.decrypt("foo", &old, json!({})).assert_error(400, "InvalidCiphertextException");
}

#[test]
fn a_key_of_another_tool_is_addressed_by_its_label_and_has_no_metadata() {
    let site = Site::start();
    site.other_tool("make foreign");
    let old = encrypt(&site, "foreign");
    assert_eq!(old.get("ciphertextMetadata"), None);
    assert_decrypts(&site, "foreign", &old);
    assert_eq!(
        site.key_metadata("foreign").json(),
        json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"})
    );

    site.holdfast_ok(&["key", "rotate", "foreign"]);
    let new = encrypt(&site, "foreign");
    assert_eq!(version(&new), 1);
    assert_decrypts(&site, "foreign", &old);
    assert_logged(&site, 0);
    assert_decrypts(&site, "foreign", &new);
    // Without its metadata the new ciphertext is one of version 0, which did not make it.
    site.decrypt("foreign", &new, json!({"ciphertextMetadata": null}))
        .assert_error(400, "InvalidCiphertextException");

    site.holdfast_ok(&["key", "delete", "foreign", "--version", "0", "--confirm", "foreign"]);
    site.decrypt("foreign", &old, json!({})).assert_error(400, "InvalidCiphertextException");
    assert_decrypts(&site, "foreign", &new);
}

/// A key without `CKA_ID` shares its label with the versions that a rotation made.
#[test]
fn version_0_is_found_again_beside_version_1_when_its_handle_is_lost() {
    let site = Site::start_with(&Setup::quiet(1));
    site.other_tool("make foreign");
    let old = encrypt(&site, "foreign");
    site.holdfast_ok(&["key", "rotate", "foreign"]);
    site.inject("C_DecryptInit code=CKR_OBJECT_HANDLE_INVALID count=1");
    assert_decrypts(&site, "foreign", &old);
}

#[test]
fn a_key_of_another_tool_can_be_disabled_once_it_was_rotated() {
    let site = Site::start();
    site.other_tool("make foreign");
    let old = encrypt(&site, "foreign");
    let refusal = site.holdfast(&["key", "disable", "foreign"]);
    assert!(!refusal.status.success());
    assert!(String::from_utf8_lossy(&refusal.stderr).contains("made by another tool"), "{refusal:?}");
    site.holdfast_ok(&["key", "rotate", "foreign"]);
    site.holdfast_ok(&["key", "disable", "foreign"]);
    site.encrypt("foreign", PLAINTEXT, json!({})).assert_error(400, "InvalidStateException");
    site.decrypt("foreign", &old, json!({})).assert_error(400, "InvalidStateException");
    site.holdfast_ok(&["key", "enable", "foreign"]);
    assert_decrypts(&site, "foreign", &old);
    assert_eq!(version(&encrypt(&site, "foreign")), 1);
}

#[test]
fn a_label_that_several_keys_have_is_refused_until_it_is_one() {
    let site = Site::start();
    site.other_tool("make twin");
    site.other_tool("make twin");
    for reply in [site.encrypt("twin", PLAINTEXT, json!({})), site.key_metadata("twin")] {
        reply.assert_error(400, "InvalidStateException");
    }
    let line = log_of_last_request(&site, "InvalidStateException");
    assert_eq!(line["reason"], "several HSM keys answer to this external key id");
    let refusal = site.holdfast(&["key", "rotate", "twin"]);
    assert!(String::from_utf8_lossy(&refusal.stderr).contains("several HSM keys answer to `twin`"));
    assert!(site.holdfast_ok(&["key", "list"]).contains("ambiguous: several HSM keys answer to this id"));
    site.other_tool("rename twin brother");
    site.wait_until("one key", || site.encrypt("twin", PLAINTEXT, json!({})).status == 200);
    encrypt(&site, "brother");
}

#[test]
fn a_disabled_key_is_described_and_not_used() {
    let site = Site::start();
    let first = encrypt(&site, "foo");
    site.holdfast_ok(&["key", "rotate", "foo"]);
    let second = encrypt(&site, "foo");
    for _ in 0..2 {
        site.holdfast_ok(&["key", "disable", "foo"]);
        assert_eq!(
            site.key_metadata("foo").assert_ok().json(),
            json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "DISABLED"})
        );
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(400, "InvalidStateException");
        for encrypted in [&first, &second] {
            site.decrypt("foo", encrypted, json!({})).assert_error(400, "InvalidStateException");
        }
        let refusal = site.holdfast(&["key", "rotate", "foo"]);
        assert!(String::from_utf8_lossy(&refusal.stderr).contains("is disabled; enable it first"));
        site.holdfast_ok(&["key", "enable", "foo"]);
        for encrypted in [&first, &second, &encrypt(&site, "foo")] {
            assert_decrypts(&site, "foo", encrypted);
        }
    }
}

#[test]
fn a_key_made_while_the_daemon_runs_is_used_at_once() {
    let site = Site::start();
    site.encrypt("new_key", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    site.holdfast_ok(&["key", "create", "new_key", "--usage", "encrypt"]);
    let encrypted = encrypt(&site, "new_key");
    site.decrypt("new_key", &encrypted, json!({})).assert_error(400, "InvalidKeyUsageException");
    assert_eq!(site.key_metadata("new_key").json()["keyUsage"], json!(["ENCRYPT"]));
    let refusal = site.holdfast(&["key", "create", "new_key"]);
    assert!(String::from_utf8_lossy(&refusal.stderr).contains("exists already"), "{refusal:?}");
    site.holdfast_ok(&["key", "rotate", "new_key"]);
    assert_eq!(
        site.key_metadata("new_key").json()["keyUsage"],
        json!(["ENCRYPT"]),
        "a rotation keeps the usage"
    );
}

#[test]
fn a_key_deleted_by_another_tool_is_missing_and_is_not_searched_for_again_and_again() {
    let site = Site::start_with(&Setup::quiet(1));
    let keys = || site.metric(r#"holdfast_hsm_keys{hsm="softhsm"}"#).unwrap();
    let before = keys();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    site.other_tool("destroy foo");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    site.wait_until("the keys read again", || keys() == before - 1.0);
    let made = site.calls_during(|| {
        for _ in 0..20 {
            site.encrypt("foo", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
            site.encrypt("encrypt_only_key", PLAINTEXT, json!({})).assert_ok();
        }
    });
    assert!(made.get("C_FindObjectsInit").is_none_or(|finds| *finds <= 1), "{made:?}");
    assert_eq!(made["C_EncryptInit"], 20 + made.get("C_DecryptInit").copied().unwrap_or(0), "{made:?}");
    // It comes back, from a backup.
    site.other_tool("make foo");
    site.wait_until("the key", || site.encrypt("foo", PLAINTEXT, json!({})).status == 200);
}

#[test]
fn a_usage_that_another_tool_took_away_is_refused_by_the_hsm() {
    let site = Site::start();
    let encrypted = encrypt(&site, "foo");
    site.other_tool("forbid-encryption foo");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(400, "InvalidKeyUsageException");
    assert_decrypts(&site, "foo", &encrypted);
}

#[test]
fn a_key_of_another_length_says_so() {
    let site = Site::start();
    site.other_tool("make short 16");
    assert_eq!(site.key_metadata("short").assert_ok().json()["keySpec"], "AES_128");
}

#[test]
fn keys_are_sensitive_and_never_extractable_and_good_for_nothing_else() {
    let site = Site::prepare(&Setup::default());
    site.holdfast_ok(&["key", "rotate", "foo"]);
    let shown = site.other_tool("show foo");
    let keys: Vec<_> = shown.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(keys.len(), 2, "{shown}");
    for key in keys {
        assert_eq!(
            key,
            "[AlwaysSensitive(true), Decrypt(true), Derive(false), Encrypt(true), Extractable(false), Local(true), \
             NeverExtractable(true), Private(true), Sensitive(true), Sign(false), Unwrap(false), Verify(false), \
             Wrap(false)]"
        );
    }
}

/// Deep checks use keys of their own (XKS v1, GetHealthStatus).
#[test]
fn the_health_key_is_no_external_key() {
    let site = Site::start();
    site.encrypt("holdfast-health", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    site.key_metadata("holdfast-health").assert_error(404, "KeyNotFoundException");
}
