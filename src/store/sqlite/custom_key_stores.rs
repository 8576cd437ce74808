//! Custom key stores: created, read, replaced by their next revision, deleted, and the keys in them.

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::kms::{
    ConnectionState, CustomKeyStore, CustomKeyStoreId, CustomKeyStoreType, Key, KeyId, KeyPlace, Scope,
    XksKeyId,
};
use crate::store::StoreError;
use crate::store::sqlite::custom_key_store_row::{KeyStoreColumns, read_key_store};
use crate::store::sqlite::fault::{Fault, already_exists};
use crate::store::sqlite::key_row::{read_key_id, word};
use crate::store::sqlite::statements::statements;
use crate::store::sqlite::{numbers, root_keys, scopes};

statements! {
    FIND = "SELECT c.store_no, c.revision, c.connection_state, c.cluster_id IS NOT NULL AS is_cloud_hsm
        FROM scope AS s JOIN custom_key_store AS c ON c.scope_id = s.scope_id
        WHERE s.account = ?1 AND s.region = ?2 AND c.id = ?3";
    GET = "SELECT s.account, s.region, c.id, c.revision, c.name, c.created, c.connection_state,
            c.connection_error, c.cluster_id, c.trust_anchor, c.connectivity, c.uri_endpoint, c.uri_path,
            c.vpc_service_name, c.vpc_service_owner, c.access_key_id, c.credential_since, c.secret
        FROM scope AS s JOIN custom_key_store AS c ON c.scope_id = s.scope_id
        WHERE s.account = ?1 AND s.region = ?2 AND c.id = ?3";
    OF_SCOPE = "SELECT s.account, s.region, c.id, c.revision, c.name, c.created, c.connection_state,
            c.connection_error, c.cluster_id, c.trust_anchor, c.connectivity, c.uri_endpoint, c.uri_path,
            c.vpc_service_name, c.vpc_service_owner, c.access_key_id, c.credential_since, c.secret
        FROM scope AS s JOIN custom_key_store AS c ON c.scope_id = s.scope_id
        WHERE s.account = ?1 AND s.region = ?2 ORDER BY c.id";
    EVERY = "SELECT s.account, s.region, c.id, c.revision, c.name, c.created, c.connection_state,
            c.connection_error, c.cluster_id, c.trust_anchor, c.connectivity, c.uri_endpoint, c.uri_path,
            c.vpc_service_name, c.vpc_service_owner, c.access_key_id, c.credential_since, c.secret
        FROM scope AS s CROSS JOIN custom_key_store AS c ON c.scope_id = s.scope_id
        ORDER BY s.account, s.region, c.id";
    INSERT = "INSERT INTO custom_key_store (scope_id, id, revision, name, created, connection_state,
            connection_error, cluster_id, trust_anchor, connectivity, uri_endpoint, uri_path, vpc_service_name,
            vpc_service_owner, access_key_id, credential_since, secret)
        VALUES (:place, :id, :revision, :name, :created, :connection_state, :connection_error, :cluster_id,
            :trust_anchor, :connectivity, :uri_endpoint, :uri_path, :vpc_service_name, :vpc_service_owner,
            :access_key_id, :credential_since, :secret)";
    UPDATE = "UPDATE custom_key_store SET id = :id, revision = :revision, name = :name, created = :created,
            connection_state = :connection_state, connection_error = :connection_error,
            cluster_id = :cluster_id, trust_anchor = :trust_anchor, connectivity = :connectivity,
            uri_endpoint = :uri_endpoint, uri_path = :uri_path, vpc_service_name = :vpc_service_name,
            vpc_service_owner = :vpc_service_owner, access_key_id = :access_key_id,
            credential_since = :credential_since, secret = :secret
        WHERE store_no = :place";
    DELETE = "DELETE FROM custom_key_store WHERE store_no = ?1";
    KEYS = "SELECT k.id FROM kms_key AS k WHERE k.store_no = ?1 ORDER BY k.id LIMIT ?2";
    XKS_KEY = "SELECT 1 FROM kms_key WHERE store_no = ?1 AND xks_key_id = ?2";
    CLEAR = "DELETE FROM custom_key_store WHERE store_no >= 0";
}

/// What is asked of a row before it is changed or a key is put under it.
struct Found {
    store_no: i64,
    revision: u64,
    state: ConnectionState,
    kind: CustomKeyStoreType,
}

