//! Lifecycle events: told in order, in the words of EventBridge, and those of deletions at least once whatever happens.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::support::kms_stories::key_arn;
use crate::support::pki::write_private;
use crate::support::receiver::{Conduct, Receiver};
use crate::support::{Setup, Site};

const SECRET: &str = "a shared secret";

/// Is told events, or not.
fn setup(receiver: &Receiver) -> Setup {
    let port = receiver.port;
    with_events(&format!(
        "[kms.events.webhook]\nurl = \"http://127.0.0.1:{port}/hook?of=kms\"\nsecret_file = \"events.secret\"\n"
    ))
}

/// The events that it accepted.
fn accepted(receiver: &Receiver) -> Vec<Value> {
    let events = receiver.accepted();
    events
        .iter()
        .map(|(head, body)| {
            check(head, body);
            serde_json::from_slice(body).unwrap()
        })
        .collect()
}

#[track_caller]
fn check(head: &str, body: &[u8]) {
    assert!(head.starts_with("post /hook?of=kms http/1.1"), "{head}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let digits: String = hmac::sign(&key, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(head.contains(&format!("x-holdfast-signature-256: sha256={digits}")), "{head}");
}

fn with_events(events: &str) -> Setup {
    let setup = Setup::kms();
    Setup { kms: Some(events.to_owned() + &setup.kms.unwrap_or_default()), ..Setup::default() }
}

fn start(setup: &Setup) -> Site {
    let site = Site::prepare(setup);
    write_private(&site.path("events.secret"), &format!("{SECRET}\n"));
    site.run();
    site.wait_ready();
    site
}

fn schedule_deletion(site: &Site, id: &str) {
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 7})).ok();
}

#[track_caller]
fn assert_event(event: &Value, detail_type: &str, key_id: &str) {
    let (id, time) = (event["id"].as_str().unwrap(), event["time"].as_str().unwrap());
    assert_eq!((id.len(), time.len(), &time[19..]), (36, 20, "Z"), "{event}");
    let expected = json!({"version": "0", "id": id, "detail-type": detail_type, "source": "aws.kms",
        "account": "123456789012", "time": time, "region": "us-east-1", "resources": [key_arn(key_id)],
        "detail": {"key-id": key_id}});
    assert_eq!(*event, expected);
}

#[test]
fn rotations_and_deletions_are_told_in_their_order_in_the_words_of_eventbridge() {
    let receiver = Receiver::start(Conduct::Answer(200));
    let site = start(&setup(&receiver));
    let (rotated, deleted) = (site.create_kms_key(), site.create_kms_key());
    site.kms("RotateKeyOnDemand", &json!({"KeyId": rotated})).ok();
    site.wait_until("the first event", || accepted(&receiver).len() == 1);
    site.kms("EnableKeyRotation", &json!({"KeyId": rotated, "RotationPeriodInDays": 90})).ok();
    schedule_deletion(&site, &deleted);
    site.advance_clock("8d");
    site.advance_clock("90d");
    site.wait_until("all events", || accepted(&receiver).len() == 3);
    let events = accepted(&receiver);
    assert_event(&events[0], "KMS CMK Rotation", &rotated);
    assert_event(&events[1], "KMS CMK Deletion", &deleted);
    assert_event(&events[2], "KMS CMK Rotation", &rotated);
    site.wait_until("nothing to wait", || {
        site.metric("holdfast_kms_events_waiting{detail_type=\"KMS CMK Rotation\"}") == Some(0.0)
    });
}

#[test]
fn a_receiver_that_errs_hangs_up_or_is_slow_gets_the_event_when_it_is_well() {
    let receiver = Receiver::start(Conduct::Answer(500));
    let site = start(&setup(&receiver));
    let ids: Vec<_> = (0..2).map(|_| site.create_kms_key()).collect();
    for id in &ids {
        site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    }
    let after_another = |conduct| {
        receiver.behave(conduct);
        let before = receiver.requests();
        site.wait_until("another attempt", || receiver.requests() > before);
    };
    after_another(Conduct::Answer(500));
    after_another(Conduct::HangUp);
    after_another(Conduct::Hang);
    // Nobody who uses keys notices.
    site.kms("Encrypt", &json!({"KeyId": ids[0], "Plaintext": "cGxhaW4="})).ok();
    assert_eq!(accepted(&receiver), Vec::<Value>::new());
    receiver.behave(Conduct::Answer(200));
    site.wait_until("both events", || accepted(&receiver).len() == 2);
    let told: Vec<_> = accepted(&receiver).iter().map(|event| event["detail"]["key-id"].clone()).collect();
    assert_eq!(told, ids);
    assert!(site.log().contains("cannot tell of `KMS CMK Rotation`"));
    assert!(!site.log().contains(SECRET));
}

#[test]
fn a_deletion_that_was_not_told_before_a_kill_is_told_after_it() {
    let receiver = Receiver::start(Conduct::Answer(503));
    let site = start(&setup(&receiver));
    let id = site.create_kms_key();
    schedule_deletion(&site, &id);
    site.advance_clock("8d");
    site.wait_until("an attempt", || receiver.requests() > 0);
    assert_eq!(site.kms("DescribeKey", &json!({"KeyId": id})).error().0, "NotFoundException");
    site.kill();
    receiver.behave(Conduct::Answer(200));
    site.run();
    site.wait_ready();
    site.wait_until("the event", || !accepted(&receiver).is_empty());
    assert_event(&accepted(&receiver)[0], "KMS CMK Deletion", &id);
}

#[test]
fn a_file_gets_a_line_for_each_event_also_after_it_was_moved_away() {
    let site = start(&with_events("[kms.events]\nfile = \"events.json\"\n"));
    let id = site.create_kms_key();
    let file = site.path("events.json");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default().matches('\n').count();
    for moved in ["first", "second"] {
        site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
        site.wait_until("the line", || lines() == 1);
        let line: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_event(&line, "KMS CMK Rotation", &id);
        std::fs::rename(&file, site.path(moved)).unwrap();
    }
}
