//! Related multi-Region keys: several keys that change in one transaction.

use rusqlite::{Connection, Row, params};

use crate::domain::kms::{AccountId, Key, KeyId, Scope};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{keys, scopes};

statements! {
    SCOPES = "SELECT s.account, s.region
        FROM kms_key AS k INDEXED BY kms_key_multi_region CROSS JOIN scope AS s ON s.scope_id = k.scope_id
        WHERE k.id = ?1 AND k.multi_region_key_type IS NOT NULL AND s.account = ?2";
    /// Of what has the same material, whoever counted.
    COUNT_AS_OTHERS = "UPDATE material
        SET encryptions = (SELECT max(other.encryptions) FROM material AS other WHERE other.id = material.id)
        WHERE key_no = ?1";
}

/// In the order of their Regions.
pub(super) fn get(connection: &Connection, account: &AccountId, id: &KeyId) -> Result<Vec<Key>, Fault> {
    let mut related = Vec::new();
    for scope in scopes_of(connection, account, id)? {
        related.extend(keys::get(connection, &scope, id)?);
    }
    related.sort_by(|one, other| one.scope.cmp(&other.scope));
    Ok(related)
}

fn scopes_of(connection: &Connection, account: &AccountId, id: &KeyId) -> Result<Vec<Scope>, Fault> {
    let mut scopes = connection.prepare_cached(SCOPES)?;
    let read = |row: &Row<'_>| scopes::read(row);
    scopes.query_and_then(params![id.as_str(), account.as_str()], read)?.collect()
}

/// What was counted of its material before it was there counts for the replica too.
pub(super) fn create_replica(
    connection: &Connection,
    replica: &Key,
    primary: &Key,
    keys_max: u64,
) -> Result<(), Fault> {
    keys::replace(connection, primary)?;
    keys::create(connection, replica, keys_max)?;
    let key_no = keys::require(connection, &replica.scope, &replica.id)?;
    connection.prepare_cached(COUNT_AS_OTHERS)?.execute(params![key_no])?;
    Ok(())
}

/// All or none.
pub(super) fn replace<'k>(
    connection: &Connection,
    keys: impl IntoIterator<Item = &'k Key>,
) -> Result<(), Fault> {
    keys.into_iter().try_for_each(|key| keys::replace(connection, key))
}

/// Deletes a replica of this revision, and replaces its primary.
pub(super) fn delete_replica(connection: &Connection, replica: &Key, primary: &Key) -> Result<(), Fault> {
    keys::delete(connection, &replica.scope, &replica.id, replica.revision)?;
    keys::replace(connection, primary)
}
