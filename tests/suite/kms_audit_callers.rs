//! Who stands in a record, in whose trail it is, and how calls are recorded that came to no answer.

use std::time::Duration;

use proxy_api::client::Connection;
use serde_json::{Value, json};

use crate::support::changes::Reload;
use crate::support::kms::{ACCOUNT, KmsClient, OTHER_ACCOUNT, signed};
use crate::support::kms_callers::Credentials;
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn, policy};
use crate::support::pki::write_private;
use crate::support::records::{assert_members, of_key, request_id, resource};
use crate::support::{Setup, Site};

fn site() -> Site {
    Site::start_with(&Setup::kms())
}

/// With a deadline that a test can wait for.
fn site_with_deadline() -> Site {
    let site = Site::prepare(&Setup { shim: true, ..Setup::kms() });
    site.edit_configuration(|text| text.replace("request_deadline_ms = 20000", "request_deadline_ms = 1500"));
    site.run();
    site.wait_ready();
    site
}

#[test]
fn malformed_and_throttled_requests_are_recorded_too() {
    let quota = "[kms.request_quotas]\nenabled = true\n[kms.request_quotas.per_second]\nListKeys = 1\n";
    let setup = Setup { kms: Some(quota.to_owned()), ..Setup::kms() };
    let site = Site::start_with(&setup);
    let record = |operation: &str, body: &Value| site.record_of(&site.kms(operation, body));
    let short = record("Encrypt", &json!({"KeyId": "", "Plaintext": PLAINTEXT}));
    assert_eq!(short["errorCode"], "ValidationException");
    assert_eq!(short["requestParameters"]["keyId"], json!(""));
    let list = record("Encrypt", &json!([1]));
    assert_eq!(
        (&list["errorCode"], &list["requestParameters"]),
        (&json!("SerializationException"), &Value::Null)
    );
    let throttled =
        (0..20).map(|_| site.kms("ListKeys", &json!({"Limit": 7}))).find(|reply| reply.0.status != 200);
    let throttled = site.record_of(&throttled.unwrap());
    assert_eq!(throttled["errorCode"], "ThrottlingException");
    assert_eq!(throttled["requestParameters"], json!({"limit": 7}));
    assert_eq!(throttled["userIdentity"]["accountId"], json!(ACCOUNT.id));
}

#[test]
fn strangers_are_recorded_by_what_they_claim_and_not_without_end() {
    let site = site();
    let mut forged = signed(&ACCOUNT, "ListKeys", &json!({}));
    "wrong".clone_into(&mut forged.secret_access_key);
    let mut client = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
    let reply = client.send(&forged).unwrap();
    let record = site.record_of(&reply);
    let identity = json!({"type": "Unknown", "accessKeyId": ACCOUNT.access_key_id});
    let expected = json!({
        "userIdentity": identity, "errorCode": "InvalidSignatureException", "requestParameters": null,
        "responseElements": null, "resources": [], "awsRegion": "us-east-1",
    });
    assert_members(&record, &expected);
    assert_eq!(record.get("recipientAccountId"), None);
    let forger = Credentials { secret_access_key: "wrong".to_owned(), ..ACCOUNT.credentials() };
    site.sts_by(&forger, "GetCallerIdentity", &[]).assert_error(403, "SignatureDoesNotMatch");
    let is_sts = |record: &Value| record["eventSource"] == "sts.amazonaws.com";
    let records = site.records_with("a record of the stranger at STS", is_sts);
    let record = records.iter().find(|record| is_sts(record)).unwrap();
    let expected = json!({
        "userIdentity": {"type": "Unknown", "accessKeyId": ACCOUNT.access_key_id}, "eventName": "GetCallerIdentity",
        "errorCode": "SignatureDoesNotMatch", "requestParameters": null, "awsRegion": "us-east-1",
    });
    assert_members(record, &expected);
    // A burst of a hundred, and ten a second; the rest is counted.
    for _ in 0..300 {
        client.send(&forged).unwrap();
    }
    site.wait_until("strangers were dropped", || {
        site.metric("holdfast_audit_records_of_strangers_dropped_total").is_some_and(|dropped| dropped > 0.0)
    });
    let unknown_operation = site.kms("NoSuchOperation", &json!({}));
    let last = site.kms("ListKeys", &json!({}));
    site.record_of(&last);
    let id = request_id(&unknown_operation);
    assert!(site.records().iter().all(|record| record["requestID"] != json!(id)));
}

