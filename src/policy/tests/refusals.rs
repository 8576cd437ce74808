//! What is refused, and that the reason says where.

use serde_json::Value;
use serde_json::json;

use crate::policy::Cause;
use crate::policy::POLICY_BYTES_MAX;
use crate::policy::PolicyDocument;
use crate::policy::PolicyError;
use crate::policy::STATEMENTS_MAX;
use crate::policy::VALUES_MAX;

fn refusal(text: &str) -> PolicyError {
    match PolicyDocument::parse(text) {
        Ok(policy) => panic!("accepted: {policy}"),
        Err(error) => error,
    }
}

#[test]
fn a_refused_document_says_why() {
    let illegal = "only tab, line feed, carriage return and U+0020 to U+00FF are allowed";
    for (text, expected) in [
        ("", "not JSON at line 1, column 0".to_owned()),
        ("{} x", "not JSON at line 1, column 4".to_owned()),
        ("[]", "must be an object".to_owned()),
        ("{}", "`Statement` is missing".to_owned()),
        (r#"{"Statement":[]}"#, "`Statement`: an empty list selects nothing".to_owned()),
        (r#"{"Statement":[1]}"#, "statement 1: must be an object".to_owned()),
        (r#"{"Version":"2020-01-01"}"#, "`Version`: must be `2012-10-17` or `2008-10-17`".to_owned()),
        (r#"{"Version":2012}"#, "`Version`: must be a string".to_owned()),
        (r#"{"Id":"\u0000"}"#, format!("`Id`: {illegal}")),
        (r#"{"Id":"✓"}"#, format!("`Id`: {illegal}")),
        (r#"{"✓":""}"#, format!("`✓`: {illegal}")),
        (r#"{"Id":"a","Id":"b"}"#, "`Id`: occurs twice in one object".to_owned()),
        (r#"{"Statement":{"Effect":"Deny","Action":"*"},"id":""}"#, "`id`: unknown element".to_owned()),
        (&"[".repeat(1000), "not JSON at line 1, column 128".to_owned()),
    ] {
        assert_eq!(refusal(text).to_string(), expected, "{text}");
    }
}

/// The refusal of the second of two statements: one in order, and one with these members instead of its own.
fn statement_refusal(members: &Value) -> String {
    let mut statement = json!({ "Sid": "Two", "Effect": "Deny", "Action": "*" });
    let object = statement.as_object_mut().unwrap();
    object.extend(members.as_object().unwrap().clone());
    object.retain(|_, value| !value.is_null());
    let sound = json!({ "Sid": "One", "Effect": "Allow", "Action": "*" });
    let error = refusal(&json!({ "Version": "2012-10-17", "Statement": [sound, statement] }).to_string());
    assert_eq!(error.statement_number(), Some(2));
    error.to_string()
}

#[test]
fn a_refused_statement_says_which_and_why() {
    let action = "must be `*` or `service:name`, where the name may contain `*` and `?`";
    let arn = "must be `*` or `arn:partition:service:region:account:resource`";
    for (members, expected) in [
        (json!({ "Sid": "One" }), "statement 2 `One`: another statement has the same `Sid`".to_owned()),
        (json!({ "Sid": 1 }), "statement 2, `Sid`: must be a string".to_owned()),
        (json!({ "Sid": "a\nb" }), "statement 2, `Sid`: must be one line of text".to_owned()),
        (json!({ "Effect": null }), "statement 2 `Two`: `Effect` is missing".to_owned()),
        (json!({ "Effect": "deny" }), "statement 2 `Two`, `Effect`: must be `Allow` or `Deny`".to_owned()),
        (json!({ "Action": null }), "statement 2 `Two`: `Action` is missing".to_owned()),
        (json!({ "Action": [] }), "statement 2 `Two`, `Action`: an empty list selects nothing".to_owned()),
        (json!({ "Action": "Encrypt" }), format!("statement 2 `Two`, `Action`: {action}")),
        (json!({ "Action": ["kms:*", "k*:a"] }), format!("statement 2 `Two`, `Action`: {action}")),
        (
            json!({ "Action": format!("kms:{}", "a".repeat(125)) }),
            format!("statement 2 `Two`, `Action`: {action}"),
        ),
        (
            json!({ "NotAction": "*" }),
            "statement 2 `Two`, `NotAction`: excludes `Action` in the same statement".to_owned(),
        ),
        (json!({ "Resource": "key/1" }), format!("statement 2 `Two`, `Resource`: {arn}")),
        (json!({ "Resource": "arn:aws:kms" }), format!("statement 2 `Two`, `Resource`: {arn}")),
        (json!({ "Resource": "arn:aws:kms:r:1:" }), format!("statement 2 `Two`, `Resource`: {arn}")),
        (json!({ "Resource": "arn::kms:r:1:k" }), format!("statement 2 `Two`, `Resource`: {arn}")),
        (json!({ "Resource": "a*n:aws:kms:r:1:k" }), format!("statement 2 `Two`, `Resource`: {arn}")),
        (json!({ "Resources": "*" }), "statement 2 `Two`, `Resources`: unknown element".to_owned()),
        (json!({ "Condition": [] }), "statement 2 `Two`, `Condition`: must be an object".to_owned()),
    ] {
        assert_eq!(statement_refusal(&members), expected, "{members}");
    }
}

#[test]
fn a_refused_principal_says_why() {
    let aws = "must be `*`, an account id, or the ARN of an account root, user, role or session";
    let wildcard =
        "`*` and `?` are not allowed inside a principal; use `*` and a condition on `aws:PrincipalArn`";
    let aws_principals = [
        ("11112222333", aws),
        ("arn:aws:iam::1:root", aws),
        ("arn:aws:iam:us-east-1:111122223333:root", aws),
        ("arn:aws:iam::111122223333:root/x", aws),
        ("arn:aws:iam::111122223333:user/", aws),
        ("arn:aws:iam::111122223333:role", aws),
        ("arn:aws:sts::111122223333:assumed-role/Ops", aws),
        ("arn:aws:sts::111122223333:assumed-role/Ops/a/b", aws),
        ("arn:aws:s3:::bucket", aws),
        ("AIDACKCEVSQ6C2EXAMPLE", aws),
        ("arn:aws:iam::111122223333:user/*", wildcard),
        ("arn:aws:iam::111122223333:group/Admins", "a group is not a principal; name its users or roles"),
    ];
    for (principal, reason) in aws_principals {
        let refused = statement_refusal(&json!({ "Principal": { "AWS": ["*", principal] } }));
        assert_eq!(refused, format!("statement 2 `Two`, `Principal.AWS`: {reason}"), "{principal}");
    }
    for (members, reason) in [
        (json!({ "Principal": "all" }), "`Principal`: must be `*` or an object such as `{\"AWS\": …}`"),
        (json!({ "Principal": {} }), "`Principal`: must not be empty"),
        (json!({ "Principal": { "CanonicalUser": "x" } }), UNKNOWN_TYPE),
        (
            json!({ "Principal": { "Service": "ec2" } }),
            "`Principal.Service`: must be a service such as `ec2.amazonaws.com`",
        ),
        (json!({ "Principal": { "Federated": "" } }), "`Principal.Federated`: must not be empty"),
        (
            json!({ "NotPrincipal": { "AWS": "111122223333" }, "Effect": "Allow" }),
            "`NotPrincipal`: with `Allow` this would let in everyone not named; use `Principal`, or `Deny` with `NotPrincipal`",
        ),
    ] {
        assert_eq!(statement_refusal(&members), format!("statement 2 `Two`, {reason}"), "{members}");
    }
}

const UNKNOWN_TYPE: &str =
    "`Principal.CanonicalUser`: unknown principal type; use `AWS`, `Service` or `Federated`";

#[test]
fn a_refused_condition_says_why() {
    let variable = "a policy variable is `${key}`, `${key, 'default'}`, `${*}`, `${?}` or `${$}`";
    let scalar = "must be a string, a number or a boolean";
    for operator in
        ["StringEqual", "String-Equals", "NullIfExists", "ForAnyValue:Null", "ForAll:Bool", "IfExists", ""]
    {
        let refused = statement_refusal(&json!({ "Condition": { operator: { "x:a": "true" } } }));
        let expected = format!("statement 2 `Two`, `Condition.{operator}`: unknown condition operator");
        assert_eq!(refused, expected);
    }
    for (operator, value, reason) in [
        ("ArnLike", json!("key/1"), "must be `*` or `arn:partition:service:region:account:resource`"),
        ("BinaryEquals", json!("AQI"), "must be base64 with padding"),
        ("Bool", json!("yes"), "must be `true` or `false`"),
        ("DateEquals", json!("30.11.2026"), A_DATE),
        ("DateEquals", json!("2026-02-30"), A_DATE),
        ("IpAddress", json!("10.0.0.0/33"), "must be an IP address or a range such as `10.0.0.0/8`"),
        ("IpAddress", json!("::ffff:10.0.0.0/104"), "must be an IP address or a range such as `10.0.0.0/8`"),
        ("Null", json!("${x:b}"), "must be `true` or `false`"),
        ("NumericEquals", json!("1e3"), "must be a decimal number without exponent"),
        ("NumericEquals", json!("${x:b}"), "must be a decimal number without exponent"),
        ("StringLike", json!("${x:b"), variable),
        ("StringLike", json!("${}"), variable),
        ("StringLike", json!("${ , 'a'}"), variable),
        ("StringLike", json!("${x:b, a}"), variable),
        ("StringLike", json!("${x:${x:b}}"), variable),
        ("StringEquals", json!({}), scalar),
        ("StringEquals", json!(["a", null]), scalar),
        ("StringEquals", json!([["a"]]), scalar),
        ("StringEquals", json!([]), "an empty list selects nothing"),
    ] {
        let refused = statement_refusal(&json!({ "Condition": { operator: { "x:a": value } } }));
        let expected = format!("statement 2 `Two`, `Condition.{operator}.x:a`: {reason}");
        assert_eq!(refused, expected, "{value}");
    }
    assert_eq!(
        statement_refusal(&json!({ "Condition": { "Bool": {} } })),
        "statement 2 `Two`, `Condition.Bool`: must not be empty"
    );
    assert_eq!(
        statement_refusal(&json!({ "Condition": { "Bool": { "SourceVpc": true } } })),
        "statement 2 `Two`, `Condition.Bool.SourceVpc`: must be a condition key `prefix:name`"
    );
}

const A_DATE: &str = "must be a date such as `2026-11-30T12:00:00Z`, or seconds since 1970";

#[test]
fn an_empty_condition_is_no_condition() {
    let with = json!({ "Statement": { "Effect": "Deny", "Action": "*", "Condition": {} } });
    let without = json!({ "Statement": { "Effect": "Deny", "Action": "*" } });
    assert_eq!(PolicyDocument::parse(&with.to_string()), PolicyDocument::parse(&without.to_string()));
}

#[test]
fn a_long_member_name_is_cut_in_the_error() {
    let error =
        refusal(&format!(r#"{{"{}":1,"Statement":{{"Effect":"Deny","Action":"*"}}}}"#, "a".repeat(500)));
    assert_eq!(error.to_string(), format!("`{}…`: unknown element", "a".repeat(64)));
}

#[test]
fn the_limits_hold_exactly() {
    let document = |statements: usize| {
        let statement = json!({ "Effect": "Deny", "Action": "*" });
        json!({ "Statement": vec![statement; statements] }).to_string()
    };
    assert!(PolicyDocument::parse(&document(STATEMENTS_MAX)).is_ok());
    let too_many = Cause::TooManyStatements { statements_max: STATEMENTS_MAX };
    assert_eq!(refusal(&document(STATEMENTS_MAX + 1)).cause(), too_many);

    let values = |count: usize| {
        let condition = json!({ "StringEquals": { "x:a": vec![1; count] } });
        json!({ "Statement": { "Effect": "Deny", "Action": "*", "Condition": condition } }).to_string()
    };
    assert!(PolicyDocument::parse(&values(VALUES_MAX)).is_ok());
    assert_eq!(refusal(&values(VALUES_MAX + 1)).cause(), Cause::TooManyValues { values_max: VALUES_MAX });

    let padded = |bytes: usize| format!("{:bytes$}", document(1));
    assert!(PolicyDocument::parse(&padded(POLICY_BYTES_MAX)).is_ok());
    let too_large = Cause::TooLarge { bytes_max: POLICY_BYTES_MAX };
    assert_eq!(refusal(&padded(POLICY_BYTES_MAX + 1)).cause(), too_large);
}
