//! Every condition operator, against values that match, values that do not, and no value.

use serde_json::Value;
use serde_json::json;

use crate::policy::tests::applies;
use crate::policy::tests::holds;

const KEY: &str = "x:key";

/// Operator, its negation where there is one, value in the policy, values that match it, values that do not.
type Row = (&'static str, Option<&'static str>, Value, &'static [&'static str], &'static [&'static str]);

fn rows() -> Vec<Row> {
    [arn_rows(), binary_and_boolean_rows(), date_rows(), network_rows(), number_rows(), text_rows()].concat()
}

fn arn_rows() -> Vec<Row> {
    let arn = json!("arn:aws:kms:*:111122223333:key/a?c*");
    let arns: (&[&str], &[&str]) = (
        &["arn:aws:kms:us-east-1:111122223333:key/abc", "arn:aws:kms::111122223333:key/abc:d/e"],
        &[
            "arn:aws:kms:us-east-1:999999999999:x:111122223333:key/abc",
            "arn:aws:kms:us-east-1:111122223333:key/ac",
            "ARN:aws:kms:us-east-1:111122223333:key/abc",
            "arn:aws:kms:us-east-1:111122223333",
            "abc",
            "",
        ],
    );
    vec![
        ("ArnEquals", Some("ArnNotEquals"), arn.clone(), arns.0, arns.1),
        ("ArnLike", Some("ArnNotLike"), arn, arns.0, arns.1),
    ]
}

fn binary_and_boolean_rows() -> Vec<Row> {
    vec![
        ("BinaryEquals", None, json!("AQI="), &["AQI="], &["AQI", "AQJ=", "aqi=", ""]),
        ("Bool", None, json!(true), &["true", "TRUE"], &["false", "1", ""]),
        ("Bool", None, json!("False"), &["false"], &["true", "yes"]),
    ]
}

fn date_rows() -> Vec<Row> {
    vec![
        (
            "DateEquals",
            Some("DateNotEquals"),
            json!("2026-11-30T12:00:00Z"),
            &[
                "2026-11-30T13:00:00+01:00",
                "2026-11-30T12:00Z",
                "2026-11-30T14:00+02:00",
                "2026-11-30T12:00:00.000Z",
                "1796040000",
                "1796040000.0",
            ],
            &["2026-11-30T12:00:00.001Z", "2026-11-30", "1796040000.5", "today", ""],
        ),
        (
            "DateGreaterThan",
            None,
            json!("2026-11-30"),
            &["2026-11-30T00:00:01Z"],
            &["2026-11-30", "2026-11-29"],
        ),
        ("DateLessThan", None, json!("2026-11"), &["2026-10-31T23:59:59Z"], &["2026-11-01", "2026-11"]),
        ("NumericEquals", None, json!(".5"), &["0.5", ".50"], &["5", ".", "-.5"]),
        ("NumericEquals", None, json!("5."), &["5", "5.0"], &[".5"]),
        ("DateGreaterThanEquals", None, json!("2026-11-30"), &["2026-11-30"], &["2026-11-29T23:59:59Z"]),
        ("DateLessThan", None, json!(0), &["-0.5", "1969-12-31"], &["0", "1970-01-01", "soon"]),
        ("DateLessThanEquals", None, json!("1970-01-01"), &["0", "-1"], &["0.000000001"]),
    ]
}

fn network_rows() -> Vec<Row> {
    vec![
        (
            "IpAddress",
            Some("NotIpAddress"),
            json!("10.1.0.0/16"),
            &["10.1.255.255", "::ffff:10.1.0.1"],
            &["10.2.0.0", "::10.1.0.1", "10.1.0", ""],
        ),
        ("IpAddress", Some("NotIpAddress"), json!("10.1.2.3/31"), &["10.1.2.2", "10.1.2.3"], &["10.1.2.4"]),
        ("IpAddress", Some("NotIpAddress"), json!("0.0.0.0/0"), &["255.255.255.255"], &["::1"]),
        ("IpAddress", Some("NotIpAddress"), json!("::/0"), &["::1", "ffff::"], &["127.0.0.1"]),
        ("IpAddress", Some("NotIpAddress"), json!("2001:db8::1"), &["2001:DB8:0::1"], &["2001:db8::2"]),
    ]
}

