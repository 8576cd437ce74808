//! What goes wrong with the HSM under the KMS API, and what its callers are told: through the shim.

use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, KmsReply};
use crate::support::site::SOFTHSM;
use crate::support::{Setup, Site};

const INTERNAL: (u16, &str, &str) = (500, "KMSInternalException", "internal error");
const TIMED_OUT: (u16, &str, &str) = (
    503,
    "DependencyTimeoutException",
    "The system timed out while trying to fulfill the request. You can retry the request.",
);
/// Far less than the deadline of a request.
const AT_ONCE: Duration = Duration::from_millis(1000);

/// Behind the shim, with nothing calling the HSM but requests.
fn setup(sessions: usize) -> Setup {
    let Setup { hsm, health, .. } = Setup::quiet(sessions);
    Setup { shim: true, hsm, health, ..Setup::kms() }
}

/// With a deadline that a test can wait for.
fn with_deadline(setup: &Setup, deadline_ms: u32) -> Site {
    let site = Site::prepare(setup);
    let deadline = format!("request_deadline_ms = {deadline_ms}");
    site.edit_configuration(|text| text.replace("request_deadline_ms = 20000", &deadline));
    site.run();
    site.wait_ready();
    site
}

#[track_caller]
fn assert_fault(reply: &KmsReply, (status, name, message): (u16, &str, &str)) {
    assert_eq!(reply.0.status, status, "{}", String::from_utf8_lossy(&reply.0.body));
    reply.assert_error(name, message);
}

/// One key with a ciphertext.
struct Subject {
    id: String,
    blob: String,
}

impl Subject {
    fn new(site: &Site) -> Self {
        let id = site.create_kms_key();
        let body = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
        let blob = site.kms("Encrypt", &body).text("CiphertextBlob");
        Self { id, blob }
    }

    fn request(&self, operation: &str) -> Value {
        match operation {
            "CreateKey" => json!({}),
            "Decrypt" => json!({"CiphertextBlob": self.blob}),
            "Encrypt" => json!({"KeyId": self.id, "Plaintext": "cGxhaW4="}),
            "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => {
                json!({"KeyId": self.id, "KeySpec": "AES_256"})
            }
            "GenerateRandom" => json!({"NumberOfBytes": 16}),
            "ReEncrypt" => json!({"CiphertextBlob": self.blob, "DestinationKeyId": self.id}),
            "RotateKeyOnDemand" => json!({"KeyId": self.id}),
            other => panic!("{other}?"),
        }
    }

    fn call(&self, site: &Site, operation: &str) -> KmsReply {
        site.kms(operation, &self.request(operation))
    }

    /// Whatever went wrong before: the old ciphertext decrypts, and a new one is made.
    #[track_caller]
    fn assert_works(&self, site: &Site) {
        assert_eq!(self.call(site, "Decrypt").text("Plaintext"), "cGxhaW4=");
        let blob = self.call(site, "Encrypt").text("CiphertextBlob");
        assert_eq!(site.kms("Decrypt", &json!({"CiphertextBlob": blob})).text("Plaintext"), "cGxhaW4=");
    }

    /// Keys of the account, and rotations of this one.
    fn counts(&self, site: &Site) -> (usize, usize) {
        let keys = site.kms("ListKeys", &json!({"Limit": 1000})).ok()["Keys"].as_array().unwrap().len();
        let listed = site.kms("ListKeyRotations", &json!({"KeyId": self.id})).ok();
        (keys, listed["Rotations"].as_array().unwrap().len())
    }
}

/// Each operation with the functions of the HSM that it cannot do without.
const NEEDS: [(&str, &[&str]); 8] = [
    ("Encrypt", &["C_Encrypt"]),
    ("Decrypt", &["C_Decrypt"]),
    ("ReEncrypt", &["C_Decrypt", "C_Encrypt"]),
    ("GenerateDataKey", &["C_GenerateRandom", "C_Encrypt"]),
    ("GenerateDataKeyWithoutPlaintext", &["C_GenerateRandom", "C_Encrypt"]),
    ("GenerateRandom", &["C_GenerateRandom"]),
    ("CreateKey", &["C_GenerateKey", "C_WrapKey", "C_UnwrapKey"]),
    ("RotateKeyOnDemand", &["C_GenerateKey", "C_WrapKey", "C_UnwrapKey"]),
];

