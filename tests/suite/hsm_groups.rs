//! Key stores over two HSMs of which one hangs, dies, lies or comes back, and HSMs that are asked for too much.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use holdfast::clock::{Clock, SystemClock};
use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::at_once::{duration_of, median};
use crate::support::client::metadata;
use crate::support::pki::write_private;
use crate::support::second_hsm::to_second;
use crate::support::shimmed_pair::PAIR;
use crate::support::traffic::Kept;
use crate::support::{Reply, Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";
/// After this AWS KMS has given up.
const KMS_TIMEOUT: Duration = Duration::from_millis(250);
/// What an answer that waits for nothing takes at most, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_millis(50);
const GONE: &str = "* code=CKR_DEVICE_REMOVED";
const HANGS: &str = "C_Encrypt hang\nC_EncryptInit hang\nC_Decrypt hang\nC_DecryptInit hang";

fn setup() -> Setup {
    Setup {
        hsm: "sessions = 2".to_owned(),
        limits: "request_deadline_ms = 230".to_owned(),
        ..Setup::default()
    }
}

/// One connection that encrypts with `shared`, and what each answer took.
struct Client<'a> {
    kept: RefCell<Kept<'a>>,
    times: RefCell<Vec<Duration>>,
}

impl<'a> Client<'a> {
    fn of(site: &'a Site) -> Self {
        let kept = Kept::open(&site.runtime, &site.caller()).unwrap();
        Self { kept: RefCell::new(kept), times: RefCell::default() }
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        let started = now();
        let reply = self.kept.borrow_mut().post(path, body).unwrap();
        self.times.borrow_mut().push(now() - started);
        reply
    }

    fn encrypt(&self) -> Reply {
        self.post("keys/shared/encrypt", &encrypt_body())
    }

    #[track_caller]
    fn round_trip(&self) {
        let mut encrypted = self.encrypt().assert_ok().json();
        encrypted["requestMetadata"] = metadata("Decrypt");
        encrypted["encryptionAlgorithm"] = json!("AES_GCM");
        let decrypted = self.post("keys/shared/decrypt", &encrypted).assert_ok().json();
        assert_eq!(decode_base64(decrypted["plaintext"].as_str().unwrap()).unwrap(), PLAINTEXT);
    }

    /// The time that all but one in a hundred took at most.
    fn p99(&self) -> Duration {
        let mut times = self.times.borrow_mut();
        times.sort();
        times[times.len() * 99 / 100]
    }
}

fn encrypt_body() -> Value {
    json!({
        "requestMetadata": metadata("Encrypt"),
        "plaintext": encode_base64(PLAINTEXT),
        "encryptionAlgorithm": "AES_GCM",
    })
}

fn now() -> Instant {
    SystemClock.instant()
}

