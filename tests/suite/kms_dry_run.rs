//! `DryRun`: everything is checked and nothing is done.

use serde_json::{Value, json};

use crate::support::{Setup, Site};

const ADMINISTRATOR: &str = "arn:aws:iam::123456789012:user/admin";

/// The operations that can be rehearsed and that there are, each as it would succeed.
fn requests(site: &Site, id: &str) -> Vec<(&'static str, Value)> {
    let blob = site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="})).text("CiphertextBlob");
    let grant = json!({"KeyId": id, "GranteePrincipal": ADMINISTRATOR, "Operations": ["Decrypt"]});
    let grant_id = site.kms("CreateGrant", &grant).text("GrantId");
    let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{id}");
    let mut requests = of_other_kinds(site);
    let pair = json!({"KeyId": id, "KeyPairSpec": "ECC_NIST_P256"});
    requests.extend([
        ("GenerateDataKeyPair", pair.clone()),
        ("GenerateDataKeyPairWithoutPlaintext", pair),
        ("CreateGrant", json!({"KeyId": id, "GranteePrincipal": ADMINISTRATOR, "Operations": ["Encrypt"]})),
        ("Decrypt", json!({"CiphertextBlob": blob, "KeyId": id})),
        ("Encrypt", json!({"KeyId": id, "Plaintext": "cGxhaW4="})),
        ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": id})),
        ("RetireGrant", json!({"KeyId": arn, "GrantId": grant_id})),
        ("RevokeGrant", json!({"KeyId": id, "GrantId": grant_id})),
    ]);
    requests
}

/// Those that other keys than symmetric encryption keys are for.
fn of_other_kinds(site: &Site) -> Vec<(&'static str, Value)> {
    let all = site.kms_requests().into_iter();
    all.filter(|(operation, _)| OF_OTHER_KINDS.contains(operation)).collect()
}

const OF_OTHER_KINDS: [&str; 7] =
    ["Decapsulate", "DeriveSharedSecret", "Encapsulate", "GenerateMac", "Sign", "Verify", "VerifyMac"];

fn rehearsed(body: &Value) -> Value {
    crate::support::site::merged(body.clone(), json!({"DryRun": true}))
}

#[test]
fn a_rehearsal_does_nothing_and_says_so() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let grants = || site.kms("ListGrants", &json!({"KeyId": id})).ok()["Grants"].clone();
    let last_usage = || site.kms("GetKeyLastUsage", &json!({"KeyId": id})).ok();
    let requests = requests(&site, &id);
    let (before, used) = (grants(), last_usage());
    for (operation, body) in &requests {
        let reply = site.kms(operation, &rehearsed(body));
        assert_eq!(reply.0.status, 400, "{operation}");
        reply.assert_error(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
        );
    }
    assert_eq!((grants(), last_usage()), (before, used));
    let in_the_log = || site.log().matches("\"DryRunOperationException\"").count();
    site.wait_until("the lines of the log", || in_the_log() == requests.len());
    // What is no rehearsal is done; retiring leaves nothing to revoke.
    for (operation, body) in requests.iter().filter(|(operation, _)| *operation != "RevokeGrant") {
        site.kms(operation, &crate::support::site::merged(body.clone(), json!({"DryRun": false}))).ok();
    }
}

#[test]
fn a_rehearsal_fails_as_the_request_would() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let requests = requests(&site, &id);
    let nobody = site.new_user(
        "nobody",
        &json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "*",
        }}),
    );
    for (operation, body) in &requests {
        let refused = site.kms_by(&nobody, operation, &rehearsed(body));
        assert_eq!(refused.error().0, "AccessDeniedException", "{operation}");
        for member in body.as_object().unwrap().keys() {
            let mut wrong = body.clone();
            wrong[member] = json!("");
            if *member == "Operations" || *member == "GranteePrincipal" {
                wrong[member] = json!([]);
            }
            let (real, rehearsal) = (site.kms(operation, &wrong), site.kms(operation, &rehearsed(&wrong)));
            assert_eq!(real.error(), rehearsal.error(), "{operation} {member}");
        }
    }
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    for (_, body) in requests.iter().filter(|(operation, _)| OF_OTHER_KINDS.contains(operation)) {
        site.kms("DisableKey", &json!({"KeyId": body["KeyId"]})).ok();
    }
    for (operation, body) in &requests {
        let expected = match *operation {
            "RetireGrant" | "RevokeGrant" => "DryRunOperationException",
            _ => "DisabledException",
        };
        assert_eq!(site.kms(operation, &rehearsed(body)).error().0, expected, "{operation}");
    }
}

/// The operations that have `DryRun`, by the description of the API.
fn rehearsable() -> Vec<&'static str> {
    let model = include_str!("../../src/kms/model/api.model");
    let operations = model.split("\noperation ").skip(1);
    let with_dry_run =
        operations.filter(|text| text.lines().skip(1).any(|line| line == "  DryRun NullableBooleanType"));
    with_dry_run.map(|text| text.lines().next().unwrap()).collect()
}

/// Each of the table, as soon as there is such an operation.
#[test]
fn every_operation_that_can_be_rehearsed_is() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let requests = requests(&site, &id);
    let operations = rehearsable();
    assert!(operations.len() >= 14, "{operations:?}");
    let mut built = 0;
    for (operation, body) in site.kms_requests() {
        if !operations.contains(&operation) {
            continue;
        }
        let reply = site.kms(operation, &rehearsed(&body));
        let (name, text) = reply.error();
        if name == "UnsupportedOperationException" && text.contains("does not support") {
            continue;
        }
        let is_here = requests.iter().any(|(here, _)| *here == operation);
        assert!(is_here, "{operation} is missing in this file");
        built += 1;
    }
    assert!(built >= requests.len(), "{built}");
}

#[test]
fn a_rehearsed_grant_finds_no_room_where_a_real_one_would_not() {
    let site = Site::start_with(&Setup::kms_with_resource_quotas("grants_per_key = 1"));
    let id = site.create_kms_key();
    let named =
        json!({"KeyId": id, "GranteePrincipal": ADMINISTRATOR, "Operations": ["Encrypt"], "Name": "a"});
    let other = crate::support::site::merged(named.clone(), json!({"Name": "b"}));
    assert_eq!(site.kms("CreateGrant", &rehearsed(&named)).error().0, "DryRunOperationException");
    let made = site.kms("CreateGrant", &named).text("GrantId");
    assert_eq!(site.kms("CreateGrant", &rehearsed(&other)).error().0, "LimitExceededException");
    // The same one again is no further one.
    assert_eq!(site.kms("CreateGrant", &rehearsed(&named)).error().0, "DryRunOperationException");
    assert_eq!(site.kms("CreateGrant", &named).text("GrantId"), made);
    let missing = json!({"KeyId": id, "GrantId": "0".repeat(64)});
    assert_eq!(site.kms("RevokeGrant", &rehearsed(&missing)).error().0, "NotFoundException");
}

#[test]
fn a_rehearsal_counts_against_the_quota_of_requests() {
    let kms = "[kms.request_quotas.per_second]\nRevokeGrant = 0.0001\n".to_owned();
    let site = Site::start_with(&Setup { kms: Some(kms), ..Setup::kms() });
    let id = site.create_kms_key();
    let request = rehearsed(&json!({"KeyId": id, "GrantId": "0".repeat(64)}));
    assert_eq!(site.kms("RevokeGrant", &request).error().0, "NotFoundException");
    assert_eq!(site.kms("RevokeGrant", &request).error().0, "ThrottlingException");
}
