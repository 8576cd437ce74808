//! `DeriveSharedSecret`: what a key and the public key of a peer agree on.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Algorithm, KeyAction, KeyAgreementAlgorithm, Origin};
use crate::gate::kms::{Call, Use};
use crate::kms::algorithm;
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::recipient::{HandedOver, Recipient, RecipientInfo};
use crate::kms::operations::{Blob, Operation, dry_run};
use crate::secret::SecretBytes;

pub(super) struct DeriveSharedSecret;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    key_agreement_algorithm: KeyAgreementAlgorithm,
    public_key: SecretBlob,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
    recipient: Option<RecipientInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_secret: Option<Blob<SecretBytes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Blob<Vec<u8>>>,
    key_agreement_algorithm: KeyAgreementAlgorithm,
    key_origin: Origin,
}

impl<'b> Operation<'b> for DeriveSharedSecret {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let recipient = Recipient::of(call, request.recipient)?;
        let algorithm = Algorithm::KeyAgreement(request.key_agreement_algorithm);
        let usage = Use {
            grant_tokens: grant::checked_tokens(request.grant_tokens.as_deref())?,
            conditions: &[algorithm::condition(algorithm)],
            attestation: recipient.attestation(),
            ..Use::default()
        };
        let key = call.open(KeyAction::DeriveSharedSecret, &request.key_id, usage).await?;
        key.check_algorithm(algorithm)?;
        let peer = key.peer(request.public_key.expose()).ok_or_else(|| {
            let spec = key.key().spec;
            Error::Validation(format!("PublicKey is no public key that is valid for key spec {spec}."))
        })?;
        dry_run(request.dry_run)?;
        let HandedOver { plaintext, ciphertext_for_recipient } =
            recipient.hand_over(key.agree(peer).await?)?;
        Ok(Response {
            key_id: key.arn().to_owned(),
            shared_secret: plaintext,
            ciphertext_for_recipient,
            key_agreement_algorithm: request.key_agreement_algorithm,
            key_origin: key.key().origin,
        })
    }
}
