//! Policies, requests and layers made by chance.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::authorizer::evaluation::{CallerKind, Evaluation, Layers, Verdict};
use crate::identity::kms::NamedPolicy;
use crate::policy::{Context, Naming, PolicyDocument, Principal, Request};

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1";
const CALLERS: [&str; 8] = [
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:sts::111122223333:assumed-role/ops/s",
    "arn:aws:iam::444455556666:root",
    "arn:aws:iam::444455556666:user/alice",
    "arn:aws:sts::444455556666:assumed-role/ops/s",
    "s3.amazonaws.com",
    "somebody",
];
const PRINCIPALS: [&str; 8] = [
    "111122223333",
    "arn:aws:iam::444455556666:root",
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::111122223333:role/ops",
    "arn:aws:sts::111122223333:assumed-role/ops/s",
    "arn:aws:iam::444455556666:user/alice",
    "arn:aws:iam::444455556666:role/ops",
    "777788889999",
];

/// Statements of one policy.
pub(super) type Statements = Vec<Value>;

/// Everything that decides, as it is written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) caller: &'static str,
    pub(super) context: Vec<(&'static str, &'static str)>,
    pub(super) resource: Option<Statements>,
    pub(super) identity: Vec<Statements>,
    pub(super) boundary: Option<Statements>,
    pub(super) session: Vec<Statements>,
    pub(super) account: Vec<Statements>,
    pub(super) endpoint: Option<Statements>,
}

/// Whether a request is allowed, without a grant and with one by each name.
pub(super) type Access = [bool; 4];

pub(super) fn document(statements: &Statements) -> PolicyDocument {
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    PolicyDocument::parse(&text).unwrap()
}

fn named(statements: &Statements) -> Arc<NamedPolicy> {
    NamedPolicy::new("policy", document(statements))
}

fn all_named(policies: &[Statements]) -> Vec<Arc<NamedPolicy>> {
    policies.iter().map(named).collect()
}

impl Written {
    pub(super) fn documents(&self) -> impl Iterator<Item = &Statements> {
        let lists = [&self.identity, &self.session, &self.account];
        let single = [&self.resource, &self.boundary, &self.endpoint];
        lists.into_iter().flatten().chain(single.into_iter().flatten())
    }

    pub(super) fn documents_mut(&mut self) -> Vec<&mut Statements> {
        let lists = [&mut self.identity, &mut self.session, &mut self.account];
        let single = [&mut self.resource, &mut self.boundary, &mut self.endpoint];
        lists.into_iter().flatten().chain(single.into_iter().flatten()).collect()
    }

    pub(super) fn access(&self) -> Access {
        self.access_in(|_| true)
    }

