//! The quota of a key store: what is above it is answered with 429, and nobody else pays for it.

use holdfast::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::at_once::Pending;
use crate::support::changes::Reload;
use crate::support::client::Signed;
use crate::support::requests::PATHS;
use crate::support::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use crate::support::traffic::Traffic;
use crate::support::{Reply, Setup, Site};

fn with_quota(line: &str) -> Site {
    let site = Site::prepare(&Setup { key_store: line.to_owned(), ..Setup::default() });
    site.add_key_store("other", "");
    site.run();
    site.wait_ready();
    site
}

fn health() -> Value {
    json!({"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "request-above-the-quota"}})
}

/// Sends at once what is more than a second's worth.
fn burst(site: &Site, path: &str, body: &Value) -> Vec<Reply> {
    let requests: Vec<Signed> = (0..8).map(|_| site.signed(path, body)).collect();
    site.at_once(&requests)
}

#[test]
fn every_operation_above_the_quota_is_throttled_and_another_store_is_not() {
    let site = with_quota("requests_per_second = 1");
    let other = Traffic::start(&site.caller_of("other", ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    for path in PATHS {
        let replies = burst(&site, path, &health());
        let throttled: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
        assert!(throttled.len() >= 4, "{path}: {replies:?}");
        throttled.iter().for_each(|reply| reply.assert_error(429, "ThrottlingException"));
    }
    other.wait_for_more(&site);
    other.stop();
    // It is a rate, not an end.
    site.wait_until("room", || site.health().status == 200);
    let counted =
        r#"holdfast_xks_requests_total{error="ThrottlingException",key_store="test",operation="Encrypt"}"#;
    assert!(site.metric(counted).is_some_and(|count| count >= 4.0));
    let line = site.lines_with_outcome("ThrottlingException", 4).remove(0);
    assert_eq!(line["requestMetadata"]["kmsRequestId"], "request-above-the-quota");
}

#[test]
fn whoever_cannot_sign_uses_nothing_of_the_quota() {
    let site = with_quota("requests_per_second = 1");
    for _ in 0..8 {
        let mut stranger = site.signed("health", &health());
        stranger.secret_access_key = "wrong".to_owned();
        site.send_signed(&stranger).assert_error(401, "AuthenticationFailedException");
    }
    site.health().assert_ok();
}

#[test]
fn below_the_quota_nothing_is_throttled() {
    let site = with_quota("requests_per_second = 1000");
    let pending: Vec<Pending> = (0..20).map(|_| site.start_request(&site.encrypt_request("foo"))).collect();
    pending.into_iter().for_each(|pending| assert_eq!(pending.wait(&site).status, 200));
}

/// Reloading again and again must not be a way around the quota.
#[test]
fn an_unchanged_quota_goes_on_counting_over_reloads() {
    let site = with_quota("requests_per_second = 1");
    let started = SystemClock.instant();
    let served = (0..12).filter(|_| {
        site.reload(Reload::Taken, || site.hang_up());
        site.health().status == 200
    });
    let served = u64::try_from(served.count()).unwrap();
    // One at first, and one for each second; counted anew by every reload it would be all of them.
    let allowed = 2 + (SystemClock.instant() - started).as_secs();
    assert!(served <= allowed, "{served} served in {allowed} s");
    site.reload(Reload::Taken, || {
        site.edit_configuration(|text| text.replace("requests_per_second = 1", "requests_per_second = 1000"));
    });
    (0..5).for_each(|_| _ = site.health().assert_ok());
}
