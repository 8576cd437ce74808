//! The door to the custom key stores of an account and Region: what their administrators may do.

use std::sync::Arc;
use std::time::Instant;

use subtle::ConstantTimeEq;

use crate::domain::kms::{
    AccountAction, CloudHsmBacking, Connection, CustomKeyStore, CustomKeyStoreId, ExternalBacking,
    KeyStoreBacking, Scope, VpcEndpointService, XksProxyConnectivity, is_same_certificate,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::key_store_refused::{ClusterRefused, KeyStoreRefused, ProxyUse};
use crate::gate::kms::key_store_secrets::{ClusterPasswords, SecretOf};
use crate::gate::kms::key_store_update::{
    ClusterUpdate, ExternalUpdate, KeyStoreUpdate, check_members, check_updatable,
};
use crate::gate::kms::known_key_stores::KnownKeyStore;
use crate::gate::kms::material::random;
use crate::gate::kms::vpc_endpoint_service;
use crate::gate::kms::{Call, Refused, Use};
use crate::key_manager::cluster::{Cluster, ClusterError};
use crate::key_manager::xks_proxy::Origin;
use crate::secret::SecretBytes;
use crate::store::StoreError;

/// The custom key stores of the caller's account in the Region that is called.
pub struct CustomKeyStores<'a> {
    call: &'a Call<'a>,
    scope: Scope,
    action: AccountAction,
}

/// What a custom key store is made from.
pub struct NewCustomKeyStore {
    pub name: String,
    pub backing: NewBacking,
}

pub enum NewBacking {
    CloudHsm { cluster_id: String, trust_anchor: Arc<str>, password: SecretBytes },
    External(NewExternal),
}

pub struct NewExternal {
    pub connectivity: XksProxyConnectivity,
    pub uri_endpoint: String,
    pub uri_path: String,
    pub vpc_endpoint_service: Option<VpcEndpointService>,
    pub credential: ProxyCredential,
}

/// `XksProxyAuthenticationCredential`.
#[derive(Clone)]
pub struct ProxyCredential {
    pub access_key_id: String,
    pub secret_access_key: SecretBytes,
}

/// Two, so that no key is lost with one (AWS KMS Developer Guide, Create an AWS CloudHSM key store).
pub(super) const HSMS_MIN: usize = 2;

impl<'a> Call<'a> {
    /// Custom key stores are no resources: only identity policies decide.
    pub fn custom_key_stores(&'a self, action: AccountAction) -> Result<CustomKeyStores<'a>, Refused> {
        self.allow_account(action, None, Use::default())?;
        Ok(CustomKeyStores { call: self, scope: self.caller().scope(), action })
    }
}

impl CustomKeyStores<'_> {
    /// All of them, in the order of their ids: there are few.
    pub async fn list(&self) -> Result<Vec<CustomKeyStore>, Refused> {
        Ok(self.call.kms.store.custom_key_stores(Some(&self.scope)).await?)
    }

    /// A new key store, disconnected. The same once more, while that is disconnected, is the same key store.
    pub async fn create(&self, new: NewCustomKeyStore) -> Result<CustomKeyStoreId, Refused> {
        let kms = self.call.kms;
        if let Some(id) = self.find_same(&new).await? {
            return Ok(id);
        }
        let id = CustomKeyStoreId::from_random(random()?);
        let of = SecretOf { scope: &self.scope, id: &id };
        let (backing, credential) = self.sealed_backing(of, new.backing).await?;
        let store = CustomKeyStore {
            scope: self.scope.clone(),
            id: id.clone(),
            revision: 1,
            name: new.name,
            created: self.call.now(),
            connection: Connection::Disconnected,
            backing,
        };
        // Before anything is asked of the proxy or cluster; the store looks again.
        self.check_conflicts(&store).await?;
        self.check_quota().await?;
        self.check_backing(&store, credential.as_ref(), IsNew(true)).await?;
        let changes = kms.changes(self.call.announce().await?);
        let stored = changes.create_key_store(store, kms.quotas.custom_key_stores).await;
        stored.map_err(|error| explained(error, id.as_str()))?;
        Ok(id)
    }

