//! A look at a database that changes nothing, also while a daemon uses it.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::store::sqlite::backup::{self, BackupError};
use crate::store::sqlite::files;
use crate::store::sqlite::schema::{self, MIGRATIONS, SchemaError, Version};

/// What a whole database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFacts {
    pub schema_version: Version,
    /// How many keys are in which state, in the words of the KMS API; `Unavailable` is not written down.
    pub keys_by_state: Vec<(String, u64)>,
    pub custom_key_stores: Vec<CustomKeyStoreFacts>,
}

/// A custom key store, in the words of the KMS API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomKeyStoreFacts {
    pub id: String,
    pub name: String,
    pub connection_state: String,
    pub connection_error: Option<String>,
    /// Of a CloudHSM key store.
    pub cluster_id: Option<String>,
}

/// Checks the database in a folder and reads its facts. Nothing if there is none.
pub fn examine(folder: &Path) -> Result<Option<DatabaseFacts>, BackupError> {
    look(folder).map_err(damage)
}

fn look(folder: &Path) -> Result<Option<DatabaseFacts>, BackupError> {
    let database = files::database(folder).map_err(|error| BackupError::Io(folder.to_owned(), error))?;
    if !database.try_exists().map_err(|error| BackupError::Io(database.clone(), error))? {
        return Ok(None);
    }
    let sql = |error| BackupError::Schema(database.clone(), SchemaError::Sql(error));
    let connection = backup::open(&database)?;
    let fault: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
    if fault != "ok" {
        let fault = fault.lines().last().unwrap_or_default().to_owned();
        return Err(BackupError::Damaged(database, fault));
    }
    let version = schema::version(&connection, MIGRATIONS.len());
    Ok(Some(DatabaseFacts {
        schema_version: version.map_err(|error| BackupError::Schema(database.clone(), error))?,
        keys_by_state: keys_by_state(&connection).map_err(sql)?,
        // A database of an older release may have no such table yet.
        custom_key_stores: custom_key_stores(&connection).unwrap_or_default(),
    }))
}

/// A page may be too broken even for the check.
fn damage(error: BackupError) -> BackupError {
    if let BackupError::Schema(path, SchemaError::Sql(cause)) = &error
        && cause.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
    {
        return BackupError::Damaged(path.clone(), cause.to_string());
    }
    error
}

fn keys_by_state(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut statement =
        connection.prepare("SELECT state, count(*) FROM kms_key GROUP BY state ORDER BY state")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    rows.collect()
}

fn custom_key_stores(connection: &Connection) -> rusqlite::Result<Vec<CustomKeyStoreFacts>> {
    let mut statement = connection.prepare(
        "SELECT id, name, connection_state, connection_error, cluster_id FROM custom_key_store ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(CustomKeyStoreFacts {
            id: row.get(0)?,
            name: row.get(1)?,
            connection_state: row.get(2)?,
            connection_error: row.get(3)?,
            cluster_id: row.get(4)?,
        })
    })?;
    rows.collect()
}
