//! What keys were used for last.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::domain::kms::{KeyId, Scope, UnixMillis};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{keys, materials};
use crate::store::{LastUsage, UsageRecord};

statements! {
    GET = "SELECT u.operation, u.used, u.request_id
        FROM scope AS s JOIN kms_key AS k ON k.scope_id = s.scope_id JOIN last_usage AS u ON u.key_no = k.key_no
        WHERE s.account = ?1 AND s.region = ?2 AND k.id = ?3";
    /// Records can come out of their order.
    PUT = "INSERT INTO last_usage (key_no, operation, used, request_id) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (key_no) DO UPDATE
        SET operation = excluded.operation, used = excluded.used, request_id = excluded.request_id
        WHERE excluded.used >= last_usage.used";
}

pub(super) fn record(connection: &Connection, usages: Vec<UsageRecord>) -> Result<(), Fault> {
    for usage in usages {
        let Some((key_no, _)) = keys::find(connection, &usage.scope, &usage.key_id)? else { continue };
        let LastUsage { operation, at, request_id } = &usage.last;
        connection.prepare_cached(PUT)?.execute(params![key_no, operation, at.0, request_id])?;
        for encryptions in usage.encryptions {
            materials::add_encryptions(connection, key_no, encryptions)?;
        }
    }
    Ok(())
}

pub(super) fn get(connection: &Connection, scope: &Scope, id: &KeyId) -> Result<Option<LastUsage>, Fault> {
    let mut get = connection.prepare_cached(GET)?;
    let names = params![scope.account.as_str(), scope.region.as_str(), id.as_str()];
    Ok(get.query_row(names, read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<LastUsage> {
    Ok(LastUsage {
        operation: row.get("operation")?,
        at: UnixMillis(row.get("used")?),
        request_id: row.get("request_id")?,
    })
}
