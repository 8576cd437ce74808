//! An HTTPS client of an XKS proxy: kept connections, deadlines, signed requests.
//!
//! No retry but the one that a kept connection needs which the proxy closed meanwhile: what to repeat is for the
//! caller to decide, and [`Failure`] keeps apart what decides it.

mod answer;
mod connection;
mod dial;
mod endpoint;
mod failure;
mod heard;
mod names;
mod pool;
mod reach;
mod sealed;
mod signer;

pub use answer::{Answer, Rejection};
pub use connection::{Connection, Outgoing};
pub use endpoint::{ClientIdentity, Endpoint, HttpVersions, InvalidTls, TlsTrust, client_config};
pub use failure::Failure;
pub use pool::{Deadlines, Pool};
pub use sealed::{FormatFault, Sealed};
pub use signer::{InvalidRequest, Signer};

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use serde::Serialize;

use crate::wire::{
    DecryptRequest, EncryptRequest, HealthRequest, KeyOperation, MetadataRequest, Target, URI_PATH_BASE,
};

/// One external key store: an endpoint, the path prefix of the store, and a credential for it.
#[derive(Debug)]
pub struct Client {
    pool: Pool,
    signer: Signer,
    uri_path: String,
}

impl Client {
    /// `prefix` is what stands before `/kms/xks/v1`, without slashes at either end; may be empty.
    #[must_use]
    pub fn new(pool: Pool, signer: Signer, prefix: &str) -> Self {
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self::with_uri_path(pool, signer, format!("{slash}{prefix}{URI_PATH_BASE}"))
    }

    /// `uri_path` is what stands before `/health` and `/keys/`. A version that the proxy does not have is the
    /// proxy's to refuse.
    #[must_use]
    pub fn with_uri_path(pool: Pool, signer: Signer, uri_path: impl Into<String>) -> Self {
        Self { pool, signer, uri_path: uri_path.into() }
    }

    /// As of [`Pool::peer_certificate`].
    #[must_use]
    pub fn peer_certificate(&self) -> Option<Arc<[u8]>> {
        self.pool.peer_certificate()
    }

    /// GetHealthStatus.
    pub async fn health(
        &self,
        request: &HealthRequest<'_>,
        now_unix_seconds: u64,
    ) -> Result<Answer, Failure> {
        self.post(Target::Health, request, now_unix_seconds).await
    }

    /// GetKeyMetadata.
    pub async fn metadata(
        &self,
        external_key_id: &str,
        request: &MetadataRequest<'_>,
        now_unix_seconds: u64,
    ) -> Result<Answer, Failure> {
        let target = Target::Key { external_key_id, operation: KeyOperation::Metadata };
        self.post(target, request, now_unix_seconds).await
    }

    /// Encrypt.
    pub async fn encrypt(
        &self,
        external_key_id: &str,
        request: &EncryptRequest<'_>,
        now_unix_seconds: u64,
    ) -> Result<Answer, Failure> {
        let target = Target::Key { external_key_id, operation: KeyOperation::Encrypt };
        self.post(target, request, now_unix_seconds).await
    }

    /// Decrypt.
    pub async fn decrypt(
        &self,
        external_key_id: &str,
        request: &DecryptRequest<'_>,
        now_unix_seconds: u64,
    ) -> Result<Answer, Failure> {
        let target = Target::Key { external_key_id, operation: KeyOperation::Decrypt };
        self.post(target, request, now_unix_seconds).await
    }

    /// Any of the four, with the request of that one.
    pub async fn post(
        &self,
        target: Target<'_>,
        request: &(impl Serialize + Sync),
        now_unix_seconds: u64,
    ) -> Result<Answer, Failure> {
        self.post_with_headers(target, request, HeaderMap::new(), now_unix_seconds).await
    }

    /// The same with more headers, which are not signed: those of a trace, say.
    pub async fn post_with_headers(
        &self,
        target: Target<'_>,
        request: &(impl Serialize + Sync),
        headers: HeaderMap,
        now_unix_seconds: u64,
    ) -> Result<Answer, Failure> {
        let path = format!("{}{target}", self.uri_path);
        let path = PathAndQuery::try_from(path).map_err(|_| Failure::Request(InvalidRequest))?;
        let body = serde_json::to_vec(request).map_err(|_| Failure::Request(InvalidRequest))?;
        let mut outgoing = Outgoing::new(Method::POST, path, self.pool.endpoint().host(), body.into());
        self.signer.sign(&mut outgoing, now_unix_seconds).map_err(Failure::Request)?;
        outgoing.headers.extend(headers);
        self.pool.exchange(outgoing).await
    }
}
