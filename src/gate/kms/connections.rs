//! Connections of custom key stores: what the store says is to be connected or disconnected is worked off, whoever
//! asked for it and whenever. Stopping anywhere leaves the key store in a state from which it goes on.

use std::fmt;
use std::time::Instant;

use proxy_api::error::ErrorName;

use crate::domain::kms::{
    AccountAction, CloudHsmBacking, Connection, ConnectionErrorCode, ConnectionState, CustomKeyStore,
    CustomKeyStoreId, ExternalBacking, KeyStoreBacking, Scope,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::custom_key_stores::require_hsms;
use crate::gate::kms::key_store_refused::{ClusterRefused, KeyStoreRefused, VpcEndpointServiceRefused};
use crate::gate::kms::key_store_secrets::{ClusterPasswords, SecretOf};
use crate::gate::kms::known_key_stores::KnownKeyStore;
use crate::gate::kms::material::random;
use crate::gate::kms::vpc_endpoint_service;
use crate::gate::kms::witness::Announced;
use crate::gate::kms::{Kms, Refused, RequestId};
use crate::key_manager::HsmError;
use crate::key_manager::cluster::{Cluster, ClusterError};
use crate::key_manager::xks_proxy::{FleetHealth, Origin, ProxyFailure};
use crate::secret::SecretBytes;

/// Names a key store for a task.
pub type KeyStoreName = (Scope, CustomKeyStoreId);

/// AWS KMS Developer Guide, Create an AWS CloudHSM key store: to connect, one HSM is enough.
const HSMS_TO_CONNECT: usize = 1;
/// `kmsOperation` of the periodic poll (XKS v1, GetHealthStatus).
const KMS_HEALTH_CHECK: &str = "KmsHealthCheck";

/// What became of a login after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// Logged in, or not connected any more.
    Done,
    /// To be tried again.
    NotYet,
    /// The cluster refuses `kmsuser`, and another attempt could lock it out; or the configuration has no such
    /// cluster.
    Refused,
}

impl Kms {
    /// Completes when a connection is to be made or ended.
    pub async fn key_store_transitions(&self) {
        self.key_stores.transitions.notified().await;
    }

    /// Key stores in one of these states of their connection.
    pub async fn key_stores_in(&self, states: &[ConnectionState]) -> Result<Vec<KeyStoreName>, Refused> {
        let stores = self.store.custom_key_stores(None).await?;
        let in_state = stores.into_iter().filter(|store| states.contains(&store.connection.state()));
        Ok(in_state.map(|store| (store.scope, store.id)).collect())
    }

    /// Connects or disconnects a key store that waits for it. `Conflict` if somebody changed it meanwhile.
    pub async fn complete_transition(
        &self,
        (scope, id): &KeyStoreName,
        deadline: Instant,
    ) -> Result<(), Refused> {
        let Some(known) = self.find_key_store(scope, id).await? else { return Ok(()) };
        match known.store.connection {
            Connection::Connecting => self.complete_connecting(&known, deadline).await,
            Connection::Disconnecting => self.complete_disconnecting(&known).await,
            Connection::Connected | Connection::Disconnected | Connection::Failed(_) => Ok(()),
        }
    }

    async fn complete_connecting(&self, known: &KnownKeyStore, deadline: Instant) -> Result<(), Refused> {
        let id = &known.store.id;
        let connected = match (&known.store.backing, self.key_stores.unwritten_failure(&known.store)) {
            (_, Some(code)) => Err(Failed::Before(code)),
            (KeyStoreBacking::CloudHsm(backing), None) => {
                self.connect_cluster(known, backing, deadline).await
            }
            (KeyStoreBacking::External(backing), None) => {
                let connected = self.connect_proxy(known, backing, deadline).await;
                connected.map(|()| known.store.clone())
            }
        };
        let mut next = match connected {
            Ok(store) => CustomKeyStore { connection: Connection::Connected, ..store },
            Err(Failed::Refused(Refused::Conflict)) => return Err(Refused::Conflict),
            Err(failed) => {
                let code = failed.code();
                tracing::warn!(key_store.id = %id, code = %code, reason = %failed, "key store {id}: {code}");
                // With the passwords as they were last written down.
                let latest = self.find_key_store(&known.store.scope, id).await?;
                let store = latest.map_or_else(|| known.store.clone(), |latest| latest.store.clone());
                if store.connection != Connection::Connecting {
                    return Err(Refused::Conflict);
                }
                self.key_stores.note_failure(&store, code);
                CustomKeyStore { connection: Connection::Failed(code), ..store }
            }
        };
        next.revision += 1;
        let (state, is_connected) = (next.connection.state(), next.connection == Connection::Connected);
        let written = to_the_end(self.changes(Announced::when_asked_for()).replace_key_store(next)).await;
        if written.is_err() && is_connected {
            self.leave_cluster(&known.store).await;
        }
        written?;
        tracing::info!(key_store.id = %id, state = %state, "key store {id} is {state}");
        Ok(())
    }

