//! Attested recipients: whose attestation documents are believed, and that a call has one.

use std::sync::Arc;

use crate::attestation::{Attestation, Roots};
use crate::gate::kms::{Call, Kms, Refused};

impl Kms {
    /// Believes documents that lead to these roots from now on; without any, no call can have a recipient.
    pub fn trust_attestations(&self, roots: Option<Roots>) {
        self.attestation_roots.store(roots.map(Arc::new));
    }
}

impl Call<'_> {
    /// Verifies the attestation document of the call, before anything is authorized: policies can test what it says.
    pub fn attest(&self, document: &[u8]) -> Result<Arc<Attestation>, Refused> {
        let roots = self.kms.attestation_roots.load();
        let roots = roots.as_ref().ok_or(Refused::NoAttestationRoots)?;
        let attestation = roots.verify(document, self.now()).map_err(Refused::InvalidAttestation)?;
        let attestation = Arc::new(attestation);
        self.touched().note_recipient(&attestation);
        Ok(attestation)
    }
}
