//! Grants: what they permit, to whom, and until when.

use serde_json::{Value, json};

use crate::support::kms::ACCOUNT;
use crate::support::kms_stories::user_arn;
use crate::support::{Setup, Site};

fn grant(site: &Site, key_id: &str, operations: &Value, constraints: &Value) -> String {
    let request = json!({"KeyId": key_id, "GranteePrincipal": user_arn("worker"), "Operations": operations,
        "Constraints": constraints});
    site.kms("CreateGrant", &request).text("GrantId")
}

fn encrypt(key_id: &str, context: &Value) -> Value {
    json!({"KeyId": key_id, "Plaintext": "cGxhaW4=", "EncryptionContext": context})
}

#[test]
fn a_grant_permits_its_operations_with_its_context_until_it_is_revoked() {
    let site = Site::start_with(&Setup::kms());
    let worker = site.kms_user("worker");
    let id = site.create_kms_key();
    site.assert_denied(&worker, "Encrypt", &encrypt(&id, &json!({})));

    let subset = grant(&site, &id, &json!(["Encrypt"]), &json!({"EncryptionContextSubset": {"a": "b"}}));
    for context in [json!({"a": "b"}), json!({"a": "b", "c": "d"})] {
        site.assert_allowed(&worker, "Encrypt", &encrypt(&id, &context));
    }
    for context in [json!({}), json!({"a": "c"}), json!({"A": "b"})] {
        site.assert_denied(&worker, "Encrypt", &encrypt(&id, &context));
    }
    site.assert_denied(&worker, "GenerateDataKey", &json!({"KeyId": id, "KeySpec": "AES_256"}));
    site.assert_denied(&worker, "DescribeKey", &json!({"KeyId": id}));
    site.assert_denied(&worker, "Encrypt", &encrypt(&site.create_kms_key(), &json!({"a": "b"})));
    site.kms("RevokeGrant", &json!({"KeyId": id, "GrantId": subset})).ok();
    site.assert_denied(&worker, "Encrypt", &encrypt(&id, &json!({"a": "b"})));

    grant(&site, &id, &json!(["Encrypt"]), &json!({"EncryptionContextEquals": {"a": "b"}}));
    site.assert_allowed(&worker, "Encrypt", &encrypt(&id, &json!({"a": "b"})));
    site.assert_denied(&worker, "Encrypt", &encrypt(&id, &json!({"a": "b", "c": "d"})));
}

#[test]
fn an_explicit_deny_wins_over_a_grant() {
    let site = Site::start_with(&Setup::kms());
    let worker = site.kms_user("worker");
    let id = site.create_kms_key();
    grant(&site, &id, &json!(["Encrypt"]), &json!({}));
    site.assert_allowed(&worker, "Encrypt", &encrypt(&id, &json!({})));
    let deny = json!([{"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*"}]);
    site.kms_user_may("worker", &deny);
    site.wait_until("the deny", || site.error_name(&worker, "Encrypt", &encrypt(&id, &json!({}))).is_some());
    site.assert_denied(&worker, "Encrypt", &encrypt(&id, &json!({})));
}

#[test]
fn a_grantee_hands_on_no_more_than_it_has() {
    let site = Site::start_with(&Setup::kms());
    let worker = site.kms_user("worker");
    let id = site.create_kms_key();
    let constraints = json!({"EncryptionContextSubset": {"a": "b"}});
    grant(&site, &id, &json!(["Encrypt", "CreateGrant"]), &constraints);
    let hand_on = |operations: Value, constraints: Value| {
        json!({"KeyId": id, "GranteePrincipal": format!("arn:aws:iam::{}:user/other", ACCOUNT.id),
            "Operations": operations, "Constraints": constraints})
    };
    let tighter = json!({"EncryptionContextSubset": {"a": "b", "c": "d"}});
    site.assert_allowed(&worker, "CreateGrant", &hand_on(json!(["Encrypt"]), tighter));
    site.assert_allowed(&worker, "CreateGrant", &hand_on(json!(["Encrypt"]), constraints.clone()));
    for (operations, constraints) in [
        (json!(["Decrypt"]), constraints.clone()),
        (json!(["Encrypt", "Decrypt"]), constraints),
        (json!(["Encrypt"]), json!({"EncryptionContextSubset": {"c": "d"}})),
        (json!(["Encrypt"]), json!({})),
    ] {
        site.assert_denied(&worker, "CreateGrant", &hand_on(operations, constraints));
    }
}

#[test]
fn what_is_no_grant_token_is_refused() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let request = |token: &str| json!({"KeyId": id, "Plaintext": "cGxhaW4=", "GrantTokens": [token]});
    assert_eq!(site.kms("Encrypt", &request("garbage")).error().0, "InvalidGrantTokenException");
    let made = json!({"KeyId": id, "GranteePrincipal": user_arn("worker"), "Operations": ["Encrypt"]});
    let token = site.kms("CreateGrant", &made).text("GrantToken");
    site.kms("Encrypt", &request(&token)).ok();
    // The token of another key adds nothing and takes nothing away, also when its grant is gone.
    let worker = site.kms_user("worker");
    let other = json!({"KeyId": site.create_kms_key(), "Plaintext": "cGxhaW4=", "GrantTokens": [token]});
    site.assert_allowed(&worker, "Encrypt", &request(&token));
    site.assert_denied(&worker, "Encrypt", &other);
    site.kms("RetireGrant", &json!({"GrantToken": token})).ok();
    site.assert_denied(&worker, "Encrypt", &request(&token));
    site.kms("Encrypt", &other).ok();
}
