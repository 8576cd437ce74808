//! Deletions and rotations to come.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::domain::kms::{KeyId, Scope, UnixMillis};
use crate::store::DueWork;
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::read_key_id;
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{numbers, scopes};

statements! {
    DELETIONS = "SELECT s.account, s.region, k.id
        FROM kms_key AS k INDEXED BY kms_key_by_deletion CROSS JOIN scope AS s ON s.scope_id = k.scope_id
        WHERE k.state = 'PendingDeletion' AND k.deletion_due <= ?1 ORDER BY k.deletion_due LIMIT ?2";
    ROTATIONS = "SELECT s.account, s.region, k.id
        FROM kms_key AS k INDEXED BY kms_key_by_rotation CROSS JOIN scope AS s ON s.scope_id = k.scope_id
        WHERE k.state = 'Enabled' AND k.rotation_next <= ?1 AND k.multi_region_key_type IS NOT 'REPLICA'
        ORDER BY k.rotation_next LIMIT ?2";
    EXPIRIES = "SELECT s.account, s.region, k.id
        FROM material AS m INDEXED BY material_by_expiry CROSS JOIN kms_key AS k ON k.key_no = m.key_no
            CROSS JOIN scope AS s ON s.scope_id = k.scope_id
        WHERE m.import_valid_to IS NOT NULL AND m.kept <> 'absent' AND m.import_valid_to <= ?1
        ORDER BY m.import_valid_to LIMIT ?2";
    EXPIRY_DATES = "SELECT k.id, m.import_valid_to AS due
        FROM material AS m INDEXED BY material_by_expiry CROSS JOIN kms_key AS k ON k.key_no = m.key_no
        WHERE m.import_valid_to IS NOT NULL AND m.kept <> 'absent'
        ORDER BY m.import_valid_to LIMIT ?1";
    NEXT_EXPIRY = "SELECT import_valid_to AS due FROM material INDEXED BY material_by_expiry
        WHERE import_valid_to IS NOT NULL AND kept <> 'absent' AND import_valid_to > ?1
        ORDER BY import_valid_to LIMIT 1";
    NEXT_DELETION = "SELECT deletion_due AS due FROM kms_key INDEXED BY kms_key_by_deletion
        WHERE state = 'PendingDeletion' AND deletion_due > ?1 ORDER BY deletion_due LIMIT 1";
    NEXT_ROTATION = "SELECT rotation_next AS due FROM kms_key INDEXED BY kms_key_by_rotation
        WHERE state = 'Enabled' AND rotation_next > ?1 AND multi_region_key_type IS NOT 'REPLICA'
        ORDER BY rotation_next LIMIT 1";
}

/// The longest due first.
pub(super) fn page(
    connection: &Connection,
    work: DueWork,
    now: UnixMillis,
    limit: usize,
) -> Result<Vec<(Scope, KeyId)>, Fault> {
    let sql = match work {
        DueWork::Deletion => DELETIONS,
        DueWork::Expiry => EXPIRIES,
        DueWork::Rotation => ROTATIONS,
    };
    let mut page = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok((scopes::read(row)?, read_key_id(row)?));
    page.query_and_then(params![now.0, numbers::bound(limit)], read)?.collect()
}

/// The next first.
pub(super) fn expiries(connection: &Connection, limit: usize) -> Result<Vec<(KeyId, UnixMillis)>, Fault> {
    let mut dates = connection.prepare_cached(EXPIRY_DATES)?;
    let read = |row: &Row<'_>| Ok((read_key_id(row)?, UnixMillis(row.get("due")?)));
    dates.query_and_then(params![numbers::bound(limit)], read)?.collect()
}

/// When the first of all is due.
pub(super) fn next(connection: &Connection) -> Result<Option<UnixMillis>, Fault> {
    let first = |sql: &str| {
        let mut first = connection.prepare_cached(sql)?;
        first.query_row(params![i64::MIN], |row| row.get::<_, i64>("due")).optional()
    };
    let due = [first(NEXT_DELETION)?, first(NEXT_EXPIRY)?, first(NEXT_ROTATION)?].into_iter().flatten().min();
    Ok(due.map(UnixMillis))
}
