//! Identities and settings, sealed or not: the store does not look into them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::domain::kms::AccountId;
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::word;
use crate::store::sqlite::root_keys;
use crate::store::sqlite::statements::statements;
use crate::store::{IdentityKind, IdentityName, IdentityRow, Setting, StoreError};

statements! {
    LIST = "SELECT account, kind, name, sealed FROM identity ORDER BY account, kind, name";
    PUT = "INSERT INTO identity (account, kind, name, sealed) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (account, kind, name) DO UPDATE SET sealed = excluded.sealed";
    DELETE = "DELETE FROM identity WHERE account = ?1 AND kind = ?2 AND name = ?3";
    GET_SETTING = "SELECT value FROM setting WHERE name = ?1";
    SET = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    SET_ONCE = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
}

pub(super) fn list(connection: &Connection) -> Result<Vec<IdentityRow>, Fault> {
    let mut list = connection.prepare_cached(LIST)?;
    list.query_and_then([], read)?.collect()
}

fn read(row: &Row<'_>) -> Result<IdentityRow, Fault> {
    let name = IdentityName {
        account: word(row, "account", AccountId::parse)?,
        kind: word(row, "kind", parse_kind)?,
        name: row.get("name")?,
    };
    Ok(IdentityRow { name, sealed: row.get("sealed")? })
}

pub(super) fn put(connection: &Connection, row: &IdentityRow) -> Result<(), Fault> {
    root_keys::require_known_seal(connection, &row.sealed)?;
    let IdentityName { account, kind, name } = &row.name;
    let columns = params![account.as_str(), kind_word(*kind), name, row.sealed];
    connection.prepare_cached(PUT)?.execute(columns)?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, name: &IdentityName) -> Result<(), Fault> {
    let IdentityName { account, kind, name } = name;
    match connection.prepare_cached(DELETE)?.execute(params![account.as_str(), kind_word(*kind), name])? {
        0 => Err(StoreError::Missing.into()),
        _ => Ok(()),
    }
}

pub(super) fn setting(connection: &Connection, name: Setting) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut get = connection.prepare_cached(GET_SETTING)?;
    get.query_row(params![name.as_str()], |row| row.get("value")).optional()
}

pub(super) fn set(connection: &Connection, name: Setting, value: &[u8]) -> Result<(), Fault> {
    connection.prepare_cached(SET)?.execute(params![name.as_str(), value])?;
    Ok(())
}

pub(super) fn set_once(connection: &Connection, name: Setting, value: &[u8]) -> Result<Vec<u8>, Fault> {
    if name == Setting::SessionTokenKey {
        root_keys::require_known_seal(connection, value)?;
    }
    connection.prepare_cached(SET_ONCE)?.execute(params![name.as_str(), value])?;
    setting(connection, name)?.ok_or(Fault::Value("value"))
}

pub(super) const fn kind_word(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::AccessKey => "access_key",
        IdentityKind::Role => "role",
        IdentityKind::User => "user",
    }
}

fn parse_kind(word: &str) -> Option<IdentityKind> {
    [IdentityKind::AccessKey, IdentityKind::Role, IdentityKind::User]
        .into_iter()
        .find(|kind| kind_word(*kind) == word)
}
