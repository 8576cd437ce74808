//! Properties that hold for any policy and any request.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::sample::subsequence;
use serde_json::Value;
use serde_json::json;

use crate::policy::AttachedTo;
use crate::policy::Context;
use crate::policy::Finding;
use crate::policy::PolicyDocument;
use crate::policy::Principal;
use crate::policy::Request;
use crate::policy::evaluate;
use crate::policy::tests::ALICE;
use crate::policy::tests::KEY;
use crate::policy::tests::context;
use crate::policy::tests::model;
use crate::policy::tests::model::ModelRequest;
use crate::policy::tests::model::Outcome;
use crate::policy::tests::parse;
use crate::policy::value::Decimal;

const PRINCIPALS: [&str; 4] =
    [ALICE, "arn:aws:iam::999999999999:role/R", "ec2.amazonaws.com", "AWS Internal"];
const ACTIONS: [&str; 4] = ["kms:Encrypt", "kms:Decrypt", "KMS:decrypt", "s3:GetObject"];
const RESOURCES: [&str; 3] = [KEY, "arn:aws:s3:::bucket", ""];
const KEYS: [&str; 3] = ["x:a", "x:b", "x:c"];
const VALUES: [&str; 9] = ["a", "A", "ab", "b", "true", "1", "1.0", "-2", ""];

/// At least one of the values, without brackets if it is one.
fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
    subsequence(values, 1..=values.len()).prop_map(|chosen| match chosen.as_slice() {
        [one] => json!(one),
        several => json!(several),
    })
}

fn operator_and_values() -> impl Strategy<Value = (String, Value)> {
    let text = some_of(&["a", "A*", "a?", "*b", "", "true", "1"]);
    let textual = select(vec![
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
    ]);
    let numeric = select(vec!["NumericEquals", "NumericNotEquals", "NumericLessThan"]);
    let set = select(vec!["", "ForAllValues:", "ForAnyValue:"]);
    let decorated = prop_oneof![
        (textual, text),
        (numeric, some_of(&["1", "-2.0", "0.5"])),
        (Just("Bool"), some_of(&["true", "False"])),
    ];
    prop_oneof![
        6 => (set, decorated, select(vec!["", "IfExists"]))
            .prop_map(|(set, (operator, values), suffix)| (format!("{set}{operator}{suffix}"), values)),
        1 => some_of(&["true", "false"]).prop_map(|values| ("Null".to_owned(), values)),
    ]
}

fn conditions() -> impl Strategy<Value = Option<Value>> {
    let condition = (operator_and_values(), select(&KEYS[..]))
        .prop_map(|((operator, values), key)| (operator, json!({ key: values })));
    let conditions = prop::collection::hash_map(Just(()), condition, 0..=1);
    let pair =
        (conditions, operator_and_values(), select(&KEYS[..])).prop_map(|(first, (name, values), key)| {
            let mut object: serde_json::Map<_, _> = first.into_values().collect();
            object.insert(name, json!({ key: values }));
            Value::Object(object)
        });
    prop::option::of(pair)
}

fn statement() -> impl Strategy<Value = Value> {
    let principal = prop_oneof![
        Just(json!("*")),
        some_of(&["111122223333", ALICE, "arn:aws:iam::999999999999:role/R"])
            .prop_map(|aws| json!({ "AWS": aws })),
    ];
    let action = (select(vec!["Action", "NotAction"]), some_of(&["*", "kms:*", "kms:?ECRYPT", "s3:Get*"]));
    let resource = (
        select(vec!["Resource", "NotResource"]),
        some_of(&["*", "arn:aws:kms:us-east-1:111122223333:key/12*", "arn:aws:s3:::b?cket"]),
    );
    let effect = select(vec!["Allow", "Deny"]);
    (effect, prop::option::of(principal), action, prop::option::of(resource), conditions()).prop_map(
        |(effect, principal, (action_name, action), resource, condition)| {
            let mut statement = json!({ "Effect": effect, action_name: action });
            if let Some(principal) = principal {
                statement["Principal"] = principal;
            }
            if let Some((name, resource)) = resource {
                statement[name] = resource;
            }
            if let Some(condition) = condition {
                statement["Condition"] = condition;
            }
            statement
        },
    )
}

fn statements() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(statement(), 1..6)
}

fn requests() -> impl Strategy<Value = ModelRequest> {
    let entry = (select(&KEYS[..]), select(&VALUES[..]));
    (
        select(&PRINCIPALS[..]),
        select(&ACTIONS[..]),
        select(&RESOURCES[..]),
        prop::collection::vec(entry, 0..5),
    )
        .prop_map(|(principal, action, resource, context)| ModelRequest {
            principal,
            action,
            resource,
            context,
        })
}

fn document(statements: &[Value]) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn outcome(documents: &[&PolicyDocument], request: &ModelRequest) -> Outcome {
    let ModelRequest { principal, action, resource, context: entries } = request;
    let request =
        Request { principal: Principal::new(principal), action, resource, context: context(entries) };
    let findings: Vec<_> =
        documents.iter().map(|policy| evaluate(&request, AttachedTo::Resource, policy)).collect();
    if findings.iter().any(|finding| matches!(finding, Finding::Denies { .. })) {
        Outcome::ExplicitDeny
    } else if findings.iter().any(|finding| matches!(finding, Finding::Allows { .. })) {
        Outcome::Allow
    } else {
        Outcome::ImplicitDeny
    }
}

