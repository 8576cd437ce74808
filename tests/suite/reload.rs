//! Credentials, certificates, policies, quotas and key lists change while requests go on; what is wrong is refused whole.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use proxy_api::client::{Endpoint, HttpVersions, TlsTrust};
use serde_json::{Value, json};

use crate::support::changes::Reload;
use crate::support::pki::Pki;
use crate::support::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use crate::support::traffic::{Caller, Kept, Traffic};
use crate::support::{Site, metadata};

const STORE_LINE: &str = "credentials_file = \"credentials.toml\"";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Sid":"OnlyThis","Effect":"Allow","Principal":"*","Action":"kms:Encrypt","Resource":"*"}]}"#;

fn describe() -> Value {
    json!({"requestMetadata": metadata("DescribeKey")})
}

/// The configuration with these lines in the table of the store `test`.
fn with_store_lines(text: &str, lines: &str) -> String {
    text.replace(STORE_LINE, &format!("{STORE_LINE}\n{lines}"))
}

fn status(site: &Site, caller: &Caller, key: &str) -> u16 {
    site.send_as(caller, &format!("keys/{key}/metadata"), &describe()).status
}

/// What the log gave as the reason of the last refusal.
fn last_refusal(site: &Site) -> String {
    let reason = || {
        let log = site.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut refusals =
            lines.filter(|line| line["message"].to_string().contains("the old one stays in force"));
        refusals.next_back().map(|line| line["reason"].as_str().unwrap().to_owned())
    };
    site.wait_until("a logged refusal", || reason().is_some());
    reason().unwrap()
}

/// Inventory section 11: both are valid at once, so that KMS can go over in its own time.
#[test]
fn a_credential_is_exchanged_without_a_failed_request() {
    let site = Site::start();
    let old = site.caller();
    let old_traffic = Traffic::start(&old);
    old_traffic.wait_for_more(&site);
    let mut kept = Kept::open(&site.runtime, &old).unwrap();
    kept.post("keys/foo/metadata", &describe()).unwrap().assert_ok();

    let made = site.holdfast_ok(&["credential", "create", "--store", "test", "--out", "new.json"]);
    assert!(made.ends_with("the running daemon has taken it up\n"), "{made}");
    let configuration: Value = serde_json::from_str(&site.read("new.json")).unwrap();
    let member =
        |name: &str| configuration["XksProxyAuthenticationCredential"][name].as_str().unwrap().to_owned();
    let new = site.caller_of("test", &member("AccessKeyId"), &member("RawSecretAccessKey"));
    let new_traffic = Traffic::start(&new);
    new_traffic.wait_for_more(&site);
    old_traffic.wait_for_more(&site);
    old_traffic.stop();

    site.holdfast_ok(&["credential", "remove", "--store", "test", ACCESS_KEY_ID]);
    let refused = kept.post("keys/foo/metadata", &describe()).unwrap();
    refused.assert_error(401, "AuthenticationFailedException");
    assert_eq!(status(&site, &old, "foo"), 401);
    new_traffic.wait_for_more(&site);
    new_traffic.stop();
    let counted = format!(
        "holdfast_credential_requests_total{{access_key_id=\"{}\",key_store=\"test\"}}",
        new.access_key_id
    );
    assert!(site.metric(&counted).unwrap() >= 4.0);
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let site = Site::start();
    let caller = site.caller();
    let traffic = Traffic::start(&caller);
    traffic.wait_for_more(&site);
    let other = Pki::new("Another CA");
    let (certificate, key) = other.server();
    site.reload(Reload::Taken, || {
        site.replace("server.pem", &certificate);
        site.replace("server.key", &key);
    });
    let trust = TlsTrust::new(other.ca_pem.as_bytes());
    let endpoint = Endpoint::https(&site.host(), &trust, HttpVersions::Http1).unwrap();
    let new = Caller { endpoint, ..caller.clone() };
    site.wait_until("the new certificate", || Kept::open(&site.runtime, &new).is_ok());
    assert_eq!(status(&site, &new, "foo"), 200);
    assert!(Kept::open(&site.runtime, &caller).is_err());
    traffic.wait_for_more(&site);
    traffic.stop();
}

