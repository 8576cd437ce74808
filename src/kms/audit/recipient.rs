//! `additionalEventData.recipient`: the enclave that an answer was sealed for.

use crate::attestation::Attestation;
use crate::kms::audit::call_record::object;

/// PCR0 has a name of its own.
const IMAGE_DIGEST: (u8, &str) = (0, "attestationDocumentEnclaveImageDigest");
/// AWS KMS Developer Guide, Monitoring requests from Nitro enclaves: the registers that are recorded.
const REGISTERS: [(u8, &str); 6] = [
    IMAGE_DIGEST,
    (1, "attestationDocumentEnclavePCR1"),
    (2, "attestationDocumentEnclavePCR2"),
    (3, "attestationDocumentEnclavePCR3"),
    (4, "attestationDocumentEnclavePCR4"),
    (8, "attestationDocumentEnclavePCR8"),
];

/// `additionalEventData` with the recipient added, if there is one.
pub(super) fn with_recipient(
    additional: Option<Vec<u8>>,
    recipient: Option<&Attestation>,
) -> Option<Vec<u8>> {
    let Some(attestation) = recipient else { return additional };
    let mut own = object(|additional| {
        additional.object("recipient", |recipient| {
            recipient.text("attestationDocumentModuleId", attestation.module_id());
            for (index, name) in REGISTERS {
                recipient.text_if(name, attestation.pcr(index));
            }
        });
    });
    let Some(mut additional) = additional else { return Some(own) };
    // Both are objects, and neither is empty.
    additional.pop();
    additional.push(b',');
    additional.extend(own.drain(1..));
    Some(additional)
}
