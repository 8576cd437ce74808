//! Certificates read from files and from clients: what they say, and whether a server can use them.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::http::tls::TlsError;

/// What the server's certificate says, for metrics and for `holdfast config check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    pub file: PathBuf,
    pub subject: String,
    pub dns_names: Vec<String>,
    pub not_before_unix_seconds: u64,
    pub not_after_unix_seconds: u64,
    /// The certificate itself and what came with it.
    pub chain_length: usize,
}

/// Whether a certificate is in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Expired,
    NotYetValid,
    Valid,
}

impl CertificateFacts {
    pub fn validity(&self, now_unix_seconds: u64) -> Validity {
        if now_unix_seconds < self.not_before_unix_seconds {
            Validity::NotYetValid
        } else if now_unix_seconds > self.not_after_unix_seconds {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }
}

/// The names in a client's certificate.
pub(super) struct Subject {
    /// The common names if there are any, else the DNS subject alternative names. A common name in an
    /// encoding that is not text is there as an empty string, which equals nothing.
    pub(super) names: Vec<String>,
    pub(super) has_common_name: bool,
    pub(super) not_after_unix_seconds: u64,
}

impl Subject {
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Self, X509Error> {
        let (_, certificate) = X509Certificate::from_der(certificate)?;
        let common_names: Vec<String> = certificate
            .subject()
            .iter_common_name()
            .map(|name| name.as_str().unwrap_or_default().to_owned())
            .collect();
        let has_common_name = !common_names.is_empty();
        Ok(Self {
            names: if has_common_name { common_names } else { dns_names(&certificate) },
            has_common_name,
            not_after_unix_seconds: unix_seconds(certificate.validity().not_after),
        })
    }
}

/// The server's chain and key, checked to belong together, and what the certificate says.
pub(super) fn load_server(
    chain_file: &Path,
    key_file: &Path,
) -> Result<(CertifiedKey, CertificateFacts), TlsError> {
    let chain = load_chain(chain_file)?;
    let facts = check_chain(&chain, chain_file)?;
    let pem = Zeroizing::new(read(key_file)?);
    let mut key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TlsError::NoPem {
        file: key_file.to_owned(),
        wanted: "private key",
        source: error,
    })?;
    let signing_key = any_supported_type(&key);
    key.zeroize();
    let unusable = |source| TlsError::Unusable { file: key_file.to_owned(), source };
    let certified = CertifiedKey::new(chain, signing_key.map_err(unusable)?);
    certified.keys_match().map_err(|_| TlsError::KeyMismatch {
        certificate_file: chain_file.to_owned(),
        private_key_file: key_file.to_owned(),
    })?;
    Ok((certified, facts))
}

/// The certificates in a PEM file; at least one.
pub(super) fn load_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let no_pem = |source| TlsError::NoPem { file: file.to_owned(), wanted: "certificate", source };
    let pem = read(file)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(no_pem)?;
    if chain.is_empty() { Err(no_pem(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

/// Every certificate readable, each issued by the next one: KMS does not put a chain in order.
fn check_chain(chain: &[CertificateDer<'_>], file: &Path) -> Result<CertificateFacts, TlsError> {
    let mut certificates = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|_| TlsError::Unreadable { file: file.to_owned(), position: index + 1 })?;
        certificates.push(certificate);
    }
    for (index, pair) in certificates.windows(2).enumerate() {
        if let [certificate, issuer] = pair
            && certificate.issuer().as_raw() != issuer.subject().as_raw()
        {
            return Err(TlsError::ChainOrder { file: file.to_owned(), position: index + 2 });
        }
    }
    let leaf =
        certificates.first().ok_or_else(|| TlsError::Unreadable { file: file.to_owned(), position: 1 })?;
    Ok(CertificateFacts {
        file: file.to_owned(),
        subject: leaf.subject().to_string(),
        dns_names: dns_names(leaf),
        not_before_unix_seconds: unix_seconds(leaf.validity().not_before),
        not_after_unix_seconds: unix_seconds(leaf.validity().not_after),
        chain_length: certificates.len(),
    })
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    names.filter_map(dns_name).collect()
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None }
}

fn unix_seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Io { file: file.to_owned(), source })
}