    async fn complete_disconnecting(&self, known: &KnownKeyStore) -> Result<(), Refused> {
        let id = &known.store.id;
        self.leave_cluster(&known.store).await;
        let mut next = known.store.clone();
        next.connection = Connection::Disconnected;
        next.revision += 1;
        to_the_end(self.changes(Announced::when_asked_for()).replace_key_store(next)).await?;
        self.key_stores.drop_client(id);
        tracing::info!(key_store.id = %id, state = "DISCONNECTED", "key store {id} is DISCONNECTED");
        Ok(())
    }

    async fn leave_cluster(&self, store: &CustomKeyStore) {
        let KeyStoreBacking::CloudHsm(backing) = &store.backing else { return };
        if let Some(cluster) = self.key_stores.parts().clusters.find(&backing.cluster_id)
            && let Err(error) = cluster.log_out().await
        {
            let id = &store.id;
            tracing::warn!(key_store.id = %id, reason = %error, "key store {id}: cannot log out: {error}");
        }
    }

    async fn connect_proxy(
        &self,
        known: &KnownKeyStore,
        backing: &ExternalBacking,
        deadline: Instant,
    ) -> Result<(), Failed> {
        let services = self.key_stores.settings();
        vpc_endpoint_service::check(backing, &known.store.scope.region, &services.vpc_endpoint_services)?;
        let operation = AccountAction::ConnectCustomKeyStore.as_str();
        let health = self.ask_health(known, operation, deadline).await?;
        if health.serves() { Ok(()) } else { Err(Failed::Unhealthy) }
    }

    /// Logs in and changes the password, so that nobody else knows it. The next password is written down before the
    /// HSM is told, and counts as the present one after.
    async fn connect_cluster(
        &self,
        known: &KnownKeyStore,
        backing: &CloudHsmBacking,
        deadline: Instant,
    ) -> Result<CustomKeyStore, Failed> {
        let of = SecretOf::store(&known.store);
        let cluster = self.key_stores.cluster(&backing.cluster_id).map_err(Refused::from)?;
        require_hsms(&*cluster, HSMS_TO_CONNECT, deadline).await?;
        let stored = self.open_passwords(of, &backing.password, deadline).await?;
        let current = Self::log_in(&*cluster, &stored, deadline).await?;
        let connected = self.change_password(&*cluster, (&known.store, &stored), current, deadline).await;
        if connected.is_err() {
            // Nobody uses the cluster before the key store is connected.
            let _ = cluster.log_out().await;
        }
        connected
    }

    async fn change_password(
        &self,
        cluster: &dyn Cluster,
        (store, stored): (&CustomKeyStore, &ClusterPasswords),
        current: SecretBytes,
        deadline: Instant,
    ) -> Result<CustomKeyStore, Failed> {
        let (of, mut store) = (SecretOf::store(store), store.clone());
        let next = self.fresh_password(deadline).await?;
        let unsettled = stored.changing(&current, next.clone());
        // Sealed before the change: what is settled must not wait for anybody afterwards.
        let settled = self.seal_passwords(of, &ClusterPasswords::known(next.clone()), deadline).await?;
        store.set_password(self.seal_passwords(of, &unsettled, deadline).await?);
        store.revision += 1;
        to_the_end(self.changes(Announced::when_asked_for()).replace_key_store(store.clone()))
            .await
            .map_err(Refused::from)?;
        cluster.change_password(current, next, deadline).await.map_err(Failed::Cluster)?;
        store.set_password(settled);
        Ok(store)
    }