    /// The same with an empty context where the layers do not need their own.
    pub(super) fn access_in(&self, has_context: impl Fn(&Layers<'_>) -> bool) -> Access {
        let resource = self.resource.as_ref().map(document);
        let (identity, session) = (all_named(&self.identity), all_named(&self.session));
        let account = all_named(&self.account);
        let (boundary, endpoint) = (self.boundary.as_ref().map(named), self.endpoint.as_ref().map(named));
        let principal = Principal::new(self.caller).with_boundary(boundary.is_some());
        let layers = Layers {
            caller: match principal.account() {
                None => CallerKind::Service,
                Some(_) if principal.is_root() => CallerKind::Root,
                Some(_) => CallerKind::UserOrRole,
            },
            is_own: principal.account() == Some("111122223333"),
            resource_policy: resource.as_ref(),
            identity_policies: &identity,
            boundary: boundary.as_deref(),
            session_policies: &session,
            account_policies: &account,
            endpoint_policy: endpoint.as_deref(),
        };
        let said = self.context.iter().filter(|_| has_context(&layers));
        let context = said.fold(Context::new(), |all, (key, value)| all.with(*key, *value));
        let request = Request { principal, action: "kms:Decrypt", resource: KEY, context };
        let evaluation = Evaluation::of(&request, layers);
        let grants = [None, Some(Naming::Account), Some(Naming::WithOthers), Some(Naming::Exactly)];
        grants.map(|grant| matches!(evaluation.verdict(grant), Verdict::Allowed(_)))
    }
}

fn condition() -> impl Strategy<Value = Value> {
    let operators = select(vec![
        ("StringEquals", "a"),
        ("StringNotEquals", "a"),
        ("StringLikeIfExists", "a*"),
        ("ForAllValues:StringEquals", "a"),
        ("ForAnyValue:StringNotLike", "a?"),
        ("StringEquals", "${x:b, 'a'}"),
        ("Null", "true"),
        ("Bool", "false"),
        ("NumericLessThan", "7"),
        ("IpAddress", "10.0.0.0/8"),
    ]);
    (operators, select(vec!["x:a", "X:B"])).prop_map(|((name, value), key)| json!({ name: { key: value } }))
}

pub(super) fn statement(with_principal: bool) -> impl Strategy<Value = Value> {
    let action = select(vec![
        json!({ "Action": "kms:Decrypt" }),
        json!({ "Action": ["kms:decrypt", "kms:Encrypt"] }),
        json!({ "Action": "kms:*" }),
        json!({ "Action": "kms:Sign" }),
        json!({ "NotAction": "kms:Sign" }),
    ]);
    let resource = select(vec![
        json!({ "Resource": "*" }),
        json!({ "Resource": "arn:aws:kms:*:111122223333:key/${x:a}" }),
        json!({ "Resource": KEY }),
        json!({ "NotResource": "arn:aws:kms:*:*:key/2" }),
    ]);
    let principal = (prop::collection::vec(select(&PRINCIPALS[..]), 1..3), 0..6_u8);
    let effect = prop_oneof![4 => Just("Allow"), 1 => Just("Deny")];
    let condition = prop::option::weighted(0.3, condition());
    (effect, action, resource, principal, condition).prop_map(
        move |(effect, action, resource, (names, form), condition)| {
            let mut made = json!({ "Effect": effect });
            let members = made.as_object_mut().unwrap();
            members.extend(action.as_object().unwrap().clone());
            members.extend(resource.as_object().unwrap().clone());
            members.extend(condition.map(|condition| ("Condition".to_owned(), condition)));
            if with_principal {
                let (name, value) = match (form, effect) {
                    (0, _) => ("Principal", json!("*")),
                    (1, _) => ("Principal", json!({ "Service": "s3.amazonaws.com", "AWS": names })),
                    (2 | 3, "Deny") => ("NotPrincipal", json!({ "AWS": names })),
                    _ => ("Principal", json!({ "AWS": names })),
                };
                members.insert(name.to_owned(), value);
            }
            made
        },
    )
}

pub(super) fn statements(with_principal: bool) -> impl Strategy<Value = Statements> {
    prop::collection::vec(statement(with_principal), 1..4)
}

pub(super) fn written() -> impl Strategy<Value = Written> {
    let several = |most: usize| prop::collection::vec(statements(false), 0..most);
    let context = prop::collection::vec(
        (select(vec!["x:a", "x:b"]), select(vec!["a", "ab", "1", "true", "10.0.0.1"])),
        0..4,
    );
    let policies = (
        prop::option::weighted(0.9, statements(true)),
        several(3),
        prop::option::weighted(0.3, statements(false)),
        prop::option::weighted(0.3, several(3)),
        prop::option::weighted(0.3, several(3)),
        prop::option::weighted(0.3, statements(true)),
    );
    (select(&CALLERS[..]), context, policies).prop_map(
        |(caller, context, (resource, identity, boundary, session, account, endpoint))| Written {
            caller,
            context,
            resource,
            identity,
            boundary,
            session: session.unwrap_or_default(),
            account: account.unwrap_or_default(),
            endpoint,
        },
    )
}
