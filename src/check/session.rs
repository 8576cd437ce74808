//! One proxy under test: where it is, which credential and keys to use, and how to send it right or wrong requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use proxy_api::client::{
    Answer, ClientIdentity, Connection, Deadlines, Endpoint, Failure, HttpVersions, InvalidRequest,
    InvalidTls, Outgoing, Pool, TlsTrust,
};
use proxy_api::sigv4::{self, Credential, SERVICE_XKS, Scope, SigningKey, Timestamp, X_AMZ_DATE};
use proxy_api::wire::{KeyOperation, Route, Target};

use crate::check::Options;
use crate::check::finding::{Finding, mismatch};
use crate::clock::Clock;
use crate::secret::SecretBytes;

const CONNECTIONS_MAX: usize = 64;
const SECONDS_PER_DAY: i64 = 86_400;

/// Where systems keep the root certificates they trust: Debian, Red Hat, Alpine.
const SYSTEM_CA_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The proxy under test and what we may use of it.
pub(crate) struct Session {
    pub clock: Arc<dyn Clock>,
    pub prefix: String,
    pub access_key_id: String,
    pub secret_access_key: SecretBytes,
    pub region: String,
    pub keys: Keys,
    /// Present if the mTLS cases can run: the host that requires a client certificate.
    pub mtls_host: Option<String>,
    pub host: String,
    pool: Pool,
    deadline: Duration,
    tls: Option<TlsFiles>,
}

/// The external keys that we may use.
pub(crate) struct Keys {
    pub both: String,
    pub encrypt_only: Option<String>,
    pub decrypt_only: Option<String>,
    pub impotent: Option<String>,
}

/// PEM files, read.
pub(crate) struct TlsFiles {
    pub ca_pem: Vec<u8>,
    pub identity: Option<(Vec<u8>, SecretBytes)>,
}

/// Why there is nothing to check.
#[derive(Debug)]
pub enum InvalidOptions {
    NoSystemCa,
    Tls(InvalidTls),
    Unreadable { path: PathBuf, error: io::Error },
}

/// How to sign: right by default, wrong in as many ways as there are fields.
pub(crate) struct Recipe<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a [u8],
    pub service: &'a str,
    pub signed_headers: &'a str,
    pub shift_seconds: i64,
    pub scope_shift_days: i64,
}

impl Session {
    pub(crate) fn new(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, InvalidOptions> {
        let tls = if options.plain_http { None } else { Some(TlsFiles::read(options)?) };
        let deadline = Duration::from_secs(options.timeout_seconds);
        let endpoint = endpoint(&options.host, tls.as_ref(), HttpVersions::Http1)?;
        let mtls_host = given(options.mtls_host.as_ref()).or_else(|| Some(options.host.clone()));
        let has_identity = tls.as_ref().is_some_and(|tls| tls.identity.is_some());
        Ok(Self {
            clock,
            prefix: options.uri_prefix.trim_matches('/').to_owned(),
            access_key_id: options.access_key_id.clone(),
            secret_access_key: options.secret_access_key.clone(),
            region: options.region.clone(),
            keys: Keys {
                both: options.key_id.clone(),
                encrypt_only: given(options.encrypt_only_key_id.as_ref()),
                decrypt_only: given(options.decrypt_only_key_id.as_ref()),
                impotent: given(options.impotent_key_id.as_ref()),
            },
            mtls_host: mtls_host.filter(|_| has_identity),
            host: options.host.clone(),
            pool: pool(endpoint, deadline),
            deadline,
            tls,
        })
    }

    pub(crate) const fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Connects once, with TLS if it is on, and asks nothing.
    pub(crate) async fn reach(&self) -> Result<(), Failure> {
        let endpoint = endpoint(&self.host, self.tls.as_ref(), HttpVersions::Http1);
        let endpoint = endpoint.map_err(|_| Failure::Request(InvalidRequest))?;
        let opened = tokio::time::timeout(self.deadline, Connection::open(&endpoint)).await;
        opened.unwrap_or(Err(Failure::ConnectTimeout)).map(drop)
    }

    /// The PEM files, for cases about TLS itself.
    pub(crate) const fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// The proxy by other HTTP versions.
    pub(crate) fn endpoint(&self, versions: HttpVersions) -> Result<Endpoint, InvalidOptions> {
        endpoint(&self.host, self.tls.as_ref(), versions)
    }

    /// Connections of their own, for a case that is about connections.
    pub(crate) fn pool(&self, endpoint: Endpoint) -> Pool {
        pool(endpoint, self.deadline)
    }

    pub(crate) fn path(&self, target: Target<'_>) -> String {
        Route { prefix: &self.prefix, target }.to_string()
    }

    /// The path of an operation on the key that does both.
    pub(crate) fn key_path(&self, operation: KeyOperation) -> String {
        self.path(Target::Key { external_key_id: &self.keys.both, operation })
    }

    pub(crate) fn recipe(&self) -> Recipe<'_> {
        Recipe {
            access_key_id: &self.access_key_id,
            secret_access_key: self.secret_access_key.expose(),
            service: SERVICE_XKS,
            signed_headers: "content-type;host;x-amz-date",
            shift_seconds: 0,
            scope_shift_days: 0,
        }
    }