fn number_rows() -> Vec<Row> {
    vec![
        (
            "NumericEquals",
            Some("NumericNotEquals"),
            json!("10.50"),
            &["10.5", "+010.500"],
            &["10.05", "-10.5", "105", "10.5.0", "1e1", "ten", ""],
        ),
        ("NumericEquals", Some("NumericNotEquals"), json!(0), &["0", "-0", "0.0"], &["0.1", "-1"]),
        ("NumericGreaterThan", None, json!(9), &["10", "9.01"], &["9", "-10", "9.0", "many"]),
        ("NumericGreaterThanEquals", None, json!(-9), &["-9.0", "-8.9", "0"], &["-9.1", "-10"]),
        ("NumericLessThan", None, json!("9007199254740993"), &["9007199254740992"], &["9007199254740993.0"]),
        ("NumericLessThanEquals", None, json!("180"), &["180", "90", "-1"], &["180.1", "181", "few"]),
    ]
}

fn text_rows() -> Vec<Row> {
    vec![
        ("StringEquals", Some("StringNotEquals"), json!("a*"), &["a*"], &["ab", "A*", ""]),
        ("StringEquals", Some("StringNotEquals"), json!(7), &["7"], &["7.0"]),
        (
            "StringEqualsIgnoreCase",
            Some("StringNotEqualsIgnoreCase"),
            json!("Größe"),
            &["größe", "GRÖßE"],
            &["grösse", "größe ", ""],
        ),
        (
            "StringLike",
            Some("StringNotLike"),
            json!("a*b?c"),
            &["abxc", "a--b-bxc", "aböc"],
            &["abc", "abxcd", "Abxc", ""],
        ),
        ("StringLike", Some("StringNotLike"), json!(""), &[""], &["a"]),
        ("StringLike", Some("StringNotLike"), json!(["x*", "*y"]), &["x", "y", "xy"], &["yx", ""]),
    ]
}

#[test]
fn every_operator_tells_matching_values_from_others() {
    for (operator, negation, wanted, matching, others) in rows() {
        let cases =
            matching.iter().map(|value| (value, true)).chain(others.iter().map(|value| (value, false)));
        for (value, expected) in cases {
            let entries = [(KEY, *value)];
            assert_eq!(holds(operator, KEY, &wanted, &entries), expected, "{operator} {wanted} {value}");
            for prefix in ["ForAllValues:", "ForAnyValue:"] {
                let operator = format!("{prefix}{operator}");
                assert_eq!(holds(&operator, KEY, &wanted, &entries), expected, "{operator} {wanted} {value}");
            }
            if let Some(negation) = negation {
                assert_ne!(holds(negation, KEY, &wanted, &entries), expected, "{negation} {wanted} {value}");
            }
            let if_exists = format!("{operator}IfExists");
            assert_eq!(holds(&if_exists, KEY, &wanted, &entries), expected, "{if_exists} {wanted} {value}");
        }
    }
}

#[test]
fn an_absent_key_has_the_result_its_operator_defines() {
    for (operator, negation, wanted, ..) in rows() {
        let operators = std::iter::once((operator, false)).chain(negation.map(|negation| (negation, true)));
        for (operator, expected) in operators {
            let result = |operator: &str| holds(operator, KEY, &wanted, &[("x:other", "a")]);
            assert_eq!(result(operator), expected, "{operator}");
            assert!(result(&format!("{operator}IfExists")), "{operator}");
            for suffix in ["", "IfExists"] {
                assert!(result(&format!("ForAllValues:{operator}{suffix}")), "{operator}");
                assert!(!result(&format!("ForAnyValue:{operator}{suffix}")), "{operator}");
            }
        }
    }
}

#[test]
fn every_operator_of_the_table_has_a_row_here() {
    let tested: Vec<_> =
        rows().iter().flat_map(|(operator, negation, ..)| [Some(*operator), *negation]).collect();
    for name in crate::policy::condition::operator_names() {
        assert!(name == "Null" || tested.contains(&Some(name)), "{name}");
    }
}

#[test]
fn null_asks_whether_the_key_is_absent() {
    let present = [(KEY, "")];
    for wanted in [json!(true), json!("true"), json!("TRUE")] {
        assert!(holds("Null", KEY, &wanted, &[]));
        assert!(!holds("Null", KEY, &wanted, &present));
    }
    assert!(!holds("Null", KEY, &json!(false), &[]));
    assert!(holds("Null", KEY, &json!(false), &present));
    assert!(holds("Null", KEY, &json!([true, false]), &present));
}

