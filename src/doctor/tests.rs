//! The judging, by tables; and the table of diagnoses itself.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::Method;

use crate::clock::{Clock, SystemClock};
use crate::doctor::certificates::{Chain, is_kms, judge_dates, names_host};
use crate::doctor::clock::{judge_skew, parse_date};
use crate::doctor::daemon::judge_free;
use crate::doctor::endpoint::{health_of, parse};
use crate::doctor::files::{FileFacts, may_others_change, other_owner};
use crate::doctor::finding::{Findings, shown};
use crate::doctor::hsm::judge_time;
use crate::doctor::kms::explained;
use crate::doctor::plain_http;
use crate::doctor::requests;
use crate::doctor::samples::Samples;
use crate::doctor::state::judge_disk;
use crate::doctor::{Group, Verdict, authorities, diagnoses};

fn verdict<T>(bad: Option<(Verdict, T)>) -> Verdict {
    bad.map_or(Verdict::Ok, |(verdict, _)| verdict)
}

#[test]
fn each_diagnosis_has_an_id_of_its_own_and_a_fix() {
    let ids: BTreeSet<_> = diagnoses().map(|diagnosis| diagnosis.id).collect();
    assert_eq!(ids.len(), diagnoses().count());
    for diagnosis in diagnoses() {
        assert!(diagnosis.fix.ends_with(['.', ':']), "{}", diagnosis.id);
        assert!(!diagnosis.title.ends_with('.'), "{}", diagnosis.id);
    }
    let groups: BTreeSet<_> = diagnoses().map(|diagnosis| diagnosis.group.name()).collect();
    assert_eq!(groups.len(), Group::ALL.len());
}

#[test]
fn disks_are_judged_by_what_the_daemon_needs() {
    const GIB: u64 = 1 << 30;
    for (free, total, expected) in [
        (63 << 20, 100 * GIB, Verdict::Error),
        (65 << 20, GIB, Verdict::Warning),
        (2 * GIB, 100 * GIB, Verdict::Warning),
        (50 * GIB, 100 * GIB, Verdict::Ok),
    ] {
        assert_eq!(verdict(judge_disk(free, total, 64 << 20)), expected, "{free} of {total}");
    }
    assert_eq!(verdict(judge_disk(50 * GIB, 100 * GIB, 51 * GIB)), Verdict::Error);
}

#[test]
fn the_disk_of_the_audit_trail_is_judged_by_when_changes_are_refused() {
    for (free, free_min, expected) in [
        (63.0, 64, Verdict::Error),
        (64.0, 64, Verdict::Warning),
        (255.0, 64, Verdict::Warning),
        (256.0, 64, Verdict::Ok),
        (0.0, 0, Verdict::Ok),
    ] {
        let mebibyte = f64::from(1 << 20);
        assert_eq!(verdict(judge_free(free * mebibyte, free_min << 20)), expected, "{free} of {free_min}");
    }
}

#[test]
fn certificates_are_judged_by_their_dates() {
    const DAY: u64 = 86_400;
    let chain = Chain { not_before: 100 * DAY, not_after: 200 * DAY, ..Chain::default() };
    for (day, expected) in [
        (99, Verdict::Error),
        (100, Verdict::Ok),
        (169, Verdict::Ok),
        (171, Verdict::Warning),
        (201, Verdict::Error),
    ] {
        assert_eq!(verdict(judge_dates(&chain, day * DAY)), expected, "day {day}");
    }
}

#[test]
fn a_wildcard_stands_for_one_label() {
    for (pattern, host, expected) in [
        ("xks.example.com", "XKS.example.com", true),
        ("*.xks.example.com", "myproxy.xks.example.com", true),
        ("*.example.com", "myproxy.xks.example.com", false),
        ("*.xks.example.com", "xks.example.com", false),
        ("example.com", "xks.example.com", false),
    ] {
        assert_eq!(names_host(pattern, host), expected, "{pattern} {host}");
    }
}

