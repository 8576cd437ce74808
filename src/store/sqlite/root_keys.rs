//! Root keys: which there are, and what is under which.

use rusqlite::{Connection, Row, params};

use crate::domain::kms::{KeyId, RootKeyId, RootKeys, Scope, SealedParts};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::read_key_id;
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{identities, numbers, scopes};
use crate::store::{KeysToRewrap, Resealed, RootKeyRotation, RootKeyUses, SealedPlace, Setting, StoreError};

/// So many keys are looked at in one go.
const WINDOW: i64 = 2000;

statements! {
    /// A sealed secret says which root key it is under behind its first byte.
    COUNT_MATERIALS = "SELECT
            coalesce(sum((kept IN ('software', 'wrapped')) + (import_fingerprint IS NOT NULL)), 0) AS things,
            coalesce(sum((kept = 'wrapped' AND root_key IS NOT ?1)
                + (kept = 'software' AND substr(bytes, 1, 17) IS NOT ?2)
                + (import_fingerprint IS NOT NULL AND substr(import_fingerprint, 1, 17) IS NOT ?2)), 0) AS others
        FROM material WHERE key_no >= 0";
    COUNT_IDENTITIES = "SELECT count(*) AS things,
            coalesce(sum(substr(sealed, 1, 17) IS NOT ?2), 0) AS others
        FROM identity WHERE account >= ''";
    COUNT_KEY_STORES = "SELECT count(*) AS things,
            coalesce(sum(substr(secret, 1, 17) IS NOT ?2), 0) AS others
        FROM custom_key_store WHERE store_no >= 0";
    COUNT_SETTINGS = "SELECT count(*) AS things,
            coalesce(sum(substr(value, 1, 17) IS NOT ?2), 0) AS others
        FROM setting WHERE name = 'session_token_key'";
    TO_REWRAP = "SELECT s.account, s.region, k.id
        FROM kms_key AS k CROSS JOIN scope AS s ON s.scope_id = k.scope_id
        WHERE k.key_no > ?3 AND k.key_no <= ?4 AND EXISTS (
            SELECT 1 FROM material AS m WHERE m.key_no = k.key_no AND ((m.kept = 'wrapped' AND m.root_key IS NOT ?1)
                OR (m.kept = 'software' AND substr(m.bytes, 1, 17) IS NOT ?2)
                OR (m.import_fingerprint IS NOT NULL AND substr(m.import_fingerprint, 1, 17) IS NOT ?2)))";
    LAST_KEY = "SELECT coalesce(max(key_no), 0) AS last FROM kms_key";
    RESEAL_IDENTITY = "UPDATE identity SET sealed = ?5
        WHERE account = ?1 AND kind = ?2 AND name = ?3 AND sealed = ?4";
    RESEAL_SETTING = "UPDATE setting SET value = ?3 WHERE name = ?1 AND value = ?2";
    REMOVE_SETTING = "DELETE FROM setting WHERE name = ?1";
}

pub(super) fn get(connection: &Connection) -> Result<Option<RootKeys>, Fault> {
    let id = |name| -> Result<Option<RootKeyId>, Fault> {
        let Some(bytes) = identities::setting(connection, name)? else { return Ok(None) };
        RootKeyId::from_bytes(&bytes).map(Some).ok_or(Fault::Value("root key id"))
    };
    let Some(current) = id(Setting::RootKeyId)? else { return Ok(None) };
    Ok(Some(RootKeys { current, former: id(Setting::FormerRootKeyId)? }))
}

/// What names a root key that the store does not know was made before that one was retired.
pub(super) fn require_known(connection: &Connection, named: Option<RootKeyId>) -> Result<(), Fault> {
    let Some(named) = named else { return Ok(()) };
    // Stores of other things than keys in an HSM have no root key, or none that is one.
    let Ok(Some(known)) = get(connection) else { return Ok(()) };
    if known.contains(&named) { Ok(()) } else { Err(StoreError::Conflict.into()) }
}

/// The same of what is sealed.
pub(super) fn require_known_seal(connection: &Connection, sealed: &[u8]) -> Result<(), Fault> {
    require_known(connection, SealedParts::parse(sealed).and_then(|parts| parts.root_key))
}

