//! Cases and their answers.

use serde_json::{Value, json};

use crate::simulation::answer;

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1";

fn policy(statement: Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statement })
}

/// A case of alice, who wants to encrypt, with these members besides or instead.
fn answered(members: Value) -> Value {
    let account = json!({ "Sid": "Enable IAM policies", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
        "Principal": { "AWS": "arn:aws:iam::111122223333:root" } });
    let mut case = json!({
        "principal": ALICE, "action": "kms:Encrypt", "resource": KEY, "keyPolicy": policy(account),
    });
    case.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    serde_json::to_value(answer(&case.to_string())).unwrap()
}

fn allow() -> Value {
    policy(json!({ "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*" }))
}

#[test]
fn an_answer_names_the_statements_that_decide() {
    let identity = |policy: &Value| json!({ "identityPolicies": [{ "name": "work", "policy": policy }] });
    assert_eq!(
        answered(identity(&allow())),
        json!({ "decision": "allowed", "action": "kms:Encrypt", "resource": KEY, "statements": [
            { "kind": "resource-based policy", "statement": "Enable IAM policies" },
            { "kind": "identity-based policy", "policy": "work", "statement": "statement 1" },
        ]})
    );
    let deny = policy(json!({ "Sid": "No", "Effect": "Deny", "Action": "*", "Resource": "*" }));
    assert_eq!(
        answered(identity(&deny)),
        json!({ "decision": "explicitDeny", "action": "kms:Encrypt", "resource": KEY, "statements": [
            { "kind": "identity-based policy", "policy": "work", "statement": "No" },
        ]})
    );
    assert_eq!(
        answered(json!({})),
        json!({ "decision": "implicitDeny", "action": "kms:Encrypt", "resource": KEY, "missing": "identity-based policy" })
    );
}

#[test]
fn every_layer_is_heard() {
    let silent = policy(json!({ "Effect": "Allow", "Action": "kms:Sign", "Resource": "*" }));
    let everyone =
        policy(json!({ "Effect": "Allow", "Action": "kms:Sign", "Resource": "*", "Principal": "*" }));
    let of_one = json!([{ "name": "p", "policy": silent }]);
    for (member, value, missing) in [
        ("permissionsBoundary", silent.clone(), "permissions boundary"),
        ("sessionPolicies", of_one.clone(), "session policy"),
        ("serviceControlPolicies", of_one, "service control policy"),
        ("endpointPolicy", everyone, "VPC endpoint policy"),
    ] {
        let identity = json!([{ "name": "work", "policy": allow() }]);
        let answer = answered(json!({ "identityPolicies": identity, member: value }));
        assert_eq!((&answer["decision"], &answer["missing"]), (&json!("implicitDeny"), &json!(missing)));
    }
}

#[test]
fn a_grant_allows_what_policies_leave_open_within_its_constraints() {
    let grant = |members: Value| {
        let mut grant = json!({ "grantId": "g1", "granteePrincipal": ALICE, "operations": ["Encrypt"] });
        grant.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        json!([grant])
    };
    let constraint = json!({ "constraints": { "EncryptionContextSubset": { "tenant": "a" } } });
    for (grants, context, is_allowed) in [
        (grant(json!({})), json!({}), true),
        (grant(json!({ "operations": ["Decrypt"] })), json!({}), false),
        (grant(json!({ "granteePrincipal": "arn:aws:iam::111122223333:user/bob" })), json!({}), false),
        (grant(constraint.clone()), json!({}), false),
        (grant(constraint), json!({ "tenant": "a", "more": "b" }), true),
    ] {
        let answer = answered(json!({ "grants": grants, "encryptionContext": context }));
        assert_eq!(answer["decision"] == "allowed", is_allowed, "{grants}");
        assert_eq!(answer["grant"] == "g1", is_allowed);
    }
}

#[test]
fn the_encryption_context_is_in_the_context() {
    let condition = json!({ "StringEquals": { "kms:EncryptionContext:Tenant": "a" },
        "ForAnyValue:StringEquals": { "kms:EncryptionContextKeys": "tenant" } });
    let mut statement = allow()["Statement"].clone();
    statement["Condition"] = condition;
    let identity = json!([{ "name": "work", "policy": policy(statement) }]);
    for (context, decision) in
        [(json!({ "tenant": "a" }), "allowed"), (json!({ "tenant": "b" }), "implicitDeny")]
    {
        let answer = answered(json!({ "identityPolicies": identity, "encryptionContext": context }));
        assert_eq!(answer["decision"], decision);
    }
}

#[test]
fn a_case_that_cannot_be_decided_is_answered_with_the_reason() {
    let wrong = policy(json!({ "Effect": "Allow", "Action": "Encrypt", "Resource": "*" }));
    for (members, start) in [
        (json!({ "permissionsBoundary": wrong }), "permissionsBoundary: statement 1, `Action`: must be"),
        (
            json!({ "identityPolicies": [{ "name": "n", "policy": wrong }] }),
            "identityPolicies `n`: statement 1",
        ),
        (json!({ "keyPolicy": allow() }), "keyPolicy: statement 1 has no `Principal`"),
        (json!({ "keyPolicy": "{" }), "keyPolicy: not JSON"),
        (json!({ "context": { "x:a": {} } }), "context `x:a`: a value is"),
        (json!({ "identitiesPolicies": [] }), "unknown field `identitiesPolicies`"),
    ] {
        let answer = answered(members);
        assert!(answer["refused"].as_str().unwrap().starts_with(start), "{answer}");
    }
    let answer = serde_json::to_value(answer("nonsense")).unwrap();
    assert!(answer["refused"].as_str().unwrap().starts_with("expected"), "{answer}");
}

#[test]
fn a_document_may_be_given_as_text() {
    let identity = json!([{ "name": "work", "policy": allow().to_string() }]);
    assert_eq!(answered(json!({ "identityPolicies": identity }))["decision"], "allowed");
}

#[test]
fn people_read_a_sentence() {
    let said = |members: Value| {
        let mut case = json!({ "principal": ALICE, "action": "kms:Encrypt", "resource": KEY });
        case.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        answer(&case.to_string()).to_string()
    };
    assert_eq!(
        said(json!({ "identityPolicies": [{ "name": "work", "policy": allow() }] })),
        format!(
            "allowed: kms:Encrypt on {KEY}; allowed by `statement 1` of the identity-based policy `work`"
        )
    );
    assert_eq!(
        said(json!({})),
        format!("implicitDeny: kms:Encrypt on {KEY}; no identity-based policy allows it")
    );
}