#[test]
fn a_reload_that_changes_who_may_call_is_recorded_and_no_other() {
    let site = site();
    let name = "UpdateDeclaredIdentities";
    site.reload(Reload::Taken, || site.hang_up());
    site.record_of(&site.kms("ListKeys", &json!({})));
    assert!(site.records().iter().all(|record| record["eventName"] != name));
    let path = site.path("accounts.toml");
    let declared = std::fs::read_to_string(&path).unwrap();
    site.reload(Reload::Taken, || write_private(&path, &(declared.clone() + "# another\n")));
    let records = site.records_with("a record of the reload", |record| record["eventName"] == name);
    let record = records.iter().find(|record| record["eventName"] == name).unwrap();
    assert_members(record, &json!({"eventSource": "iam.amazonaws.com", "userAgent": "reload"}));
    let files = record["requestParameters"]["files"].as_array().unwrap();
    assert!(files[0]["path"].as_str().unwrap().ends_with("accounts.toml"), "{record}");
    assert_eq!(files[0]["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn a_key_of_another_account_is_recorded_in_both_unless_it_was_denied() {
    let site = site();
    let statement = json!({
        "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id)},
        "Action": ["kms:Encrypt", "kms:DescribeKey"], "Resource": "*",
    });
    let key = site.create_key_with(&json!({"Policy": delegating_policy(&[statement])}));
    let encrypt = json!({"KeyId": key_arn(&key), "Plaintext": PLAINTEXT});
    let used = site.kms_as(&OTHER_ACCOUNT, "Encrypt", &encrypt);
    used.ok();
    let records = site.records_of(&used);
    let [callers, owners] = records.as_slice() else { panic!("{records:#?}") };
    let arn = format!("arn:aws:iam::{}:user/admin", OTHER_ACCOUNT.id);
    assert_members(&callers["userIdentity"], &json!({"type": "IAMUser", "arn": arn}));
    assert_eq!(callers["recipientAccountId"], json!(OTHER_ACCOUNT.id));
    let foreign = json!({
        "type": "AWSAccount", "principalId": callers["userIdentity"]["principalId"], "accountId": OTHER_ACCOUNT.id,
    });
    assert_members(owners, &json!({"userIdentity": foreign, "recipientAccountId": ACCOUNT.id}));
    assert_eq!(callers["sharedEventID"], owners["sharedEventID"]);
    assert!(callers["sharedEventID"].is_string());
    assert_ne!(callers["eventID"], owners["eventID"]);
    for record in &records {
        assert_eq!(record["resources"], json!([resource(&key_arn(&key))]));
        assert_eq!(record["requestParameters"]["keyId"], json!(key_arn(&key)));
    }
    let data_key = json!({"KeyId": key_arn(&key), "KeySpec": "AES_256"});
    let denied = site.record_of(&site.kms_as(&OTHER_ACCOUNT, "GenerateDataKey", &data_key));
    let expected = json!({
        "errorCode": "AccessDeniedException", "recipientAccountId": OTHER_ACCOUNT.id, "resources": [],
    });
    assert_members(&denied, &expected);
    site.kms("DisableKey", &of_key(&key)).ok();
    let disabled = site.records_of(&site.kms_as(&OTHER_ACCOUNT, "Encrypt", &encrypt));
    assert_eq!(disabled.len(), 2, "{disabled:#?}");
}

#[test]
fn a_role_session_is_recorded_with_its_role_and_sts_without_secrets() {
    let site = site();
    let trust = policy(&json!([{
        "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", ACCOUNT.id)},
        "Action": "sts:AssumeRole",
    }]));
    std::fs::write(site.path("trust.json"), trust.to_string()).unwrap();
    let role = ["role", "create", "--account", ACCOUNT.id, "reader", "--trust-policy", "trust.json"];
    site.holdfast_ok(&[&["identity"][..], &role].concat());
    site.put_policy(
        "role",
        "reader",
        &policy(&json!([{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}])),
    );
    let arn = format!("arn:aws:iam::{}:role/reader", ACCOUNT.id);
    let parameters = [("RoleArn", arn.as_str()), ("RoleSessionName", "s1")];
    let credentials = site.sts_by(&ACCOUNT.credentials(), "AssumeRole", &parameters).credentials();
    let listed = site.kms_by(&credentials, "ListKeys", &json!({}));
    let identity = site.record_of(&listed)["userIdentity"].clone();
    let session = format!("arn:aws:sts::{}:assumed-role/reader/s1", ACCOUNT.id);
    let expected = json!({"type": "AssumedRole", "arn": session, "accessKeyId": credentials.access_key_id});
    assert_members(&identity, &expected);
    assert!(identity.get("userName").is_none());
    let context = &identity["sessionContext"];
    assert_eq!(context["attributes"]["mfaAuthenticated"], json!("false"));
    assert_members(&context["sessionIssuer"], &json!({"type": "Role", "arn": arn, "userName": "reader"}));
    let records = site.records();
    let find = |name: &str| records.iter().find(|record| record["eventName"] == name).unwrap().clone();
    let assumed = find("AssumeRole");
    let expected = json!({
        "eventSource": "sts.amazonaws.com", "requestParameters": {"roleArn": arn, "roleSessionName": "s1"},
        "resources": [{"accountId": ACCOUNT.id, "type": "AWS::IAM::Role", "ARN": arn}],
    });
    assert_members(&assumed, &expected);
    assert_eq!(assumed["responseElements"]["credentials"]["accessKeyId"], json!(credentials.access_key_id));
    let created = find("CreateRole");
    let expected = json!({"eventSource": "iam.amazonaws.com", "recipientAccountId": ACCOUNT.id});
    assert_members(&created, &expected);
    assert!(site.intents().iter().any(|intent| intent["eventID"] == created["eventID"]));
    assert_eq!(find("PutRolePolicy")["requestParameters"]["policyName"], json!("p"));
    let trail = site.trail_lines().join("\n");
    for secret in [&credentials.secret_access_key, credentials.session_token.as_ref().unwrap()] {
        assert!(!trail.contains(secret.as_str()));
    }
}

