//! Keys: created, read, replaced by their next revision, deleted.

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use crate::domain::kms::{Key, KeyId, Scope};
use crate::store::StoreError;
use crate::store::sqlite::fault::{Fault, already_exists};
use crate::store::sqlite::key_row::{KeyColumns, read_key, read_key_id};
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{aliases, custom_key_stores, lifecycle_events, materials, numbers, scopes};

statements! {
    FIND = "SELECT k.key_no, k.revision FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id
        WHERE s.account = ?1 AND s.region = ?2 AND k.id = ?3";
    GET = "SELECT k.key_no, k.revision, k.created, k.description, k.spec, k.usage, k.origin,
            k.multi_region_key_type, k.state, k.deletion_due, k.deletion_window_days, k.waiting_window_days,
            k.rotation_next, k.rotation_period_days, k.tags,
            k.policy, k.xks_key_id, c.id AS store_id
        FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id
            LEFT JOIN custom_key_store AS c ON c.store_no = k.store_no
        WHERE s.account = ?1 AND s.region = ?2 AND k.id = ?3";
    INSERT = "INSERT INTO kms_key (scope_id, id, revision, created, description, spec, usage, origin,
            multi_region_key_type, state, deletion_due, deletion_window_days, waiting_window_days,
            rotation_next, rotation_period_days, tags, policy, store_no, xks_key_id)
        VALUES (:place, :id, :revision, :created, :description, :spec, :usage, :origin,
            :multi_region_key_type, :state, :deletion_due, :deletion_window_days, :waiting_window_days,
            :rotation_next, :rotation_period_days, :tags, :policy, :store_no, :xks_key_id)";
    UPDATE = "UPDATE kms_key SET id = :id, revision = :revision, created = :created, description = :description,
            spec = :spec, usage = :usage, origin = :origin,
            multi_region_key_type = :multi_region_key_type, state = :state, deletion_due = :deletion_due,
            deletion_window_days = :deletion_window_days, waiting_window_days = :waiting_window_days,
            rotation_next = :rotation_next, rotation_period_days = :rotation_period_days, tags = :tags,
            policy = :policy
        WHERE key_no = :place";
    DELETE = "DELETE FROM kms_key WHERE key_no = ?1";
    PAGE = "SELECT k.id FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id
        WHERE s.account = ?1 AND s.region = ?2 AND k.id > ?3 ORDER BY k.id LIMIT ?4";
    CLEAR = "DELETE FROM kms_key WHERE key_no >= 0";
}

/// The number of a key and its revision.
pub(super) fn find(
    connection: &Connection,
    scope: &Scope,
    id: &KeyId,
) -> rusqlite::Result<Option<(i64, i64)>> {
    let names = params![scope.account.as_str(), scope.region.as_str(), id.as_str()];
    let mut find = connection.prepare_cached(FIND)?;
    find.query_row(names, |row| Ok((row.get("key_no")?, row.get("revision")?))).optional()
}

/// The number of a key that has to be there.
pub(super) fn require(connection: &Connection, scope: &Scope, id: &KeyId) -> Result<i64, Fault> {
    match find(connection, scope, id)? {
        Some((key_no, _)) => Ok(key_no),
        None => Err(StoreError::Missing.into()),
    }
}

pub(super) fn create(connection: &Connection, key: &Key, keys_max: u64) -> Result<(), Fault> {
    let scope_id = scopes::ensure(connection, &key.scope)?;
    let (store_no, xks_key_id) = custom_key_stores::place_of_new_key(connection, key)?;
    let place: [(&str, &dyn ToSql); 2] = [(":store_no", &store_no), (":xks_key_id", &xks_key_id)];
    let columns = KeyColumns::of(key)?;
    let columns = [columns.params(&scope_id).as_slice(), &place].concat();
    connection.prepare_cached(INSERT)?.execute(columns.as_slice()).map_err(already_exists)?;
    let key_no = connection.last_insert_rowid();
    scopes::add_key(connection, scope_id, keys_max)?;
    materials::insert(connection, key_no, &key.materials)
}

pub(super) fn get(connection: &Connection, scope: &Scope, id: &KeyId) -> Result<Option<Key>, Fault> {
    let mut get = connection.prepare_cached(GET)?;
    let mut rows = get.query(params![scope.account.as_str(), scope.region.as_str(), id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let key_no = row.get("key_no")?;
    let mut key = read_key(row, scope, id)?;
    key.materials = materials::of_key(connection, key_no)?;
    key.aliases = aliases::names_of_key(connection, key_no)?;
    Ok(Some(key))
}

pub(super) fn replace(connection: &Connection, key: &Key) -> Result<(), Fault> {
    let before = key.revision.checked_sub(1).ok_or(StoreError::Conflict)?;
    let key_no = require_revision(connection, &key.scope, &key.id, before)?;
    let columns = KeyColumns::of(key)?;
    connection.prepare_cached(UPDATE)?.execute(columns.params(&key_no).as_slice())?;
    materials::replace(connection, key_no, &key.materials)
}

/// What belongs to the key goes with it: the schema says so.
pub(super) fn delete(connection: &Connection, scope: &Scope, id: &KeyId, revision: u64) -> Result<(), Fault> {
    let key_no = require_revision(connection, scope, id, revision)?;
    connection.prepare_cached(DELETE)?.execute(params![key_no])?;
    scopes::remove_key(connection, scope)
}

fn require_revision(connection: &Connection, scope: &Scope, id: &KeyId, revision: u64) -> Result<i64, Fault> {
    match find(connection, scope, id)? {
        None => Err(StoreError::Missing.into()),
        Some((key_no, stored)) if numbers::read::<u64>(stored, "revision")? == revision => Ok(key_no),
        Some(_) => Err(StoreError::Conflict.into()),
    }
}

pub(super) fn page(
    connection: &Connection,
    scope: &Scope,
    after: Option<&KeyId>,
    limit: usize,
) -> Result<Vec<KeyId>, Fault> {
    let after = after.map_or("", KeyId::as_str);
    let mut page = connection.prepare_cached(PAGE)?;
    let bounds = params![scope.account.as_str(), scope.region.as_str(), after, numbers::bound(limit)];
    page.query_and_then(bounds, read_key_id)?.collect()
}

pub(super) fn clear(connection: &Connection) -> Result<(), Fault> {
    connection.prepare_cached(CLEAR)?.execute([])?;
    lifecycle_events::clear(connection)?;
    custom_key_stores::clear(connection)?;
    scopes::clear(connection)
}