pub(super) fn rotate(connection: &Connection, rotation: &RootKeyRotation) -> Result<(), Fault> {
    let RootKeyRotation { before, after, check } = rotation;
    let known = get(connection)?.ok_or(StoreError::Missing)?;
    if known.current != *before || known.current == *after {
        return Err(StoreError::Conflict.into());
    }
    if known.former.is_some() {
        return Err(StoreError::NotEmpty.into());
    }
    identities::set(connection, Setting::FormerRootKeyId, &before.0)?;
    if let Some(former_check) = identities::setting(connection, Setting::RootKeyCheck)? {
        identities::set(connection, Setting::FormerRootKeyCheck, &former_check)?;
    }
    identities::set(connection, Setting::RootKeyId, &after.0)?;
    identities::set(connection, Setting::RootKeyCheck, check)
}

pub(super) fn retire(connection: &Connection, id: &RootKeyId) -> Result<(), Fault> {
    if get(connection)?.and_then(|known| known.former) != Some(*id) {
        return Err(StoreError::Missing.into());
    }
    if uses(connection)?.others > 0 {
        return Err(StoreError::NotEmpty.into());
    }
    let mut remove = connection.prepare_cached(REMOVE_SETTING)?;
    for name in [Setting::FormerRootKeyId, Setting::FormerRootKeyCheck] {
        remove.execute(params![name.as_str()])?;
    }
    Ok(())
}

/// The id, and how a secret starts that is sealed under it.
fn current(connection: &Connection) -> Result<([u8; 16], Vec<u8>), Fault> {
    let RootKeyId(id) = get(connection)?.ok_or(StoreError::Missing)?.current;
    let parts = SealedParts { root_key: Some(RootKeyId(id)), iv: &[], ciphertext_and_tag: &[] };
    let mut start = parts.to_bytes();
    start.truncate(1 + id.len());
    Ok((id, start))
}

pub(super) fn uses(connection: &Connection) -> Result<RootKeyUses, Fault> {
    let (id, start) = current(connection)?;
    let mut uses = RootKeyUses::default();
    for count in [COUNT_MATERIALS, COUNT_IDENTITIES, COUNT_KEY_STORES, COUNT_SETTINGS] {
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>("things")?, row.get::<_, i64>("others")?));
        let (things, others) = connection.prepare_cached(count)?.query_row(params![id, start], read)?;
        uses.others += others.unsigned_abs();
        uses.current += things.abs_diff(others);
    }
    Ok(uses)
}

pub(super) fn to_rewrap(connection: &Connection, after: u64) -> Result<KeysToRewrap, Fault> {
    let (id, start) = current(connection)?;
    let after: i64 = numbers::bound(after);
    let until = after.saturating_add(WINDOW);
    let mut page = connection.prepare_cached(TO_REWRAP)?;
    let read =
        |row: &Row<'_>| -> Result<(Scope, KeyId), Fault> { Ok((scopes::read(row)?, read_key_id(row)?)) };
    let keys = page.query_and_then(params![id, start, after, until], read)?.collect::<Result<_, _>>()?;
    let last: i64 = connection.prepare_cached(LAST_KEY)?.query_row([], |row| row.get("last"))?;
    Ok(KeysToRewrap { keys, next: (until < last).then_some(until.unsigned_abs()) })
}

pub(super) fn reseal(
    connection: &Connection,
    place: &SealedPlace,
    Resealed { before, after }: &Resealed,
) -> Result<(), Fault> {
    require_known_seal(connection, after)?;
    let changed = match place {
        SealedPlace::Identity(name) => {
            let kind = identities::kind_word(name.kind);
            let columns = params![name.account.as_str(), kind, name.name, before, after];
            connection.prepare_cached(RESEAL_IDENTITY)?.execute(columns)?
        }
        SealedPlace::Setting(name) => {
            connection.prepare_cached(RESEAL_SETTING)?.execute(params![name.as_str(), before, after])?
        }
    };
    if changed == 0 { Err(StoreError::Conflict.into()) } else { Ok(()) }
}
