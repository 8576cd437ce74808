//! The generations of key material of a key.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use crate::domain::kms::{
    Import, KeptKey, Material, MaterialId, MaterialSource, RootKeyId, RotationType, UnixMillis, WrappedKey,
};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::{optional_word, word};
use crate::store::sqlite::numbers;
use crate::store::sqlite::root_keys;
use crate::store::sqlite::statements::statements;

statements! {
    OF_KEY = "SELECT id, created, rotation, encryptions, kept, root_key, mechanism, bytes, public_key, import_fingerprint,
            import_description, import_valid_to, import_is_pending_rotation
        FROM material WHERE key_no = ?1 ORDER BY position";
    INSERT = "INSERT INTO material (key_no, position, id, created, rotation, encryptions, kept, mechanism, bytes,
            public_key, import_fingerprint, import_description, import_valid_to, import_is_pending_rotation, root_key)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    DELETE = "DELETE FROM material WHERE key_no = ?1";
    /// A count that cannot go up any more stays where it is. Related multi-Region keys have the same material.
    ADD_ENCRYPTIONS = "UPDATE material
        SET encryptions = encryptions + min(?2, 9223372036854775807 - encryptions)
        WHERE id = ?1 AND key_no IN (
            SELECT ?3
            UNION SELECT related.key_no FROM kms_key AS own JOIN kms_key AS related
                ON related.id = own.id AND related.multi_region_key_type IS NOT NULL
            WHERE own.key_no = ?3 AND own.multi_region_key_type IS NOT NULL)";
}

crate::domain::kms::words! {
    /// Where material is.
    enum Kept {
        Absent = "absent",
        Cluster = "cluster",
        Software = "software",
        Token = "token",
        Wrapped = "wrapped",
    }
}

/// In their order.
pub(super) fn of_key(connection: &Connection, key_no: i64) -> Result<Vec<Material>, Fault> {
    let mut of_key = connection.prepare_cached(OF_KEY)?;
    of_key.query_and_then(params![key_no], read)?.collect()
}

fn read(row: &Row<'_>) -> Result<Material, Fault> {
    let public_key: Option<Vec<u8>> = row.get("public_key")?;
    Ok(Material {
        id: MaterialId::new(row.get("id")?),
        created: UnixMillis(row.get("created")?),
        rotation: optional_word(row, "rotation", RotationType::parse)?,
        encryptions: numbers::read(row.get("encryptions")?, "encryptions")?,
        source: read_source(row)?,
        public_key: public_key.map(Arc::from),
        import: read_import(row)?,
    })
}

fn read_source(row: &Row<'_>) -> Result<MaterialSource, Fault> {
    let bytes = || Ok::<Vec<u8>, Fault>(row.get("bytes")?);
    let kept = match word(row, "kept", Kept::parse)? {
        Kept::Absent => return Ok(MaterialSource::Absent),
        // What is in a cluster leaves it in no form.
        Kept::Cluster => return Ok(MaterialSource::ClusterObject),
        Kept::Software => KeptKey::Software { sealed: bytes()? },
        Kept::Token => KeptKey::TokenObject,
        Kept::Wrapped => {
            let mechanism = row.get::<_, i64>("mechanism")?.cast_unsigned();
            let root_key = row.get::<_, Option<Vec<u8>>>("root_key")?;
            let root_key = root_key.map(|id| RootKeyId::from_bytes(&id).ok_or(Fault::Value("root_key")));
            KeptKey::Wrapped(WrappedKey { root_key: root_key.transpose()?, mechanism, bytes: bytes()? })
        }
    };
    Ok(MaterialSource::Kept(Arc::new(kept)))
}

fn read_import(row: &Row<'_>) -> Result<Option<Import>, Fault> {
    let Some(fingerprint) = row.get("import_fingerprint")? else { return Ok(None) };
    Ok(Some(Import {
        description: row.get("import_description")?,
        valid_to: row.get::<_, Option<i64>>("import_valid_to")?.map(UnixMillis),
        is_pending_rotation: row.get("import_is_pending_rotation")?,
        fingerprint,
    }))
}

fn columns_of_source(source: &MaterialSource) -> (Kept, Option<i64>, Option<&[u8]>) {
    match source {
        MaterialSource::Absent => (Kept::Absent, None, None),
        MaterialSource::ClusterObject => (Kept::Cluster, None, None),
        MaterialSource::Kept(kept) => match &**kept {
            KeptKey::Software { sealed } => (Kept::Software, None, Some(sealed)),
            KeptKey::TokenObject => (Kept::Token, None, None),
            KeptKey::Wrapped(wrapped) => {
                (Kept::Wrapped, Some(wrapped.mechanism.cast_signed()), Some(&wrapped.bytes))
            }
        },
    }
}

pub(super) fn insert(connection: &Connection, key_no: i64, materials: &[Material]) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(INSERT)?;
    for (position, material) in (0_i64..).zip(materials) {
        let (kept, mechanism, bytes) = columns_of_source(&material.source);
        let import = material.import.as_ref();
        let root_key = named_root_key(connection, material)?;
        insert.execute(params![
            key_no,
            position,
            material.id.as_bytes(),
            material.created.0,
            material.rotation.map(RotationType::as_str),
            numbers::stored(material.encryptions, "encryptions")?,
            kept.as_str(),
            mechanism,
            bytes,
            material.public_key.as_deref(),
            import.map(|import| import.fingerprint.as_slice()),
            import.and_then(|import| import.description.as_deref()),
            import.and_then(|import| import.valid_to).map(|time| time.0),
            material.is_pending_rotation(),
            root_key.map(|id| id.0),
        ])?;
    }
    Ok(())
}

/// Of wrapped material. Nothing may come under one that was retired meanwhile.
fn named_root_key(connection: &Connection, material: &Material) -> Result<Option<RootKeyId>, Fault> {
    if let Some(import) = &material.import {
        root_keys::require_known_seal(connection, &import.fingerprint)?;
    }
    let MaterialSource::Kept(kept) = &material.source else { return Ok(None) };
    match &**kept {
        KeptKey::Software { sealed } => root_keys::require_known_seal(connection, sealed).map(|()| None),
        KeptKey::TokenObject => Ok(None),
        KeptKey::Wrapped(wrapped) => {
            root_keys::require_known(connection, wrapped.root_key)?;
            Ok(wrapped.root_key)
        }
    }
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
    connection.prepare_cached(ADD_ENCRYPTIONS)?.execute(params![id.as_bytes(), count, key_no])?;
    Ok(())
}
