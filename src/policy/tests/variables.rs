//! Policy variables: what they stand for, and that an Allow is never the wider for one without a value.

use serde_json::Value;
use serde_json::json;

use crate::policy::Request;
use crate::policy::tests::ALICE;
use crate::policy::tests::KEY;
use crate::policy::tests::applies;
use crate::policy::tests::context;
use crate::policy::tests::holds;
use crate::policy::tests::is_allowed;
use crate::policy::tests::parse;
use crate::policy::tests::policy;
use crate::policy::tests::request;

#[test]
fn a_variable_stands_for_the_value_of_its_key() {
    for (wanted, team, value, expected) in [
        ("${x:team}", "red", "red", true),
        ("${X:TEAM}", "red", "red", true),
        ("a-${x:team}-z", "red", "a-red-z", true),
        ("a-${x:team}-z", "red", "a-blue-z", false),
        ("${x:team}${x:team}", "ab", "abab", true),
        ("*${x:team}*", "ab", "xxaabyy", true),
        ("*${x:team}", "ab", "abaab", true),
        // Meant literally.
        ("${x:team}", "*", "anything", false),
        ("${x:team}", "*", "*", true),
        ("${x:team}", "${x:team}", "${x:team}", true),
        ("${x:none, 'blue'}", "red", "blue", true),
        ("${x:none,'' }", "red", "", true),
        ("${x:team, 'blue'}", "red", "blue", false),
        ("${*}", "red", "*", true),
        ("${*}", "red", "a", false),
        ("${?}${$}{x}", "red", "?${x}", true),
        ("$x$", "red", "$x$", true),
    ] {
        let entries = [("x:team", team), ("x:key", value)];
        assert_eq!(holds("StringLike", "x:key", &json!(wanted), &entries), expected, "{wanted} {value}");
    }
}

#[test]
fn variables_work_in_every_operator_that_takes_them() {
    let entries = [("x:flag", "true"), ("x:team", "Red"), ("x:arn", KEY)];
    for (operator, key, wanted) in [
        ("ArnLike", "x:arn", "arn:aws:kms:*:111122223333:key/${x:id, '1234'}"),
        ("Bool", "x:flag", "${x:flag}"),
        ("StringEquals", "x:team", "${x:team}"),
        ("StringEqualsIgnoreCase", "x:team", "${x:none, 'rED'}"),
    ] {
        assert!(holds(operator, key, &json!(wanted), &entries), "{operator}");
    }
}

#[test]
fn a_variable_of_a_resource_stands_after_the_fifth_colon() {
    let may = |wanted: &str, resource: &str, team: &str| {
        let policy = policy(json!({ "Effect": "Allow", "Action": "*", "Resource": wanted }));
        let request =
            Request { context: context(&[("x:team", team)]), ..request(ALICE, "kms:Encrypt", resource) };
        is_allowed(&request, &policy)
    };
    let late = "arn:aws:kms:us-east-1:1:key/${x:team}/*";
    assert!(may(late, "arn:aws:kms:us-east-1:1:key/1/a", "1"));
    assert!(!may(late, "arn:aws:kms:us-east-1:1:key/2/a", "1"));
    assert!(may(late, "arn:aws:kms:us-east-1:1:key/a:b/a", "a:b"));
    for early in ["arn:aws:kms:us-east-1:${x:team}:key/*", "arn:aws:kms:${x:team}:1:key/${x:team}/*"] {
        assert!(!may(early, "arn:aws:kms:us-east-1:1:key/1/a", "1"));
    }
}

#[test]
fn the_older_version_has_no_variables() {
    for version in [json!("2008-10-17"), Value::Null] {
        let mut document = json!({ "Statement": {
            "Effect": "Allow", "Action": "*", "Condition": { "StringEquals": { "x:key": "${x:team}" } },
        }});
        if !version.is_null() {
            document["Version"] = version;
        }
        let policy = parse(&document);
        for (value, expected) in [("red", false), ("${x:team}", true)] {
            let entries = [("x:team", "red"), ("x:key", value)];
            let request = Request { context: context(&entries), ..request(ALICE, "kms:Encrypt", KEY) };
            assert_eq!(is_allowed(&request, &policy), expected, "{value}");
        }
    }
}

#[test]
fn a_variable_without_a_value_widens_no_allow_and_weakens_no_deny() {
    let arn = "arn:aws:kms:us-east-1:111122223333:key/${x:none}";
    for (member, allow, deny) in [
        (json!({ "Resource": arn }), false, false),
        (json!({ "NotResource": arn }), false, true),
        (json!({ "Condition": { "StringEquals": { "x:key": "${x:none}" } } }), false, false),
        (json!({ "Condition": { "StringEquals": { "x:key": ["${x:none}", "a"] } } }), true, true),
        (json!({ "Condition": { "StringNotEquals": { "x:key": "${x:none}" } } }), false, true),
        (json!({ "Condition": { "ForAnyValue:StringNotLike": { "x:key": "${x:none}" } } }), false, true),
        (json!({ "Condition": { "ArnNotLike": { "x:key": arn } } }), true, true),
    ] {
        for (effect, expected) in [("Allow", allow), ("Deny", deny)] {
            let mut statement = json!({ "Effect": effect, "Action": "*" });
            statement.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
            assert_eq!(applies(&statement, &[("x:key", "a")]), expected, "{statement}");
        }
    }
}

#[test]
fn a_key_with_several_values_is_no_variable() {
    let entries = [("x:team", "a"), ("x:team", "b"), ("x:key", "a")];
    assert!(!holds("StringEquals", "x:key", &json!("${x:team}"), &entries));
    assert!(holds("StringEquals", "x:key", &json!("${x:team, 'a'}"), &entries));
}
