//! Tests of the policy language: what is refused, what matches, and properties of decisions.

mod elements;
mod model;
mod operators;
mod properties;
mod refusals;
mod variables;

use serde_json::Value;
use serde_json::json;

use crate::policy::AttachedTo;
use crate::policy::Context;
use crate::policy::Finding;
use crate::policy::PolicyDocument;
use crate::policy::Principal;
use crate::policy::Request;
use crate::policy::evaluate;

const ALICE: &str = "arn:aws:iam::111122223333:user/Alice";
const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234";

fn parse(policy: &Value) -> PolicyDocument {
    PolicyDocument::parse(&policy.to_string()).unwrap_or_else(|error| panic!("{error}: {policy}"))
}

/// A policy of the current version with these statements.
fn policy(statements: Value) -> PolicyDocument {
    parse(&json!({ "Version": "2012-10-17", "Statement": statements }))
}

fn context<'a>(entries: &[(&'a str, &'a str)]) -> Context<'a> {
    entries.iter().fold(Context::new(), |context, (key, value)| context.with(*key, *value))
}

fn request<'a>(principal: &'a str, action: &'a str, resource: &'a str) -> Request<'a> {
    Request { principal: Principal::new(principal), action, resource, context: Context::new() }
}

/// What a policy of a resource says.
fn decide<'p>(request: &Request<'_>, policy: &'p PolicyDocument) -> Finding<'p> {
    evaluate(request, AttachedTo::Resource, policy)
}

fn is_allowed(request: &Request<'_>, policy: &PolicyDocument) -> bool {
    matches!(decide(request, policy), Finding::Allows { .. })
}

/// Whether Alice may decrypt with the key under this statement alone, in this context.
fn applies(statement: &Value, entries: &[(&str, &str)]) -> bool {
    let policy = policy(statement.clone());
    let request = Request { context: context(entries), ..request(ALICE, "kms:Decrypt", KEY) };
    decide(&request, &policy) != Finding::Silent
}

/// Whether one condition holds, in an Allow.
fn holds(operator: &str, key: &str, wanted: &Value, entries: &[(&str, &str)]) -> bool {
    let condition = json!({ operator: { key: wanted } });
    applies(&json!({ "Effect": "Allow", "Action": "*", "Condition": condition }), entries)
}