    async fn log_in(
        cluster: &dyn Cluster,
        passwords: &ClusterPasswords,
        deadline: Instant,
    ) -> Result<SecretBytes, Failed> {
        let mut candidates = passwords.candidates();
        let place = cluster.log_in(candidates.clone(), deadline).await.map_err(Failed::Cluster)?;
        if place < candidates.len() {
            Ok(candidates.swap_remove(place))
        } else {
            Err(Failed::Cluster(ClusterError::InvalidCredentials))
        }
    }

    /// Logs in to the cluster of a connected key store, which the daemon was before it was started anew.
    pub async fn resume_cluster(&self, (scope, id): &KeyStoreName, deadline: Instant) -> Resumed {
        match self.try_resume(scope, id, deadline).await {
            Ok(()) => Resumed::Done,
            Err(failed) => {
                let reason = failed.to_string();
                tracing::error!(key_store.id = %id, reason, "key store {id}: cannot log in to its cluster");
                let is_refused = matches!(
                    failed.code(),
                    ConnectionErrorCode::ClusterNotFound
                        | ConnectionErrorCode::InvalidCredentials
                        | ConnectionErrorCode::UserLockedOut
                        | ConnectionErrorCode::UserNotFound
                );
                if is_refused { Resumed::Refused } else { Resumed::NotYet }
            }
        }
    }

    async fn try_resume(
        &self,
        scope: &Scope,
        id: &CustomKeyStoreId,
        deadline: Instant,
    ) -> Result<(), Failed> {
        let Some(known) = self.find_key_store(scope, id).await? else { return Ok(()) };
        let KeyStoreBacking::CloudHsm(backing) = &known.store.backing else { return Ok(()) };
        if known.store.connection != Connection::Connected {
            return Ok(());
        }
        let cluster = self.key_stores.cluster(&backing.cluster_id).map_err(Refused::from)?;
        let passwords =
            self.open_passwords(SecretOf::store(&known.store), &backing.password, deadline).await?;
        Self::log_in(&*cluster, &passwords, deadline).await.map(drop)
    }

    /// Leaves every cluster. For development.
    pub(super) async fn log_out_everywhere(&self) {
        for store in self.store.custom_key_stores(None).await.unwrap_or_default() {
            self.leave_cluster(&store).await;
        }
    }

    /// Asks the proxy of a connected key store how it is. What it answers is in the metrics.
    pub async fn check_key_store_health(&self, (scope, id): &KeyStoreName, deadline: Instant) {
        let Ok(Some(known)) = self.find_key_store(scope, id).await else { return };
        let is_external = matches!(known.store.backing, KeyStoreBacking::External(_));
        if is_external && known.store.connection == Connection::Connected {
            let asked = self.ask_health(&known, KMS_HEALTH_CHECK, deadline).await;
            if let Err(failed) = asked {
                tracing::warn!(key_store.id = %id, reason = %failed, "key store {id}: health check failed");
            }
        }
    }

    async fn ask_health(
        &self,
        known: &KnownKeyStore,
        kms_operation: &str,
        deadline: Instant,
    ) -> Result<FleetHealth, Failed> {
        let proxy = self.proxy_of(known, deadline).await?;
        let request_id = RequestId(random()?).to_string();
        let origin =
            Origin { kms_operation, kms_request_id: &request_id, aws_principal_arn: None, kms_key_arn: None };
        proxy.health(origin).await.map_err(Failed::Proxy)
    }
}

/// Why no connection came about.
#[derive(Debug)]
enum Failed {
    /// As an attempt found out whose result could not be written down.
    Before(ConnectionErrorCode),
    Cluster(ClusterError),
    Proxy(ProxyFailure),
    Refused(Refused),
    Unhealthy,
    Vpc(VpcEndpointServiceRefused),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(code) => write!(f, "{code} at the attempt before"),
            Self::Cluster(error) => error.fmt(f),
            Self::Proxy(failure) => failure.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
            Self::Unhealthy => f.write_str("every key manager behind the proxy is out of service"),
            Self::Vpc(refused) => refused.fmt(f),
        }
    }
}

