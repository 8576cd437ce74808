//! A client of one external key store's proxy: attempts and their time, requests and their answers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use proxy_api::client::{Answer, Client, Deadlines, Endpoint, Failure, Pool, Signer};
use proxy_api::wire::{
    CDIV_ALGORITHM, DecryptRequest, ENCRYPTION_ALGORITHM, EncryptRequest, HealthRequest, KeyOperation,
    MetadataRequest, RequestMetadata, SecretText, Target, encode_base64,
};
use serde::Serialize;
use tracing::Span;

use crate::domain::kms::OuterLayer;
use crate::key_manager::xks::answers;
use crate::key_manager::xks::measured::MeasuredStore;
use crate::key_manager::xks::observation::{self, Observation};
use crate::key_manager::xks::proxies::Shared;
use crate::key_manager::xks::trust::Trust;
use crate::key_manager::xks_proxy::{
    Asked, ExternalKeyMetadata, FleetHealth, Origin, ProxyFailure, XksProxy, XksProxyAddress,
};
use crate::secret::SecretBytes;
use crate::spans;

/// From the start of an attempt to the end of the answer (AWS KMS Developer Guide, XksProxyLatency).
const ATTEMPT_TIME: Duration = Duration::from_millis(250);
const DEADLINES: Deadlines = Deadlines { connect: ATTEMPT_TIME, total: ATTEMPT_TIME };
/// To one proxy, for one key store; more requests wait.
const CONNECTIONS_MAX: usize = 256;

/// The proxy of one key store.
pub(super) struct Proxy {
    address: XksProxyAddress,
    shared: Arc<Shared>,
    /// None if nothing is measured.
    measured: Option<Arc<MeasuredStore>>,
    present: ArcSwapOption<Present>,
}

/// A client that goes by the trust in force when it was made.
struct Present {
    trust: Arc<Trust>,
    client: Result<Client, ProxyFailure>,
    /// The last that was shown.
    certificate: Mutex<Option<Arc<[u8]>>>,
}

impl Proxy {
    pub(super) fn new(
        address: XksProxyAddress,
        shared: Arc<Shared>,
        measured: Option<Arc<MeasuredStore>>,
    ) -> Self {
        Self { address, shared, measured, present: ArcSwapOption::empty() }
    }

    fn present(&self) -> Arc<Present> {
        let trust = self.shared.trust.load_full();
        if let Some(present) = self.present.load_full().filter(|present| Arc::ptr_eq(&present.trust, &trust))
        {
            return present;
        }
        let client = client(&self.address, &trust);
        let present = Arc::new(Present { trust, client, certificate: Mutex::default() });
        self.present.store(Some(Arc::clone(&present)));
        present
    }

    async fn ask<T>(
        &self,
        (target, origin): (Target<'_>, Origin<'_>),
        request: &(impl Serialize + Sync),
        read: impl FnOnce(&Answer) -> Result<T, ProxyFailure> + Send,
    ) -> Result<T, ProxyFailure> {
        let operation = target.operation().name();
        let span = spans::proxy_request(operation, origin.kms_request_id);
        let (answer, took) = self.exchange(target, request, &span).await;
        let result = answer.and_then(|answer| read(&answer));
        if let Err(failure) = &result {
            spans::failed(&span, observation::classify(failure).1);
        }
        if let Some(measured) = &self.measured {
            let observation = Observation {
                kms_operation: origin.kms_operation,
                operation: target.operation(),
                failure: result.as_ref().err(),
                took,
            };
            measured.note(|metrics, id| observation.record(metrics, id));
        }
        result
    }

    /// The answer, and the time that was spent on it.
    async fn exchange(
        &self,
        target: Target<'_>,
        request: &(impl Serialize + Sync),
        span: &Span,
    ) -> (Result<Answer, ProxyFailure>, Duration) {
        let present = self.present();
        let client = match &present.client {
            Ok(client) => client,
            Err(failure) => return (Err(failure.clone()), Duration::ZERO),
        };
        let (mut result, mut took) = self.attempt(client, (target, request), span).await;
        // Nothing reached the proxy, and the network may have been the cause. Whatever else failed stays so.
        if matches!(result, Err(Failure::ConnectTimeout)) {
            let (again, took_again) = self.attempt(client, (target, request), span).await;
            (result, took) = (again, took + took_again);
        }
        if let Some(measured) = &self.measured {
            note_certificate(measured, &present, client);
        }
        (result.map_err(answers::failure), took)
    }