#[test]
fn a_device_error_is_an_internal_error_and_leaves_nothing_half_done() {
    let site = Site::start_with(&setup(2));
    let subject = Subject::new(&site);
    let before = subject.counts(&site);
    for (operation, functions) in NEEDS {
        for function in functions {
            for when in ["", " after"] {
                site.inject(&format!("{function} code=CKR_DEVICE_ERROR{when}"));
                assert_fault(&subject.call(&site, operation), INTERNAL);
                site.inject("");
                assert_eq!(subject.counts(&site), before, "{operation} {function}");
                subject.assert_works(&site);
            }
        }
    }
    let names = site.kms("ListKeys", &json!({})).ok();
    for key in names["Keys"].as_array().unwrap() {
        site.kms("Encrypt", &json!({"KeyId": key["KeyId"], "Plaintext": "cGxhaW4="})).ok();
    }
    subject.call(&site, "CreateKey").ok();
    subject.call(&site, "RotateKeyOnDemand").ok();
    assert_eq!(subject.counts(&site), (before.0 + 1, before.1 + 1));
}

#[test]
fn a_session_or_login_that_was_lost_is_healed_within_the_request() {
    let site = Site::start_with(&setup(1));
    let subject = Subject::new(&site);
    for (operation, functions) in NEEDS {
        for function in functions {
            for code in ["CKR_SESSION_HANDLE_INVALID", "CKR_SESSION_CLOSED", "CKR_USER_NOT_LOGGED_IN"] {
                site.inject(&format!("{function} code={code} count=1"));
                subject.call(&site, operation).ok();
            }
        }
    }
    site.inject("");
    subject.assert_works(&site);
}

