//! From the certificate that a document is signed with to a root that is trusted: RFC 5280, as far as the Nitro PKI goes.

use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::KeyUsage as KeyUsageBits;
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::attestation::Invalid;
use crate::attestation::document::Document;
use crate::domain::kms::UnixMillis;

/// Root certificates whose documents are believed; by default none.
#[derive(Debug, Default)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    /// Of each of them in turn, what webpki does not look at.
    bounds: Vec<Bounds>,
}

/// What a root certificate says about when and what for it may be used.
#[derive(Debug)]
struct Bounds {
    not_before_seconds: i64,
    not_after_seconds: i64,
    /// Certificates between it and a leaf.
    path_length_max: Option<u32>,
}

impl Roots {
    /// One certificate at least, each of an authority with a P-384 key.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let mut roots = Self::default();
        for (place, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
            roots.add(&certificate).map_err(|reason| format!("certificate {}: {reason}", place + 1))?;
        }
        if roots.anchors.is_empty() { Err("no certificate as PEM".to_owned()) } else { Ok(roots) }
    }

    fn add(&mut self, der: &CertificateDer<'_>) -> Result<(), &'static str> {
        const UNREADABLE: &str = "not an X.509 certificate";
        let anchor = anchor_from_trusted_cert(der).map_err(|_| UNREADABLE)?.to_owned();
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| UNREADABLE)?;
        let constraints = certificate.basic_constraints().ok().flatten().map(|extension| extension.value);
        let authority = constraints.filter(|constraints| constraints.ca);
        let authority = authority.filter(|_| has_usage(&certificate, KeyUsageBits::key_cert_sign));
        let authority = authority.ok_or("not of a certificate authority")?;
        if !is_p384(certificate.public_key()) {
            return Err("not of a P-384 key");
        }
        let validity = certificate.validity();
        self.bounds.push(Bounds {
            not_before_seconds: validity.not_before.timestamp(),
            not_after_seconds: validity.not_after.timestamp(),
            path_length_max: authority.path_len_constraint,
        });
        self.anchors.push(anchor);
        Ok(())
    }

    /// The SubjectPublicKeyInfo of the key that the document must be signed with.
    pub(super) fn signing_key(&self, document: &Document<'_>, now: UnixMillis) -> Result<Vec<u8>, Invalid> {
        let certificate = CertificateDer::from(document.certificate);
        let leaf = EndEntityCert::try_from(&certificate).map_err(|_| Invalid::Certificate)?;
        let bundle: Vec<_> = document.ca_bundle.iter().map(|der| CertificateDer::from(*der)).collect();
        let seconds = u64::try_from(now.0 / 1000).unwrap_or_default();
        let path = leaf.verify_for_usage(
            &[webpki::aws_lc_rs::ECDSA_P384_SHA384],
            &self.anchors,
            &bundle,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            // Those of AWS have no extended key usage at all.
            KeyUsage::client_auth(),
            None,
            None,
        );
        self.check_path(&path.map_err(|error| of_path(&error))?, now)?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| Invalid::Certificate)?;
        if !is_p384(parsed.public_key()) || !has_usage(&parsed, KeyUsageBits::digital_signature) {
            return Err(Invalid::Certificate);
        }
        Ok(leaf.subject_public_key_info().as_ref().to_vec())
    }

    /// What webpki leaves open: the usage of the keys in between, and whether the root itself may be used.
    fn check_path(&self, path: &VerifiedPath<'_>, now: UnixMillis) -> Result<(), Invalid> {
        let now_seconds = now.0 / 1000;
        let root = self.anchors.iter().zip(&self.bounds).find(|(anchor, _)| *anchor == path.anchor());
        let (_, bounds) = root.ok_or(Invalid::Untrusted)?;
        if now_seconds < bounds.not_before_seconds {
            return Err(Invalid::NotYetValid);
        }
        if now_seconds > bounds.not_after_seconds {
            return Err(Invalid::Expired);
        }
        let length = u32::try_from(path.intermediate_certificates().count()).unwrap_or(u32::MAX);
        if bounds.path_length_max.is_some_and(|longest| length > longest) {
            return Err(Invalid::Issuer);
        }
        for issuer in path.intermediate_certificates() {
            let der = issuer.der();
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| Invalid::Issuer)?;
            if !has_usage(&certificate, KeyUsageBits::key_cert_sign) {
                return Err(Invalid::Issuer);
            }
        }
        Ok(())
    }
}

fn has_usage(certificate: &X509Certificate<'_>, usage: impl Fn(&KeyUsageBits) -> bool) -> bool {
    certificate.key_usage().is_ok_and(|bits| bits.is_some_and(|bits| usage(bits.value)))
}

fn is_p384(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve.is_some_and(|curve| curve == OID_NIST_EC_P384)
}

fn of_path(error: &Error) -> Invalid {
    if matches!(error, Error::CertExpired { .. }) {
        Invalid::Expired
    } else if matches!(error, Error::CertNotValidYet { .. }) {
        Invalid::NotYetValid
    } else if matches!(error, Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated) {
        Invalid::Issuer
    } else if matches!(error, Error::CaUsedAsEndEntity | Error::RequiredEkuNotFoundContext(_)) {
        Invalid::Certificate
    } else {
        Invalid::Untrusted
    }
}