    /// A POST with the usual headers and no signature.
    pub(crate) fn unsigned(&self, path: &str, body: impl Into<Vec<u8>>) -> Result<Outgoing, Finding> {
        let path = PathAndQuery::try_from(path).map_err(|_| mismatch("a path that HTTP can carry", path))?;
        Ok(Outgoing::new(Method::POST, path, &self.host, body.into().into()))
    }

    /// A POST signed well.
    pub(crate) fn signed(&self, path: &str, body: impl Into<Vec<u8>>) -> Result<Outgoing, Finding> {
        let mut outgoing = self.unsigned(path, body)?;
        self.sign(&mut outgoing, &self.recipe())?;
        Ok(outgoing)
    }

    /// Adds `x-amz-date` and `Authorization` after `recipe`.
    pub(crate) fn sign(&self, outgoing: &mut Outgoing, recipe: &Recipe<'_>) -> Result<(), Finding> {
        let unsignable = || mismatch("a request that can be signed", "one that cannot");
        let now = i64::try_from(self.clock.unix_seconds()).map_err(|_| unsignable())?;
        let signed_at = now.saturating_add(recipe.shift_seconds);
        let scope_time = signed_at.saturating_add(recipe.scope_shift_days.saturating_mul(SECONDS_PER_DAY));
        let signed_at = Timestamp::from_unix_seconds(signed_at).ok_or_else(unsignable)?;
        let scope_time = Timestamp::from_unix_seconds(scope_time).ok_or_else(unsignable)?;
        let scope = Scope { date: scope_time.date(), region: &self.region, service: recipe.service };
        let date = HeaderValue::from_str(signed_at.as_str()).map_err(|_| unsignable())?;
        outgoing.headers.insert(X_AMZ_DATE, date);
        let Recipe { access_key_id, signed_headers, .. } = recipe;
        let credential = Credential { access_key_id, scope, signed_headers };
        let key = SigningKey::derive(recipe.secret_access_key, &scope);
        let authorization = sigv4::sign(&outgoing.signable(), &credential, signed_at.as_str(), &key)
            .map_err(|_| unsignable())?;
        let authorization = HeaderValue::from_str(&authorization).map_err(|_| unsignable())?;
        outgoing.headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }

    pub(crate) async fn exchange(&self, outgoing: Outgoing) -> Result<Answer, Finding> {
        self.try_exchange(outgoing).await.map_err(|failure| mismatch("an HTTP answer", failure.to_string()))
    }

    /// For cases where no answer is an answer, too.
    pub(crate) async fn try_exchange(&self, outgoing: Outgoing) -> Result<Answer, Failure> {
        self.pool.exchange(outgoing).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Result<Answer, Finding> {
        self.exchange(self.signed(path, body)?).await
    }
}

impl TlsFiles {
    fn read(options: &Options) -> Result<Self, InvalidOptions> {
        let ca_pem = match &options.ca {
            Some(path) => read(path)?,
            None => system_ca()?,
        };
        let identity = match (&options.client_cert, &options.client_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, SecretBytes::new(read(key)?))),
            (Some(_), None) | (None, Some(_) | None) => None,
        };
        Ok(Self { ca_pem, identity })
    }

    /// Our own identity, if we have one.
    pub(crate) fn trust(&self) -> TlsTrust<'_> {
        let identity = self
            .identity
            .as_ref()
            .map(|(certificate_pem, key)| ClientIdentity { certificate_pem, key_pem: key.expose() });
        TlsTrust { identity, ..TlsTrust::new(&self.ca_pem) }
    }
}

fn endpoint(host: &str, tls: Option<&TlsFiles>, versions: HttpVersions) -> Result<Endpoint, InvalidOptions> {
    match tls {
        Some(tls) => Endpoint::https(host, &tls.trust(), versions),
        None => Endpoint::http(host, versions),
    }
    .map_err(InvalidOptions::Tls)
}

/// An empty variable of the environment is as good as none.
fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn pool(endpoint: Endpoint, deadline: Duration) -> Pool {
    Pool::new(endpoint, Deadlines { connect: deadline, total: deadline }, CONNECTIONS_MAX)
}

fn read(path: &Path) -> Result<Vec<u8>, InvalidOptions> {
    fs::read(path).map_err(|error| InvalidOptions::Unreadable { path: path.to_owned(), error })
}

fn system_ca() -> Result<Vec<u8>, InvalidOptions> {
    SYSTEM_CA_FILES.iter().find_map(|path| fs::read(path).ok()).ok_or(InvalidOptions::NoSystemCa)
}

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSystemCa => {
                f.write_str("this system has no root certificates where we know to look: use `--ca`")
            }
            Self::Tls(error) => write!(f, "{error}"),
            Self::Unreadable { path, error } => write!(f, "cannot read `{}`: {error}", path.display()),
        }
    }
}

impl std::error::Error for InvalidOptions {}
