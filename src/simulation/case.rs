//! A request and its policies as one JSON document, and what would be decided.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authorizer::evaluation::{CallerKind, Evaluation, Layers, Verdict};
use crate::domain::kms::{EncryptionContext, GrantOperation};
use crate::identity::kms::NamedPolicy;
use crate::policy::{Context, Embedded, Kind, Naming, PolicyDocument, Principal, Request};
use crate::simulation::answer::Answer;
use crate::simulation::grant::{Asked, Grant};

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    Answered(Answer),
    /// The case says nothing that could be decided.
    Refused {
        refused: String,
    },
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => answer.fmt(f),
            Self::Refused { refused } => write!(f, "refused: {refused}"),
        }
    }
}

/// Everything that decides one request, described in docs/how-to/policy-simulation.md.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    principal: String,
    action: String,
    #[serde(default = "everything")]
    resource: String,
    resource_account: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Value>,
    #[serde(default)]
    encryption_context: EncryptionContext,
    key_policy: Option<Embedded>,
    #[serde(default)]
    identity_policies: Vec<Named>,
    permissions_boundary: Option<Embedded>,
    #[serde(default)]
    session_policies: Vec<Named>,
    #[serde(default)]
    service_control_policies: Vec<Named>,
    endpoint_policy: Option<Embedded>,
    #[serde(default)]
    grants: Vec<Grant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    policy: Embedded,
}

fn everything() -> String {
    "*".to_owned()
}

/// Answers a case, the JSON of one line.
pub fn answer(line: &str) -> Reply {
    let case = serde_json::from_str(line).map_err(|error| error.to_string());
    match case.and_then(Read::new) {
        Ok(read) => Reply::Answered(read.answer()),
        Err(refused) => Reply::Refused { refused },
    }
}

/// A case whose policies were read.
struct Read {
    principal: String,
    action: String,
    resource: String,
    resource_account: Option<String>,
    context: Vec<(String, String)>,
    encryption_context: EncryptionContext,
    key_policy: Option<PolicyDocument>,
    identity_policies: Vec<Arc<NamedPolicy>>,
    boundary: Option<Arc<NamedPolicy>>,
    session_policies: Vec<Arc<NamedPolicy>>,
    account_policies: Vec<Arc<NamedPolicy>>,
    endpoint_policy: Option<Arc<NamedPolicy>>,
    grants: Vec<Grant>,
}

impl Read {
    fn new(case: Case) -> Result<Self, String> {
        let one = |member: &str, kind, given: Option<Embedded>| {
            given.map(|given| read(member, kind, given)).transpose()
        };
        let named =
            |member: &str, given: Option<PolicyDocument>| given.map(|it| NamedPolicy::new(member, it));
        let boundary = one("permissionsBoundary", Kind::Identity, case.permissions_boundary)?;
        let endpoint = one("endpointPolicy", Kind::Endpoint, case.endpoint_policy)?;
        Ok(Self {
            context: values(case.context)?,
            key_policy: one("keyPolicy", Kind::Key, case.key_policy)?.map(PolicyDocument::for_a_key),
            identity_policies: read_all("identityPolicies", case.identity_policies)?,
            boundary: named("permissionsBoundary", boundary),
            session_policies: read_all("sessionPolicies", case.session_policies)?,
            account_policies: read_all("serviceControlPolicies", case.service_control_policies)?,
            endpoint_policy: named("endpointPolicy", endpoint),
            principal: case.principal,
            action: case.action,
            resource: case.resource,
            resource_account: case.resource_account,
            encryption_context: case.encryption_context,
            grants: case.grants,
        })
    }

    fn answer(&self) -> Answer {
        let principal = Principal::new(&self.principal).with_boundary(self.boundary.is_some());
        let request =
            Request { principal, action: &self.action, resource: &self.resource, context: self.context() };
        let evaluation = Evaluation::of(&request, self.layers(principal));
        let verdict = evaluation.verdict(None);
        let of_grant = |(id, naming)| (evaluation.verdict(Some(naming)), Some(id));
        let granted = matches!(&verdict, Verdict::Denied(denial) if denial.is_open_to_grants())
            .then(|| self.grants(principal).map(of_grant).find(|(it, _)| matches!(it, Verdict::Allowed(_))))
            .flatten();
        let (verdict, grant) = granted.unwrap_or((verdict, None));
        Answer::new(verdict, &self.action, &self.resource, grant.as_deref())
    }

