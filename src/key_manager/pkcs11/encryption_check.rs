//! Whether the HSM decrypts what it has just encrypted, to what was encrypted.

use subtle::ConstantTimeEq;

use crate::key_manager::Encrypted;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::secret::SecretBytes;

/// What stands for a return code in metrics: the calls succeeded.
const CORRUPTED: &str = "corrupted";

impl Fault {
    /// The HSM returned something wrong.
    fn corrupted(what: &str) -> Self {
        Self { code: CORRUPTED.to_owned(), ..Self::new(Blame::Token, what) }
    }

    pub(super) fn is_corruption(&self) -> bool {
        self.code == CORRUPTED
    }
}

impl Gcm<'_> {
    /// The plaintext is compared, since success alone promises too little.
    pub(super) fn check(&self, encrypted: &Encrypted, plaintext: &[u8], aad: &[u8]) -> Result<(), Fault> {
        let Encrypted { iv, ciphertext, tag, .. } = encrypted;
        let sealed = [ciphertext.as_slice(), tag].concat();
        let decrypted = match self.decrypt(iv, &sealed, aad) {
            // It may be a hiccup that looks like a wrong tag.
            Err(fault) if is_about_data(&fault) => self.decrypt(iv, &sealed, aad),
            result => result,
        };
        let decrypted: SecretBytes = decrypted.map_err(|fault| {
            let what = "the token does not decrypt what it has just encrypted";
            if fault.blame == Blame::Data {
                Fault::corrupted(what)
            } else if fault.blame == Blame::DataOrToken {
                // Or it is broken: whoever judges it finds out.
                Fault { return_code: fault.return_code, ..Fault::corrupted(what) }
            } else {
                fault
            }
        })?;
        if bool::from(decrypted.expose().ct_eq(plaintext)) {
            Ok(())
        } else {
            Err(Fault::corrupted("the token decrypts to another plaintext than was encrypted"))
        }
    }
}

fn is_about_data(fault: &Fault) -> bool {
    matches!(fault.blame, Blame::Data | Blame::DataOrToken)
}