fn find(connection: &Connection, scope: &Scope, id: &CustomKeyStoreId) -> Result<Option<Found>, Fault> {
    let mut find = connection.prepare_cached(FIND)?;
    let mut rows = find.query(params![scope.account.as_str(), scope.region.as_str(), id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let is_cloud_hsm = row.get("is_cloud_hsm")?;
    Ok(Some(Found {
        store_no: row.get("store_no")?,
        revision: numbers::read(row.get("revision")?, "revision")?,
        state: word(row, "connection_state", ConnectionState::parse)?,
        kind: if is_cloud_hsm {
            CustomKeyStoreType::AwsCloudHsm
        } else {
            CustomKeyStoreType::ExternalKeyStore
        },
    }))
}

/// Whether a key of the store has the external key.
pub(super) fn is_xks_key_in_use(
    connection: &Connection,
    (scope, id): (&Scope, &CustomKeyStoreId),
    xks_key_id: &XksKeyId,
) -> Result<bool, Fault> {
    let Some(found) = find(connection, scope, id)? else { return Ok(false) };
    let mut key = connection.prepare_cached(XKS_KEY)?;
    Ok(key.exists(params![found.store_no, xks_key_id.as_str()])?)
}

pub(super) fn create(connection: &Connection, store: &CustomKeyStore, stores_max: u64) -> Result<(), Fault> {
    root_keys::require_known_seal(connection, store.sealed_secret())?;
    let stored = list(connection, None)?;
    check_conflicts(store, &stored)?;
    let neighbours = stored.iter().filter(|other| other.scope == store.scope).count();
    if numbers::bound(neighbours) >= numbers::bound(stores_max) {
        return Err(StoreError::LimitExceeded.into());
    }
    let scope_id = scopes::ensure(connection, &store.scope)?;
    let columns = KeyStoreColumns::of(store)?;
    connection
        .prepare_cached(INSERT)?
        .execute(columns.params(&scope_id).as_slice())
        .map_err(already_exists)?;
    Ok(())
}

fn check_conflicts(store: &CustomKeyStore, stored: &[CustomKeyStore]) -> Result<(), Fault> {
    match stored.iter().find_map(|other| store.conflict_with(other)) {
        Some(conflict) => Err(StoreError::KeyStoreConflict(conflict).into()),
        None => Ok(()),
    }
}

pub(super) fn get(
    connection: &Connection,
    scope: &Scope,
    id: &CustomKeyStoreId,
) -> Result<Option<CustomKeyStore>, Fault> {
    let mut get = connection.prepare_cached(GET)?;
    let mut rows = get.query(params![scope.account.as_str(), scope.region.as_str(), id.as_str()])?;
    rows.next()?.map(read_key_store).transpose()
}

pub(super) fn list(connection: &Connection, scope: Option<&Scope>) -> Result<Vec<CustomKeyStore>, Fault> {
    match scope {
        Some(scope) => {
            let names = params![scope.account.as_str(), scope.region.as_str()];
            connection.prepare_cached(OF_SCOPE)?.query_and_then(names, read_key_store)?.collect()
        }
        None => connection.prepare_cached(EVERY)?.query_and_then([], read_key_store)?.collect(),
    }
}

pub(super) fn replace(connection: &Connection, store: &CustomKeyStore) -> Result<(), Fault> {
    root_keys::require_known_seal(connection, store.sealed_secret())?;
    let before = store.revision.checked_sub(1).ok_or(StoreError::Conflict)?;
    let found = require_revision(connection, &store.scope, &store.id, before)?;
    if found.kind != store.kind() {
        return Err(Fault::Value("cluster_id"));
    }
    check_conflicts(store, &list(connection, None)?)?;
    let columns = KeyStoreColumns::of(store)?;
    connection.prepare_cached(UPDATE)?.execute(columns.params(&found.store_no).as_slice())?;
    Ok(())
}

/// No key goes with it, not even one whose deletion is scheduled.
pub(super) fn delete(
    connection: &Connection,
    scope: &Scope,
    id: &CustomKeyStoreId,
    revision: u64,
) -> Result<(), Fault> {
    let Found { store_no, .. } = require_revision(connection, scope, id, revision)?;
    if !keys_in(connection, store_no, 1)?.is_empty() {
        return Err(StoreError::NotEmpty.into());
    }
    connection.prepare_cached(DELETE)?.execute(params![store_no])?;
    Ok(())
}

fn require_revision(
    connection: &Connection,
    scope: &Scope,
    id: &CustomKeyStoreId,
    revision: u64,
) -> Result<Found, Fault> {
    match find(connection, scope, id)? {
        None => Err(StoreError::Missing.into()),
        Some(found) if found.revision == revision => Ok(found),
        Some(_) => Err(StoreError::Conflict.into()),
    }
}

pub(super) fn keys_of(
    connection: &Connection,
    scope: &Scope,
    id: &CustomKeyStoreId,
) -> Result<Vec<KeyId>, Fault> {
    match find(connection, scope, id)? {
        Some(found) => keys_in(connection, found.store_no, i64::MAX),
        None => Ok(Vec::new()),
    }
}

fn keys_in(connection: &Connection, store_no: i64, limit: i64) -> Result<Vec<KeyId>, Fault> {
    let mut keys = connection.prepare_cached(KEYS)?;
    keys.query_and_then(params![store_no, limit], read_key_id)?.collect()
}

/// The number of the custom key store that a new key goes into and the id of its external key, if it has these.
pub(super) fn place_of_new_key<'k>(
    connection: &Connection,
    key: &'k Key,
) -> Result<(Option<i64>, Option<&'k str>), Fault> {
    let (store, kind, xks_key_id) = match &key.place {
        KeyPlace::Default => return Ok((None, None)),
        KeyPlace::CloudHsm { store } => (store, CustomKeyStoreType::AwsCloudHsm, None),
        KeyPlace::External { store, xks_key_id } => {
            (store, CustomKeyStoreType::ExternalKeyStore, Some(xks_key_id.as_str()))
        }
    };
    let found = find(connection, &key.scope, store)?.ok_or(StoreError::KeyStoreMissing)?;
    // A key store stays of its type: whoever made this key cannot have looked at it.
    if found.kind != kind {
        return Err(Fault::Value("xks_key_id"));
    }
    if found.state != ConnectionState::Connected {
        return Err(StoreError::KeyStoreNotConnected.into());
    }
    if let Some(xks_key_id) = xks_key_id {
        let bounds = params![found.store_no, xks_key_id];
        if connection.prepare_cached(XKS_KEY)?.query_row(bounds, |_| Ok(())).optional()?.is_some() {
            return Err(StoreError::XksKeyInUse.into());
        }
    }
    Ok((Some(found.store_no), xks_key_id))
}

/// After the keys.
pub(super) fn clear(connection: &Connection) -> Result<(), Fault> {
    connection.prepare_cached(CLEAR)?.execute([])?;
    Ok(())
}
