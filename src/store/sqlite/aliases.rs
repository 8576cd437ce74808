//! Aliases: names that point at keys.

use rusqlite::{Connection, Row, params};

use crate::domain::kms::{Alias, AliasName, KeyId, Scope, UnixMillis};
use crate::store::StoreError;
use crate::store::sqlite::fault::{Fault, already_exists};
use crate::store::sqlite::key_row::{read_key_id, word};
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{keys, numbers, scopes};

statements! {
    GET = "SELECT a.name, a.created, a.updated, k.id
        FROM scope AS s JOIN alias AS a ON a.scope_id = s.scope_id JOIN kms_key AS k ON k.key_no = a.key_no
        WHERE s.account = ?1 AND s.region = ?2 AND a.name = ?3";
    INSERT = "INSERT INTO alias (scope_id, name, key_no, created, updated) VALUES (?1, ?2, ?3, ?4, ?5)";
    POINT = "UPDATE alias SET key_no = ?3, updated = ?4 WHERE scope_id = ?1 AND name = ?2";
    DELETE = "DELETE FROM alias
        WHERE scope_id = (SELECT scope_id FROM scope WHERE account = ?1 AND region = ?2) AND name = ?3";
    NAMES_OF_KEY = "SELECT name FROM alias WHERE key_no = ?1 ORDER BY name";
    /// Counts no further than it has to.
    COUNT = "SELECT count(*) AS aliases FROM (SELECT 1 FROM alias WHERE key_no = ?1 LIMIT ?2)";
    PAGE_OF_KEY = "SELECT a.name, a.created, a.updated, k.id
        FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id JOIN alias AS a ON a.key_no = k.key_no
        WHERE s.account = ?1 AND s.region = ?2 AND k.id = ?3 AND a.name > ?4 ORDER BY a.name LIMIT ?5";
    PAGE_OF_SCOPE = "SELECT a.name, a.created, a.updated, k.id
        FROM scope AS s JOIN alias AS a ON a.scope_id = s.scope_id JOIN kms_key AS k ON k.key_no = a.key_no
        WHERE s.account = ?1 AND s.region = ?2 AND a.name > ?3 ORDER BY a.name LIMIT ?4";
}

pub(super) fn get(connection: &Connection, scope: &Scope, name: &AliasName) -> Result<Option<Alias>, Fault> {
    let mut get = connection.prepare_cached(GET)?;
    let mut rows = get.query(params![scope.account.as_str(), scope.region.as_str(), name.as_str()])?;
    rows.next()?.map(|row| read(row, scope)).transpose()
}

fn read(row: &Row<'_>, scope: &Scope) -> Result<Alias, Fault> {
    Ok(Alias {
        scope: scope.clone(),
        name: word(row, "name", AliasName::parse)?,
        target: read_key_id(row)?,
        created: UnixMillis(row.get("created")?),
        updated: UnixMillis(row.get("updated")?),
    })
}

pub(super) fn create(connection: &Connection, alias: &Alias, aliases_max: u64) -> Result<(), Fault> {
    let key_no = keys::require(connection, &alias.scope, &alias.target)?;
    let scope_id = scopes::ensure(connection, &alias.scope)?;
    let columns = params![scope_id, alias.name.as_str(), key_no, alias.created.0, alias.updated.0];
    connection.prepare_cached(INSERT)?.execute(columns).map_err(already_exists)?;
    check_count(connection, key_no, aliases_max)
}

pub(super) fn point(
    connection: &Connection,
    alias: &Alias,
    before: &KeyId,
    aliases_max: u64,
) -> Result<(), Fault> {
    let stored = get(connection, &alias.scope, &alias.name)?.ok_or(StoreError::Missing)?;
    if stored.target != *before {
        return Err(StoreError::Conflict.into());
    }
    let key_no = keys::require(connection, &alias.scope, &alias.target)?;
    let scope_id = scopes::ensure(connection, &alias.scope)?;
    let columns = params![scope_id, alias.name.as_str(), key_no, alias.updated.0];
    connection.prepare_cached(POINT)?.execute(columns)?;
    if stored.target == alias.target {
        return Ok(());
    }
    check_count(connection, key_no, aliases_max)
}

/// Refuses the alias that is one too many.
fn check_count(connection: &Connection, key_no: i64, aliases_max: u64) -> Result<(), Fault> {
    let aliases_max = numbers::bound(aliases_max);
    let mut count = connection.prepare_cached(COUNT)?;
    let aliases: i64 =
        count.query_row(params![key_no, aliases_max.saturating_add(1)], |row| row.get("aliases"))?;
    if aliases > aliases_max { Err(StoreError::LimitExceeded.into()) } else { Ok(()) }
}

pub(super) fn delete(connection: &Connection, scope: &Scope, name: &AliasName) -> Result<(), Fault> {
    let names = params![scope.account.as_str(), scope.region.as_str(), name.as_str()];
    match connection.prepare_cached(DELETE)?.execute(names)? {
        0 => Err(StoreError::Missing.into()),
        _ => Ok(()),
    }
}

pub(super) fn names_of_key(connection: &Connection, key_no: i64) -> Result<Vec<AliasName>, Fault> {
    let mut names = connection.prepare_cached(NAMES_OF_KEY)?;
    names.query_and_then(params![key_no], |row| word(row, "name", AliasName::parse))?.collect()
}

pub(super) fn page(
    connection: &Connection,
    scope: &Scope,
    key_id: Option<&KeyId>,
    (after, limit): (Option<&AliasName>, usize),
) -> Result<Vec<Alias>, Fault> {
    let (account, region) = (scope.account.as_str(), scope.region.as_str());
    let (after, limit) = (after.map_or("", AliasName::as_str), numbers::bound(limit));
    let read = |row: &Row<'_>| read(row, scope);
    match key_id {
        Some(id) => {
            let mut page = connection.prepare_cached(PAGE_OF_KEY)?;
            page.query_and_then(params![account, region, id.as_str(), after, limit], read)?.collect()
        }
        None => {
            let mut page = connection.prepare_cached(PAGE_OF_SCOPE)?;
            page.query_and_then(params![account, region, after, limit], read)?.collect()
        }
    }
}