#[test]
fn subjects_of_aws_kms_are_known_from_others() {
    assert!(is_kms("cks.kms.eu-west-1.amazonaws.com") && is_kms("cks.kms.cn-north-1.amazonaws.com.cn"));
    for other in ["kms.eu-west-1.amazonaws.com", "cks.kms.amazonaws.com", "cks.kms.eu-west-1.example.com", ""]
    {
        assert!(!is_kms(other), "{other}");
    }
}

#[test]
fn clocks_are_judged_by_what_sigv4_allows() {
    for (seconds, expected) in [(0, Verdict::Ok), (60, Verdict::Warning), (300, Verdict::Error)] {
        assert_eq!(verdict(judge_skew(seconds)), expected, "{seconds}");
    }
    assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    assert_eq!(parse_date("yesterday"), None);
}

#[test]
fn health_is_as_the_worst_and_the_best_key_manager() {
    let body = |states: &[&str]| {
        let details: Vec<_> = states.iter().map(|state| serde_json::json!({"healthStatus": state})).collect();
        serde_json::json!({ "ekmFleetDetails": details }).to_string()
    };
    for (states, expected) in [
        (&["ACTIVE", "ACTIVE"][..], Verdict::Ok),
        (&["ACTIVE", "UNAVAILABLE"], Verdict::Warning),
        (&["DEGRADED"], Verdict::Warning),
        (&["UNAVAILABLE"], Verdict::Error),
        (&[], Verdict::Error),
    ] {
        assert_eq!(health_of(body(states).as_bytes()).0, expected, "{states:?}");
    }
    assert_eq!(health_of(b"<html>").0, Verdict::Error);
}

#[test]
fn endpoints_are_taken_apart() {
    for (url, host, port, prefix) in [
        ("https://xks.example.com", "xks.example.com", 443, None),
        ("https://xks.example.com/payments", "xks.example.com", 443, Some("payments")),
        ("https://xks.example.com:8443/a/b/kms/xks/v1/", "xks.example.com", 8443, Some("a/b")),
        ("https://xks.example.com/kms/xks/v1", "xks.example.com", 443, Some("")),
    ] {
        let target = parse(url).unwrap();
        let found = (target.address.host.as_str(), target.address.port, target.prefix.as_deref());
        assert_eq!(found, (host, port, prefix), "{url}");
    }
    assert!(parse("http://xks.example.com").is_err() && parse("https://").is_err());
    assert!(parse("https://host:port").is_err());
}

#[test]
fn files_that_others_can_change_are_told() {
    for (mode, owner, expected) in [
        (0o644, 1000, Verdict::Ok),
        (0o644, 0, Verdict::Ok),
        (0o664, 1000, Verdict::Error),
        (0o646, 1000, Verdict::Error),
        (0o644, 1001, Verdict::Warning),
    ] {
        let file = FileFacts { mode, owner, user: 1000 };
        assert_eq!(verdict(may_others_change(&file)), expected, "{mode:o} {owner}");
    }
}

#[test]
fn root_does_not_judge_what_is_of_another_user() {
    for (owner, user, expected) in
        [(1000, 0, Some(1000)), (0, 0, None), (1000, 1000, None), (1000, 1001, None)]
    {
        assert_eq!(other_owner(&FileFacts { mode: 0o700, owner, user }), expected, "{owner} {user}");
    }
}

#[test]
fn what_others_say_does_not_steer_a_terminal() {
    assert_eq!(shown("a\u{1b}[2Jb\r\u{9b}c é"), "a?[2Jb??c é");
}

#[test]
fn hsm_time_is_judged_by_the_budget() {
    for (ms, expected) in [(1, Verdict::Ok), (51, Verdict::Warning), (250, Verdict::Error)] {
        assert_eq!(verdict(judge_time(Duration::from_millis(ms), "")), expected, "{ms}");
    }
}

