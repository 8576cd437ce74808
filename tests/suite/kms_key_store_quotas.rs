//! What is counted and measured of custom key stores: requests, credentials, and nothing of what is not connected.

use holdfast::clock::{Clock, SystemClock};
use serde_json::json;

use crate::support::cluster_stores::site_with_cluster_and;
use crate::support::external_key_stores::proxy_credential;
use crate::support::kms_stories::PLAINTEXT;
use crate::support::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Setup, Site};

const RATE: usize = 3;

fn setup() -> Setup {
    Setup::kms_with_proxies("ca.pem", &format!("requests_per_second = {RATE}"))
}

#[test]
fn all_operations_on_all_keys_of_a_cluster_share_one_quota() {
    let site = site_with_cluster_and(setup());
    let store = site.connected_cluster_store("story");
    let keys = [site.create_cluster_key(&store), site.create_cluster_key(&store)];
    let random = json!({"NumberOfBytes": 8, "CustomKeyStoreId": store});
    let mut requests = Vec::new();
    for key in keys.iter().cycle().take(4 * RATE) {
        requests.push(("Encrypt", json!({"KeyId": key, "Plaintext": PLAINTEXT})));
        requests.push(("GenerateDataKey", json!({"KeyId": key, "NumberOfBytes": 8})));
        requests.push(("GenerateRandom", random.clone()));
    }
    let started = SystemClock.instant();
    let replies: Vec<_> =
        requests.iter().map(|(operation, body)| (*operation, site.kms(operation, body))).collect();
    // One more for each third of a second that it took.
    let allowed =
        RATE + 1 + usize::try_from((SystemClock.instant() - started).as_millis()).unwrap() * RATE / 1000;
    let (served, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|(_, reply)| reply.0.status == 200);
    assert!((RATE..=allowed).contains(&served.len()), "{} of {allowed}", served.len());
    for operation in ["Encrypt", "GenerateDataKey", "GenerateRandom"] {
        assert!(refused.iter().any(|(refused, _)| *refused == operation), "{operation}");
    }
    for (_, reply) in refused {
        let text =
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
        reply.assert_error("ThrottlingException", text);
    }
    // The metric of AWS KMS is of external key stores.
    let metrics = site.admin("/metrics").unwrap().1;
    assert!(!metrics.contains(&format!("throttled_total{{custom_key_store_id=\"{store}\"")), "{metrics}");
    // Keys in the default key store have nothing to do with it.
    let plain = site.create_kms_key();
    for _ in 0..2 * RATE {
        site.kms_encrypt(&plain);
    }
}

#[test]
fn the_age_of_a_credential_counts_from_its_last_change_while_the_key_store_is_connected() {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", ""));
    let store = site.create_external_store("story", &site.proxy_endpoint());
    let series = format!(
        "holdfast_kms_xks_proxy_credential_associated_timestamp_seconds{{custom_key_store_id=\"{store}\"}}"
    );
    assert_eq!(site.metric(&series), None);
    site.connect_store(&store);
    let key = site.create_external_key(&store, "foo");
    let first = site.metric(&series).unwrap();
    site.advance_clock("3d");
    let again =
        json!({"XksProxyAuthenticationCredential": proxy_credential(ACCESS_KEY_ID, SECRET_ACCESS_KEY)});
    site.update_store(&store, again).ok();
    site.kms_encrypt(&key);
    let days = (site.metric(&series).unwrap() - first) / 86_400.0;
    assert!((2.9..3.1).contains(&days), "{days}");
    site.update_store(&store, json!({"NewCustomKeyStoreName": "renamed"})).ok();
    site.kms_encrypt(&key);
    assert!((site.metric(&series).unwrap() - first) / 86_400.0 - days < 0.001);
    site.disconnect_store(&store);
    site.kms("DescribeKey", &json!({"KeyId": key})).ok();
    let metrics = site.admin("/metrics").unwrap().1;
    assert!(!metrics.contains(&store), "{metrics}");
}
