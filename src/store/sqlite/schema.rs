//! Whether a file is a database of ours, and the steps that bring an older one up to date.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// "HFst" in the header of the file, where `file` and others look.
const APPLICATION_ID: i32 = 0x4846_7374;

/// Each is applied once, in this order, in a transaction of its own. None of them is ever changed.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_keys.sql"),
    include_str!("migrations/0002_custom_key_stores.sql"),
    include_str!("migrations/0003_retirable_grants.sql"),
    include_str!("migrations/0004_lifecycle_events.sql"),
    include_str!("migrations/0005_kinds_of_keys.sql"),
    include_str!("migrations/0006_root_key_rotation.sql"),
];

/// The setting that names the release which opened it last.
const WRITTEN_BY: &str = "written_by";

/// How many migrations a database has had.
pub type Version = u32;

/// Why a file cannot be used as database.
#[derive(Debug)]
pub enum SchemaError {
    /// A later release made it.
    Newer {
        found: Version,
        known: Version,
        /// The release that wrote it last, if it says so.
        written_by: Option<String>,
    },
    /// It is a database of something else, or no database.
    NotOurs,
    Sql(rusqlite::Error),
}

/// The version of the schema: 0 if the file has nothing in it yet.
pub(super) fn version(connection: &Connection, known: usize) -> Result<Version, SchemaError> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: Version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = Version::try_from(known).unwrap_or(Version::MAX);
    let has_tables = || {
        let tables = "SELECT 1 FROM sqlite_schema LIMIT 1";
        connection.query_row(tables, [], |_| Ok(())).optional().map(|row| row.is_some())
    };
    match (application_id, found) {
        (APPLICATION_ID, 1..) if found > known => {
            Err(SchemaError::Newer { found, known, written_by: written_by(connection) })
        }
        (APPLICATION_ID, 1..) => Ok(found),
        (0, 0) if !has_tables()? => Ok(0),
        _ => Err(SchemaError::NotOurs),
    }
}

/// Says which release has the database now, for those that are older.
pub(super) fn sign(connection: &Connection) -> Result<(), SchemaError> {
    let release = env!("CARGO_PKG_VERSION").as_bytes();
    let changed = connection.execute(
        "INSERT INTO setting (name, value) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value <> excluded.value",
        params![WRITTEN_BY, release],
    );
    Ok(changed.map(drop)?)
}

/// Whatever else is in a database that nobody here knows.
fn written_by(connection: &Connection) -> Option<String> {
    let value = "SELECT substr(value, 1, 40) FROM setting WHERE name = ?1";
    let value = connection.query_row(value, [WRITTEN_BY], |row| row.get::<_, Vec<u8>>(0)).ok()?;
    let text = String::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_graphic()).then_some(text)
}

/// Applies what the database has not had yet.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), SchemaError> {
    let applied = version(connection, migrations.len())?;
    for (number, migration) in (1..).zip(migrations) {
        if number <= applied {
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

impl From<rusqlite::Error> for SchemaError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => Self::NotOurs,
            Some(_) | None => Self::Sql(error),
        }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { found, known, written_by } => {
                let release = env!("CARGO_PKG_VERSION");
                let by = written_by.as_deref().unwrap_or("a later release");
                write!(
                    f,
                    "its schema has version {found}, and this release, {release}, knows versions up to {known}; \
                     it was written by {by}: run that one, or restore a backup from before the upgrade"
                )
            }
            Self::NotOurs => f.write_str("it is not a database of holdfast"),
            Self::Sql(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SchemaError {}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{SchemaError, migrate, version};

    const TWO: &[&str] = &["CREATE TABLE a (x INTEGER) STRICT", "ALTER TABLE a ADD COLUMN y INTEGER"];

    #[test]
    fn each_migration_is_applied_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(version(&connection, 2).unwrap(), 0);
        migrate(&mut connection, &TWO[..1]).unwrap();
        assert_eq!(version(&connection, 2).unwrap(), 1);
        migrate(&mut connection, TWO).unwrap();
        migrate(&mut connection, TWO).unwrap();
        assert_eq!(version(&connection, 2).unwrap(), 2);
        connection.execute("INSERT INTO a (x, y) VALUES (1, 2)", []).unwrap();
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing_of_itself() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = [TWO[0], "CREATE TABLE b (x INTEGER); CREATE TABLE a (x INTEGER)"];
        assert!(matches!(migrate(&mut connection, &broken), Err(SchemaError::Sql(_))));
        assert_eq!(version(&connection, 2).unwrap(), 1);
        migrate(&mut connection, TWO).unwrap();
    }

    #[test]
    fn a_newer_schema_and_a_strange_database_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, TWO).unwrap();
        let refused = migrate(&mut connection, &TWO[..1]);
        assert!(matches!(refused, Err(SchemaError::Newer { found: 2, known: 1, .. })));
        let mut strange = Connection::open_in_memory().unwrap();
        strange.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(migrate(&mut strange, TWO), Err(SchemaError::NotOurs)));
        strange.pragma_update(None, "user_version", 1).unwrap();
        assert!(matches!(migrate(&mut strange, TWO), Err(SchemaError::NotOurs)));
    }
}
