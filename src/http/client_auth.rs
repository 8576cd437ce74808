//! Which client certificates may connect: the right issuer and the right subject (XKS v1, Authentication).

use std::fmt;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::Error;
use rustls::OtherError;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerified;
use rustls::server::danger::ClientCertVerifier;

use crate::http::certificate::Subject;

/// Why a client certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientRefusal {
    /// The client sent none.
    Absent,
    Expired,
    NotYetValid,
    /// The client does not hold the certificate's private key.
    Signature,
    /// The right issuer, another subject.
    Subject,
    /// Not a client's leaf certificate: an authority's, one for servers only, X.509 version 1, or unreadable.
    Unfit,
    UnknownIssuer,
}

impl ClientRefusal {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "client_certificate_absent",
            Self::Expired => "client_certificate_expired",
            Self::NotYetValid => "client_certificate_not_yet_valid",
            Self::Signature => "client_certificate_signature",
            Self::Subject => "client_certificate_subject",
            Self::Unfit => "client_certificate_unfit",
            Self::UnknownIssuer => "client_certificate_unknown_issuer",
        }
    }

    fn of(error: &Error) -> Self {
        let Error::InvalidCertificate(error) = error else {
            return Self::Unfit;
        };
        if matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
            Self::Expired
        } else if matches!(error, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
        {
            Self::NotYetValid
        } else if matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
            Self::UnknownIssuer
        } else {
            Self::Unfit
        }
    }
}

impl fmt::Display for ClientRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for ClientRefusal {}

impl From<ClientRefusal> for Error {
    /// The official client accepts alert 40 (`handshake_failure`) only. rustls has an alert of its own for each
    /// fault of a certificate, and alert 40 for an error that it does not know.
    fn from(refusal: ClientRefusal) -> Self {
        Self::Other(OtherError(Arc::new(refusal)))
    }
}

/// Checks the chain as rustls does, then the subject.
#[derive(Debug)]
pub(super) struct SubjectVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    subjects: Vec<String>,
}

impl SubjectVerifier {
    pub(super) fn new(chain: Arc<dyn ClientCertVerifier>, subjects: Vec<String>) -> Self {
        Self { chain, subjects }
    }

    fn accepts(&self, name: &str) -> bool {
        self.subjects.iter().any(|subject| subject.eq_ignore_ascii_case(name))
    }
}

impl ClientCertVerifier for SubjectVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| ClientRefusal::of(&error))?;
        let subject = Subject::read(end_entity).map_err(|_| ClientRefusal::Unfit)?;
        // XKS v1, Authentication: the rule names the subject. A DNS name counts only where there is no common
        // name, and then any of them; of several common names none may be a stranger.
        let is_accepted = if subject.has_common_name {
            subject.names.iter().all(|name| self.accepts(name))
        } else {
            subject.names.iter().any(|name| self.accepts(name))
        };
        if is_accepted { Ok(verified) } else { Err(ClientRefusal::Subject.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
            .map_err(|_| ClientRefusal::Signature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
            .map_err(|_| ClientRefusal::Signature.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