fn counted(site: &Site, metric: &str) -> f64 {
    let (_, text) = site.admin("/metrics").unwrap();
    let of_metric = |line: &&str| line.starts_with(&format!("holdfast_{metric}{{"));
    text.lines().filter(of_metric).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[test]
fn both_hsms_serve_and_equals_take_turns() {
    let site = Site::start_shimmed_pair(setup());
    let client = Client::of(&site);
    let made = || (site.calls_of("C_Encrypt"), site.calls_of_second()["C_Encrypt"]);
    // On a busy machine one of them may look slower for a while, and gets less.
    site.wait_until("both to have a fair share", || {
        let before = made();
        (0..50).for_each(|_| client.round_trip());
        let after = made();
        after.0 - before.0 >= 10 && after.1 - before.1 >= 10
    });
}

#[test]
fn an_hsm_that_hangs_costs_no_request_and_is_taken_back_when_it_goes_on() {
    for hsm in PAIR {
        let site = Site::start_shimmed_pair(setup());
        let client = Client::of(&site);
        (0..50).for_each(|_| client.round_trip());
        client.times.borrow_mut().clear();
        site.inject_at(hsm, HANGS);
        (0..100).for_each(|_| client.round_trip());
        site.wait_until("the one that hangs to be taken out", || {
            client.round_trip();
            site.is_breaker(hsm, "open")
        });
        let p99 = client.p99();
        assert!(p99 < Duration::from_millis(100), "{p99:?} of {}", client.times.borrow().len());
        site.inject_at(hsm, "");
        site.wait_until("both", || {
            client.round_trip();
            site.is_breaker(hsm, "closed")
        });
    }
}

#[test]
fn an_hsm_that_is_gone_costs_no_request_and_serves_within_two_seconds_of_its_return() {
    let site = Site::start_shimmed_pair(setup());
    let client = Client::of(&site);
    client.round_trip();
    for hsm in PAIR {
        site.inject_at(hsm, GONE);
        (0..50).for_each(|_| client.round_trip());
        site.wait_until("it to be taken out", || {
            client.round_trip();
            site.is_breaker(hsm, "open")
        });
        site.inject_at(hsm, "");
        let returned = now();
        site.wait_until("it to be back", || {
            client.round_trip();
            site.is_breaker(hsm, "closed")
        });
        let away = now() - returned;
        assert!(away < Duration::from_secs(2), "{away:?}");
    }
    assert!(site.log().contains("HSM second is taken out: "), "{}", site.log());
    site.wait_until("the log", || site.log().contains("HSM second gets requests again"));
}

#[test]
fn while_both_are_gone_or_hang_every_answer_is_an_error_in_time_and_service_is_back_within_a_second() {
    let site = Site::start_shimmed_pair(setup());
    let client = Client::of(&site);
    for fault in [GONE, HANGS] {
        client.round_trip();
        client.times.borrow_mut().clear();
        PAIR.iter().for_each(|hsm| site.inject_at(hsm, fault));
        for _ in 0..20 {
            let reply = client.encrypt();
            let error = reply.json()["errorName"].as_str().unwrap().to_owned();
            let is_documented = match reply.status {
                500 => error == "InternalException",
                503 => error == "DependencyTimeoutException",
                _ => false,
            };
            assert!(is_documented, "{fault}: {reply:?}");
        }
        assert!(median(client.times.borrow().clone()) < KMS_TIMEOUT, "{:?}", client.times);
        PAIR.iter().for_each(|hsm| site.inject_at(hsm, ""));
        let returned = now();
        site.wait_until("service", || client.encrypt().status == 200);
        let away = now() - returned;
        assert!(away < Duration::from_secs(1), "{fault}: {away:?}");
    }
}

#[test]
fn what_an_hsm_corrupts_reaches_nobody_and_it_is_quarantined() {
    let checked = Setup { hsm: "check_encryptions = true\nsessions = 2".to_owned(), ..setup() };
    let site = Site::start_shimmed_pair(checked);
    let client = Client::of(&site);
    client.round_trip();
    // Most of what it makes is sound, so that probes pass.
    site.inject_at("second", "C_Encrypt corrupt from=5 count=1");
    site.wait_until("the quarantine", || {
        client.round_trip();
        site.is_breaker("second", "quarantined")
    });
    assert_eq!(counted(&site, "hsm_corruptions_total"), 1.0);
    let health = site.health().assert_ok().json();
    let states: Vec<_> = health["ekmFleetDetails"].as_array().unwrap().iter().collect();
    assert_eq!((&states[0]["id"], &states[0]["healthStatus"]), (&json!("second"), &json!("UNAVAILABLE")));
    site.wait_until("its line in the log", || {
        site.log().contains("quarantined: the token does not decrypt what it has just encrypted")
    });
    // While the other one serves, it gets nothing.
    let line = |site: &Site| site.request_lines().last().unwrap()["hsm"].clone();
    for _ in 0..20 {
        client.round_trip();
    }
    site.wait_until("the line of the last", || line(&site) == "softhsm");
    site.wait_until("it to be taken back", || {
        client.round_trip();
        site.is_breaker("second", "closed")
    });
}

/// With an integrity value, too, and without a second HSM: then it stays out until its self-tests pass.
#[test]
fn an_hsm_alone_that_corrupted_something_serves_again_after_its_self_tests() {
    let site = Site::start_with(&Setup { shim: true, ..setup() });
    let cdiv = || json!({"ciphertextDataIntegrityValueAlgorithm": "SHA_256"});
    site.encrypt("foo", PLAINTEXT, cdiv()).assert_ok();
    site.inject("C_Encrypt corrupt");
    site.encrypt("foo", PLAINTEXT, cdiv()).assert_error(500, "InternalException");
    for _ in 0..5 {
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
    }
    let (status, reason) = site.admin("/readyz").unwrap();
    assert_eq!(status, 503, "{reason}");
    let refused = r#"holdfast_hsm_refusals_total{hsm="softhsm",reason="quarantined"}"#;
    assert!(site.metric(refused).is_some_and(|count| count >= 5.0));
    site.inject("");
    site.wait_until("service", || site.encrypt("foo", PLAINTEXT, cdiv()).status == 200);
    assert_eq!(site.metric(r#"holdfast_hsm_corruptions_total{hsm="softhsm"}"#), Some(1.0));
}

#[test]
fn a_key_that_only_one_of_them_has_is_found_also_while_the_other_hangs() {
    let site = Site::start_shimmed_pair(setup());
    site.inject("C_Encrypt hang\nC_FindObjectsInit hang");
    site.other_tool_on("second", "import late 00112233445566778899aabbccddeeff");
    let body = encrypt_body();
    site.wait_until("the key", || site.post("keys/late/encrypt", &body).status == 200);
    site.inject("");
}

#[test]
fn what_cannot_be_done_in_time_is_refused_at_once() {
    let site = Site::start_with(&Setup { hsm: "sessions = 1".to_owned(), shim: true, ..setup() });
    site.inject("C_Encrypt delay_ms=50");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    let replies = site.at_once(&[(); 16].map(|()| site.encrypt_request("foo")));
    let (served, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert!(served.len() >= 2 && refused.len() >= 8, "{} {}", served.len(), refused.len());
    let in_time = refused.iter().filter(|reply| reply.status == 429).count();
    assert!(in_time + 1 >= refused.len(), "{refused:?}");
    let lines = site.lines_with_outcome("ThrottlingException", in_time);
    assert!(median(lines.iter().map(duration_of).collect()) < AT_ONCE, "{lines:?}");
    let metric = r#"holdfast_hsm_refusals_total{hsm="softhsm",reason="cannot_finish"}"#;
    assert_eq!(site.metric(metric), Some(in_time as f64));
}

#[test]
fn a_key_store_that_floods_an_hsm_does_not_starve_another_one() {
    let other = r#"
[[key_store]]
name = "second"
uri_path_prefix = "second"
hsms = ["softhsm"]
credentials_file = "second-credentials.toml"
"#;
    let site = Site::prepare(&Setup {
        hsm: "sessions = 1\nqueue_length_max = 12".to_owned(),
        shim: true,
        tables: other.to_owned(),
        ..Setup::default()
    });
    let credentials = std::fs::read_to_string(site.path("credentials.toml")).unwrap();
    write_private(&site.path("second-credentials.toml"), &credentials);
    site.run();
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    site.inject("C_Encrypt delay_ms=40");
    let flood: Vec<_> = (0..16).map(|_| site.start_request(&site.encrypt_request("foo"))).collect();
    site.wait_until("a full queue", || counted(&site, "hsm_refusals_total") >= 1.0);
    // It is let in though the queue is full, and has its turn after one or two of the flood.
    site.send_signed(&to_second(site.encrypt_request("foo"))).assert_ok();
    let line = || site.request_lines().into_iter().find(|line| line["keyStore"] == "second");
    site.wait_until("its line", || line().is_some());
    let waited = Duration::from_micros(line().unwrap()["queueUs"].as_u64().unwrap());
    assert!(waited < Duration::from_millis(200), "{waited:?}");
    for pending in flood {
        let status = pending.wait(&site).status;
        assert!([200, 429].contains(&status), "{status}");
    }
}