#[test]
fn set_operators_quantify_over_the_values_of_the_context() {
    let both = [(KEY, "a"), (KEY, "b")];
    let first = [(KEY, "a")];
    let neither = [(KEY, "c"), (KEY, "d")];
    let mixed = [(KEY, "a"), (KEY, "c")];
    let wanted = json!(["a", "b"]);
    for (operator, expected) in [
        ("ForAllValues:StringEquals", [true, true, false, false]),
        ("ForAllValues:StringNotEquals", [false, false, true, false]),
        ("ForAnyValue:StringEquals", [true, true, false, true]),
        ("ForAnyValue:StringNotEquals", [false, false, true, true]),
        // Without a set operator several values are not compared at all.
        ("StringEquals", [false, true, false, false]),
        ("StringNotEquals", [false, false, false, false]),
    ] {
        let actual =
            [&both[..], &first, &neither, &mixed].map(|entries| holds(operator, KEY, &wanted, entries));
        assert_eq!(actual, expected, "{operator}");
    }
}

#[test]
fn a_key_that_can_have_several_values_needs_a_set_operator() {
    for (operator, is_held, is_held_without) in [
        ("StringEquals", false, false),
        ("StringNotEquals", false, true),
        ("StringEqualsIfExists", false, true),
        ("StringNotLikeIfExists", false, true),
        ("ForAnyValue:StringEquals", true, false),
        ("ForAllValues:StringEquals", true, true),
    ] {
        let holds = |entries| holds(operator, "AWS:tagKeys", &json!("a"), entries);
        assert_eq!(holds(&[("aws:TagKeys", "a")]), is_held, "{operator}");
        assert_eq!(holds(&[]), is_held_without, "{operator}");
    }
}

#[test]
fn no_deny_is_the_narrower_for_an_operator_that_does_not_fit() {
    let denies = |operator: &str, key: &str, wanted: Value, entries: &[(&str, &str)]| {
        let condition = json!({ operator: { key: wanted } });
        applies(&json!({ "Effect": "Deny", "Action": "*", "Condition": condition }), entries)
    };
    let several = [("aws:TagKeys", "a"), ("aws:TagKeys", "b")];
    assert!(denies("StringEquals", "aws:TagKeys", json!("b"), &several));
    assert!(denies("StringNotEquals", "aws:TagKeys", json!("b"), &several));
    assert!(!denies("StringEquals", "aws:TagKeys", json!("c"), &several));
    let arn = [(KEY, "arn:aws:s3:::bucket")];
    for (wanted, is_denied) in [("*", true), ("arn:aws:s3*", true), ("arn:aws:kms*", false)] {
        assert_eq!(denies("ArnLike", KEY, json!(wanted), &arn), is_denied, "{wanted}");
    }
}

#[test]
fn an_arn_is_compared_with_whole_arns_only() {
    let arn = [(KEY, "arn:aws:s3:::bucket")];
    for (wanted, is_like, is_not_like) in [
        (json!("arn:aws:s3:::*"), true, false),
        (json!("arn:*:*:*:*:*"), true, false),
        (json!("*"), false, false),
        (json!("arn:aws:s3*"), false, false),
        (json!(["*", "arn:aws:s3:::b*"]), true, false),
        (json!(["*", "arn:aws:kms:*:*:*"]), false, true),
    ] {
        assert_eq!(holds("ArnLike", KEY, &wanted, &arn), is_like, "{wanted}");
        assert_eq!(holds("ArnNotEquals", KEY, &wanted, &arn), is_not_like, "{wanted}");
    }
}

#[test]
fn operators_ignore_case() {
    let same = |a: &str, b: &str| {
        let with = |operator: &str| {
            let statement =
                json!({ "Effect": "Allow", "Action": "*", "Condition": { operator: { KEY: "a" } } });
            crate::policy::tests::policy(statement)
        };
        assert_eq!(with(a), with(b));
    };
    same("stringequals", "StringEquals");
    same("FORANYVALUE:stringLIKEifexists", "ForAnyValue:StringLikeIfExists");
}

#[test]
fn keys_ignore_case_and_all_of_them_must_hold() {
    assert!(holds("StringEquals", "aws:SourceVPC", &json!("vpc-1"), &[("AWS:sourceVpc", "vpc-1")]));
    let condition = json!({
        "StringEquals": { "x:a": "1", "x:b": ["1", "2"] },
        "StringNotEquals": { "x:c": "1" },
    });
    let statement = json!({ "Effect": "Allow", "Action": "*", "Condition": condition });
    let applies = |entries: &[(&str, &str)]| applies(&statement, entries);
    assert!(applies(&[("x:a", "1"), ("x:b", "2")]));
    assert!(!applies(&[("x:a", "1"), ("x:b", "3")]));
    assert!(!applies(&[("x:a", "1")]));
    assert!(!applies(&[("x:a", "1"), ("x:b", "2"), ("x:c", "1")]));
}