    fn layers<'a>(&'a self, principal: Principal<'_>) -> Layers<'a> {
        Layers {
            caller: caller_kind(principal),
            is_own: principal.account() == self.resource_account(principal),
            resource_policy: self.key_policy.as_ref(),
            identity_policies: &self.identity_policies,
            boundary: self.boundary.as_deref(),
            session_policies: &self.session_policies,
            account_policies: &self.account_policies,
            endpoint_policy: self.endpoint_policy.as_deref(),
        }
    }

    /// As said, else that of the resource's ARN, else the caller's.
    fn resource_account<'a>(&'a self, principal: Principal<'a>) -> Option<&'a str> {
        let of_arn = || self.resource.split(':').nth(4).filter(|account| !account.is_empty());
        self.resource_account.as_deref().or_else(of_arn).or(principal.account())
    }

    fn context(&self) -> Context<'_> {
        let given = self.context.iter().map(|(key, value)| (Cow::Borrowed(&**key), &**value));
        let pairs = self.encryption_context.pairs().flat_map(|(key, value)| {
            let member = Cow::Owned(format!("kms:EncryptionContext:{key}"));
            [(member, value), (Cow::Borrowed("kms:EncryptionContextKeys"), key)]
        });
        given.chain(pairs).fold(Context::new(), |context, (key, value)| context.with(key, value))
    }

    /// The grants that permit it, by id or number, and the names by which they do.
    fn grants<'a>(&'a self, caller: Principal<'a>) -> impl Iterator<Item = (String, Naming)> + 'a {
        let source_arn = self.context.iter().find(|(key, _)| key.eq_ignore_ascii_case("aws:SourceArn"));
        let asked = Asked {
            caller,
            operation: self.action.strip_prefix("kms:").and_then(GrantOperation::parse),
            encryption_context: &self.encryption_context,
            source_arn: source_arn.map(|(_, arn)| &**arn),
        };
        (1..).zip(&self.grants).filter_map(move |(number, grant)| {
            let naming = grant.permits(asked)?;
            Some((grant.grant_id.clone().unwrap_or_else(|| format!("{number}")), naming))
        })
    }
}

/// What has no ARN is a service, or somebody whom only `*` names.
fn caller_kind(principal: Principal<'_>) -> CallerKind {
    match principal.account() {
        None => CallerKind::Service,
        Some(_) if principal.is_root() => CallerKind::Root,
        Some(_) => CallerKind::UserOrRole,
    }
}

fn read(member: &str, kind: Kind, given: Embedded) -> Result<PolicyDocument, String> {
    let document = given.0.map_err(|error| format!("{member}: {error}"))?;
    kind.check(&document).map_err(|reason| format!("{member}: {reason}"))?;
    Ok(document)
}

fn read_all(member: &str, given: Vec<Named>) -> Result<Vec<Arc<NamedPolicy>>, String> {
    let read = |Named { name, policy }| {
        let document = read(&format!("{member} `{name}`"), Kind::Identity, policy)?;
        Ok(NamedPolicy::new(&name, document))
    };
    given.into_iter().map(read).collect()
}

/// Every value of every key: texts, numbers and booleans, or lists of them.
fn values(context: BTreeMap<String, Value>) -> Result<Vec<(String, String)>, String> {
    let mut values = Vec::with_capacity(context.len());
    for (key, value) in context {
        let several = match value {
            Value::Array(several) => several,
            one @ (Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) | Value::String(_)) => {
                vec![one]
            }
        };
        for value in several {
            let text = match value {
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) | Value::Null | Value::Object(_) => {
                    return Err(format!("context `{key}`: a value is a string, a number or a boolean"));
                }
            };
            values.push((key.clone(), text));
        }
    }
    Ok(values)
}