#[test]
fn what_timed_out_and_what_its_client_left_is_recorded_too() {
    let site = site_with_deadline();
    let key = site.create_kms_key();
    let encrypt = json!({"KeyId": key, "Plaintext": PLAINTEXT});
    site.kms("Encrypt", &encrypt).ok();
    site.inject("C_Encrypt hang");
    let late = site.record_of(&site.kms("Encrypt", &encrypt));
    assert_eq!(late["errorCode"], "DependencyTimeoutException");
    assert_eq!(late["resources"], json!([resource(&key_arn(&key))]));
    site.inject("");
    site.wait_until("the sessions", || {
        site.metric(r#"holdfast_hsm_sessions_stuck{hsm="softhsm"}"#) == Some(0.0)
    });
    site.kms("Encrypt", &encrypt).ok();
    site.inject("C_Encrypt hang");
    let endpoint = site.kms_endpoint();
    let outgoing = signed(&ACCOUNT, "Encrypt", &encrypt).outgoing(endpoint.host());
    site.runtime.block_on(async {
        let mut connection = Connection::open(&endpoint).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(500), connection.send(outgoing)).await;
        assert!(answer.is_err(), "there was an answer");
    });
    let is_left = |record: &Value| record["errorCode"] == "ClientGone";
    let records = site.records_with("the call that its client left", is_left);
    let left = records.iter().find(|record| is_left(record)).unwrap();
    let expected = json!({
        "eventName": "Encrypt", "errorMessage": "the client went away before the answer",
        "responseElements": null, "resources": [resource(&key_arn(&key))],
    });
    assert_members(left, &expected);
}

#[test]
fn what_development_does_is_recorded() {
    let site = site();
    site.advance_clock("1d");
    let (status, text) = site.admin_request("POST", "/dev/reset").unwrap();
    assert_eq!(status, 200, "{text}");
    let records = site.records_with("the reset", |record| record["eventName"] == "Reset");
    let advanced = records.iter().find(|record| record["eventName"] == "AdvanceClock").unwrap();
    let expected = json!({
        "eventSource": "dev.holdfast", "requestParameters": {"seconds": 86_400}, "userAgent": "admin listener",
        "userIdentity": {"type": "Unknown", "principalId": "local-administrator"},
    });
    assert_members(advanced, &expected);
}
