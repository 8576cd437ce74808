//! Base64 members of requests.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

use crate::secret::SecretBytes;

/// Bytes that may be a plaintext: wiped when they go.
#[derive(Debug)]
pub(super) struct SecretBlob(SecretBytes);

impl SecretBlob {
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    pub(super) fn into_secret(self) -> SecretBytes {
        self.0
    }
}

impl<'de> Deserialize<'de> for SecretBlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = BorrowedText::deserialize(deserializer)?;
        let bytes = proxy_api::wire::decode_base64(&text.0);
        // Only an escape in the text makes a copy of it.
        if let Cow::Owned(mut copy) = text.0 {
            copy.zeroize();
        }
        bytes.map(|bytes| Self(SecretBytes::new(bytes))).map_err(|_| serde::de::Error::custom("not Base64"))
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);
