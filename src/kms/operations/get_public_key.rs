//! `GetPublicKey`: the public key of a key pair, and what it is good for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAction, KeyAgreementAlgorithm, KeySpec, KeyUsage,
    SigningAlgorithm,
};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::{Blob, Operation};

pub(super) struct GetPublicKey;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    public_key: Blob<Vec<u8>>,
    customer_master_key_spec: KeySpec,
    key_spec: KeySpec,
    key_usage: KeyUsage,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    encryption_algorithms: &'static [EncryptionAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    signing_algorithms: &'static [SigningAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    key_agreement_algorithms: &'static [KeyAgreementAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    encapsulation_algorithms: &'static [EncapsulationAlgorithm],
}

impl<'b> Operation<'b> for GetPublicKey {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let grant_tokens = grant::checked_tokens(request.grant_tokens.as_deref())?;
        let usage = Use { grant_tokens, ..Use::default() };
        let key = call.open(KeyAction::GetPublicKey, &request.key_id, usage).await?;
        let kind = key.key().kind();
        Ok(Response {
            key_id: key.arn().to_owned(),
            public_key: Blob(key.public_key()?.to_vec()),
            customer_master_key_spec: kind.spec,
            key_spec: kind.spec,
            key_usage: kind.usage,
            encryption_algorithms: kind.encryption_algorithms(),
            signing_algorithms: kind.signing_algorithms(),
            key_agreement_algorithms: kind.key_agreement_algorithms(),
            encapsulation_algorithms: kind.encapsulation_algorithms(),
        })
    }
}
