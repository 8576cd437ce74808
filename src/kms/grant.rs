//! Grants in requests and answers: principals, constraints, tokens.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::domain::kms::{
    AccountId, EncryptionContext, Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal, Key,
    KeyAction, KeySpec, UnixMillis, check_capability,
};
use crate::gate::kms::Refused;
use crate::kms::error::Error;
use crate::store::StoreError;

pub(super) const NO_GRANTEE: &str = "Give either GranteePrincipal or GranteeServicePrincipal.";
const UNBOUND_SERVICE: &str = "A grant with a GranteeServicePrincipal needs a SourceArn constraint and either a \
     RetiringPrincipal or a RetiringServicePrincipal.";
pub(super) const NO_RETIRING: &str = "Give either RetiringPrincipal or RetiringServicePrincipal.";

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GrantConstraintsEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context_subset: Option<EncryptionContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context_equals: Option<EncryptionContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_arn: Option<String>,
}

impl From<GrantConstraintsEntry> for GrantConstraints {
    fn from(entry: GrantConstraintsEntry) -> Self {
        Self {
            context_equals: entry.encryption_context_equals,
            context_subset: entry.encryption_context_subset,
            source_arn: entry.source_arn,
        }
    }
}

/// One of the two members that can name a principal; none if neither does.
pub(super) fn principal(
    principal: Option<Cow<'_, str>>,
    service: Option<Cow<'_, str>>,
    partition: &str,
) -> Result<Option<GrantPrincipal>, Error> {
    match (principal, service) {
        (Some(_), Some(_)) => Err(Error::validation("Give a principal or a service principal, not both.")),
        (Some(principal), None) => match canonical_arn(&principal, partition) {
            Some(arn) => Ok(Some(GrantPrincipal::Principal(arn))),
            None => Err(Error::InvalidArn(format!("Invalid principal ARN: {principal}"))),
        },
        (None, Some(service)) => Ok(Some(GrantPrincipal::Service(service.into_owned()))),
        (None, None) => Ok(None),
    }
}

/// The ARN of an account's root, a user, a role or a session. An account id alone stands for its root.
fn canonical_arn(text: &str, partition: &str) -> Option<String> {
    if AccountId::parse(text).is_some() {
        return Some(format!("arn:{partition}:iam::{text}:root"));
    }
    is_principal_arn(text).then(|| text.to_owned())
}

fn is_principal_arn(text: &str) -> bool {
    let is_account = |text: &str| AccountId::parse(text).is_some();
    let mut parts = text.splitn(6, ':');
    let is_start = parts.next() == Some("arn") && parts.next().is_some_and(|part| part.starts_with("aws"));
    let service = parts.next();
    let is_in_account = parts.next() == Some("") && parts.next().is_some_and(is_account);
    let is_principal = parts.next().is_some_and(|resource| match (service, resource.split_once('/')) {
        (Some("iam"), None) => resource == "root",
        (Some("iam"), Some((kind, name))) => matches!(kind, "role" | "user") && !name.is_empty(),
        (Some("sts"), Some((kind, name))) => {
            matches!(kind, "assumed-role" | "federated-user") && !name.is_empty()
        }
        (Some(_) | None, _) => false,
    });
    is_start && is_in_account && is_principal
}

