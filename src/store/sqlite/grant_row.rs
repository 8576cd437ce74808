//! A grant as columns, and back.

use aws_lc_rs::digest;
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::domain::kms::{
    EncryptionContext, Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal, KeyId, Scope,
    UnixMillis,
};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::{optional_word, word};

const PRINCIPAL: &str = "principal:";
const SERVICE: &str = "service:";

/// What of a grant is not stored as it is.
pub(super) struct GrantColumns {
    pub(super) grantee: String,
    pub(super) retiring: Option<String>,
    pub(super) operations: String,
    pub(super) constraints: String,
    pub(super) content: Option<Vec<u8>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Constraints {
    context_equals: Option<EncryptionContext>,
    context_subset: Option<EncryptionContext>,
    source_arn: Option<String>,
}

impl GrantColumns {
    pub(super) fn of(grant: &Grant) -> Result<Self, Fault> {
        let grantee = principal_text(&grant.grantee);
        let retiring = grant.retiring.as_ref().map(principal_text);
        let constraints = json(&Constraints {
            context_equals: grant.constraints.context_equals.clone(),
            context_subset: grant.constraints.context_subset.clone(),
            source_arn: grant.constraints.source_arn.clone(),
        })?;
        let content = match &grant.name {
            Some(name) => {
                let mut operations = grant.operations.clone();
                operations.sort_unstable();
                operations.dedup();
                // A tuple in JSON, contexts in the order of their keys: one text for one content.
                let text = json(&(name, &grantee, &retiring, operations, &constraints))?;
                Some(digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec())
            }
            None => None,
        };
        let operations = json(&grant.operations)?;
        Ok(Self { grantee, retiring, operations, constraints, content })
    }
}

pub(super) fn read(row: &Row<'_>, scope: &Scope) -> Result<Grant, Fault> {
    let constraints: Constraints = word(row, "constraints", |text| serde_json::from_str(text).ok())?;
    Ok(Grant {
        scope: scope.clone(),
        key_id: word(row, "key_id", KeyId::parse)?,
        id: GrantId(row.get("id")?),
        name: row.get("name")?,
        created: UnixMillis(row.get("created")?),
        issuing_account: row.get("issuing_account")?,
        grantee: word(row, "grantee", parse_principal)?,
        retiring: optional_word(row, "retiring", parse_principal)?,
        operations: word(row, "operations", |text| serde_json::from_str::<Vec<GrantOperation>>(text).ok())?,
        constraints: GrantConstraints {
            context_equals: constraints.context_equals,
            context_subset: constraints.context_subset,
            source_arn: constraints.source_arn,
        },
    })
}

pub(super) fn principal_text(principal: &GrantPrincipal) -> String {
    match principal {
        GrantPrincipal::Principal(arn) => format!("{PRINCIPAL}{arn}"),
        GrantPrincipal::Service(name) => format!("{SERVICE}{name}"),
    }
}

fn parse_principal(text: &str) -> Option<GrantPrincipal> {
    let principal = text.strip_prefix(PRINCIPAL).map(|arn| GrantPrincipal::Principal(arn.to_owned()));
    principal.or_else(|| text.strip_prefix(SERVICE).map(|name| GrantPrincipal::Service(name.to_owned())))
}

fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|_| Fault::Value("grant"))
}
