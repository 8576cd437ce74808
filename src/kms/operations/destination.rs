//! What Encrypt and ReEncrypt end with: a key that encrypts, by AES-GCM in the HSM or by RSA with its public key.

use crate::domain::kms::{EncryptionAlgorithm, EncryptionContext};
use crate::gate::kms::{OpenKey, Sealed};
use crate::kms::encryption_algorithm;
use crate::kms::error::Error;
use crate::secret::SecretBytes;

pub(super) struct Destination<'d, 'a> {
    key: &'d OpenKey<'a>,
    algorithm: EncryptionAlgorithm,
    context: &'d EncryptionContext,
}

impl<'d, 'a> Destination<'d, 'a> {
    /// Refused if these three do not go together.
    pub(super) fn new(
        key: &'d OpenKey<'a>,
        algorithm: EncryptionAlgorithm,
        context: &'d EncryptionContext,
    ) -> Result<Self, Error> {
        encryption_algorithm::check(algorithm, key, context)?;
        Ok(Self { key, algorithm, context })
    }

    pub(super) fn check_length(&self, plaintext_bytes: usize) -> Result<(), Error> {
        encryption_algorithm::check_length(self.algorithm, self.key.key().spec, plaintext_bytes)
    }

    /// Fails as encryption would before the HSM is asked, and does nothing.
    pub(super) fn rehearse(&self) -> Result<(), Error> {
        if self.algorithm == EncryptionAlgorithm::SymmetricDefault {
            self.key.rehearse_encrypt(self.context)?;
        }
        Ok(())
    }

    pub(super) async fn encrypt(&self, plaintext: SecretBytes) -> Result<Sealed, Error> {
        self.check_length(plaintext.len())?;
        if self.algorithm == EncryptionAlgorithm::SymmetricDefault {
            return Ok(self.key.encrypt(plaintext, self.context).await?);
        }
        Ok(Sealed { blob: self.key.encrypt_oaep(self.algorithm, &plaintext)?, material_id: None })
    }
}
