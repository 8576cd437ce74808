//! Principals, actions and resources; which statement decides; printing.

use serde_json::json;

use crate::policy::AttachedTo;
use crate::policy::Context;
use crate::policy::Finding;
use crate::policy::Naming;
use crate::policy::PolicyDocument;
use crate::policy::Principal;
use crate::policy::Request;
use crate::policy::StatementRef;
use crate::policy::evaluate;
use crate::policy::tests::ALICE;
use crate::policy::tests::KEY;
use crate::policy::tests::decide;
use crate::policy::tests::is_allowed;
use crate::policy::tests::parse;
use crate::policy::tests::policy;
use crate::policy::tests::request;

const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/Ops/alice";
const ROOT: &str = "arn:aws:iam::111122223333:root";

#[test]
fn a_principal_names_its_callers() {
    let ops = "arn:aws:iam::111122223333:role/path/to/Ops";
    for (principal, caller, expected) in [
        (json!("*"), ALICE, true),
        (json!("*"), "AWS Internal", true),
        (json!({ "AWS": "*" }), "ec2.amazonaws.com", true),
        (json!({ "AWS": "111122223333" }), ALICE, true),
        (json!({ "AWS": "111122223333" }), SESSION, true),
        (json!({ "AWS": "111122223333" }), ROOT, true),
        (json!({ "AWS": "111122223333" }), "arn:aws:iam::111122223334:user/Alice", false),
        (json!({ "AWS": "111122223333" }), "ec2.amazonaws.com", false),
        (json!({ "AWS": ROOT }), ALICE, true),
        (json!({ "AWS": ROOT }), "arn:aws:iam::999999999999:root", false),
        (json!({ "AWS": ALICE }), ALICE, true),
        (json!({ "AWS": ALICE }), "arn:aws:iam::111122223333:user/alice", false),
        (json!({ "AWS": ALICE }), SESSION, false),
        (json!({ "AWS": ops }), ops, true),
        (json!({ "AWS": ops }), SESSION, true),
        (json!({ "AWS": ops }), "arn:aws:sts::111122223333:assumed-role/Ops2/alice", false),
        (json!({ "AWS": ops }), "arn:aws:sts::999999999999:assumed-role/Ops/alice", false),
        (json!({ "AWS": ops }), "arn:aws-cn:sts::111122223333:assumed-role/Ops/alice", false),
        (json!({ "AWS": ops }), "arn:aws:iam::111122223333:assumed-role/Ops/alice", false),
        (json!({ "AWS": SESSION }), SESSION, true),
        (json!({ "AWS": SESSION }), "arn:aws:sts::111122223333:assumed-role/Ops/bob", false),
        (json!({ "AWS": [ops, ALICE] }), ALICE, true),
        (json!({ "Service": "ec2.amazonaws.com" }), "ec2.amazonaws.com", true),
        (json!({ "Service": "ec2.amazonaws.com" }), "rds.amazonaws.com", false),
        (json!({ "Federated": "accounts.example" }), "accounts.example", false),
        (json!({ "Service": "ec2.amazonaws.com", "AWS": ALICE }), ALICE, true),
    ] {
        let policy = policy(json!({ "Effect": "Allow", "Principal": principal, "Action": "*" }));
        assert_eq!(
            is_allowed(&request(caller, "kms:Encrypt", KEY), &policy),
            expected,
            "{principal} {caller}"
        );
    }
}

#[test]
fn an_entry_means_only_callers_of_its_type() {
    let service = "ec2.amazonaws.com";
    for (principal, caller, expected) in [
        (json!({ "Federated": ALICE }), ALICE, false),
        (json!({ "Federated": "111122223333" }), ALICE, false),
        (json!({ "Federated": service }), service, false),
        (json!({ "Service": service }), service, true),
        (json!({ "Service": service }), ALICE, false),
        (json!({ "Federated": ALICE, "Service": service, "AWS": "111122223333" }), service, true),
        (json!({ "Federated": ALICE, "AWS": ALICE }), ALICE, true),
        (json!({ "AWS": "*" }), service, true),
    ] {
        let allow = policy(json!({ "Effect": "Allow", "Principal": principal, "Action": "*" }));
        assert_eq!(
            is_allowed(&request(caller, "kms:Encrypt", KEY), &allow),
            expected,
            "{principal} {caller}"
        );
        let deny = policy(json!({ "Effect": "Deny", "NotPrincipal": principal, "Action": "*" }));
        let finding = decide(&request(caller, "kms:Encrypt", KEY), &deny);
        assert_eq!(finding == Finding::Silent, expected, "{principal} {caller}");
    }
}

