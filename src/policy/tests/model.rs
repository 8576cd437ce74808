//! A naive model of the language, straight over the JSON, to compare the engine with.

use serde_json::Value;

pub(super) struct ModelRequest {
    pub(super) principal: &'static str,
    pub(super) action: &'static str,
    pub(super) resource: &'static str,
    pub(super) context: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Allow,
    ExplicitDeny,
    ImplicitDeny,
}

pub(super) fn decide(document: &Value, request: &ModelRequest) -> Outcome {
    let statements = list(&document["Statement"]);
    let has = |effect: &str| statements.iter().any(|s| s["Effect"] == effect && applies(s, request));
    match (has("Deny"), has("Allow")) {
        (true, _) => Outcome::ExplicitDeny,
        (false, true) => Outcome::Allow,
        (false, false) => Outcome::ImplicitDeny,
    }
}

pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let pattern_rest = &pattern[first.len_utf8()..];
    let text_rest = text.chars().next().map(|c| &text[c.len_utf8()..]);
    match first {
        '*' => glob(pattern_rest, text) || text_rest.is_some_and(|rest| glob(pattern, rest)),
        '?' => text_rest.is_some_and(|rest| glob(pattern_rest, rest)),
        _ => text.strip_prefix(first).is_some_and(|rest| glob(pattern_rest, rest)),
    }
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

fn any(value: &Value, test: impl Fn(&str) -> bool) -> bool {
    list(value).into_iter().any(|value| test(value.as_str().unwrap()))
}

fn applies(statement: &Value, request: &ModelRequest) -> bool {
    let names = |name: &str| match name.parse::<u64>() {
        Ok(_) => request.principal.contains(&format!("::{name}:")),
        Err(_) => name == "*" || name == request.principal,
    };
    let acts = |action: &str| glob(&action.to_lowercase(), &request.action.to_lowercase());
    let is_in = |arn: &str| glob(arn, request.resource);
    let principal = &statement["Principal"];
    let holds = |operator: &String, keys: &Value| {
        let denies = statement["Effect"] == "Deny";
        keys.as_object()
            .unwrap()
            .iter()
            .all(|(key, wanted)| condition(operator, (key, wanted), request, denies))
    };
    (principal.is_null() || any(if principal.is_string() { principal } else { &principal["AWS"] }, names))
        && (statement["Action"].is_null() || any(&statement["Action"], acts))
        && (statement["NotAction"].is_null() || !any(&statement["NotAction"], acts))
        && (statement["Resource"].is_null() || any(&statement["Resource"], is_in))
        && (statement["NotResource"].is_null() || !any(&statement["NotResource"], is_in))
        && statement["Condition"]
            .as_object()
            .is_none_or(|all| all.iter().all(|(name, keys)| holds(name, keys)))
}

fn condition(operator: &str, (key, wanted): (&str, &Value), request: &ModelRequest, denies: bool) -> bool {
    let (set, operator) = operator.split_once(':').unwrap_or(("", operator));
    let (base, if_exists) = operator.strip_suffix("IfExists").map_or((operator, false), |base| (base, true));
    let plain = base.replacen("Not", "", 1);
    let negated = plain != base;
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let same = |value: &str, wanted: &str| match plain.as_str() {
        "StringEquals" => value == wanted,
        "StringEqualsIgnoreCase" | "Bool" => value.to_lowercase() == wanted.to_lowercase(),
        "StringLike" => glob(wanted, value),
        "NumericEquals" => number(value) == number(wanted),
        "NumericLessThan" => number(value) < number(wanted),
        other => unreachable!("{other}"),
    };
    let values: Vec<_> = request.context.iter().filter(|(name, _)| *name == key).map(|(_, v)| *v).collect();
    if base == "Null" {
        return any(wanted, |wanted| wanted == values.is_empty().to_string());
    }
    let matched = |value: &&str| any(wanted, |wanted| same(value, wanted));
    match set {
        "ForAllValues" => values.iter().all(|value| matched(value) != negated),
        "ForAnyValue" => values.iter().any(|value| matched(value) != negated),
        _ if values.is_empty() => negated || if_exists,
        _ if values.len() > 1 && !denies => false,
        _ => values.iter().any(|value| matched(value) != negated),
    }
}