    /// Changes a key store once what it would be like has proved to work.
    pub async fn update(&self, id: &str, update: KeyStoreUpdate) -> Result<(), Refused> {
        let known = self.find(id).await?;
        let mut next = known.store.clone();
        let of = SecretOf::store(&known.store);
        check_members(&known.store, &update)?;
        check_updatable(&known.store, &update)?;
        let is_to_be_tried = update.is_to_be_tried();
        if let Some(name) = update.name {
            next.name = name;
        }
        let credential = match &mut next.backing {
            KeyStoreBacking::CloudHsm(backing) => {
                self.update_cluster(of, backing, update.cluster).await?;
                None
            }
            KeyStoreBacking::External(backing) => {
                let credential = self.update_external(of, backing, update.external).await?;
                match credential {
                    None if is_to_be_tried => Some(self.stored_credential(of, backing).await?),
                    credential => credential,
                }
            }
        };
        self.check_conflicts(&next).await?;
        if is_to_be_tried {
            self.check_backing(&next, credential.as_ref(), IsNew(false)).await?;
        }
        next.revision += 1;
        let changes = self.call.kms.changes(self.call.announce().await?);
        let changed = to_the_end(changes.replace_key_store(next)).await;
        changed.map_err(|error| explained(error, id))
    }

    /// Asks for a connection, which is then made in the background.
    pub async fn connect(&self, id: &str) -> Result<(), Refused> {
        let known = self.find(id).await?;
        // A repeated request finds done what it wants (service model, CustomKeyStoreInvalidStateException).
        if matches!(known.store.connection, Connection::Connected | Connection::Connecting) {
            return Ok(());
        }
        self.transition(&known, Connection::can_connect, Connection::Connecting).await
    }

    /// Takes the keys of the store out of use, at once. What is left of the connection ends in the background.
    pub async fn disconnect(&self, id: &str) -> Result<(), Refused> {
        let known = self.find(id).await?;
        self.transition(&known, Connection::can_disconnect, Connection::Disconnecting).await
    }

    pub async fn delete(&self, id: &str) -> Result<(), Refused> {
        let known = self.find(id).await?;
        let CustomKeyStore { scope, id, revision, connection, .. } = &known.store;
        if *connection != Connection::Disconnected {
            return Err(KeyStoreRefused::InvalidState(connection.state()).into());
        }
        let changes = self.call.kms.changes(self.call.announce().await?);
        let deletion = changes.delete_key_store(scope.clone(), id.clone(), *revision);
        to_the_end(deletion).await.map_err(|error| explained(error, id.as_str()))
    }

    async fn transition(
        &self,
        known: &KnownKeyStore,
        is_possible: impl FnOnce(Connection) -> bool,
        to: Connection,
    ) -> Result<(), Refused> {
        let connection = known.store.connection;
        if !is_possible(connection) {
            return Err(KeyStoreRefused::InvalidState(connection.state()).into());
        }
        let mut next = known.store.clone();
        next.connection = to;
        next.revision += 1;
        let changes = self.call.kms.changes(self.call.announce().await?);
        let changed = to_the_end(changes.replace_key_store(next)).await;
        changed.map_err(|error| explained(error, known.store.id.as_str()))?;
        self.call.kms.key_stores.transitions.notify_one();
        Ok(())
    }

    async fn find(&self, id: &str) -> Result<Arc<KnownKeyStore>, Refused> {
        let missing = || Refused::KeyStore(KeyStoreRefused::Missing { named: id.to_owned() });
        let id = CustomKeyStoreId::parse(id).ok_or_else(missing)?;
        let known = self.call.kms.find_key_store(&self.scope, &id).await?.ok_or_else(missing)?;
        self.call.touched().note_key_store(&known);
        Ok(known)
    }

    async fn check_quota(&self) -> Result<(), Refused> {
        let stores = u64::try_from(self.list().await?.len()).unwrap_or(u64::MAX);
        if stores < self.call.kms.quotas.custom_key_stores {
            return Ok(());
        }
        Err(Refused::Store(StoreError::LimitExceeded))
    }

    async fn check_conflicts(&self, store: &CustomKeyStore) -> Result<(), Refused> {
        let others = self.call.kms.store.custom_key_stores(None).await?;
        match others.iter().find_map(|other| store.conflict_with(other)) {
            Some(conflict) => Err(KeyStoreRefused::Conflict(conflict).into()),
            None => Ok(()),
        }
    }