#[test]
fn not_principal_spares_the_named_and_no_one_else_of_their_account() {
    for (spared, caller, is_denied) in [
        (json!({ "AWS": [ALICE, ROOT] }), ALICE, false),
        (json!({ "AWS": [ALICE, ROOT] }), ROOT, false),
        (json!({ "AWS": [ALICE, ROOT] }), "arn:aws:iam::111122223333:user/Bob", true),
        (json!({ "AWS": ["arn:aws:iam::111122223333:role/Ops", "111122223333"] }), SESSION, false),
        (json!({ "AWS": ["arn:aws:iam::111122223333:role/Ops", "111122223333"] }), ALICE, true),
        (json!({ "AWS": [ALICE, ROOT] }), "AWS Internal", true),
    ] {
        let policy = policy(json!({ "Effect": "Deny", "NotPrincipal": spared, "Action": "*" }));
        let finding = decide(&request(caller, "kms:Encrypt", KEY), &policy);
        assert_eq!(finding != Finding::Silent, is_denied, "{spared} {caller}");
    }
}

#[test]
fn a_principal_knows_its_account() {
    assert_eq!(Principal::new(SESSION).account(), Some("111122223333"));
    for text in ["AWS Internal", "ec2.amazonaws.com", "arn:aws:s3:::bucket", "arn:aws:iam", ""] {
        assert_eq!(Principal::new(text).account(), None, "{text}");
    }
}

#[test]
fn actions_ignore_case_and_take_wildcards() {
    for (selector, action, expected) in [
        (json!({ "Action": "*" }), "kms:Encrypt", true),
        (json!({ "Action": "kms:*" }), "kms:Encrypt", true),
        (json!({ "Action": "KMS:enCRYPT" }), "kms:Encrypt", true),
        (json!({ "Action": "kms:*crypt" }), "kms:Decrypt", true),
        (json!({ "Action": "kms:??crypt" }), "kms:Encrypt", true),
        (json!({ "Action": "kms:?crypt" }), "kms:Encrypt", false),
        (json!({ "Action": "kms:Encrypt" }), "kms:EncryptMore", false),
        (json!({ "Action": ["kms:Encrypt", "kms:Re*"] }), "kms:ReEncryptTo", true),
        (json!({ "Action": "s3:*" }), "kms:Encrypt", false),
        (json!({ "NotAction": "kms:*" }), "kms:Encrypt", false),
        (json!({ "NotAction": ["kms:Decrypt", "kms:Re*"] }), "kms:Encrypt", true),
    ] {
        let mut statement = json!({ "Effect": "Allow" });
        statement.as_object_mut().unwrap().extend(selector.as_object().unwrap().clone());
        let policy = policy(statement);
        assert_eq!(is_allowed(&request(ALICE, action, KEY), &policy), expected, "{selector} {action}");
    }
}

#[test]
fn resources_are_compared_component_by_component() {
    for (selector, resource, expected) in [
        (json!({}), KEY, true),
        (json!({ "Resource": "*" }), "not an ARN", true),
        (json!({ "Resource": "arn:aws:kms:*:*:key/*" }), KEY, true),
        (json!({ "Resource": "arn:aws:kms:*:*:key/*" }), "not an ARN", false),
        (json!({ "Resource": "arn:aws:kms:*" }), KEY, true),
        (json!({ "Resource": "arn:aws:s3:*" }), KEY, false),
        (json!({ "Resource": "arn:aws:kms:us-*" }), KEY, true),
        (json!({ "Resource": "arn:aws:kms:*:111122223333:key/1234" }), KEY, true),
        (
            json!({ "Resource": "arn:aws:kms:*:111122223333:key/1234" }),
            "arn:aws:kms:a:b:111122223333:key/1234",
            false,
        ),
        (json!({ "Resource": "arn:aws:kms:us-east-?:*:*" }), KEY, true),
        (json!({ "Resource": ["arn:aws:s3:::b", "arn:aws:kms:us-east-1:111122223333:key/*"] }), KEY, true),
        (json!({ "NotResource": "arn:aws:kms:*:*:key/*" }), KEY, false),
        (json!({ "NotResource": "arn:aws:s3:::*" }), KEY, true),
    ] {
        let mut statement = json!({ "Effect": "Allow", "Action": "*" });
        statement.as_object_mut().unwrap().extend(selector.as_object().unwrap().clone());
        let policy = policy(statement);
        assert_eq!(
            is_allowed(&request(ALICE, "kms:Encrypt", resource), &policy),
            expected,
            "{selector} {resource}"
        );
    }
}

