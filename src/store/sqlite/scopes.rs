//! Accounts and Regions, and how many keys each has.

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::kms::{AccountId, Region, Scope};
use crate::store::StoreError;
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::numbers;
use crate::store::sqlite::statements::statements;

statements! {
    INSERT = "INSERT INTO scope (account, region) VALUES (?1, ?2) ON CONFLICT (account, region) DO NOTHING";
    FIND = "SELECT scope_id FROM scope WHERE account = ?1 AND region = ?2";
    ADD_KEY = "UPDATE scope SET keys = keys + 1 WHERE scope_id = ?1 AND keys < ?2";
    REMOVE_KEY = "UPDATE scope SET keys = keys - 1 WHERE account = ?1 AND region = ?2";
    CLEAR = "UPDATE scope SET keys = 0 WHERE scope_id > 0";
}

/// The row of a scope, which need not be there yet.
pub(super) fn ensure(connection: &Connection, scope: &Scope) -> Result<i64, Fault> {
    let names = params![scope.account.as_str(), scope.region.as_str()];
    let mut find = connection.prepare_cached(FIND)?;
    if let Some(scope_id) = find.query_row(names, |row| row.get("scope_id")).optional()? {
        return Ok(scope_id);
    }
    connection.prepare_cached(INSERT)?.execute(names)?;
    Ok(find.query_row(names, |row| row.get("scope_id"))?)
}

/// Counts a key that was added.
pub(super) fn add_key(connection: &Connection, scope_id: i64, keys_max: u64) -> Result<(), Fault> {
    match connection.prepare_cached(ADD_KEY)?.execute(params![scope_id, numbers::bound(keys_max)])? {
        0 => Err(StoreError::LimitExceeded.into()),
        _ => Ok(()),
    }
}

/// Counts a key that was deleted.
pub(super) fn remove_key(connection: &Connection, scope: &Scope) -> Result<(), Fault> {
    let names = params![scope.account.as_str(), scope.region.as_str()];
    connection.prepare_cached(REMOVE_KEY)?.execute(names)?;
    Ok(())
}

pub(super) fn clear(connection: &Connection) -> Result<(), Fault> {
    connection.prepare_cached(CLEAR)?.execute([])?;
    Ok(())
}

/// A scope from its columns `account` and `region`.
pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Scope, Fault> {
    let account = AccountId::parse(row.get_ref("account")?.as_str().unwrap_or_default());
    let region = Region::parse(row.get_ref("region")?.as_str().unwrap_or_default());
    Ok(Scope {
        account: account.ok_or(Fault::Value("account"))?,
        region: region.ok_or(Fault::Value("region"))?,
    })
}
