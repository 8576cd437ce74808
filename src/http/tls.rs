//! The TLS side of a listener, built from files as a whole and replaced as a whole.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::clock::Clock;
use crate::config::ClientAuth;
use crate::config::TlsListener;
use crate::http::certificate;
use crate::http::certificate::CertificateFacts;
use crate::http::client_auth::SubjectVerifier;

pub(super) const ALPN_HTTP2: &[u8] = b"h2";
/// XKS v1, API content type: HTTP/1.1 must be there to fall back to.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The files that make the TLS side of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate_file: PathBuf,
    pub private_key_file: PathBuf,
    pub client_auth: Option<ClientAuth>,
}

impl From<&TlsListener> for TlsFiles {
    fn from(listener: &TlsListener) -> Self {
        Self {
            certificate_file: listener.certificate_file.clone(),
            private_key_file: listener.private_key_file.clone(),
            client_auth: listener.client_auth.clone(),
        }
    }
}

/// Why TLS cannot be set up.
#[derive(Debug)]
pub enum TlsError {
    /// The certificate at `position` did not issue the one before it.
    ChainOrder {
        file: PathBuf,
        position: usize,
    },
    Io {
        file: PathBuf,
        source: io::Error,
    },
    KeyMismatch {
        certificate_file: PathBuf,
        private_key_file: PathBuf,
    },
    NoPem {
        file: PathBuf,
        wanted: &'static str,
        source: pem::Error,
    },
    /// The certificate at `position` is not X.509.
    Unreadable {
        file: PathBuf,
        position: usize,
    },
    /// A key or an authority of a kind that TLS does not take.
    Unusable {
        file: PathBuf,
        source: rustls::Error,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainOrder { file, position } => write!(
                f,
                "`{}` is out of order: certificate {position} did not issue the one before it",
                file.display()
            ),
            Self::Io { file, source } => write!(f, "cannot read `{}`: {source}", file.display()),
            Self::KeyMismatch { certificate_file, private_key_file } => write!(
                f,
                "the key in `{}` does not belong to the first certificate in `{}`",
                private_key_file.display(),
                certificate_file.display()
            ),
            Self::NoPem { file, wanted, source } => {
                write!(f, "no PEM {wanted} in `{}`: {source}", file.display())
            }
            Self::Unreadable { file, position } => {
                write!(f, "certificate {position} in `{}` is not an X.509 certificate", file.display())
            }
            Self::Unusable { file, source } => write!(f, "cannot use `{}`: {source}", file.display()),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::NoPem { source, .. } => Some(source),
            Self::Unusable { source, .. } => Some(source),
            Self::ChainOrder { .. } | Self::KeyMismatch { .. } | Self::Unreadable { .. } => None,
        }
    }
}

/// One valid TLS set-up, with a session ticket key of its own.
pub struct TlsSettings {
    server_config: Arc<ServerConfig>,
    certificate: CertificateFacts,
    clock: Arc<dyn Clock>,
}

impl TlsSettings {
    /// Reads and checks `files`. A certificate out of its time is no error: see [`CertificateFacts::validity`].
    pub fn load(files: &TlsFiles, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (key, certificate) = certificate::load_server(&files.certificate_file, &files.private_key_file)?;
        let unusable = |source| TlsError::Unusable { file: files.certificate_file.clone(), source };
        let builder = ServerConfig::builder_with_details(
            Arc::clone(&provider),
            Arc::new(ClockTime(Arc::clone(&clock))),
        )
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?;
        let builder = match &files.client_auth {
            Some(client_auth) => builder.with_client_cert_verifier(client_verifier(client_auth, provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        // The ticket key is made here and dies with these settings: a client whose authority was removed by a
        // reload cannot resume what it began before.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(Self { server_config: Arc::new(config), certificate, clock })
    }

    /// What the server's certificate says.
    pub fn certificate(&self) -> &CertificateFacts {
        &self.certificate
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    pub(super) fn unix_seconds(&self) -> u64 {
        self.clock.unix_seconds()
    }
}

/// The TLS settings in force. Each new connection takes them as they are then; open connections keep theirs.
pub struct TlsSwitch(ArcSwap<TlsSettings>);

impl TlsSwitch {
    pub fn new(settings: TlsSettings) -> Self {
        Self(ArcSwap::from_pointee(settings))
    }

    pub fn current(&self) -> Arc<TlsSettings> {
        self.0.load_full()
    }

    pub fn replace(&self, settings: TlsSettings) {
        self.0.store(Arc::new(settings));
    }
}

fn client_verifier(
    client_auth: &ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(load_roots(&client_auth.ca_file)?);
    let chain = WebPkiClientVerifier::builder_with_provider(roots, provider).build().map_err(|error| {
        TlsError::Unusable {
            file: client_auth.ca_file.clone(),
            source: rustls::Error::General(error.to_string()),
        }
    })?;
    Ok(Arc::new(SubjectVerifier::new(chain, client_auth.subjects.clone())))
}

fn load_roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificate::load_chain(file)? {
        roots.add(authority).map_err(|source| TlsError::Unusable { file: file.to_owned(), source })?;
    }
    Ok(roots)
}

/// rustls asks our clock.
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.unix_seconds())))
    }
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}
