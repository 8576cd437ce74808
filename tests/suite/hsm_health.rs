//! GetHealthStatus over several HSMs, and how requests get round one that is down.

use serde_json::{Value, json};

use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";
const VALUE: &str = "0123456789abcdef0123456789abcdef";

/// A key store over two tokens, `softhsm` and `second`, that hold the same key `shared`.
fn cluster() -> Site {
    let site = Site::prepare(&Setup {
        tables: r#"
[[hsm]]
name = "second"
module = "second.so"
token_label = "second"
pin_file = "pin"
"#
        .to_owned(),
        health: "probe_interval_seconds = 1".to_owned(),
        ..Setup::default()
    });
    std::fs::copy(crate::support::site::SOFTHSM, site.path("second.so")).unwrap();
    site.init_token("second");
    site.holdfast_ok(&["key", "create", "holdfast-health", "--hsm", "second"]);
    for token in ["holdfast", "second"] {
        site.other_tool_on(token, &format!("import shared {VALUE}"));
    }
    site.edit_configuration(|text| text.replace(r#"hsms = ["softhsm"]"#, r#"hsms = ["softhsm", "second"]"#));
    site.run();
    site.wait_ready();
    site
}

/// The states by HSM, in the order of the answer.
fn states(site: &Site) -> Vec<(String, String)> {
    let health = site.health().assert_ok().json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let details = health["ekmFleetDetails"].as_array().unwrap();
    details.iter().map(|detail| (text(&detail["id"]), text(&detail["healthStatus"]))).collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.into_iter().map(|(id, state)| (id.to_owned(), state.to_owned())).collect()
}

#[test]
fn each_hsm_is_an_entry_with_vendor_and_model_the_worst_first() {
    let site = cluster();
    let health = site.health().assert_ok().json();
    assert_eq!(health["ekmVendor"], "SoftHSM project");
    assert_eq!(health["xksProxyVendor"], "Holdfast");
    assert_eq!(states(&site), pairs([("second", "ACTIVE"), ("softhsm", "ACTIVE")]));
    for detail in health["ekmFleetDetails"].as_array().unwrap() {
        let model = detail["model"].as_str().unwrap();
        assert!(model.starts_with("SoftHSM v2 hardware 2.") && model.contains(" firmware 2."), "{model}");
    }

    let away = site.take_away(&site.token_folder("holdfast"));
    site.wait_until("one down", || {
        states(&site) == pairs([("softhsm", "UNAVAILABLE"), ("second", "ACTIVE")])
    });
    let away_too = site.take_away(&site.token_folder("second"));
    site.wait_until("all down", || {
        states(&site) == pairs([("second", "UNAVAILABLE"), ("softhsm", "UNAVAILABLE")])
    });
    site.encrypt("shared", PLAINTEXT, json!({})).assert_error(500, "InternalException");
    away.put_back();
    away_too.put_back();
    site.wait_until("all back", || states(&site) == pairs([("second", "ACTIVE"), ("softhsm", "ACTIVE")]));
    site.encrypt("shared", PLAINTEXT, json!({})).assert_ok();
}

#[test]
fn a_lost_hsm_costs_no_request_while_another_has_the_same_keys() {
    let site = cluster();
    let encrypted = site.encrypt("shared", PLAINTEXT, json!({})).assert_ok().json();
    for (label, other) in [("holdfast", "second"), ("second", "softhsm")] {
        let away = site.take_away(&site.token_folder(label));
        // From the first request on, before any probe has noticed.
        for _ in 0..10 {
            site.encrypt("shared", PLAINTEXT, json!({})).assert_ok();
            let reply = site.decrypt("shared", &encrypted, json!({}));
            assert_eq!(reply.assert_ok().bytes("plaintext"), PLAINTEXT);
        }
        site.wait_until("the other HSM in the log", || {
            site.request_lines().iter().rfind(|line| line["hsm"].is_string()).unwrap()["hsm"] == other
        });
        site.encrypt("unknown", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
        site.wait_until("one down", || states(&site)[0].1 == "UNAVAILABLE");
        away.put_back();
        site.wait_until("both", || states(&site) == pairs([("second", "ACTIVE"), ("softhsm", "ACTIVE")]));
    }
}

/// They share the key, and so its budget of encryptions.
#[test]
fn encryptions_of_all_hsms_of_a_key_store_count_together() {
    let site = cluster();
    site.stop();
    let half = json!({"shared/": 1u64 << 31});
    let ledger = json!({"softhsm": half, "second": half}).to_string();
    std::fs::write(site.path("state/invocations.json"), ledger).unwrap();
    site.run();
    site.wait_ready();
    site.encrypt("shared", PLAINTEXT, json!({})).assert_error(400, "InvalidStateException");
}

#[test]
fn the_log_says_which_hsm_changed_its_state_and_why() {
    let site = Site::start_with(&Setup {
        health: "probe_interval_seconds = 1".to_owned(),
        shim: true,
        ..Setup::default()
    });
    let transitions = || {
        let log = site.log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["state"].is_string())
            .map(|event| event["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    site.inject("C_Encrypt delay_ms=150");
    site.wait_until("DEGRADED", || states(&site) == pairs([("softhsm", "DEGRADED")]));
    assert_eq!(site.admin_status("/readyz"), Some(200), "a slow HSM still serves");
    assert_eq!(site.metric(r#"holdfast_hsm_state{hsm="softhsm",state="DEGRADED"}"#), Some(1.0));
    assert_eq!(site.metric(r#"holdfast_hsm_state{hsm="softhsm",state="ACTIVE"}"#), Some(0.0));
    site.inject("C_Encrypt code=CKR_DEVICE_ERROR");
    site.wait_until("UNAVAILABLE", || states(&site) == pairs([("softhsm", "UNAVAILABLE")]));
    site.inject("");
    site.wait_until("ACTIVE", || states(&site) == pairs([("softhsm", "ACTIVE")]));
    // On a busy machine there are more.
    site.wait_until("all transitions in the log", || {
        let transitions = transitions();
        let mut later = transitions.iter();
        [
            ("HSM softhsm is DEGRADED: the probe took ", " ms"),
            ("HSM softhsm is UNAVAILABLE: ", "C_Encrypt returned DeviceError"),
            ("HSM softhsm is ACTIVE: ", "probe passed"),
        ]
        .into_iter()
        .all(|(start, end)| later.any(|event| event.starts_with(start) && event.ends_with(end)))
    });
}

/// Health is exempt from what stops keys, and needs no HSM.
#[test]
fn health_is_answered_while_every_key_is_blocked() {
    let site = Site::start();
    site.holdfast_ok(&["key", "block", "foo"]);
    assert_eq!(states(&site), pairs([("softhsm", "ACTIVE")]));
}

#[test]
fn a_key_is_taken_up_although_another_hsm_has_trouble() {
    let site = cluster();
    let away = site.take_away(&site.token_folder("second"));
    site.wait_until("trouble", || states(&site).contains(&("second".to_owned(), "UNAVAILABLE".to_owned())));
    let said = site.holdfast_ok(&["key", "create", "fresh", "--hsm", "softhsm"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((lines.len(), lines[2]), (3, "the running daemon has taken it up"), "{said}");
    assert!(lines[0].starts_with("made key fresh version 1"), "{said}");
    assert!(
        lines[1].starts_with("apart from this: the daemon cannot read the keys of HSM second ("),
        "{said}"
    );
    drop(away);
}
