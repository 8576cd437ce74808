//! Whose attestation documents the KMS API believes.

use crate::attestation::Roots;
use crate::config;

/// The root certificates, if there are any.
pub(super) fn attestation_roots(settings: &config::Kms) -> Result<Option<Roots>, String> {
    let parse = |attestation: &config::Attestation| {
        let file = attestation.root_certificates_file.display();
        Roots::parse(attestation.root_certificates.as_bytes())
            .map_err(|reason| format!("kms.attestation: `root_certificates_file` {file}: {reason}"))
    };
    settings.attestation.as_ref().map(parse).transpose()
}