impl Failed {
    /// AWS KMS Developer Guide, Connection error codes for external key stores, and How to fix a connection failure.
    fn code(&self) -> ConnectionErrorCode {
        match self {
            Self::Before(code) => *code,
            Self::Cluster(error) => cluster_code(error),
            Self::Proxy(failure) => proxy_code(failure),
            Self::Refused(Refused::KeyStore(KeyStoreRefused::Cluster(refused))) => match refused {
                ClusterRefused::Error(error) => cluster_code(error),
                ClusterRefused::NoActiveHsm => ConnectionErrorCode::InsufficientCloudHsmHsms,
                ClusterRefused::NotFound { .. } => ConnectionErrorCode::ClusterNotFound,
                ClusterRefused::LockedOut => ConnectionErrorCode::UserLockedOut,
                ClusterRefused::NotRelated { .. } | ClusterRefused::TrustAnchor | ClusterRefused::Use(_) => {
                    ConnectionErrorCode::InternalError
                }
            },
            Self::Refused(_) => ConnectionErrorCode::InternalError,
            Self::Unhealthy => ConnectionErrorCode::XksProxyNotReachable,
            Self::Vpc(VpcEndpointServiceRefused::NotFound { .. }) => {
                ConnectionErrorCode::XksVpcEndpointServiceNotFound
            }
            Self::Vpc(VpcEndpointServiceRefused::InvalidConfiguration(_)) => {
                ConnectionErrorCode::XksVpcEndpointServiceInvalidConfiguration
            }
        }
    }
}

const fn proxy_code(failure: &ProxyFailure) -> ConnectionErrorCode {
    match failure {
        ProxyFailure::AnswerTimedOut => ConnectionErrorCode::XksProxyTimedOut,
        ProxyFailure::Malformed(_) => ConnectionErrorCode::XksProxyInvalidResponse,
        ProxyFailure::Refused { error, .. } => match error {
            ErrorName::AccessDenied => ConnectionErrorCode::XksProxyAccessDenied,
            ErrorName::AuthenticationFailed => ConnectionErrorCode::InvalidCredentials,
            ErrorName::DependencyTimeout | ErrorName::Throttling => ConnectionErrorCode::XksProxyTimedOut,
            ErrorName::InvalidUriPath => ConnectionErrorCode::XksProxyInvalidConfiguration,
            ErrorName::Internal
            | ErrorName::InvalidCiphertext
            | ErrorName::InvalidKeyUsage
            | ErrorName::InvalidState
            | ErrorName::KeyNotFound
            | ErrorName::UnsupportedOperation
            | ErrorName::Validation => ConnectionErrorCode::XksProxyInvalidResponse,
        },
        ProxyFailure::Tls(_) => ConnectionErrorCode::XksProxyInvalidTlsConfiguration,
        ProxyFailure::Unreachable(_) => ConnectionErrorCode::XksProxyNotReachable,
    }
}

const fn cluster_code(error: &ClusterError) -> ConnectionErrorCode {
    match error {
        ClusterError::NotLoggedIn
        | ClusterError::Hsm(HsmError::Device(_) | HsmError::DeadlineExceeded | HsmError::Unavailable(_)) => {
            ConnectionErrorCode::NetworkErrors
        }
        ClusterError::Hsm(
            HsmError::BadCiphertext
            | HsmError::BadKeyMaterial
            | HsmError::Busy
            | HsmError::Corrupted(_)
            | HsmError::KeyMissing
            | HsmError::TooLong
            | HsmError::Unsupported(_)
            | HsmError::UsageRefused,
        ) => ConnectionErrorCode::InternalError,
        ClusterError::InvalidCredentials => ConnectionErrorCode::InvalidCredentials,
        ClusterError::TooFewHsms { .. } => ConnectionErrorCode::InsufficientCloudHsmHsms,
        ClusterError::UserLockedOut => ConnectionErrorCode::UserLockedOut,
        ClusterError::UserLoggedIn => ConnectionErrorCode::UserLoggedIn,
        ClusterError::UserNotFound => ConnectionErrorCode::UserNotFound,
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<VpcEndpointServiceRefused> for Failed {
    fn from(refused: VpcEndpointServiceRefused) -> Self {
        Self::Vpc(refused)
    }
}