#[test]
fn a_deny_beats_every_allow_and_the_deciding_statement_is_named() {
    let policy = policy(json!([
        { "Effect": "Allow", "Action": "kms:*" },
        { "Sid": "Encrypting", "Effect": "Allow", "Action": "kms:Encrypt" },
        { "Effect": "Allow", "Action": "kms:Decrypt" },
        { "Sid": "No more decryption", "Effect": "Deny", "Action": "kms:Decrypt" },
        { "Sid": "", "Effect": "Deny", "Action": "kms:Sign" },
        { "Effect": "Deny", "Action": "kms:Sig*" },
    ]));
    let find = |action| decide(&request(ALICE, action, KEY), &policy);
    let allowed = StatementRef { number: 1, sid: None };
    assert_eq!(find("kms:Encrypt"), Finding::Allows { statement: allowed, naming: Naming::Exactly });
    assert_eq!(allowed.to_string(), "statement 1");
    let denied = StatementRef { number: 4, sid: Some("No more decryption") };
    assert_eq!(find("kms:Decrypt"), Finding::Denies { statement: denied });
    assert_eq!(denied.to_string(), "No more decryption");
    assert_eq!(find("kms:Sign"), Finding::Denies { statement: StatementRef { number: 5, sid: None } });
    assert_eq!(find("s3:GetObject"), Finding::Silent);
}

#[test]
fn of_several_names_of_the_caller_the_strongest_counts() {
    let account = json!({ "Effect": "Allow", "Principal": { "AWS": ROOT }, "Action": "*" });
    let everyone = json!({ "Effect": "Allow", "Principal": "*", "Action": "*" });
    let role = json!({ "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:role/Ops" }, "Action": "*" });
    let session = json!({ "Effect": "Allow", "Principal": { "AWS": SESSION }, "Action": "*" });
    for (statements, number, naming) in [
        (json!([account]), 1, Naming::Account),
        (json!([account, everyone]), 2, Naming::WithOthers),
        (json!([role, everyone, account]), 1, Naming::WithOthers),
        (json!([account, everyone, session, session]), 3, Naming::Exactly),
    ] {
        let policy = policy(statements);
        let finding = decide(&request(SESSION, "kms:Encrypt", KEY), &policy);
        assert_eq!(finding, Finding::Allows { statement: StatementRef { number, sid: None }, naming });
    }
}

#[test]
fn not_principal_spares_nobody_with_a_permissions_boundary() {
    let policy = policy(json!({ "Effect": "Deny", "NotPrincipal": { "AWS": ALICE }, "Action": "*" }));
    let mut request = request(ALICE, "kms:Encrypt", KEY);
    assert_eq!(decide(&request, &policy), Finding::Silent);
    request.principal = request.principal.with_boundary(true);
    assert!(matches!(decide(&request, &policy), Finding::Denies { .. }));
}

#[test]
fn keys_for_policies_of_identities_are_absent_in_those_of_resources() {
    let condition = json!({ "StringEquals": { "AWS:resourcetag/a": "b" } });
    let policy = policy(json!({ "Effect": "Allow", "Action": "*", "Condition": condition }));
    let context = Context::new().with_for_identities("aws:ResourceTag/a", "b");
    let request = Request { context, ..request(ALICE, "kms:Encrypt", KEY) };
    assert_eq!(evaluate(&request, AttachedTo::Resource, &policy), Finding::Silent);
    assert!(matches!(evaluate(&request, AttachedTo::Identity, &policy), Finding::Allows { .. }));
}

#[test]
fn a_printed_policy_says_all_that_was_read() {
    let text = concat!(
        r#"{"Version":"2012-10-17","Id":"a \"b\"","Statement":[{"Sid":"One ü","Effect":"Allow","#,
        r#""Principal":{"AWS":["111122223333","*"],"Service":"ec2.amazonaws.com"},"Action":"kms:*","#,
        r#""Resource":["arn:aws:kms:*","*"],"Condition":{"ForAllValues:StringLikeIfExists":"#,
        r#"{"x:a":["${x:b, 'c'}","*"],"X:A":"1"},"Null":{"x:c":"true"}}},"#,
        r#"{"Effect":"Deny","NotPrincipal":{"Federated":"f"},"NotAction":["a:b","c:d"],"NotResource":"*"},"#,
        r#"{"Effect":"Deny","Principal":"*","Action":"*"}]}"#,
    );
    assert_eq!(PolicyDocument::parse(text).unwrap().to_string(), text);
    let loose = json!({ "Statement": { "Effect": "Deny", "Action": ["*"], "Condition": {
        "Bool": { "x:a": true }, "NumericEquals": { "x:b": [1.50] },
    }}});
    assert_eq!(
        parse(&loose).to_string(),
        r#"{"Statement":[{"Effect":"Deny","Action":"*","Condition":{"Bool":{"x:a":"true"},"NumericEquals":{"x:b":"1.5"}}}]}"#,
    );
}

#[test]
fn the_condition_keys_of_a_policy_can_be_listed() {
    let policy = policy(json!([
        { "Effect": "Deny", "Action": "*", "Condition": { "Null": { "x:a": true }, "Bool": { "x:b": true } } },
        { "Effect": "Deny", "Action": "*", "Condition": { "Null": { "x:c": true } } },
    ]));
    let mut keys: Vec<_> = policy.condition_keys().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["x:a", "x:b", "x:c"]);
}
