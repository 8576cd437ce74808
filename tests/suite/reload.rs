//! Credentials, certificates, policies, quotas and key lists change while requests go on; what is wrong is refused whole.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use proxy_api::client::{ClientIdentity, Endpoint, HttpVersions, TlsTrust};
use serde_json::{Value, json};

use crate::support::changes::Reload;
use crate::support::pki::{Pki, write_private};
use crate::support::site::{ACCESS_KEY_ID, CLIENT_CN, SECRET_ACCESS_KEY};
use crate::support::traffic::{Caller, Kept, Traffic};
use crate::support::{Reply, Setup, Site, metadata};

const STORE_LINE: &str = "credentials_file = \"credentials.toml\"";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Sid":"OnlyThis","Effect":"Allow","Principal":"*","Action":"kms:Encrypt","Resource":"*"}]}"#;

const OTHER_ID: &str = "QRSTUVWXYZ234567ABCD";
const OTHER_SECRET: &str = "another0secret0another0secret0another0secret";

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

fn health(site: &Site, caller: &Caller) -> Reply {
    let body = json!({"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "r"}});
    site.send_as(caller, "health", &body)
}

fn trusting(site: &Site, ca_pem: &str) -> Caller {
    let trust = TlsTrust::new(ca_pem.as_bytes());
    let endpoint = Endpoint::https(&site.host(), &trust, HttpVersions::Http1).unwrap();
    Caller { endpoint, ..site.caller() }
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
    let new = trusting(&site, &other.ca_pem);
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
            fs::set_permissions(site.path(fault.file), Permissions::from_mode(fault.mode)).unwrap();
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

#[test]
fn a_credential_is_exchanged_in_the_file_without_a_failed_request() {
    let site = Site::start();
    let old = Traffic::start(&site.caller());
    let caller = site.caller_of("test", OTHER_ID, OTHER_SECRET);
    health(&site, &caller).assert_error(401, "AuthenticationFailedException");
    site.write_credentials("credentials.toml", &[(OTHER_ID, OTHER_SECRET)]);
    site.wait_until("the new credential", || health(&site, &caller).status == 200);
    let new = Traffic::start(&caller);
    old.wait_for_more(&site);
    old.stop();
    let one = site.read("credentials.toml").replace(ACCESS_KEY_ID, "ZZZZZZZZZZZZZZZZZZZZ");
    site.replace("credentials.toml", &one);
    site.wait_until("the end of the old credential", || health(&site, &site.caller()).status == 401);
    new.wait_for_more(&site);
    new.stop();
    let series = |id| {
        format!("holdfast_credential_created_timestamp_seconds{{access_key_id=\"{id}\",key_store=\"test\"}}")
    };
    assert_eq!(site.metric(&series(OTHER_ID)), Some(1_767_225_600.0));
    assert_eq!(site.metric(&series(ACCESS_KEY_ID)), None);
}

/// A client of the mTLS listener. Its endpoint remembers TLS sessions.
fn with_certificate(site: &Site, pki: &Pki, common_name: &str) -> Caller {
    let (certificate, key) = pki.client(common_name);
    let mut trust = TlsTrust::new(site.pki.ca_pem.as_bytes());
    trust.identity =
        Some(ClientIdentity { certificate_pem: certificate.as_bytes(), key_pem: key.as_bytes() });
    let host = format!("localhost:{}", site.mtls_port);
    Caller { endpoint: Endpoint::https(&host, &trust, HttpVersions::Http1).unwrap(), ..site.caller() }
}

/// Whether a client gets an HTTP answer over a new connection.
fn is_let_in(site: &Site, caller: &Caller) -> bool {
    Kept::open(&site.runtime, caller).and_then(|mut kept| kept.post("keys/foo/metadata", &describe())).is_ok()
}

#[test]
fn client_subjects_and_authorities_are_exchanged_and_no_session_is_resumed_past_that() {
    let site = Site::start();
    let renamed = "cks.kms.eu-west-1.amazonaws.com";
    let known = with_certificate(&site, &site.pki, CLIENT_CN);
    let other = with_certificate(&site, &site.pki, renamed);
    assert!(is_let_in(&site, &known) && is_let_in(&site, &known) && !is_let_in(&site, &other));
    let traffic = Traffic::start(&known);
    site.reload(Reload::Taken, || {
        site.edit_configuration(|text| text.replace(CLIENT_CN, renamed));
    });
    assert!(!is_let_in(&site, &known) && is_let_in(&site, &other));
    traffic.wait_for_more(&site);
    traffic.stop();

    let authority = Pki::new("Another client CA");
    let of_authority = with_certificate(&site, &authority, renamed);
    assert!(!is_let_in(&site, &of_authority));
    site.reload(Reload::Taken, || site.replace("ca.pem", &authority.ca_pem));
    assert!(!is_let_in(&site, &other) && is_let_in(&site, &of_authority));
}

/// The daemon cannot see a change that is made under another name of the file, so only the signal tells it.
#[test]
fn sighup_reloads_what_no_watch_could_notice() {
    let setup = Setup { key_store: "policy_file = \"policy.json\"".to_owned(), ..Setup::default() };
    let site = Site::prepare(&setup);
    fs::create_dir(site.path("elsewhere")).unwrap();
    let files = ["holdfast.toml", "policy.json", "credentials.toml"];
    site.replace("policy.json", &POLICY.replace("kms:Encrypt", "kms:*"));
    for file in files {
        fs::hard_link(site.path(file), site.path("elsewhere").join(file)).unwrap();
    }
    site.run();
    site.wait_ready();
    let edit = |file: &str, from: &str, to: &str| {
        let path = site.path("elsewhere").join(file);
        fs::write(&path, fs::read_to_string(&path).unwrap().replace(from, to)).unwrap();
    };
    site.key_metadata("foo").assert_ok();
    edit("policy.json", "Allow", "Deny");
    site.key_metadata("foo").assert_ok();
    site.reload(Reload::Taken, || site.hang_up());
    site.key_metadata("foo").assert_error(403, "AccessDeniedException");
    edit("policy.json", "Deny", "Allow");
    edit("holdfast.toml", "policy_file", "keys = [\"impotent_key\"]\npolicy_file");
    site.reload(Reload::Taken, || site.hang_up());
    site.key_metadata("foo").assert_error(404, "KeyNotFoundException");
    edit("credentials.toml", ACCESS_KEY_ID, OTHER_ID);
    site.reload(Reload::Taken, || site.hang_up());
    health(&site, &site.caller()).assert_error(401, "AuthenticationFailedException");
    health(&site, &site.caller_of("test", OTHER_ID, SECRET_ACCESS_KEY)).assert_ok();
}

/// A deployment keeps its files in a folder of their own and exchanges the folder.
#[test]
fn a_folder_of_certificates_is_exchanged() {
    let site = Site::prepare(&Setup::default());
    let release = |name: &str, pki: &Pki| {
        let folder = site.path(name);
        fs::create_dir(&folder).unwrap();
        let (certificate, key) = pki.server();
        fs::write(folder.join("server.pem"), certificate).unwrap();
        write_private(&folder.join("server.key"), &key);
    };
    let other = Pki::new("Another CA");
    release("tls", &site.pki);
    release("next", &other);
    site.edit_configuration(|text| text.replace("\"server.", "\"tls/server."));
    site.run();
    site.wait_ready();
    site.reload(Reload::Taken, || {
        fs::rename(site.path("tls"), site.path("previous")).unwrap();
        fs::rename(site.path("next"), site.path("tls")).unwrap();
    });
    health(&site, &trusting(&site, &other.ca_pem)).assert_ok();
}

#[test]
fn key_stores_come_and_go_and_a_request_in_flight_stays_with_its_own() {
    let site = Site::start_with(&Setup::quiet(2));
    let caller = site.caller_of("second", ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    health(&site, &caller).assert_error(404, "InvalidUriPathException");
    let alone = site.read("holdfast.toml");
    site.reload(Reload::Taken, || site.add_key_store("second", ""));
    health(&site, &caller).assert_ok();
    let blocked = "holdfast_key_store_blocked{key_store=\"second\"}";
    assert_eq!(site.metric(blocked), Some(0.0));

    site.inject("C_Encrypt hang");
    let mut in_flight = site.encrypt_request("foo");
    in_flight.path = in_flight.path.replacen("/test/", "/second/", 1);
    let before = site.calls_of("C_Encrypt");
    let in_flight = site.start_request(&in_flight);
    site.wait_until("a request in flight", || site.calls_of("C_Encrypt") > before);
    site.reload(Reload::Taken, || site.replace("holdfast.toml", &alone));
    health(&site, &caller).assert_error(404, "InvalidUriPathException");
    site.inject("");
    in_flight.wait(&site).assert_ok();
    assert_eq!(site.metric(blocked), None);
    site.key_metadata("foo").assert_ok();
}
