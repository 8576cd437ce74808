//! What the operations on custom key stores have in common.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::gate::kms::ProxyCredential;
use crate::kms::error::Error;
use crate::secret::SecretBytes;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfCustomKeyStore<'b> {
    #[serde(borrow)]
    pub(super) custom_key_store_id: Cow<'b, str>,
}

/// `{}`.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// `XksProxyAuthenticationCredential`: both parts, always.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CredentialMember {
    access_key_id: String,
    raw_secret_access_key: SecretText,
}

/// A secret that is text.
pub(super) struct SecretText(Zeroizing<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl SecretText {
    pub(super) fn into_secret(mut self) -> SecretBytes {
        SecretBytes::new(std::mem::take(&mut *self.0).into_bytes())
    }
}

impl CredentialMember {
    pub(super) fn into_credential(self) -> ProxyCredential {
        ProxyCredential {
            access_key_id: self.access_key_id,
            secret_access_key: self.raw_secret_access_key.into_secret(),
        }
    }
}

/// A member that a request needs here, and need not have elsewhere.
pub(super) fn required<T>(value: Option<T>, member: &str, where_: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::validation(format!("{member} is required for {where_}.")))
}

/// Members that make no sense here.
pub(super) fn refuse_others(members: &[(&str, bool)], where_: &str) -> Result<(), Error> {
    match members.iter().find(|(_, is_there)| *is_there) {
        Some((member, _)) => Err(Error::validation(format!("{member} is not valid for {where_}."))),
        None => Ok(()),
    }
}