#[test]
fn policy_quota_and_keys_follow_the_file() {
    let site = Site::start();
    let caller = site.caller();
    let before = site.read("holdfast.toml");
    let change = |lines: &str| {
        site.reload(Reload::Taken, || site.replace("holdfast.toml", &with_store_lines(&before, lines)));
    };
    change("keys = [\"encrypt_*\"]");
    assert_eq!(status(&site, &caller, "foo"), 404);
    assert_eq!(status(&site, &caller, "encrypt_only_key"), 200);

    site.replace("policy.json", POLICY);
    change("policy_file = \"policy.json\"");
    assert_eq!(status(&site, &caller, "foo"), 403);
    site.encrypt("foo", b"Hello", json!({})).assert_ok();
    // The file that the configuration names is watched as well.
    site.reload(Reload::Taken, || site.replace("policy.json", &POLICY.replace("kms:Encrypt", "kms:*")));
    assert_eq!(status(&site, &caller, "foo"), 200);

    change("requests_per_second = 1");
    site.wait_until("a quota", || status(&site, &caller, "foo") == 429);
    change("");
    for _ in 0..5 {
        assert_eq!(status(&site, &caller, "foo"), 200);
    }
}

#[test]
fn sighup_reloads_whether_or_not_a_file_changed() {
    let site = Site::start();
    site.reload(Reload::Taken, || site.hang_up());
    let changed = with_store_lines(&site.read("holdfast.toml"), "keys = [\"foo\"]");
    site.reload(Reload::Taken, || {
        site.replace("holdfast.toml", &changed);
        site.hang_up();
    });
    let caller = site.caller();
    assert_eq!(status(&site, &caller, "encrypt_only_key"), 404);
    assert_eq!(status(&site, &caller, "foo"), 200);
}

/// A wrong state of the files, which is made right again afterwards.
struct Fault {
    file: &'static str,
    wrong: String,
    mode: u32,
    reason: &'static str,
}

fn faults(site: &Site) -> Vec<Fault> {
    let configuration = site.read("holdfast.toml");
    let fault = |file, wrong, reason| Fault { file, wrong, mode: 0o600, reason };
    let open = Fault {
        mode: 0o644,
        ..fault("credentials.toml", site.read("credentials.toml"), "mode 0644 lets others")
    };
    vec![
        fault("holdfast.toml", format!("{configuration}\n[[key_store"), "unclosed array table"),
        fault(
            "holdfast.toml",
            configuration.replace("token_label = \"holdfast\"", "token_label = \"x\""),
            "`[[hsm]]` cannot change while the daemon runs",
        ),
        fault(
            "holdfast.toml",
            configuration.replace(STORE_LINE, "credentials_file = \"absent.toml\""),
            "absent.toml",
        ),
        fault(
            "policy.json",
            POLICY.replace(
                "\"Resource\"",
                "\"Condition\":{\"StringEquals\":{\"aws:Typo\":\"x\"}},\"Resource\"",
            ),
            "`aws:Typo`",
        ),
        fault("policy.json", POLICY.replace("2012-10-17", "2012-10-18"), "policy.json"),
        fault("server.key", site.pki.server().1, "listener `https`"),
        fault(
            "credentials.toml",
            site.read("credentials.toml").replace("created = ", "created "),
            "credentials.toml",
        ),
        open,
    ]
}

#[test]
fn a_wrong_configuration_is_refused_and_the_old_one_goes_on() {
    let site = Site::start();
    site.replace("policy.json", &POLICY.replace("kms:Encrypt", "kms:*"));
    let right = with_store_lines(&site.read("holdfast.toml"), "policy_file = \"policy.json\"");
    site.reload(Reload::Taken, || site.replace("holdfast.toml", &right));
    let traffic = Traffic::start(&site.caller());
    for fault in faults(&site) {
        let before = site.read(fault.file);
        site.reload(Reload::Refused, || {
            site.replace(fault.file, &fault.wrong);
            std::fs::set_permissions(site.path(fault.file), Permissions::from_mode(fault.mode)).unwrap();
        });
        site.wait_until(fault.reason, || last_refusal(&site).contains(fault.reason));
        assert_eq!(site.metric("holdfast_config_last_reload_successful"), Some(0.0), "{}", fault.reason);
        site.encrypt("foo", b"Hello", json!({})).assert_ok();
        traffic.wait_for_more(&site);
        site.reload(Reload::Taken, || site.replace(fault.file, &before));
        site.wait_until("success", || site.metric("holdfast_config_last_reload_successful") == Some(1.0));
    }
    traffic.stop();
    assert!(!site.log().contains(SECRET_ACCESS_KEY));
}

#[test]
fn twenty_reloads_are_not_noticed_by_a_kept_connection() {
    let site = Site::start();
    let traffic = Traffic::start(&site.caller());
    for _ in 0..20 {
        site.reload(Reload::Taken, || site.hang_up());
        traffic.wait_for_more(&site);
    }
    traffic.stop();
}