    /// Whether the proxy or cluster is there and fit for a key store.
    async fn check_backing(
        &self,
        store: &CustomKeyStore,
        credential: Option<&ProxyCredential>,
        is_new: IsNew,
    ) -> Result<(), Refused> {
        match &store.backing {
            KeyStoreBacking::CloudHsm(backing) => self.check_cluster(backing).await,
            KeyStoreBacking::External(backing) => {
                let services = self.call.kms.key_stores.settings();
                vpc_endpoint_service::check(backing, &self.scope.region, &services.vpc_endpoint_services)
                    .map_err(KeyStoreRefused::VpcEndpointService)?;
                // AWS KMS Developer Guide, Create an external key store: the way through a VPC is not there yet.
                let is_public = backing.connectivity == XksProxyConnectivity::PublicEndpoint;
                match credential.filter(|_| is_public || !is_new.0) {
                    Some(credential) => self.try_proxy(store, backing, credential).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn try_proxy(
        &self,
        store: &CustomKeyStore,
        backing: &ExternalBacking,
        credential: &ProxyCredential,
    ) -> Result<(), Refused> {
        let secret = credential.secret_access_key.clone();
        let proxy = self.call.kms.key_stores.trial_proxy(SecretOf::store(store), backing, secret);
        let request_id = self.call.id().to_string();
        let origin = Origin {
            kms_operation: self.action.permission(),
            kms_request_id: &request_id,
            aws_principal_arn: None,
            kms_key_arn: None,
        };
        let failed = |failure| KeyStoreRefused::Proxy { while_: ProxyUse::Management, failure };
        if proxy.health(origin).await.map_err(failed)?.serves() {
            Ok(())
        } else {
            Err(KeyStoreRefused::ProxyUnhealthy.into())
        }
    }

    async fn check_cluster(&self, backing: &CloudHsmBacking) -> Result<(), Refused> {
        let cluster = self.call.kms.key_stores.cluster(&backing.cluster_id)?;
        if !is_same_certificate(&backing.trust_anchor, cluster.trust_anchor()) {
            return Err(KeyStoreRefused::Cluster(ClusterRefused::TrustAnchor).into());
        }
        require_hsms(&*cluster, HSMS_MIN, self.call.deadline()).await
    }

    /// An equal key store that is disconnected: then the request is a repetition.
    async fn find_same(&self, new: &NewCustomKeyStore) -> Result<Option<CustomKeyStoreId>, Refused> {
        let stores = self.list().await?;
        let is_candidate =
            |store: &&CustomKeyStore| store.name == new.name && store.connection == Connection::Disconnected;
        let Some(store) = stores.iter().find(is_candidate) else { return Ok(None) };
        Ok(self.is_same(store, &new.backing).await?.then(|| store.id.clone()))
    }

    async fn is_same(&self, store: &CustomKeyStore, new: &NewBacking) -> Result<bool, Refused> {
        let (kms, of, deadline) = (self.call.kms, SecretOf::store(store), self.call.deadline());
        match (&store.backing, new) {
            (
                KeyStoreBacking::CloudHsm(backing),
                NewBacking::CloudHsm { cluster_id, trust_anchor, password },
            ) => {
                if backing.cluster_id != *cluster_id
                    || !is_same_certificate(&backing.trust_anchor, trust_anchor)
                {
                    return Ok(false);
                }
                let stored = kms.open_passwords(of, &backing.password, deadline).await?;
                Ok(is_same_secret(&stored.current, password))
            }
            (KeyStoreBacking::External(backing), NewBacking::External(new)) => {
                let is_alike = backing.connectivity == new.connectivity
                    && backing.uri_endpoint == new.uri_endpoint
                    && backing.uri_path == new.uri_path
                    && backing.vpc_endpoint_service == new.vpc_endpoint_service
                    && backing.access_key_id == new.credential.access_key_id;
                if !is_alike {
                    return Ok(false);
                }
                let stored = kms.open_secret(of, &backing.secret_access_key, deadline).await?;
                Ok(is_same_secret(&stored, &new.credential.secret_access_key))
            }
            (KeyStoreBacking::CloudHsm(_), NewBacking::External(_))
            | (KeyStoreBacking::External(_), NewBacking::CloudHsm { .. }) => Ok(false),
        }
    }

    /// With its secret sealed, and the credential to try it with.
    async fn sealed_backing(
        &self,
        of: SecretOf<'_>,
        new: NewBacking,
    ) -> Result<(KeyStoreBacking, Option<ProxyCredential>), Refused> {
        let (kms, deadline) = (self.call.kms, self.call.deadline());
        match new {
            NewBacking::CloudHsm { cluster_id, trust_anchor, password } => {
                let passwords = ClusterPasswords::known(password);
                let password = kms.seal_passwords(of, &passwords, deadline).await?;
                let backing = CloudHsmBacking { cluster_id, trust_anchor, password };
                Ok((KeyStoreBacking::CloudHsm(backing), None))
            }
            NewBacking::External(new) => {
                let secret = new.credential.secret_access_key.clone();
                let backing = ExternalBacking {
                    connectivity: new.connectivity,
                    uri_endpoint: new.uri_endpoint,
                    uri_path: new.uri_path,
                    vpc_endpoint_service: new.vpc_endpoint_service,
                    access_key_id: new.credential.access_key_id.clone(),
                    secret_access_key: kms.seal_secret(of, secret, deadline).await?,
                    credential_since: self.call.now(),
                };
                Ok((KeyStoreBacking::External(backing), Some(new.credential)))
            }
        }
    }

    async fn update_cluster(
        &self,
        of: SecretOf<'_>,
        backing: &mut CloudHsmBacking,
        update: ClusterUpdate,
    ) -> Result<(), Refused> {
        let kms = self.call.kms;
        if let Some(cluster_id) = update.cluster_id {
            let cluster = kms.key_stores.cluster(&cluster_id)?;
            // A cluster with the same keys was made from a backup, and has the same certificate.
            if !is_same_certificate(&backing.trust_anchor, cluster.trust_anchor()) {
                return Err(KeyStoreRefused::Cluster(ClusterRefused::NotRelated { cluster_id }).into());
            }
            backing.cluster_id = cluster_id;
        }
        if let Some(current) = update.password {
            let passwords = ClusterPasswords::known(current);
            backing.password = kms.seal_passwords(of, &passwords, self.call.deadline()).await?;
        }
        Ok(())
    }

    async fn update_external(
        &self,
        of: SecretOf<'_>,
        backing: &mut ExternalBacking,
        update: ExternalUpdate,
    ) -> Result<Option<ProxyCredential>, Refused> {
        let (kms, deadline) = (self.call.kms, self.call.deadline());
        if let Some(connectivity) = update.connectivity {
            backing.connectivity = connectivity;
        }
        if let Some(uri_endpoint) = update.uri_endpoint {
            backing.uri_endpoint = uri_endpoint;
        }
        if let Some(uri_path) = update.uri_path {
            backing.uri_path = uri_path;
        }
        backing.vpc_endpoint_service = match (update.vpc_service_name, backing.vpc_endpoint_service.take()) {
            // Another service may be somebody else's.
            (Some(name), _) => Some(VpcEndpointService { name, owner: update.vpc_service_owner }),
            (None, before) => before.map(|service| VpcEndpointService {
                owner: update.vpc_service_owner.or(service.owner),
                ..service
            }),
        };
        if backing.connectivity == XksProxyConnectivity::PublicEndpoint {
            backing.vpc_endpoint_service = None;
        }
        let Some(credential) = update.credential else { return Ok(None) };
        backing.access_key_id.clone_from(&credential.access_key_id);
        let secret = credential.secret_access_key.clone();
        backing.secret_access_key = kms.seal_secret(of, secret, deadline).await?;
        backing.credential_since = self.call.now();
        Ok(Some(credential))
    }

    async fn stored_credential(
        &self,
        of: SecretOf<'_>,
        backing: &ExternalBacking,
    ) -> Result<ProxyCredential, Refused> {
        let deadline = self.call.deadline();
        let secret = self.call.kms.open_secret(of, &backing.secret_access_key, deadline).await?;
        Ok(ProxyCredential { access_key_id: backing.access_key_id.clone(), secret_access_key: secret })
    }
}

/// Whether a key store is being made.
#[derive(Clone, Copy)]
struct IsNew(bool);

/// Enough active HSMs.
pub(super) async fn require_hsms(
    cluster: &dyn Cluster,
    hsms_min: usize,
    deadline: Instant,
) -> Result<(), Refused> {
    match cluster.active_hsms(deadline).await.map_err(KeyStoreRefused::from)? {
        0 => Err(KeyStoreRefused::Cluster(ClusterRefused::NoActiveHsm).into()),
        active if active < hsms_min => {
            let error = ClusterError::TooFewHsms { active };
            Err(KeyStoreRefused::from(error).into())
        }
        _ => Ok(()),
    }
}

fn is_same_secret(one: &SecretBytes, other: &SecretBytes) -> bool {
    one.expose().ct_eq(other.expose()).into()
}

/// What the store refuses, in the words of key stores.
pub(super) fn explained(error: impl Into<Refused>, id: &str) -> Refused {
    let refused = error.into();
    let Refused::Store(cause) = &refused else { return refused };
    match cause {
        StoreError::KeyStoreConflict(conflict) => KeyStoreRefused::Conflict(*conflict).into(),
        StoreError::KeyStoreMissing | StoreError::Missing => {
            KeyStoreRefused::Missing { named: id.to_owned() }.into()
        }
        StoreError::KeyStoreNotConnected => {
            KeyStoreRefused::NotConnected { while_: ProxyUse::CreateKey }.into()
        }
        StoreError::NotEmpty => KeyStoreRefused::HasKeys.into(),
        StoreError::XksKeyInUse => KeyStoreRefused::XksKeyInUse.into(),
        StoreError::AlreadyExists
        | StoreError::Conflict
        | StoreError::LimitExceeded
        | StoreError::Unavailable(_) => refused,
    }
}
