//! Each constraint of each member of each operation: a valid request passes, and each mistake is told with its path.

use serde_json::{Map, Value, json};

use crate::kms::error::Error;
use crate::kms::model::DESCRIPTION;
use crate::kms::model::shape::{Bounds, Member, Shape, Shapes, Structure};
use crate::kms::model::tests::check;
use crate::kms::operation::OperationName;

/// One of these satisfies each pattern.
const SAMPLES: [&str; 16] = [
    "a",
    "alias/sample",
    "123456789012",
    "cluster-abcdefghijk",
    "us-east-1",
    "service.amazonaws.com",
    "https://xks.example.com",
    "/prefix/kms/xks/v1",
    "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0",
    "arn:aws:kms:us-east-1:123456789012:key/a",
    "AAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "password",
    "{\"Version\":\"2012-10-17\"}",
    "0",
];

fn fits(bounds: Option<Bounds>, length: usize) -> bool {
    bounds.is_none_or(|bounds| (bounds.min..=bounds.max).contains(&i64::try_from(length).unwrap()))
}

fn blob(bytes: i64) -> Value {
    json!(proxy_api::wire::encode_base64(&vec![7; usize::try_from(bytes).unwrap()]))
}

fn valid(shape: &Shape) -> Value {
    match shape {
        Shape::Blob { length } => blob(length.map_or(1, |length| length.min)),
        Shape::Boolean => json!(true),
        Shape::Enum(set) => json!(set.values[0]),
        Shape::Integer(bounds) => json!(bounds.max),
        Shape::List { of, .. } => json!([valid(of)]),
        Shape::Map { .. } => json!({"department": "finance", "": ""}),
        Shape::String { length, pattern, .. } => {
            let is_valid = |text: &&&str| {
                fits(*length, text.len())
                    && pattern.as_ref().is_none_or(|pattern| pattern.regex.is_match(text))
            };
            json!(SAMPLES.iter().find(is_valid).unwrap_or_else(|| panic!("a sample for {shape:?}")))
        }
        Shape::Structure(structure) => whole(structure),
        Shape::Timestamp => json!(1_795_305_600.5),
    }
}

fn whole(structure: &Structure) -> Value {
    let member = |member: &Member| (member.name.clone(), valid(&member.shape));
    Value::Object(structure.members.iter().map(member).collect::<Map<_, _>>())
}

/// A value that breaks a constraint, and what is said of it.
type Mistake = (Value, String);

fn lengths(bounds: Option<Bounds>, make: impl Fn(i64) -> Value) -> Vec<Mistake> {
    let Some(Bounds { min, max }) = bounds else { return Vec::new() };
    let mut mistakes = vec![(make(max + 1), format!("Member must have length less than or equal to {max}"))];
    if min > 0 {
        mistakes.push((make(min - 1), format!("Member must have length greater than or equal to {min}")));
    }
    mistakes
}

fn mistakes(shape: &Shape) -> Vec<Mistake> {
    match shape {
        Shape::Blob { length } => lengths(*length, blob),
        Shape::Boolean | Shape::Map { .. } | Shape::Structure(_) | Shape::Timestamp => Vec::new(),
        Shape::Enum(set) => {
            vec![(json!("NONE"), format!("Member must satisfy enum value set: {}", set.shown))]
        }
        Shape::Integer(Bounds { min, max }) => vec![
            (json!(max + 1), format!("Member must have value less than or equal to {max}")),
            (json!(min - 1), format!("Member must have value greater than or equal to {min}")),
        ],
        Shape::List { of, length } => {
            let member = valid(of);
            let make = |members: i64| json!(vec![member.clone(); usize::try_from(members).unwrap()]);
            let mut all = lengths(*length, make);
            let of_member =
                |(value, text): Mistake| (json!([value]), format!("Member must satisfy constraint: [{text}"));
            all.extend(mistakes(of).into_iter().take(1).map(of_member));
            all
        }
        Shape::String { length, pattern, .. } => {
            let make = |chars: i64| json!("a".repeat(usize::try_from(chars).unwrap()));
            let mut all = lengths(*length, make);
            if let Some(pattern) = pattern {
                // No pattern of the API takes a character beyond the basic plane.
                let text = format!("Member must satisfy regular expression pattern: {}", pattern.text);
                all.push((json!("\u{1f600}"), text));
            }
            all
        }
    }
}

/// Every member with what can be wrong with it: its path, and the whole request with the mistake in it.
fn wrong_requests(structure: &Structure) -> Vec<(String, Value, String)> {
    let mut all = Vec::new();
    for member in &structure.members {
        let with = |value: Value| {
            let mut request = whole(structure);
            request[&member.name] = value;
            request
        };
        if member.is_required {
            all.push((member.path.clone(), with(Value::Null), "Member must not be null".to_owned()));
        }
        for (value, text) in mistakes(&member.shape) {
            all.push((member.path.clone(), with(value), text));
        }
        let nested = if let Shape::Structure(inner) = &*member.shape {
            Some((inner, ""))
        } else if let Shape::List { of, .. } = &*member.shape
            && let Shape::Structure(inner) = &**of
        {
            Some((inner, ".1.member"))
        } else {
            None
        };
        let Some((inner, infix)) = nested else { continue };
        for (path, value, text) in wrong_requests(inner) {
            let value = if infix.is_empty() { value } else { json!([value]) };
            all.push((format!("{}{infix}.{path}", member.path), with(value), text));
        }
    }
    all
}

fn inputs() -> Vec<(OperationName, Shapes)> {
    OperationName::ALL.iter().map(|&name| (name, Shapes::parse(DESCRIPTION).unwrap())).collect()
}

#[test]
fn a_valid_request_for_each_operation_passes() {
    for (name, shapes) in inputs() {
        let input = shapes.input(name).unwrap();
        let body = whole(input).to_string();
        assert_eq!(check(name, body.as_bytes()), Ok(()), "{name} {body}");
        let required = input.members.iter().filter(|member| member.is_required);
        let required: Map<_, _> =
            required.map(|member| (member.name.clone(), valid(&member.shape))).collect();
        assert_eq!(check(name, Value::Object(required).to_string().as_bytes()), Ok(()), "{name}");
    }
}

#[test]
fn each_mistake_in_each_member_of_each_operation_is_told() {
    let mut count = 0;
    for (name, shapes) in inputs() {
        for (path, request, text) in wrong_requests(shapes.input(name).unwrap()) {
            let Err(Error::Validation(message)) = check(name, request.to_string().as_bytes()) else {
                panic!("{name} {path}: accepted although {text}");
            };
            let place = format!(" at '{path}' failed to satisfy constraint: {text}");
            let is_list = text.starts_with("Member must satisfy constraint");
            assert!(
                message.contains(&place) || is_list && message.contains(&text),
                "{name} {path}: {message}"
            );
            count += 1;
        }
    }
    assert!(count > 400, "{count}");
}
