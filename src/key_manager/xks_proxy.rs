//! The seam to external key store proxies, as a KMS sees them: what can be asked of one, and what can go wrong.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use proxy_api::error::ErrorName;

use crate::domain::kms::OuterLayer;
use crate::secret::SecretBytes;

pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProxyFailure>> + Send + 'a>>;

/// Makes clients of proxies.
pub trait XksProxies: Send + Sync {
    /// A client with connections of its own. Nothing is sent yet. An address that cannot be used is found out when
    /// it is.
    fn open(&self, address: XksProxyAddress) -> Arc<dyn XksProxy>;

    /// The same for a trial: nothing is measured of its requests, and the custom key store id does not matter.
    fn open_unmeasured(&self, address: XksProxyAddress) -> Arc<dyn XksProxy>;

    /// The metrics of a key store that is no longer connected go. Clients that were opened for it before measure
    /// nothing any more, whatever is still on its way through them; one that is opened from now on does.
    fn forget(&self, custom_key_store_id: &str);
}

/// Where the proxy of a key store is, and how to sign for it.
#[derive(Clone, Debug)]
pub struct XksProxyAddress {
    /// The label of its metrics.
    pub custom_key_store_id: String,
    /// `https://`, a host, and a port if the configuration allows one.
    pub uri_endpoint: String,
    /// With `/kms/xks/v1` at its end.
    pub uri_path: String,
    /// In the scope of signatures.
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: SecretBytes,
}

/// One key store of a proxy. Every request ends within 250 ms, or 500 ms if no connection came about in the first
/// 250 ms (AWS KMS Developer Guide, Monitoring external key stores: XksProxyLatency). Answers have been validated.
pub trait XksProxy: Send + Sync {
    /// GetHealthStatus: how many key managers are in which state.
    fn health<'a>(&'a self, origin: Origin<'a>) -> Asked<'a, FleetHealth>;

    /// GetKeyMetadata.
    fn key_metadata<'a>(&'a self, xks_key_id: &'a str, origin: Origin<'a>) -> Asked<'a, ExternalKeyMetadata>;

    /// Encrypt, with the CDIV asked for and compared.
    fn encrypt<'a>(
        &'a self,
        xks_key_id: &'a str,
        inner: &'a [u8],
        aad: &'a [u8],
        origin: Origin<'a>,
    ) -> Asked<'a, OuterLayer>;

    /// Decrypt.
    fn decrypt<'a>(
        &'a self,
        xks_key_id: &'a str,
        outer: &'a OuterLayer,
        aad: &'a [u8],
        origin: Origin<'a>,
    ) -> Asked<'a, SecretBytes>;
}

/// The KMS request behind a request to a proxy (XKS v1, request metadata).
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The KMS API operation, or `KmsHealthCheck`.
    pub kms_operation: &'a str,
    pub kms_request_id: &'a str,
    pub aws_principal_arn: Option<&'a str>,
    pub kms_key_arn: Option<&'a str>,
}

/// Key managers behind a proxy, by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetHealth {
    pub active: usize,
    pub degraded: usize,
    pub unavailable: usize,
}

impl FleetHealth {
    /// Whether any of them serves.
    pub const fn serves(self) -> bool {
        self.active + self.degraded > 0
    }
}

/// What a proxy says of an external key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalKeyMetadata {
    pub key_spec: String,
    pub key_usage: Vec<String>,
    pub is_enabled: bool,
}

/// Why a proxy did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyFailure {
    /// Connected, but no answer came in time.
    AnswerTimedOut,
    /// The answer breaks a rule of the API. Says which, and nothing of what was in it.
    Malformed(String),
    /// The proxy refused, by name. With its own message, for the log.
    Refused { error: ErrorName, message: Option<String> },
    /// TLS was not agreed on.
    Tls(String),
    /// No connection: name resolution, TCP, or no answer to it in time.
    Unreachable(String),
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnswerTimedOut => f.write_str("the proxy did not answer in time"),
            Self::Malformed(reason) => write!(f, "the proxy's answer is malformed: {reason}"),
            Self::Refused { error, message } => {
                write!(f, "the proxy answered {}", error.wire().1)?;
                message.as_deref().map_or(Ok(()), |message| write!(f, ": {message}"))
            }
            Self::Tls(reason) => write!(f, "no TLS connection to the proxy: {reason}"),
            Self::Unreachable(reason) => write!(f, "the proxy cannot be reached: {reason}"),
        }
    }
}

impl std::error::Error for ProxyFailure {}