#[test]
fn an_hsm_that_hangs_is_waited_for_until_the_deadline_and_not_by_others() {
    let site = with_deadline(&setup(2), 1500);
    let subject = Subject::new(&site);
    let before = subject.counts(&site);
    for (operation, function) in [
        ("Encrypt", "C_Encrypt"),
        ("Decrypt", "C_Decrypt"),
        ("CreateKey", "C_GenerateKey"),
        ("RotateKeyOnDemand", "C_WrapKey"),
    ] {
        site.inject(&format!("{function} hang"));
        assert_fault(&subject.call(&site, operation), TIMED_OUT);
        // What needs no HSM goes on, changes included.
        site.kms("DescribeKey", &json!({"KeyId": subject.id})).ok();
        site.kms(
            "TagResource",
            &json!({"KeyId": subject.id, "Tags": [{"TagKey": "a", "TagValue": operation}]}),
        )
        .ok();
        site.inject("");
        site.wait_until("the sessions", || {
            site.metric(r#"holdfast_hsm_sessions_stuck{hsm="softhsm"}"#) == Some(0.0)
        });
        subject.assert_works(&site);
        assert_eq!(subject.counts(&site), before, "{operation}");
    }
}

#[test]
fn when_every_session_hangs_requests_are_refused_at_once_and_serve_again_after() {
    let site = with_deadline(&setup(1), 2000);
    let subject = Subject::new(&site);
    site.inject("C_Encrypt hang");
    assert_fault(&subject.call(&site, "Encrypt"), TIMED_OUT);
    site.wait_until("a stuck session", || {
        site.metric(r#"holdfast_hsm_sessions_stuck{hsm="softhsm"}"#) == Some(1.0)
    });
    let started = SystemClock.instant();
    for operation in ["Encrypt", "Decrypt", "GenerateRandom"] {
        let reply = subject.call(&site, operation);
        assert!([500, 503].contains(&reply.0.status), "{operation}: {reply:?}");
    }
    assert!(SystemClock.instant() - started < AT_ONCE, "they waited for the deadline");
    site.kms("ListKeys", &json!({})).ok();
    site.inject("");
    site.wait_until("an answer", || subject.call(&site, "Encrypt").0.status == 200);
    subject.assert_works(&site);
}

#[test]
fn a_full_queue_is_throttling() {
    let setup = Setup { hsm: "sessions = 1\nqueue_length_max = 1".to_owned(), ..setup(1) };
    let site = with_deadline(&setup, 5000);
    let subject = Subject::new(&site);
    site.inject("C_Encrypt delay_ms=300");
    let request = ACCOUNT.credentials().kms("Encrypt", &subject.request("Encrypt"));
    let within = || site.metric(r#"holdfast_kms_requests_within_objective_total{operation="Encrypt"}"#);
    let before = within();
    let answers = site.kms_at_once(&request, 12);
    // Those that were served were late; those that were refused at once were not served.
    assert_eq!(within(), before);
    let throttled: Vec<_> = answers.iter().filter(|answer| answer.0.status != 200).collect();
    assert!(!throttled.is_empty() && throttled.len() < 12, "{} of 12", throttled.len());
    for answer in throttled {
        let text =
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
        assert_fault(answer, (400, "ThrottlingException", text));
    }
    site.inject("");
    subject.assert_works(&site);
}

#[test]
fn an_hsm_that_goes_away_and_comes_back_serves_both_apis_again_without_a_restart() {
    let setup = Setup { health: "probe_interval_seconds = 1".to_owned(), ..setup(2) };
    let site = Site::start_with(&setup);
    let subject = Subject::new(&site);
    let before = subject.counts(&site);
    site.inject("* code=CKR_DEVICE_REMOVED");
    for (operation, _) in NEEDS {
        let reply = subject.call(&site, operation);
        assert_fault(&reply, INTERNAL);
    }
    site.wait_until("not ready", || site.admin_status("/readyz") == Some(503));
    site.encrypt("foo", b"Hello", json!({})).assert_error(500, "InternalException");
    // Metadata is there all the time.
    assert_eq!(subject.counts(&site), before);
    site.kms("DisableKey", &json!({"KeyId": subject.id})).ok();
    site.kms("EnableKey", &json!({"KeyId": subject.id})).ok();
    site.inject("");
    site.wait_until("ready", || site.admin_status("/readyz") == Some(200));
    site.wait_until("an answer", || subject.call(&site, "Encrypt").0.status == 200);
    subject.assert_works(&site);
    subject.call(&site, "CreateKey").ok();
    site.encrypt("foo", b"Hello", json!({})).assert_ok();
}

#[test]
fn a_daemon_that_starts_before_its_hsm_is_ready_when_it_comes() {
    let setup = Setup { health: "probe_interval_seconds = 1".to_owned(), ..setup(2) };
    let site = Site::start_with(&setup);
    let subject = Subject::new(&site);
    assert_eq!(site.stop().code(), Some(0));
    site.inject("* code=CKR_DEVICE_REMOVED");
    site.run();
    site.wait_until("an answer of /readyz", || site.admin_status("/readyz") == Some(503));
    let (_, text) = site.admin("/readyz").unwrap();
    assert!(text.contains("KMS: "), "{text}");
    assert_fault(&subject.call(&site, "Encrypt"), INTERNAL);
    assert_fault(&subject.call(&site, "CreateKey"), INTERNAL);
    site.kms("DescribeKey", &json!({"KeyId": subject.id})).ok();
    site.inject("");
    site.wait_ready();
    subject.assert_works(&site);
    subject.call(&site, "CreateKey").ok();
}

#[test]
fn a_missing_root_key_is_told_and_never_made_anew_and_the_proxy_goes_on() {
    let site = Site::start_with(&setup(2));
    let subject = Subject::new(&site);
    assert_eq!(site.stop().code(), Some(0));
    site.init_token("other");
    site.edit_configuration(|text| text.replace("token_label = \"holdfast\"", "token_label = \"other\""));
    for id in ["foo", "holdfast-health"] {
        site.holdfast_ok(&["key", "create", id, "--hsm", "softhsm"]);
    }
    for _ in 0..2 {
        site.run();
        site.wait_until("the obstacle", || {
            site.admin("/readyz").is_some_and(|(status, text)| status == 503 && text.contains("root key"))
        });
        let obstacle = site.admin("/readyz").unwrap().1;
        assert!(obstacle.contains("KMS: "), "{obstacle}");
        for (operation, _) in NEEDS {
            if operation != "GenerateRandom" {
                assert_fault(&subject.call(&site, operation), INTERNAL);
            }
        }
        site.kms("DescribeKey", &json!({"KeyId": subject.id})).ok();
        site.encrypt("foo", b"Hello", json!({})).assert_ok();
        assert_eq!(site.stop().code(), Some(0));
    }
    site.edit_configuration(|text| text.replace("token_label = \"other\"", "token_label = \"holdfast\""));
    site.run();
    site.wait_ready();
    subject.assert_works(&site);
}

#[test]
fn a_rotation_or_deletion_that_is_due_while_the_hsm_is_away_is_done_when_it_is_back() {
    let setup = Setup { health: "probe_interval_seconds = 1".to_owned(), ..setup(2) };
    let site = Site::start_with(&setup);
    let subject = Subject::new(&site);
    let doomed = site.create_kms_key();
    site.kms("EnableKeyRotation", &json!({"KeyId": subject.id, "RotationPeriodInDays": 90})).ok();
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": doomed, "PendingWindowInDays": 30})).ok();
    site.inject("* code=CKR_DEVICE_REMOVED");
    let (status, _) = site.admin_request("POST", "/dev/clock?advance=91d").unwrap();
    assert_ne!(status, 200, "not everything that is due was done");
    // Deleting needs no HSM.
    assert_eq!(site.kms("DescribeKey", &json!({"KeyId": doomed})).error().0, "NotFoundException");
    assert_eq!(subject.counts(&site).1, 0);
    site.inject("");
    site.wait_until("the rotation", || subject.counts(&site).1 == 1);
    subject.assert_works(&site);
}

#[test]
fn garbage_that_the_hsm_returns_is_never_passed_on_as_a_ciphertext() {
    let site = Site::start_with(&setup(2));
    let subject = Subject::new(&site);
    let before = subject.counts(&site);
    for (operation, fault) in [
        ("Encrypt", "C_Encrypt short"),
        ("GenerateDataKey", "C_Encrypt short"),
        ("CreateKey", "C_WrapKey short"),
        ("CreateKey", "C_WrapKey corrupt"),
        ("RotateKeyOnDemand", "C_WrapKey corrupt"),
    ] {
        site.inject(fault);
        assert_fault(&subject.call(&site, operation), INTERNAL);
        site.inject("");
        assert_eq!(subject.counts(&site), before, "{operation} {fault}");
        subject.assert_works(&site);
    }
}

#[test]
fn an_hsm_that_only_the_kms_api_uses_counts_for_readiness_and_not_for_the_proxy() {
    let hsm =
        "[[hsm]]\nname = \"second\"\nmodule = \"second.so\"\ntoken_label = \"second\"\npin_file = \"pin\"\n";
    let health = "probe_interval_seconds = 1".to_owned();
    let site = Site::prepare(&Setup { tables: hsm.to_owned(), health, ..Setup::kms() });
    std::fs::copy(SOFTHSM, site.path("second.so")).unwrap();
    site.init_token("second");
    site.holdfast_ok(&["key", "create", "holdfast-health", "--hsm", "second"]);
    let of_kms = |name: &str| format!("[kms]\nhsms = [\"{name}\"]");
    site.edit_configuration(|text| text.replace(&of_kms("softhsm"), &of_kms("second")));
    site.run();
    site.wait_ready();
    let subject = Subject::new(&site);
    let away = site.take_away(&site.token_folder("second"));
    site.wait_until("not ready", || {
        site.admin("/readyz").is_some_and(|(status, text)| status == 503 && text.contains("HSM second"))
    });
    assert_fault(&subject.call(&site, "Encrypt"), INTERNAL);
    site.encrypt("foo", b"Hello", json!({})).assert_ok();
    away.put_back();
    site.wait_ready();
    subject.assert_works(&site);
}