impl std::fmt::Debug for ModelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {:?}", self.principal, self.action, self.resource, self.context)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_engine_agrees_with_the_model(statements in statements(), request in requests()) {
        let document = document(&statements);
        prop_assert_eq!(outcome(&[&parse(&document)], &request), model::decide(&document, &request));
    }

    #[test]
    fn the_order_of_statements_does_not_matter(
        (statements, shuffled) in statements().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        split in 0..6_usize,
        request in requests(),
    ) {
        let expected = outcome(&[&parse(&document(&statements))], &request);
        prop_assert_eq!(outcome(&[&parse(&document(&shuffled))], &request), expected);
        // Nor does it matter whether they stand in one policy or in two.
        let (first, second) = shuffled.split_at(split.min(shuffled.len()));
        let documents: Vec<_> =
            [first, second].iter().filter(|part| !part.is_empty()).map(|part| parse(&document(part))).collect();
        prop_assert_eq!(outcome(&documents.iter().collect::<Vec<_>>(), &request), expected);
    }

    #[test]
    fn adding_a_deny_or_removing_an_allow_never_adds_access(
        statements in statements(),
        added in statement(),
        removed in 0..6_usize,
        request in requests(),
    ) {
        let before = outcome(&[&parse(&document(&statements))], &request);
        let mut more = statements.clone();
        more.push(added);
        more.last_mut().unwrap()["Effect"] = json!("Deny");
        let mut fewer = statements;
        if fewer.get(removed).is_some_and(|statement| statement["Effect"] == "Allow") && fewer.len() > 1 {
            fewer.remove(removed);
        }
        for changed in [more, fewer] {
            let after = outcome(&[&parse(&document(&changed))], &request);
            prop_assert!(after != Outcome::Allow || before == Outcome::Allow);
        }
    }

    #[test]
    fn a_printed_policy_reads_as_the_same_policy(statements in statements()) {
        let policy = parse(&document(&statements));
        prop_assert_eq!(PolicyDocument::parse(&policy.to_string()).unwrap(), policy);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*", statements in statements(), at in any::<prop::sample::Index>()) {
        let _ = PolicyDocument::parse(&text);
        let sound = document(&statements).to_string();
        let (head, tail) = sound.split_at(at.index(sound.len()));
        let _ = PolicyDocument::parse(head);
        let _ = PolicyDocument::parse(&format!("{head}{text}{tail}"));
        let _ = PolicyDocument::parse(&document(&[json!(text)]).to_string());
    }

    #[test]
    fn no_value_or_request_makes_the_evaluation_panic(
        operator in select(crate::policy::condition::operator_names().collect::<Vec<_>>()),
        wanted in "[-a-z0-9.:*?${}', ]{0,20}",
        text in ".*",
    ) {
        let policy = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "*", "Condition": { operator: { "x:a": [wanted] } },
        }});
        if let Ok(policy) = PolicyDocument::parse(&policy.to_string()) {
            let context = Context::new().with("x:a", &*text).with(&*text, &*text);
            let request = Request { principal: Principal::new(&text), action: &text, resource: &text, context };
            let _ = evaluate(&request, AttachedTo::Resource, &policy);
            prop_assert_eq!(PolicyDocument::parse(&policy.to_string()).unwrap(), policy);
        }
    }

    #[test]
    fn wildcards_agree_with_the_naive_matcher(pattern in "[ab*?é]{0,10}", text in "[abé]{0,10}") {
        let holds = crate::policy::tests::holds("StringLike", "x:a", &json!(pattern), &[("x:a", &text)]);
        prop_assert_eq!(holds, model::glob(&pattern, &text));
    }

    #[test]
    fn decimals_compare_like_integers(a in -10_000..10_000_i64, b in -10_000..10_000_i64, zeros in 0..3_usize) {
        let text = |thousandths: i64| {
            let sign = if thousandths < 0 { "-" } else { "" };
            let (whole, fraction) = (thousandths.abs() / 1000, thousandths.abs() % 1000);
            format!("{sign}{}{whole}.{fraction:03}{}", "0".repeat(zeros), "0".repeat(2 - zeros))
        };
        let (text_a, text_b) = (text(a), text(b));
        prop_assert_eq!(Decimal::parse(&text_a).unwrap().cmp(&Decimal::parse(&text_b).unwrap()), a.cmp(&b));
    }
}

#[test]
fn a_policy_that_is_made_to_be_slow_denies_in_milliseconds() {
    let text = "a".repeat(8_000);
    let slow = format!("*{}b", "?".repeat(7_000));
    let all: Vec<_> = (0..4).map(|number| format!("{slow}{number}")).collect();
    for (effect, operator) in [
        ("Allow", "StringLike"),
        ("Allow", "StringNotLike"),
        ("Deny", "StringLike"),
        ("Deny", "StringNotLike"),
    ] {
        let statement = json!({ "Effect": effect, "Action": "*", "Condition": { operator: { "x:a": all } } });
        let is_held = crate::policy::tests::applies(&statement, &[("x:a", &text)]);
        assert_eq!(is_held, effect == "Deny", "{effect} {operator}");
    }
}

#[test]
fn wildcards_do_not_blow_up() {
    let text = "a".repeat(20_000);
    for pattern in
        [format!("{}b", "*a".repeat(5_000)), "*".repeat(20_000) + "b", format!("*{}b", "a".repeat(9_000))]
    {
        assert!(!crate::policy::tests::holds("StringLike", "x:a", &json!(pattern), &[("x:a", &text)]));
    }
}
