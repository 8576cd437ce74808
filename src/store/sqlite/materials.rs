//! The generations of key material of a key.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use crate::domain::kms::{Material, MaterialId, MaterialSource, RotationType, UnixMillis, WrappedKey};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::optional_word;
use crate::store::sqlite::numbers;
use crate::store::sqlite::statements::statements;

statements! {
    OF_KEY = "SELECT id, created, rotation, encryptions, mechanism, wrapped FROM material
        WHERE key_no = ?1 ORDER BY position";
    INSERT = "INSERT INTO material (key_no, position, id, created, rotation, encryptions, mechanism, wrapped)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    DELETE = "DELETE FROM material WHERE key_no = ?1";
    /// A count that cannot go up any more stays where it is.
    ADD_ENCRYPTIONS = "UPDATE material
        SET encryptions = encryptions + min(?3, 9223372036854775807 - encryptions)
        WHERE key_no = ?1 AND id = ?2";
}

/// In their order.
pub(super) fn of_key(connection: &Connection, key_no: i64) -> Result<Vec<Material>, Fault> {
    let mut of_key = connection.prepare_cached(OF_KEY)?;
    of_key.query_and_then(params![key_no], read)?.collect()
}

fn read(row: &Row<'_>) -> Result<Material, Fault> {
    let mechanism = row.get::<_, i64>("mechanism")?.cast_unsigned();
    let bytes: Vec<u8> = row.get("wrapped")?;
    // What is in a cluster leaves it in no form.
    let source = if bytes.is_empty() {
        MaterialSource::ClusterObject
    } else {
        MaterialSource::Wrapped(Arc::new(WrappedKey { mechanism, bytes }))
    };
    Ok(Material {
        id: MaterialId::new(row.get("id")?),
        created: UnixMillis(row.get("created")?),
        rotation: optional_word(row, "rotation", RotationType::parse)?,
        encryptions: numbers::read(row.get("encryptions")?, "encryptions")?,
        source,
    })
}

pub(super) fn insert(connection: &Connection, key_no: i64, materials: &[Material]) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(INSERT)?;
    for (position, material) in (0_i64..).zip(materials) {
        let (mechanism, wrapped) = match &material.source {
            MaterialSource::ClusterObject => (0, &[][..]),
            MaterialSource::Wrapped(wrapped) => (wrapped.mechanism, wrapped.bytes.as_slice()),
        };
        insert.execute(params![
            key_no,
            position,
            material.id.as_bytes(),
            material.created.0,
            material.rotation.map(RotationType::as_str),
            numbers::stored(material.encryptions, "encryptions")?,
            mechanism.cast_signed(),
            wrapped,
        ])?;
    }
    Ok(())
}

/// Makes the materials of a key these. What was counted meanwhile stays counted: who replaces a key read it
/// earlier. A change that is not of materials, as most are, writes nothing here.
pub(super) fn replace(connection: &Connection, key_no: i64, materials: &[Material]) -> Result<(), Fault> {
    let stored = of_key(connection, key_no)?;
    let mut next = materials.to_vec();
    for material in &mut next {
        if let Some(before) = stored.iter().find(|stored| stored.id == material.id) {
            material.encryptions = before.encryptions.max(material.encryptions);
        }
    }
    if next == stored {
        return Ok(());
    }
    connection.prepare_cached(DELETE)?.execute(params![key_no])?;
    insert(connection, key_no, &next)
}

/// Adds to the count of a material; one that is gone is passed over.
pub(super) fn add_encryptions(
    connection: &Connection,
    key_no: i64,
    (id, count): (MaterialId, u64),
) -> Result<(), Fault> {
    let count = numbers::bound(count);
    connection.prepare_cached(ADD_ENCRYPTIONS)?.execute(params![key_no, id.as_bytes(), count])?;
    Ok(())
}
