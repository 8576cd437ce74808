//! Client certificates that no proxy may accept: well formed, and wrong in one thing each.

use proxy_api::client::ClientIdentity;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::secret::SecretBytes;

/// What AWS KMS has as subject in us-east-1.
const KMS_SUBJECT: &str = "cks.kms.us-east-1.amazonaws.com";
/// The subject of the official client's self-signed certificate.
const BETA_SUBJECT: &str = "beta.cks.kms.us-east-1.amazonaws.com";
const VALID_YEARS: (i32, i32) = (2020, 2120);
const EXPIRED_YEARS: (i32, i32) = (2019, 2020);

/// A certificate with its key, as PEM.
pub(crate) struct Certificate {
    certificate_pem: Vec<u8>,
    key_pem: SecretBytes,
}

impl Certificate {
    /// Expired, and from a CA that nobody knows.
    pub(crate) fn expired() -> Result<Self, rcgen::Error> {
        Self::from_foreign_ca(EXPIRED_YEARS)
    }

    /// In order, but from a CA that nobody knows.
    pub(crate) fn foreign() -> Result<Self, rcgen::Error> {
        Self::from_foreign_ca(VALID_YEARS)
    }

    pub(crate) fn self_signed() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = client_params(BETA_SUBJECT, VALID_YEARS)?.self_signed(&key)?;
        Ok(Self::new(&certificate, &key))
    }

    pub(crate) fn identity(&self) -> ClientIdentity<'_> {
        ClientIdentity { certificate_pem: &self.certificate_pem, key_pem: self.key_pem.expose() }
    }

    fn from_foreign_ca(years: (i32, i32)) -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let mut ca = params("Foreign Root", VALID_YEARS)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let certificate = client_params(KMS_SUBJECT, years)?.signed_by(&key, &issuer)?;
        Ok(Self::new(&certificate, &key))
    }

    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            certificate_pem: certificate.pem().into_bytes(),
            key_pem: SecretBytes::new(key.serialize_pem().into_bytes()),
        }
    }
}

fn client_params(subject: &str, years: (i32, i32)) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(subject, years)?;
    params.subject_alt_names.push(rcgen::SanType::DnsName(subject.try_into()?));
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    Ok(params)
}

fn params(subject: &str, (from, to): (i32, i32)) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    Ok(params)
}