    async fn attempt(
        &self,
        client: &Client,
        (target, request): (Target<'_>, &(impl Serialize + Sync)),
        span: &Span,
    ) -> (Result<Answer, Failure>, Duration) {
        let clock = &self.shared.clock;
        let started = clock.instant();
        let headers = spans::trace_context(span);
        let result = client.post_with_headers(target, request, headers, clock.unix_seconds()).await;
        (result, clock.instant().saturating_duration_since(started).min(ATTEMPT_TIME))
    }
}

fn note_certificate(measured: &MeasuredStore, present: &Present, client: &Client) {
    let Some(shown) = client.peer_certificate() else { return };
    let mut noted = present.certificate.lock();
    if !noted.as_ref().is_some_and(|noted| Arc::ptr_eq(noted, &shown)) {
        measured.note_certificate(&shown);
        *noted = Some(shown);
    }
}

/// What cannot be used is found out here, once.
fn client(address: &XksProxyAddress, trust: &Trust) -> Result<Client, ProxyFailure> {
    let unusable = |reason: &str| ProxyFailure::Unreachable(reason.to_owned());
    let config = trust.client_config().map_err(|reason| ProxyFailure::Tls(reason.to_owned()))?;
    let host = address.uri_endpoint.strip_prefix("https://");
    let host = host.ok_or_else(|| unusable("the endpoint does not start with `https://`"))?;
    let endpoint = Endpoint::https_with(host, config).map_err(|error| unusable(&error.to_string()))?;
    let secret = str::from_utf8(address.secret_access_key.expose())
        .map_err(|_| unusable("the secret access key is not text"))?;
    let signer = Signer::new(&address.access_key_id, secret, &address.region);
    let pool = Pool::new(endpoint, DEADLINES, CONNECTIONS_MAX);
    Ok(Client::with_uri_path(pool, signer, address.uri_path.as_str()))
}

/// Who called the KMS, as far as the operation lets it be told (XKS v1, request metadata).
fn request_metadata<'a>(target: Target<'_>, origin: &Origin<'a>) -> RequestMetadata<'a> {
    let (tells_principal, tells_key) = match target {
        Target::Health => (false, false),
        Target::Key { operation: KeyOperation::Metadata, .. } => (true, false),
        Target::Key { operation: KeyOperation::Decrypt | KeyOperation::Encrypt, .. } => (true, true),
    };
    let told = |is_told: bool, text: Option<&'a str>| text.filter(|_| is_told).map(Cow::Borrowed);
    RequestMetadata {
        aws_principal_arn: told(tells_principal, origin.aws_principal_arn),
        kms_key_arn: told(tells_key, origin.kms_key_arn),
        kms_operation: Some(origin.kms_operation.into()),
        kms_request_id: Some(origin.kms_request_id.into()),
        ..RequestMetadata::default()
    }
}

/// An empty one is as good as none.
fn additional_data(aad: &[u8]) -> Option<Cow<'static, str>> {
    (!aad.is_empty()).then(|| encode_base64(aad).into())
}

impl XksProxy for Proxy {
    fn health<'a>(&'a self, origin: Origin<'a>) -> Asked<'a, FleetHealth> {
        Box::pin(async move {
            let target = Target::Health;
            let request = HealthRequest { request_metadata: request_metadata(target, &origin) };
            let fleet = self.ask((target, origin), &request, answers::health).await?;
            if let Some(measured) = &self.measured {
                measured.note(|metrics, id| observation::show_fleet(metrics, id, fleet));
            }
            Ok(fleet)
        })
    }

    fn key_metadata<'a>(&'a self, xks_key_id: &'a str, origin: Origin<'a>) -> Asked<'a, ExternalKeyMetadata> {
        Box::pin(async move {
            let target = Target::Key { external_key_id: xks_key_id, operation: KeyOperation::Metadata };
            let request = MetadataRequest { request_metadata: request_metadata(target, &origin) };
            self.ask((target, origin), &request, answers::key_metadata).await
        })
    }

    fn encrypt<'a>(
        &'a self,
        xks_key_id: &'a str,
        inner: &'a [u8],
        aad: &'a [u8],
        origin: Origin<'a>,
    ) -> Asked<'a, OuterLayer> {
        Box::pin(async move {
            let target = Target::Key { external_key_id: xks_key_id, operation: KeyOperation::Encrypt };
            let request = EncryptRequest {
                request_metadata: request_metadata(target, &origin),
                additional_authenticated_data: additional_data(aad),
                plaintext: SecretText::from(encode_base64(inner)),
                encryption_algorithm: ENCRYPTION_ALGORITHM.into(),
                ciphertext_data_integrity_value_algorithm: Some(CDIV_ALGORITHM.into()),
            };
            let read = |answer: &Answer| answers::encrypted(answer, inner.len(), aad);
            self.ask((target, origin), &request, read).await
        })
    }

    fn decrypt<'a>(
        &'a self,
        xks_key_id: &'a str,
        outer: &'a OuterLayer,
        aad: &'a [u8],
        origin: Origin<'a>,
    ) -> Asked<'a, SecretBytes> {
        Box::pin(async move {
            let target = Target::Key { external_key_id: xks_key_id, operation: KeyOperation::Decrypt };
            let request = DecryptRequest {
                request_metadata: request_metadata(target, &origin),
                additional_authenticated_data: additional_data(aad),
                ciphertext: encode_base64(&outer.ciphertext).into(),
                // What was absent stays absent.
                ciphertext_metadata: outer.metadata.as_deref().map(|metadata| encode_base64(metadata).into()),
                encryption_algorithm: ENCRYPTION_ALGORITHM.into(),
                initialization_vector: encode_base64(&outer.iv).into(),
                authentication_tag: encode_base64(&outer.tag).into(),
            };
            let read = |answer: &Answer| answers::decrypted(answer, outer.ciphertext.len());
            self.ask((target, origin), &request, read).await
        })
    }
}
