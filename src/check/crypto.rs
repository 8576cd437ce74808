//! Encrypting and decrypting through the proxy under test, with every answer judged whole.

use proxy_api::client::Sealed;
use proxy_api::error::ErrorName;
use proxy_api::wire::{DecryptResponse, EncryptResponse, KeyOperation, Target, decode_base64};

use crate::check::bodies::Body;
use crate::check::finding::{Finding, Judged, ensure, mismatch};
use crate::check::judge::{refused, response};
use crate::check::session::Session;

/// What a proxy may say of a ciphertext that it did not make.
pub(crate) const CORRUPT: &[ErrorName] = &[ErrorName::InvalidCiphertext];
/// What a proxy may say of parts that cannot be those of a ciphertext: the sources leave it open.
pub(crate) const MALFORMED: &[ErrorName] = &[ErrorName::Validation, ErrorName::InvalidCiphertext];

/// 12 bytes, as in the examples of the specification.
pub(crate) const PLAINTEXT: &[u8] = b"Hello World!";
/// 33 bytes, as in the examples of the specification.
pub(crate) const AAD: &[u8] = b"project=nile,department=marketing";
/// 31 bytes.
pub(crate) const OTHER_AAD: &[u8] = b"project=nile,department=finance";

/// What to encrypt, with which key, and how.
#[derive(Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub key_id: &'a str,
    pub plaintext: &'a [u8],
    pub aad: Option<&'a [u8]>,
    pub cdiv: bool,
}

impl<'a> Sample<'a> {
    /// The usual plaintext, without anything else.
    pub(crate) const fn of(key_id: &'a str) -> Self {
        Self { key_id, plaintext: PLAINTEXT, aad: None, cdiv: false }
    }

    pub(crate) const fn with_aad(self, aad: &'a [u8]) -> Self {
        Self { aad: Some(aad), ..self }
    }

    pub(crate) const fn with_cdiv(self) -> Self {
        Self { cdiv: true, ..self }
    }

    pub(crate) fn body(&self) -> Body {
        let body = Body::encrypt(self.plaintext, self.aad);
        if self.cdiv { body.with_cdiv() } else { body }
    }
}

impl Session {
    /// Encrypts, and checks every part of the response.
    pub(crate) async fn encrypt(&self, sample: &Sample<'_>) -> Result<Sealed, Finding> {
        self.encrypt_body(sample, sample.body()).await
    }

    /// The same with a body that a case has made its own.
    pub(crate) async fn encrypt_body(&self, sample: &Sample<'_>, body: Body) -> Result<Sealed, Finding> {
        let answer = self.post(&self.path_of(sample.key_id, KeyOperation::Encrypt), body).await?;
        let response = response::<EncryptResponse<'_>>(&answer)?;
        let fault = |fault| mismatch("a sound Encrypt response", format!("{fault}"));
        let sealed = Sealed::decode(&response, sample.plaintext.len()).map_err(fault)?;
        if sample.cdiv {
            sealed.check_cdiv(sample.aad.unwrap_or_default()).map_err(fault)?;
        }
        Ok(sealed)
    }

    pub(crate) async fn encrypt_refused(&self, sample: &Sample<'_>, errors: &[ErrorName]) -> Judged {
        let answer = self.post(&self.path_of(sample.key_id, KeyOperation::Encrypt), sample.body()).await?;
        refused(&answer, errors)
    }

    /// Decrypts, and checks that the plaintext of `sample` comes back.
    pub(crate) async fn decrypt(&self, sample: &Sample<'_>, sealed: &Sealed) -> Judged {
        self.decrypt_body(sample, Body::decrypt(sealed, sample.aad)).await
    }

    pub(crate) async fn decrypt_body(&self, sample: &Sample<'_>, body: Body) -> Judged {
        let answer = self.post(&self.path_of(sample.key_id, KeyOperation::Decrypt), body).await?;
        let response = response::<DecryptResponse<'_>>(&answer)?;
        let plaintext = decode_base64(&response.plaintext)
            .map_err(|error| mismatch("plaintext in Base64", error.to_string()))?;
        let got = format!("another plaintext, of {} bytes", plaintext.len());
        ensure(plaintext == sample.plaintext, "the plaintext that was encrypted", got)
    }

    pub(crate) async fn decrypt_refused(
        &self,
        sample: &Sample<'_>,
        sealed: &Sealed,
        errors: &[ErrorName],
    ) -> Judged {
        let body = Body::decrypt(sealed, sample.aad);
        let answer = self.post(&self.path_of(sample.key_id, KeyOperation::Decrypt), body).await?;
        refused(&answer, errors)
    }

    /// Encrypts and decrypts.
    pub(crate) async fn round_trip(&self, sample: &Sample<'_>) -> Judged {
        let sealed = self.encrypt(sample).await?;
        self.decrypt(sample, &sealed).await
    }

    fn path_of(&self, external_key_id: &str, operation: KeyOperation) -> String {
        self.path(Target::Key { external_key_id, operation })
    }
}