/// Condition keys of CreateGrant (AWS KMS Developer Guide, AWS KMS condition keys).
pub(super) fn conditions<'c>(
    operations: &[GrantOperation],
    (grantee, retiring): (&'c GrantPrincipal, Option<&'c GrantPrincipal>),
    constraints: &GrantConstraints,
) -> Vec<(Cow<'c, str>, Cow<'c, str>)> {
    let mut conditions: Vec<(Cow<'c, str>, Cow<'c, str>)> = operations
        .iter()
        .map(|operation| ("kms:GrantOperations".into(), operation.as_str().into()))
        .collect();
    conditions.push(match grantee {
        GrantPrincipal::Principal(arn) => ("kms:GranteePrincipal".into(), arn.into()),
        GrantPrincipal::Service(name) => ("kms:GranteeServicePrincipal".into(), name.into()),
    });
    conditions.extend(retiring.map(|retiring| match retiring {
        GrantPrincipal::Principal(arn) => ("kms:RetiringPrincipal".into(), arn.into()),
        GrantPrincipal::Service(name) => ("kms:RetiringServicePrincipal".into(), name.into()),
    }));
    if let Some(source_arn) = &constraints.source_arn {
        conditions.push(("kms:GrantConstraintSourceArn".into(), source_arn.clone().into()));
    }
    for (is_there, name) in [
        (constraints.context_equals.is_some(), "EncryptionContextEquals"),
        (constraints.context_subset.is_some(), "EncryptionContextSubset"),
    ] {
        if is_there {
            conditions.push(("kms:GrantConstraintType".into(), name.into()));
        }
    }
    conditions.extend(conditions_of_context(constraints));
    conditions
}

/// The encryption context that constraints speak of: of a pair that both have, one value.
fn conditions_of_context<'c>(constraints: &GrantConstraints) -> Vec<(Cow<'c, str>, Cow<'c, str>)> {
    let contexts = [&constraints.context_subset, &constraints.context_equals].into_iter().flatten();
    let pairs: BTreeMap<_, _> = contexts.flat_map(EncryptionContext::pairs).collect();
    let of_pair = |(key, value): (&str, &str)| {
        [
            (format!("kms:EncryptionContext:{key}").into(), value.to_owned().into()),
            ("kms:EncryptionContextKeys".into(), key.to_owned().into()),
        ]
    };
    pairs.into_iter().flat_map(of_pair).collect()
}

/// AWS KMS Developer Guide, Creating grants: a service is granted only what it does for one resource, and somebody can
/// end that.
pub(super) fn check_principals(
    grantee: &GrantPrincipal,
    retiring: Option<&GrantPrincipal>,
    constraints: &GrantConstraints,
) -> Result<(), Error> {
    match grantee {
        GrantPrincipal::Service(_) if constraints.source_arn.is_none() || retiring.is_none() => {
            Err(Error::validation(UNBOUND_SERVICE))
        }
        GrantPrincipal::Principal(_) | GrantPrincipal::Service(_) => Ok(()),
    }
}

/// AWS KMS Developer Guide, Using grant constraints.
const CONSTRAINT_PAIRS_MAX: usize = 8;
const CONSTRAINT_VALUE_CHARS_MAX: usize = 384;

/// A grant may permit only what the key can do, and its constraints are small.
pub(super) fn check_operations(
    key: &Key,
    operations: &[GrantOperation],
    constraints: &GrantConstraints,
) -> Result<(), Error> {
    if operations.is_empty() {
        return Err(Error::validation("Operations must not be empty"));
    }
    for operation in operations {
        let action = KeyAction::parse(operation.as_str());
        if action.is_some_and(|action| check_capability(key, action).is_err()) {
            let text = format!("Operation {operation} is not valid for a key with key spec {}.", key.spec);
            return Err(Error::validation(text));
        }
    }
    let contexts = [&constraints.context_equals, &constraints.context_subset];
    if contexts.into_iter().flatten().any(is_too_big) {
        return Err(Error::validation(format!(
            "A grant constraint has at most {CONSTRAINT_PAIRS_MAX} pairs, with values of at most \
             {CONSTRAINT_VALUE_CHARS_MAX} characters."
        )));
    }
    let has_context = constraints.context_equals.is_some() || constraints.context_subset.is_some();
    if has_context && key.spec != KeySpec::SymmetricDefault {
        return Err(Error::validation("Only grants of symmetric encryption keys can have such constraints."));
    }
    Ok(())
}

fn is_too_big(context: &EncryptionContext) -> bool {
    context.pairs().count() > CONSTRAINT_PAIRS_MAX
        || context.pairs().any(|(_, value)| value.chars().count() > CONSTRAINT_VALUE_CHARS_MAX)
}

