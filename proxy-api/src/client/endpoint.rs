//! Where a proxy is, and how TLS to it is set up.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedProtocolVersion};

const PORT_HTTPS: u16 = 443;
const PORT_HTTP: u16 = 80;

/// The host of a proxy and the TLS to use with it. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    host: String,
    name: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    versions: HttpVersions,
}

/// Which versions of HTTP to offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersions {
    /// Both, through ALPN; the server chooses.
    Both,
    /// HTTP/1.1, said through ALPN.
    #[default]
    Http1,
    /// HTTP/1.1, and no ALPN at all, like a client that does not know HTTP/2.
    Http1WithoutAlpn,
    /// HTTP/2 alone, without TLS too.
    Http2,
}

/// Whom to trust, and who we are.
#[derive(Clone, Copy)]
pub struct TlsTrust<'a> {
    /// Certificates of the accepted roots.
    pub ca_pem: &'a [u8],
    /// Instead of `ca_pem`: those of a system, among which some may be unreadable.
    pub ca_der: Option<&'a [CertificateDer<'a>]>,
    /// For mTLS.
    pub identity: Option<ClientIdentity<'a>>,
    /// Empty: all that rustls has.
    pub tls_versions: &'static [&'static SupportedProtocolVersion],
    /// Empty: all that rustls has.
    pub cipher_suites: &'a [CipherSuite],
}

impl<'a> TlsTrust<'a> {
    #[must_use]
    pub const fn new(ca_pem: &'a [u8]) -> Self {
        Self { ca_pem, ca_der: None, identity: None, tls_versions: &[], cipher_suites: &[] }
    }
}

/// A client certificate with its key.
#[derive(Clone, Copy)]
pub struct ClientIdentity<'a> {
    pub certificate_pem: &'a [u8],
    pub key_pem: &'a [u8],
}

/// What is wrong with the host or the PEM files. Never shows them.
#[derive(Clone, Debug, PartialEq)]
pub enum InvalidTls {
    CaCertificate,
    ClientCertificate,
    ClientKey,
    Host,
    /// rustls refuses the combination.
    Rejected(rustls::Error),
}

impl Endpoint {
    /// `host` is `<name>[:<port>]`, exactly as it shall be in the `Host` header.
    pub fn https(host: &str, trust: &TlsTrust<'_>, versions: HttpVersions) -> Result<Self, InvalidTls> {
        let config = client_config(trust, versions)?;
        Ok(Self { versions, ..Self::https_with(host, Arc::new(config))? })
    }

    /// The same with what [`client_config`] made, which several endpoints may share.
    pub fn https_with(host: &str, config: Arc<ClientConfig>) -> Result<Self, InvalidTls> {
        let (name, port) = split_host(host, PORT_HTTPS)?;
        let server_name = ServerName::try_from(name.clone()).map_err(|_| InvalidTls::Host)?;
        let tls = Some((config, server_name));
        Ok(Self { host: host.to_owned(), name, port, tls, versions: HttpVersions::default() })
    }

    /// Without TLS, for tests.
    pub fn http(host: &str, versions: HttpVersions) -> Result<Self, InvalidTls> {
        let (name, port) = split_host(host, PORT_HTTP)?;
        Ok(Self { host: host.to_owned(), name, port, tls: None, versions })
    }

    /// As in the `Host` header.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether TLS is used.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn address(&self) -> (&str, u16) {
        (&self.name, self.port)
    }

    pub(super) const fn tls(&self) -> Option<&(Arc<ClientConfig>, ServerName<'static>)> {
        self.tls.as_ref()
    }

    /// Without TLS there is no ALPN: HTTP/2 only if nothing else is allowed.
    pub(super) const fn is_http2_unless_negotiated(&self) -> bool {
        matches!(self.versions, HttpVersions::Http2)
    }
}

impl HttpVersions {
    fn alpn(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Both => &[b"h2", b"http/1.1"],
            Self::Http1 => &[b"http/1.1"],
            Self::Http1WithoutAlpn => &[],
            Self::Http2 => &[b"h2"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

fn split_host(host: &str, default_port: u16) -> Result<(String, u16), InvalidTls> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| InvalidTls::Host)?),
        None => (host, default_port),
    };
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if name.is_empty() || !name.bytes().all(is_legal) {
        return Err(InvalidTls::Host);
    }
    Ok((name.to_owned(), port))
}

/// The TLS settings of a client.
pub fn client_config(trust: &TlsTrust<'_>, offered: HttpVersions) -> Result<ClientConfig, InvalidTls> {
    let versions = if trust.tls_versions.is_empty() { rustls::ALL_VERSIONS } else { trust.tls_versions };
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !trust.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| trust.cipher_suites.contains(&suite.suite()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .map_err(InvalidTls::Rejected)?
        .with_root_certificates(roots(trust)?);
    let mut config = match trust.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(identity.certificate_pem).ok_or(InvalidTls::ClientCertificate)?;
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem).map_err(|_| InvalidTls::ClientKey)?;
            builder.with_client_auth_cert(chain, key).map_err(InvalidTls::Rejected)?
        }
    };
    config.alpn_protocols = offered.alpn();
    // A resumed session would not look at the certificate again, whatever it is by now; connections are kept, so new ones
    // are few.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn roots(trust: &TlsTrust<'_>) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    if let Some(certificates) = trust.ca_der {
        roots.add_parsable_certificates(
            certificates.iter().map(|certificate| certificate.clone().into_owned()),
        );
        return if roots.is_empty() { Err(InvalidTls::CaCertificate) } else { Ok(roots) };
    }
    for certificate in certificates(trust.ca_pem).ok_or(InvalidTls::CaCertificate)? {
        roots.add(certificate).map_err(|_| InvalidTls::CaCertificate)?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.host)
    }
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CaCertificate => f.write_str("there is no usable certificate of a CA"),
            Self::ClientCertificate => f.write_str("the client certificate file holds no PEM certificate"),
            Self::ClientKey => f.write_str("the client key file holds no PEM private key"),
            Self::Host => f.write_str("the host is not `<name>` or `<name>:<port>`"),
            Self::Rejected(error) => write!(f, "the TLS settings do not fit together: {error}"),
        }
    }
}

impl std::error::Error for InvalidTls {}

#[cfg(test)]
mod tests {
    use super::{Endpoint, HttpVersions, InvalidTls, TlsTrust};

    #[test]
    fn a_host_is_a_name_with_or_without_a_port() {
        for (host, address) in
            [("localhost:8440", ("localhost", 8440)), ("xks.example.com", ("xks.example.com", 80))]
        {
            let endpoint = Endpoint::http(host, HttpVersions::Http1).unwrap();
            assert_eq!(endpoint.address(), address);
            assert_eq!(endpoint.host(), host);
        }
        for host in ["", ":1", "a:b", "a:70000", "https://a", "a/b", "u@a"] {
            assert_eq!(Endpoint::http(host, HttpVersions::Http1).err(), Some(InvalidTls::Host), "{host}");
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        let refused = Endpoint::https("localhost", &TlsTrust::new(b""), HttpVersions::Both).err();
        assert_eq!(refused, Some(InvalidTls::CaCertificate));
    }
}