#[test]
fn metrics_are_read_back() {
    let samples = Samples::parse(
        "# HELP a b\n\
         requests_total{key_store=\"x\",error=\"none\"} 7\nrequests_total{key_store=\"x\",error=\"Slow\"} 2\n\
         time_bucket{le=\"0.1\"} 98\ntime_bucket{le=\"0.25\"} 99\ntime_bucket{le=\"+Inf\"} 100\nup 1\n",
    );
    assert_eq!(samples.sum("requests_total", |_| true), 9.0);
    assert_eq!(samples.sum("requests_total", |sample| sample.label("error") == "Slow"), 2.0);
    assert_eq!(samples.quantile("time", 0.99, |_| true), Some(0.25));
    assert_eq!(samples.quantile("nothing", 0.99, |_| true), None);
}

#[test]
fn each_key_store_is_judged_by_its_own_requests() {
    let line = |store: &str, error: &str, count: u32| {
        format!(
            "holdfast_xks_requests_total{{key_store=\"{store}\",operation=\"Encrypt\",error=\"{error}\"}} {count}\n"
        )
    };
    const WRONG: &str = "AuthenticationFailedException";
    let text = [
        line("busy", "none", 1_000_000),
        line("busy", WRONG, 1),
        line("cut-off", "none", 1),
        line("cut-off", WRONG, 200),
        line("cut-off", "KeyNotFoundException", 3),
        line("idle", "none", 0),
        line("idle", WRONG, 0),
        line("unknown", "InvalidUriPathException", 9),
    ];
    let mut findings = Findings::default();
    requests::judge(&Samples::parse(&text.concat()), &["busy", "cut-off", "idle"], &mut findings);
    let of = |id: &str| {
        let of_id = findings.0.iter().filter(|finding| finding.diagnosis.id == id);
        of_id.map(|finding| (finding.looked_at.as_str(), finding.verdict)).collect::<Vec<_>>()
    };
    let expected = [("key store busy", Verdict::Warning), ("key store cut-off", Verdict::Error)];
    assert_eq!(of("daemon-authentication"), expected);
    assert_eq!(of("daemon-key-not-found"), [("key store cut-off", Verdict::Warning)]);
    assert_eq!(of("daemon-uri-path"), [("metrics", Verdict::Warning)]);
    assert_eq!(of("daemon-ciphertext"), [("metrics", Verdict::Ok)]);
}

#[test]
fn each_connection_error_code_is_explained() {
    use crate::domain::kms::ConnectionErrorCode;
    for (code, meaning, fix) in super::CONNECTION_ERRORS {
        assert!(ConnectionErrorCode::parse(code).is_some(), "{code}");
        assert!(explained(code).contains(meaning) && explained(code).contains(fix));
    }
    assert_eq!(super::CONNECTION_ERRORS.len(), ConnectionErrorCode::ALL.len());
}

/// The published list is not part of the repository; where it lies beside it, ours is compared with it.
#[test]
fn the_authorities_are_those_of_the_published_list() {
    assert!(authorities().count() > 100);
    assert!(authorities().all(|(fingerprint, name)| fingerprint.len() == 64 && !name.is_empty()));
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/TrustedCertificateAuthorities");
    let Ok(published) = std::fs::read_to_string(path) else { return };
    let published: BTreeSet<_> = published
        .lines()
        .filter_map(|line| line.trim().strip_prefix("SHA256: ")?.split_whitespace().next())
        .map(|fingerprint| fingerprint.replace(':', "").to_ascii_lowercase())
        .collect();
    let ours: BTreeSet<_> = authorities().map(|(fingerprint, _)| fingerprint.to_owned()).collect();
    assert_eq!(ours, published);
}

/// Each time that it is looked at, it is a second later.
#[derive(Default)]
struct HurriedClock(AtomicU64);

impl Clock for HurriedClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn instant(&self) -> Instant {
        SystemClock.instant() + Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn who_answers_a_byte_at_a_time_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dripping = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = 0;
        while stream.write_all(b"x").is_ok() {
            sent += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        sent
    });
    let asked = (Method::GET, "localhost", "/metrics");
    assert_eq!(plain_http::exchange(address, asked, 1 << 20, &HurriedClock::default()), None);
    assert!(dripping.join().unwrap() > 1);
}
