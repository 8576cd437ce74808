//! `EncryptionAlgorithm`: which go with which key.

use std::borrow::Cow;

use crate::domain::kms::{EncryptionContext, Key, KeySpec, words};
use crate::kms::error::Error;

words! {
    /// `EncryptionAlgorithmSpec` of the service model.
    #[derive(Default)]
    pub(super) enum EncryptionAlgorithm {
        #[default]
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        Sm2Pke = "SM2PKE",
    }
}

impl EncryptionAlgorithm {
    pub(super) fn condition(self) -> (Cow<'static, str>, Cow<'static, str>) {
        ("kms:EncryptionAlgorithm".into(), self.as_str().into())
    }

    /// Whether the key has this algorithm, and the algorithm a context.
    pub(super) fn check(self, key: &Key, context: &EncryptionContext) -> Result<(), Error> {
        let is_symmetric = key.spec == KeySpec::SymmetricDefault;
        if is_symmetric != (self == Self::SymmetricDefault) {
            let text = format!("Algorithm {self} is incompatible with key spec {}.", key.spec);
            return Err(Error::InvalidKeyUsage(text));
        }
        if !is_symmetric && !context.is_empty() {
            let text = "EncryptionContext is only supported with symmetric encryption keys.";
            return Err(Error::validation(text));
        }
        Ok(())
    }
}
