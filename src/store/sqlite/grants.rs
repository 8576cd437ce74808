//! Grants: added once, looked up, paged through by key or by who may retire them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::domain::kms::{Grant, GrantId, GrantPrincipal, KeyId, Scope};
use crate::store::StoreError;
use crate::store::sqlite::fault::{Fault, already_exists};
use crate::store::sqlite::grant_row::{self, GrantColumns, principal_text, read};
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{keys, numbers, scopes};

statements! {
    SAME = "SELECT id FROM key_grant WHERE key_no = ?1 AND content = ?2";
    INSERT = "INSERT INTO key_grant (key_no, scope_id, id, name, created, issuing_account, grantee, retiring,
            operations, constraints, content)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    ADD = "INSERT INTO grant_count (key_no, grants) VALUES (?1, 1)
        ON CONFLICT (key_no) DO UPDATE SET grants = grants + 1 RETURNING grants";
    REMOVE = "UPDATE grant_count SET grants = grants - 1 WHERE key_no = ?1";
    DELETE = "DELETE FROM key_grant WHERE key_no = ?1 AND id = ?2";
    GET = "SELECT g.id, g.name, g.created, g.issuing_account, g.grantee, g.retiring, g.operations,
            g.constraints, k.id AS key_id
        FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id JOIN key_grant AS g ON g.key_no = k.key_no
        WHERE s.account = ?1 AND s.region = ?2 AND k.id = ?3 AND g.id = ?4";
    PAGE_OF_KEY = "SELECT g.id, g.name, g.created, g.issuing_account, g.grantee, g.retiring, g.operations,
            g.constraints, k.id AS key_id
        FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id JOIN key_grant AS g ON g.key_no = k.key_no
        WHERE s.account = ?1 AND s.region = ?2 AND k.id = ?3 AND g.id > ?4 ORDER BY g.id LIMIT ?5";
    PAGE_OF_GRANTEE = "SELECT g.id, g.name, g.created, g.issuing_account, g.grantee, g.retiring, g.operations,
            g.constraints, k.id AS key_id
        FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id
            JOIN key_grant AS g INDEXED BY key_grant_by_grantee ON g.key_no = k.key_no
        WHERE s.account = ?1 AND s.region = ?2 AND k.id = ?3 AND g.id > ?4 AND g.grantee = ?6
        ORDER BY g.id LIMIT ?5";
    PAGE_OF_RETIRING = "SELECT g.id, g.name, g.created, g.issuing_account, g.grantee, g.retiring, g.operations,
            g.constraints, k.id AS key_id, s.account, s.region
        FROM key_grant AS g INDEXED BY key_grant_by_retiring_principal
            CROSS JOIN scope AS s ON s.scope_id = g.scope_id CROSS JOIN kms_key AS k ON k.key_no = g.key_no
        WHERE g.retiring = ?3 AND g.id > ?4 AND s.region = ?2 AND (?1 IS NULL OR s.account = ?1)
        ORDER BY g.id LIMIT ?5";
}

/// A page of grants, owned: it goes to another thread.
pub(super) struct Page {
    pub(super) scope: Scope,
    pub(super) of: PageOf,
    pub(super) after: Option<GrantId>,
    pub(super) limit: usize,
}

pub(super) enum PageOf {
    Grantee(KeyId, GrantPrincipal),
    Key(KeyId),
    Retiring(GrantPrincipal),
}

/// Adds it, unless there is one of the same name and content: the id of that one then.
pub(super) fn create(connection: &Connection, grant: &Grant, grants_max: u64) -> Result<GrantId, Fault> {
    let key_no = keys::require(connection, &grant.scope, &grant.key_id)?;
    let columns = GrantColumns::of(grant)?;
    if let Some(content) = &columns.content {
        let mut same = connection.prepare_cached(SAME)?;
        if let Some(id) = same.query_row(params![key_no, content], |row| row.get("id")).optional()? {
            return Ok(GrantId(id));
        }
    }
    let scope_id = scopes::ensure(connection, &grant.scope)?;
    let row = params![
        key_no,
        scope_id,
        grant.id.0,
        grant.name,
        grant.created.0,
        grant.issuing_account,
        columns.grantee,
        columns.retiring,
        columns.operations,
        columns.constraints,
        columns.content,
    ];
    connection.prepare_cached(INSERT)?.execute(row).map_err(already_exists)?;
    let mut add = connection.prepare_cached(ADD)?;
    let grants: i64 = add.query_row(params![key_no], |row| row.get("grants"))?;
    if grants > numbers::bound(grants_max) {
        return Err(StoreError::LimitExceeded.into());
    }
    Ok(grant.id.clone())
}

pub(super) fn get(
    connection: &Connection,
    scope: &Scope,
    key_id: &KeyId,
    id: &GrantId,
) -> Result<Option<Grant>, Fault> {
    let mut get = connection.prepare_cached(GET)?;
    let names = params![scope.account.as_str(), scope.region.as_str(), key_id.as_str(), id.0];
    let mut rows = get.query(names)?;
    rows.next()?.map(|row| read(row, scope)).transpose()
}

pub(super) fn delete(
    connection: &Connection,
    scope: &Scope,
    key_id: &KeyId,
    id: &GrantId,
) -> Result<(), Fault> {
    let key_no = keys::require(connection, scope, key_id)?;
    if connection.prepare_cached(DELETE)?.execute(params![key_no, id.0])? == 0 {
        return Err(StoreError::Missing.into());
    }
    connection.prepare_cached(REMOVE)?.execute(params![key_no])?;
    Ok(())
}

pub(super) fn page(connection: &Connection, page: &Page) -> Result<Vec<Grant>, Fault> {
    let (account, region) = (page.scope.account.as_str(), page.scope.region.as_str());
    let after = page.after.as_ref().map_or("", |id| id.0.as_str());
    let limit = numbers::bound(page.limit);
    let read = |row: &Row<'_>| read(row, &page.scope);
    match &page.of {
        PageOf::Grantee(key_id, grantee) => {
            let grantee = principal_text(grantee);
            let bounds = params![account, region, key_id.as_str(), after, limit, grantee];
            connection.prepare_cached(PAGE_OF_GRANTEE)?.query_and_then(bounds, read)?.collect()
        }
        PageOf::Key(key_id) => {
            let bounds = params![account, region, key_id.as_str(), after, limit];
            connection.prepare_cached(PAGE_OF_KEY)?.query_and_then(bounds, read)?.collect()
        }
        PageOf::Retiring(retiring) => {
            // Services are in no account, and are told of one at a time.
            let account = match retiring {
                GrantPrincipal::Principal(_) => None,
                GrantPrincipal::Service(_) => Some(account),
            };
            let bounds = params![account, region, principal_text(retiring), after, limit];
            let read = |row: &Row<'_>| grant_row::read(row, &scopes::read(row)?);
            connection.prepare_cached(PAGE_OF_RETIRING)?.query_and_then(bounds, read)?.collect()
        }
    }
}