pub(super) fn explain(refused: Refused) -> Error {
    if refused == Refused::Store(StoreError::LimitExceeded) {
        return Error::LimitExceeded("The key has as many grants as it may have.".to_owned());
    }
    refused.into()
}

pub(super) fn missing(id: &GrantId) -> Error {
    Error::NotFound(format!("Grant ID {} not found", id.0))
}

pub(super) fn explain_missing(refused: Refused, id: &GrantId) -> Error {
    if refused == Refused::Store(StoreError::Missing) { missing(id) } else { refused.into() }
}

/// What names a grant to whoever was given it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GrantToken {
    key_arn: String,
    id: GrantId,
}

/// The grant tokens of a request. A grant counts at once, so that a token has nothing to add; but what is no token
/// is refused, as AWS KMS does.
pub(super) fn checked_tokens<'t, 'b>(
    tokens: Option<&'t [Cow<'b, str>]>,
) -> Result<&'t [Cow<'b, str>], Error> {
    let tokens = tokens.unwrap_or_default();
    tokens.iter().try_for_each(|token| GrantToken::parse(token).map(drop))?;
    Ok(tokens)
}

/// Tells our tokens, and their format, from other texts.
const TOKEN_PREFIX: &str = "hgt1.";

impl GrantToken {
    pub(super) fn of(key: &Key, id: &GrantId) -> Self {
        Self { key_arn: key.arn(), id: id.clone() }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let parse = || {
            let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(TOKEN_PREFIX)?).ok()?;
            let (key_arn, id) = str::from_utf8(&bytes).ok()?.split_once(' ')?;
            Some(Self { key_arn: key_arn.to_owned(), id: GrantId(id.to_owned()) })
        };
        parse().ok_or_else(|| Error::InvalidGrantToken("The grant token is not valid.".to_owned()))
    }

    /// The ARN of the key, and the id of the grant.
    pub(super) fn into_names(self) -> (String, GrantId) {
        (self.key_arn, self.id)
    }
}

impl fmt::Display for GrantToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = format!("{} {}", self.key_arn, self.id.0);
        write!(f, "{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(names))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GrantListEntry {
    key_id: String,
    grant_id: String,
    name: String,
    creation_date: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    grantee_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grantee_service_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retiring_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retiring_service_principal: Option<String>,
    issuing_account: String,
    operations: Vec<GrantOperation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<GrantConstraintsEntry>,
}

impl GrantListEntry {
    pub(super) fn of(grant: &Grant) -> Self {
        let (grantee_principal, grantee_service_principal) = sorted(Some(&grant.grantee));
        let (retiring_principal, retiring_service_principal) = sorted(grant.retiring.as_ref());
        let constraints = GrantConstraintsEntry {
            encryption_context_subset: grant.constraints.context_subset.clone(),
            encryption_context_equals: grant.constraints.context_equals.clone(),
            source_arn: grant.constraints.source_arn.clone(),
        };
        let has_constraints = grant.constraints != GrantConstraints::default();
        Self {
            key_id: grant.scope.arn(&format!("key/{}", grant.key_id)),
            grant_id: grant.id.0.clone(),
            name: grant.name.clone().unwrap_or_default(),
            creation_date: grant.created,
            grantee_principal,
            grantee_service_principal,
            retiring_principal,
            retiring_service_principal,
            issuing_account: grant.issuing_account.clone(),
            operations: grant.operations.clone(),
            constraints: has_constraints.then_some(constraints),
        }
    }
}

/// The principal in the member that is for its kind.
fn sorted(principal: Option<&GrantPrincipal>) -> (Option<String>, Option<String>) {
    match principal {
        Some(GrantPrincipal::Principal(arn)) => (Some(arn.clone()), None),
        Some(GrantPrincipal::Service(name)) => (None, Some(name.clone())),
        None => (None, None),
    }
}
