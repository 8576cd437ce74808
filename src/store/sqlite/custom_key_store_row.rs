//! A custom key store as columns, and back.

use std::sync::Arc;

use rusqlite::{Row, ToSql};

use crate::domain::kms::{
    CloudHsmBacking, Connection, ConnectionErrorCode, ConnectionState, CustomKeyStore, CustomKeyStoreId,
    ExternalBacking, KeyStoreBacking, SealedSecret, UnixMillis, VpcEndpointService, XksProxyConnectivity,
};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::key_row::{optional_word, word};
use crate::store::sqlite::{numbers, scopes};

/// What a custom key store comes to in its row.
#[derive(Default)]
pub(super) struct KeyStoreColumns<'a> {
    id: &'a str,
    revision: i64,
    name: &'a str,
    created: i64,
    connection_state: &'static str,
    connection_error: Option<&'static str>,
    cluster_id: Option<&'a str>,
    trust_anchor: Option<&'a str>,
    connectivity: Option<&'static str>,
    uri_endpoint: Option<&'a str>,
    uri_path: Option<&'a str>,
    vpc_service_name: Option<&'a str>,
    vpc_service_owner: Option<&'a str>,
    access_key_id: Option<&'a str>,
    credential_since: Option<i64>,
    secret: &'a [u8],
}

impl<'a> KeyStoreColumns<'a> {
    pub(super) fn of(store: &'a CustomKeyStore) -> Result<Self, Fault> {
        let backing = match &store.backing {
            KeyStoreBacking::CloudHsm(backing) => Self::of_cloud_hsm(backing),
            KeyStoreBacking::External(backing) => Self::of_external(backing),
        };
        Ok(Self {
            id: store.id.as_str(),
            revision: numbers::stored(store.revision, "revision")?,
            name: &store.name,
            created: store.created.0,
            connection_state: store.connection.state().as_str(),
            connection_error: store.connection.error_code().map(ConnectionErrorCode::as_str),
            ..backing
        })
    }

    fn of_cloud_hsm(backing: &'a CloudHsmBacking) -> Self {
        Self {
            cluster_id: Some(&backing.cluster_id),
            trust_anchor: Some(&backing.trust_anchor),
            secret: &backing.password.0,
            ..Self::default()
        }
    }

    fn of_external(backing: &'a ExternalBacking) -> Self {
        let service = backing.vpc_endpoint_service.as_ref();
        Self {
            connectivity: Some(backing.connectivity.as_str()),
            uri_endpoint: Some(&backing.uri_endpoint),
            uri_path: Some(&backing.uri_path),
            vpc_service_name: service.map(|service| service.name.as_str()),
            vpc_service_owner: service.and_then(|service| service.owner.as_deref()),
            access_key_id: Some(&backing.access_key_id),
            credential_since: Some(backing.credential_since.0),
            secret: &backing.secret_access_key.0,
            ..Self::default()
        }
    }

    /// The columns by their names; `place` is the scope of a new row, the number of one that is there.
    pub(super) fn params<'p>(&'p self, place: &'p i64) -> [(&'static str, &'p dyn ToSql); 17] {
        [
            (":place", place),
            (":id", &self.id),
            (":revision", &self.revision),
            (":name", &self.name),
            (":created", &self.created),
            (":connection_state", &self.connection_state),
            (":connection_error", &self.connection_error),
            (":cluster_id", &self.cluster_id),
            (":trust_anchor", &self.trust_anchor),
            (":connectivity", &self.connectivity),
            (":uri_endpoint", &self.uri_endpoint),
            (":uri_path", &self.uri_path),
            (":vpc_service_name", &self.vpc_service_name),
            (":vpc_service_owner", &self.vpc_service_owner),
            (":access_key_id", &self.access_key_id),
            (":credential_since", &self.credential_since),
            (":secret", &self.secret),
        ]
    }
}

/// A custom key store from its columns and those of its scope.
pub(super) fn read_key_store(row: &Row<'_>) -> Result<CustomKeyStore, Fault> {
    let state = word(row, "connection_state", ConnectionState::parse)?;
    let error = optional_word(row, "connection_error", ConnectionErrorCode::parse)?;
    Ok(CustomKeyStore {
        scope: scopes::read(row)?,
        id: word(row, "id", CustomKeyStoreId::parse)?,
        revision: numbers::read(row.get("revision")?, "revision")?,
        name: row.get("name")?,
        created: UnixMillis(row.get("created")?),
        connection: Connection::from_words(state, error).ok_or(Fault::Value("connection_error"))?,
        backing: read_backing(row)?,
    })
}

fn read_backing(row: &Row<'_>) -> Result<KeyStoreBacking, Fault> {
    let secret = SealedSecret(row.get("secret")?);
    if let Some(cluster_id) = row.get("cluster_id")? {
        let trust_anchor = row.get::<_, Arc<str>>("trust_anchor")?;
        return Ok(KeyStoreBacking::CloudHsm(CloudHsmBacking { cluster_id, trust_anchor, password: secret }));
    }
    let owner = row.get("vpc_service_owner")?;
    let service = row.get::<_, Option<_>>("vpc_service_name")?.map(|name| VpcEndpointService { name, owner });
    Ok(KeyStoreBacking::External(ExternalBacking {
        connectivity: word(row, "connectivity", XksProxyConnectivity::parse)?,
        uri_endpoint: row.get("uri_endpoint")?,
        uri_path: row.get("uri_path")?,
        vpc_endpoint_service: service,
        access_key_id: row.get("access_key_id")?,
        secret_access_key: secret,
        credential_since: UnixMillis(row.get("credential_since")?),
    }))
}
